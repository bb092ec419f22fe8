"""`orchestrator whoami`: who the server says you are."""

from __future__ import annotations

import argparse
import json


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from orchestrator.cli.client import add_connection

    parser = subparsers.add_parser("whoami", help="who the server says you are", description=__doc__)
    add_connection(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from orchestrator.cli.client import Client

    me = Client(args).get("/v1/whoami")
    print(json.dumps(me) if args.json else f"{me['person']}: {', '.join(me['roles'])}")
    return 0
