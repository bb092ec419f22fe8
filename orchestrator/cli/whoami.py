"""`orchestrator whoami`: who the server says you are."""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("whoami", help="who the server says you are", description=__doc__)
    add_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/whoami")
    show(arguments, answer, f"{answer['person']}: {', '.join(answer['roles'])}")
    return OK
