"""`orchestrator partner ready PARTNER`: a partner has said that they have opened their side; `--not`: that they have not."""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("partner", help="what partners say of their side", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    ready = verbs.add_parser("ready", help="record that a partner has opened their side")
    ready.add_argument("partner", help="as the policy names it")
    ready.add_argument("--not", dest="ready", action="store_false", help="they have not, or not any more")
    ready.add_argument("--note", default="", metavar="TEXT", help="who said so, and how")
    add_options(ready)
    ready.set_defaults(func=run_ready)
    listing = verbs.add_parser("list", help="what each partner said last")
    add_options(listing)
    listing.set_defaults(func=run_list)


def run_ready(arguments: argparse.Namespace) -> int:
    body = {"partner": arguments.partner, "ready": arguments.ready, "note": arguments.note}
    answer = Client(arguments).post("/v1/partners/ready", body)
    show(arguments, answer, f"recorded: {_line(answer)}, event {answer['seq']}")
    return OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/partners/ready")
    lines = [f"{said['at']}  {_line(said)}, by {said['by']}" + (f": {said['note']}" if said["note"] else "") for said in answer]
    show(arguments, answer, "\n".join(lines) or "no partner has said anything yet")
    return OK


def _line(said: dict[str, object]) -> str:
    return f"{said['partner']} {'is ready' if said['ready'] else 'is not ready'}"
