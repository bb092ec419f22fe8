"""`orchestrator logout`: ends your session on every server, and forgets its token here."""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("logout", help="end your session", description=__doc__)
    add_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    client = Client(arguments)
    answer = client.post("/v1/logout")
    client.forget_token(answer["person"])
    show(arguments, answer, f"{answer['person']} is logged out")
    return OK
