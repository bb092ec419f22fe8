"""Commands that only subtract work without a server too: on the state directory, with the cut key, as the cut-off does.

Whoever can read that key may cut; so nobody is asked to log in, and who says to have ordered it is on record. What a device
still owes afterwards is given to it by the server when it is back, or by running the same command again.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from orchestrator.cli.client import Client, Json
from orchestrator.cli.terminal import login_name
from orchestrator.errors import EnvironmentMissing, NotAuthenticated
from orchestrator.service.stages import Stages
from orchestrator.settings import state_directory

CONNECTS_WITHIN_S = 3.0
ANSWERS_WITHIN_S = 10.0  # each of its answers; one that comes later has ordered the same twice, which closes no less


def add_here(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--here", action="store_true", help="ask no server: act on the state directory (also when none answers)")


def order(arguments: argparse.Namespace, by_server: Callable[[Client], Json], here: Callable[[], Json]) -> Json:
    """The answer of the server, or, without one that answers, of this machine's own work. A server elsewhere (`--url`) has its
    state directory elsewhere: without it nothing is done."""
    if _is_needed(arguments):
        return here()
    try:
        return by_server(Client(arguments, answers_within_s=ANSWERS_WITHIN_S))
    except NotAuthenticated as refusal:
        advice = f"{refusal.advice}; or at once, on the server's machine and with its cut key: --here"
        raise NotAuthenticated(Exception.__str__(refusal), rule=refusal.rule, advice=advice) from refusal
    except EnvironmentMissing as silent:
        if arguments.url:
            raise
        if not arguments.json:
            print(Exception.__str__(silent), file=sys.stderr)
        return here()


def _is_needed(arguments: argparse.Namespace) -> bool:
    """Whether no server takes this command: it was said so, or nobody listens on its socket."""
    if arguments.here or arguments.url:
        return bool(arguments.here)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(CONNECTS_WITHIN_S)
        try:
            asking.connect(str(arguments.socket or Path(state_directory().root) / "api.sock"))
        except OSError:
            return True
    return False


def opened(arguments: argparse.Namespace) -> tuple[Stages, str]:
    """The service on the state directory, and who orders it. Raises EnvironmentMissing, LogUnavailable, LogBroken."""
    from orchestrator.wiring import reopening

    if not arguments.json:
        print("no server takes this: acting on the state directory", file=sys.stderr)
    stages = reopening(state_directory())
    stages.journal.require_acting = bool  # whoever acts on the log: to close is never theirs alone
    stages.reisolating.subtracts_only = True
    return stages, arguments.person or login_name()
