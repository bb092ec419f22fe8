"""Exit codes: one table, for every verb. docs/cutoff.md shows it; `for_error` maps the error tree to it."""

from __future__ import annotations

from orchestrator.errors import EnvironmentMissing, InputError, OrchestratorError, Refused

OK = 0  # done; a cut-off is verified
UNEXPECTED = 1  # an error that no other line names
PARTIAL = 2  # a cut-off is partial: a device is refused or unknown, or a probe got through
BAD_INPUT = 3  # the command line, a file or a name is wrong
REFUSED = 4  # the rules say no
ENVIRONMENT = 5  # this machine lacks something
INTERRUPTED = 130  # Ctrl-C, where a verb can be interrupted (the cut-off cannot)

_OF_ERRORS: tuple[tuple[type[OrchestratorError], int], ...] = (
    (InputError, BAD_INPUT),
    (Refused, REFUSED),
    (EnvironmentMissing, ENVIRONMENT),
)


def for_error(error: OrchestratorError) -> int:
    """The exit code of an error of ours."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), UNEXPECTED)
