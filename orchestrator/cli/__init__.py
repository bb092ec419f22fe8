"""The `orchestrator` command: one module per verb, imported only when its verb is asked for.

A verb module has `add_parser(subparsers) -> None`, which adds its own parser and sets the default `func`:
a callable that takes the parsed arguments and returns an exit code (`exit_codes.py`). Errors of `orchestrator.errors`
are printed as message and advice, never as a traceback (ORCHESTRATOR_DEBUG=1 shows one).

Global options come before the verb: `--state DIR` sets the state directory; `--lab NAME` runs the same command inside
the rehearsal hospital NAME, in its admin namespace and with its state directory.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

VERBS: dict[str, tuple[str, str]] = {
    "cutoff": ("orchestrator.cli.cutoff", "cut the hospital off, now; needs no argument and nobody's approval"),
    "cut": ("orchestrator.cli.cut", "prove what a profile cuts, and what would do if devices are dead or not trusted"),
    "reisolate": ("orchestrator.cli.reisolate", "close a partner, an application, a zone or a flow again, now; one person"),
    "block": ("orchestrator.cli.block", "put addresses on the block list, now; list it, take them off again"),
    "status": ("orchestrator.cli.status", "posture, last cut-off, device by device"),
    "watch": ("orchestrator.cli.watch", "follow the log as it is written: stages, devices, votes, checks"),
    "probe": ("orchestrator.cli.probe", "probe from the vantage points; save the baseline that a cut-off compares with"),
    "lab": ("orchestrator.cli.lab", "the rehearsal hospital in network namespaces"),
    "policy": ("orchestrator.cli.policy", "check, ratify and show the policy"),
    "stage": ("orchestrator.cli.stage", "plan, vote, apply, verify and open a stage"),
    "evidence": ("orchestrator.cli.evidence", "attach evidence to a stage"),
    "attestation": ("orchestrator.cli.attestation", "record attestations of remediation, theirs and ours"),
    "partner": ("orchestrator.cli.partner", "record that a partner has opened their side"),
    "check": ("orchestrator.cli.check", "what a partner's contact saw of a stage from their side, signed by them"),
    "monitor": ("orchestrator.cli.monitor", "record what a monitor says"),
    "care": ("orchestrator.cli.care", "probe whether care goes on, and record it"),
    "waiver": ("orchestrator.cli.waiver", "request, grant and end waivers of gates"),
    "drift": ("orchestrator.cli.drift", "what the devices hold that the log does not say; repair it"),
    "delegation": ("orchestrator.cli.delegation", "lend roles of yours for a while, take that back, see who stands in"),
    "false-alarm": ("orchestrator.cli.false_alarm", "say that the last cut-off was a false alarm; a vote can then resume"),
    "lift": ("orchestrator.cli.lift", "what lifting the layer makes possible; accept differences by name"),
    "recut": ("orchestrator.cli.recut", "schedule a cut-off at a date, list and cancel them"),
    "site": ("orchestrator.cli.site", "posture, policy, people, devices, applications, partners, flows, votes, checks, health"),
    "incident": ("orchestrator.cli.incident", "name it; its cut-offs, and what authorities say of them"),
    "device": ("orchestrator.cli.device", "devices that are not trusted; what was done by hand"),
    "logbook": ("orchestrator.cli.logbook", "write into the logbook"),
    "login": ("orchestrator.cli.login", "prove who you are with your SSH key"),
    "logout": ("orchestrator.cli.logout", "end your session"),
    "people": ("orchestrator.cli.people", "people and their keys: list, change, revoke"),
    "whoami": ("orchestrator.cli.whoami", "who the server says you are"),
    "audit": ("orchestrator.cli.audit", "export and verify the log"),
    "completion": ("orchestrator.cli.completion", "the completion script of bash, zsh or fish"),
    "serve": ("orchestrator.cli.serve", "the HTTP API"),
    "demo": ("orchestrator.cli.demo", "the whole story, on the rehearsal hospital"),
}
LAB_STATE = "/run/orchestrator-lab/{name}/state"


class Parser(argparse.ArgumentParser):
    """argparse with our exit code for a bad command line."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(3, f"{self.prog}: {message}\n")  # exit_codes.BAD_INPUT


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. Never raises an error of ours."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # closed by whoever started us: nobody reads, and a cut-off goes on all the same
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - pathlib is not needed on the emergency path
    try:
        verb, lab, rest = _split(arguments)
        if lab is not None:
            return _run_in_lab(lab, rest)
        parser = _parser(verb)
        parsed = parser.parse_args(rest)
        if parsed.state:
            os.environ["ORCHESTRATOR_STATE"] = parsed.state
        if not hasattr(parsed, "func"):
            parser.print_help()
            return 3
        return int(parsed.func(parsed))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _explain(error)


def _split(arguments: Sequence[str]) -> tuple[str | None, str | None, list[str]]:
    """The verb, the value of a `--lab` before it, and the arguments without that `--lab`."""
    lab: str | None = None
    rest: list[str] = []
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        option, _, value = arguments[index].partition("=")
        takes_next = option in ("--lab", "--state") and not value and index + 1 < len(arguments)
        width = 2 if takes_next else 1
        if option == "--lab" and (value or takes_next):
            lab = value or arguments[index + 1]
        else:
            rest += arguments[index : index + width]
        index += width
    return (arguments[index] if index < len(arguments) else None), lab, rest + list(arguments[index:])


def whole_parser() -> Parser:
    """With every verb: for completion, and for tests. Imports all of them."""
    return _parser(*VERBS)


def _parser(*chosen: str | None) -> Parser:
    parser = Parser(prog="orchestrator", description="Cuts a hospital off and reopens it, stage by stage, with votes and proofs.")
    parser.add_argument("--lab", metavar="NAME", help="run inside the rehearsal hospital NAME")
    parser.add_argument("--state", metavar="DIR", help="state directory (default $ORCHESTRATOR_STATE or /var/lib/orchestrator)")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for verb, (module, help_) in VERBS.items():
        if verb in chosen:
            importlib.import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(verb, help=help_, add_help=False)
    return parser


def _run_in_lab(name: str, arguments: Sequence[str]) -> int:
    """Replaces this process by the same command in the lab's admin namespace, with the lab's state directory."""
    namespace = f"{name}-admin"
    if not os.path.exists(f"/run/netns/{namespace}"):  # noqa: PTH110 - pathlib is not needed on the emergency path
        print(f"orchestrator: there is no rehearsal hospital {name!r} here\n  → orchestrator lab up --name {name}", file=sys.stderr)
        return 5
    os.environ["ORCHESTRATOR_STATE"] = LAB_STATE.format(name=name)
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "orchestrator", *arguments]
    os.execvp(command[0], command)
    raise AssertionError("execvp does not return")


def _explain(error: Exception) -> int:
    """Message and advice for an error of ours; for a bug, its name and how to see more."""
    from orchestrator.cli import exit_codes
    from orchestrator.errors import OrchestratorError

    if os.environ.get("ORCHESTRATOR_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OrchestratorError):
        print(f"orchestrator: {error}", file=sys.stderr)
        return exit_codes.for_error(error)
    print(f"orchestrator: unexpected {type(error).__name__}: {error}\n  → ORCHESTRATOR_DEBUG=1 shows where", file=sys.stderr)
    return exit_codes.UNEXPECTED
