"""`orchestrator care probe`: the server asks every care assertion now, from the vantage points, and records the answers."""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK, PARTIAL


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("care", help="whether care goes on", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, help_ in (("probe", "ask now, and record the answers"), ("list", "what was answered last")):
        verb = verbs.add_parser(name, help=help_)
        add_options(verb)
        verb.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """With `probe`: exit code 2 when an assertion fails or cannot be told."""
    client = Client(arguments)
    answer = client.post("/v1/care/probe") if arguments.action == "probe" else client.get("/v1/care")
    lines = [f"{result['at']}  {result['care']:<28} {result['check']}" for result in answer]
    show(arguments, answer, "\n".join(lines) or "never probed")
    well = arguments.action == "list" or all(result["check"] == "successful" for result in answer)
    return OK if well else PARTIAL
