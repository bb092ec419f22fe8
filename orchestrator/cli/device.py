"""`orchestrator device`: devices that are not trusted, and what people did on devices by hand.

Nothing is opened on a device that is not trusted. Who says so needs nobody; to trust it again takes somebody else and a document.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.records import digest_of
from orchestrator.cli.tables import table


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("device", help="trust in devices; what was done by hand", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def verb(name: str, help_: str, func: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help_)
        add_options(made)
        made.set_defaults(func=func)
        return made

    def document(made: argparse.ArgumentParser, *, required: bool) -> None:
        which = made.add_mutually_exclusive_group(required=required)
        which.add_argument("--file", type=Path, metavar="FILE", help="the document; only its SHA-256 is sent")
        which.add_argument("--sha256", metavar="HEX", help="its SHA-256")

    verb("list", "devices that are not trusted", run_list)
    distrust = verb("distrust", "nothing is opened on it from now on", run_distrust)
    distrust.add_argument("device", metavar="DEVICE")
    distrust.add_argument("--reason", required=True, metavar="TEXT")
    trust = verb("trust", "trust it again; by somebody else", run_trust)
    trust.add_argument("device", metavar="DEVICE")
    trust.add_argument("--reason", required=True, metavar="TEXT")
    document(trust, required=True)
    verb("acts", "what was done by hand", run_acts)
    act = verb("act", "put on record what you did by hand", run_act)
    act.add_argument("device", metavar="DEVICE")
    act.add_argument("act", metavar="TEXT")
    act.add_argument("--at", required=True, metavar="TIME", help="RFC 3339: when it was done")
    document(act, required=False)


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/devices/distrusted")
    show(arguments, answer, table(answer, ("device", "at", "by", "reason")) or "every device is trusted")
    return OK


def run_distrust(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/devices/{arguments.device}/distrust", {"reason": arguments.reason})
    show(arguments, answer, f"{answer['device']} is not trusted any more: nothing is opened on it")
    return OK


def run_trust(arguments: argparse.Namespace) -> int:
    body = {"reason": arguments.reason, "document_sha256": digest_of(arguments)}
    answer = Client(arguments).post(f"/v1/devices/{arguments.device}/trust", body)
    show(arguments, answer, f"{answer['device']} is trusted again")
    return OK


def run_acts(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/manual-acts")
    show(arguments, answer, table(answer, ("done_at", "device", "by", "act")) or "none")
    return OK


def run_act(arguments: argparse.Namespace) -> int:
    given = bool(arguments.file or arguments.sha256)
    document = {"document_sha256": digest_of(arguments)} if given else {}
    body = {"device": arguments.device, "act": arguments.act, "done_at": arguments.at, **document}
    answer = Client(arguments).post("/v1/manual-acts", body)
    show(arguments, answer, f"recorded: {answer['act']} on {answer['device']}; a probe or a read-back says what it did")
    return OK
