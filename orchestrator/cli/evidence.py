"""`orchestrator evidence add KIND`: attach a piece of evidence that a gate of a stage waits for."""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.records import add_document, digest_of


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("evidence", help="attach evidence", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = verbs.add_parser("add", help="attach a piece of evidence")
    add.add_argument("kind", help="as the gates of the stages name it")
    add.add_argument("--stage", metavar="STAGE")
    add.add_argument("--application", metavar="NAME", help="it is about this application's flows only")
    add.add_argument("--zone", metavar="ZONE", help="of the kind `eradication`, and of no other: where")
    add_document(add)
    add_options(add)
    add.set_defaults(func=run_add)
    listing = verbs.add_parser("list", help="what is on record")
    add_options(listing)
    listing.set_defaults(func=run_list)


def run_add(arguments: argparse.Namespace) -> int:
    body = {
        "kind": arguments.kind,
        "document_sha256": digest_of(arguments),
        "stage": arguments.stage,
        "application": arguments.application,
        "zone": arguments.zone,
        "note": arguments.note,
    }
    answer = Client(arguments).post("/v1/evidence", body)
    about = answer["zone"] or answer["stage"] or answer["application"] or "every stage"
    show(arguments, answer, f"recorded: {answer['kind']} for {about}, sha256 {answer['document_sha256'][:12]}…, event {answer['seq']}")
    return OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/evidence")
    lines = [f"{piece['at']}  {piece['kind']:<28} {piece['zone'] or piece['stage'] or '-':<26} {piece['by']}" for piece in answer]
    show(arguments, answer, "\n".join(lines) or "no evidence yet")
    return OK
