"""`orchestrator logbook add TEXT`: a free entry in the log (main courante): a decision, an accepted risk, a hand-over."""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, Json, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.domain.decide_records import LOGBOOK_KINDS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("logbook", help="free entries in the log", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = verbs.add_parser("add", help="write an entry")
    add.add_argument("text")
    add.add_argument("--stage", metavar="STAGE")
    add.add_argument("--kind", choices=LOGBOOK_KINDS, default="note")
    add_options(add)
    add.set_defaults(func=run_add)
    listing = verbs.add_parser("list", help="read the entries")
    listing.add_argument("--kind", choices=LOGBOOK_KINDS)
    listing.add_argument("--stage", metavar="STAGE")
    add_options(listing)
    listing.set_defaults(func=run_list)


def run_add(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post("/v1/logbook", {"text": arguments.text, "stage": arguments.stage, "kind": arguments.kind})
    show(arguments, answer, "recorded")
    return OK


def run_list(arguments: argparse.Namespace) -> int:
    asked = {name: value for name in ("kind", "stage") if (value := getattr(arguments, name)) is not None}
    answer = Client(arguments).get("/v1/logbook", **asked)
    lines = [f"{entry['at']}  {entry['by']:<14} {_kind(entry)}{entry['text']}" for entry in answer]
    show(arguments, answer, "\n".join(lines) or "no entries yet")
    return OK


def _kind(entry: Json) -> str:
    return f"[{entry['kind']}] " if entry["kind"] != "note" else ""
