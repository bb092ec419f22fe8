"""Every error that the orchestrator raises on purpose.

    OrchestratorError
    ├── InputError                 what was given is wrong: says where, why and what to do
    │   ├── PolicyError            a policy or inventory file (file, line)
    │   │   └── PolicyTestsFail     nothing else is wrong, but tests of the policy's own fail
    │   ├── UnknownName            no such stage, person, device, profile …
    │   ├── UsageError             a command line or a request
    │   └── KeyUsed                an idempotency key that stands for another request
    ├── Refused                    the rules say no; names the rule
    │   ├── NotAuthenticated       who are you?
    │   ├── NotAllowed             your roles do not give this
    │   ├── IllegalTransition      the state machine has no such edge
    │   ├── Stale                  what was planned or voted on has moved
    │   ├── NotActing              another server acts on this log
    │   └── TooMany                you have as many of these as one may have
    ├── Moved                      what a request takes to be so has moved (If-Match)
    ├── AlreadyDone                the request was carried out before
    ├── DeviceError                a device did not do what was asked
    │   ├── DeviceRefused          it answered no (outcome `refused`)
    │   └── DeviceUnknown          it did not answer: outcome `unknown`, read it back
    ├── LogError                   the log
    │   ├── LogUnavailable         cannot be read or written (disk, permissions, lock)
    │   └── LogBroken              does not verify; says at which event
    └── EnvironmentMissing         this machine lacks something (root, a package); says what to do

Each class's docstring is its general message; `advice` says what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass


class OrchestratorError(Exception):
    """Something went wrong."""

    advice: str = ""

    def __init__(self, message: str = "", *, advice: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        if advice:
            self.advice = advice

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n  → {self.advice}" if self.advice else text


class InputError(OrchestratorError):
    """What was given is wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong in a file: where, what, and what to do about it."""

    file: str
    line: int
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}\n  → {self.advice}"


class PolicyError(InputError):
    """The policy or the inventory is wrong."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        super().__init__("\n".join(str(finding) for finding in findings))


class PolicyTestsFail(PolicyError):
    """Tests of the policy's own fail; nothing else is wrong with it. One finding per failing test."""

    def __init__(self, findings: tuple[Finding, ...], *, declared: int) -> None:
        self.declared = declared
        super().__init__(findings)


class UnknownName(InputError):
    """There is nothing of that name."""


class UsageError(InputError):
    """The command or request cannot be understood."""


class KeyUsed(InputError):
    """This idempotency key stands for another request."""


class Refused(OrchestratorError):
    """The rules say no."""

    def __init__(self, message: str = "", *, rule: str, advice: str = "") -> None:
        self.rule = rule  # the name of the rule that refused, kept in the log and in problem+json
        super().__init__(message, advice=advice)


class NotAuthenticated(Refused):
    """Nobody is logged in with this request."""


class NotAllowed(Refused):
    """Your roles do not give this."""


class IllegalTransition(Refused):
    """This cannot be done in the present state."""


class Stale(Refused):
    """What was planned or voted on has moved since."""


class NotActing(Refused):
    """Another server acts on this log."""


class TooMany(Refused):
    """You have as many of these as one may have."""


class SlowDown(TooMany):
    """You ask too often."""

    def __init__(self, message: str = "", *, rule: str, advice: str = "", retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, rule=rule, advice=advice)


class Moved(OrchestratorError):
    """What you have seen has moved since."""


class AlreadyDone(OrchestratorError):
    """This request was carried out before."""

    def __init__(self, seq: int) -> None:
        self.seq = seq  # the last event of its command
        super().__init__(advice="send it again, with the same key: the answer is the one of then")


class DeviceError(OrchestratorError):
    """A device did not do what was asked."""


class DeviceRefused(DeviceError):
    """The device refused."""


class DeviceUnknown(DeviceError):
    """The device did not answer; what it does now is unknown until it is read back."""


class LogError(OrchestratorError):
    """The log cannot be used."""


class LogUnavailable(LogError):
    """The log cannot be read or written."""


class LogBroken(LogError):
    """The log does not verify."""

    def __init__(self, message: str = "", *, seq: int | None = None, advice: str = "") -> None:
        self.seq = seq  # the first event that is changed or missing, where one can be named
        super().__init__(message, advice=advice)


class EnvironmentMissing(OrchestratorError):
    """This machine lacks something that is needed."""
