"""`orchestrator stage extend`: move the end of what is open. One person asks, another of a different authority grants.

orchestrator stage extend STAGE --until TIME --reason TEXT
orchestrator stage extend STAGE --grant ID
"""

from __future__ import annotations

import argparse

from orchestrator.cli import exit_codes
from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.time_text import of_extension
from orchestrator.errors import UsageError


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("extend", help="ask for a later end, or grant it to somebody else", description=__doc__)
    parser.add_argument("stage")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--until", metavar="TIME", help="RFC 3339; without a zone, in the site's")
    which.add_argument("--grant", metavar="ID", help="what another person has asked for")
    parser.add_argument("--reason", default="", metavar="TEXT", help="needed to ask")
    add_options(parser)
    parser.set_defaults(func=run_extend)


def run_extend(arguments: argparse.Namespace) -> int:
    client = Client(arguments)
    if arguments.grant:
        known = {item["id"]: item for item in client.get("/v1/extensions")}
        if arguments.grant in known and known[arguments.grant]["stage"] != arguments.stage:
            whose = known[arguments.grant]["stage"]
            raise UsageError(f"{arguments.grant} is of {whose}", advice=f"orchestrator stage extend {whose} --grant {arguments.grant}")
        answer = client.post(f"/v1/extensions/{arguments.grant}/grant", {})
    else:
        if not arguments.reason.strip():
            raise UsageError("an extension says its reason", advice="--reason TEXT")
        answer = client.post(f"/v1/stages/{arguments.stage}/extensions", {"until": arguments.until, "reason": arguments.reason})
    show(arguments, answer, of_extension(answer))
    return exit_codes.OK
