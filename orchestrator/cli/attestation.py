"""`orchestrator attestation add PARTNER`: record a partner's attestation of remediation, accepted or refused."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.records import add_document, digest_of


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("attestation", help="record a partner's attestation", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = verbs.add_parser("add", help="record one")
    add.add_argument("partner", help="as the policy names it")
    verdict = add.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--accepted", dest="verdict", action="store_const", const="accepted")
    verdict.add_argument("--refused", dest="verdict", action="store_const", const="refused")
    add.add_argument("--days", type=int, default=30, metavar="N", help="valid for so long (default: %(default)s)")
    add_document(add)
    add_options(add)
    add.set_defaults(func=run_add)


def run_add(arguments: argparse.Namespace) -> int:
    until = datetime.now(UTC) + timedelta(days=arguments.days)
    body = {
        "partner": arguments.partner,
        "state": arguments.verdict,
        "document_sha256": digest_of(arguments),
        "valid_until": until.isoformat(timespec="seconds"),
        "note": arguments.note,
    }
    answer = Client(arguments).post("/v1/attestations", body)
    show(arguments, answer, f"recorded: {answer['partner']} {answer['state']} until {answer['valid_until']}, event {answer['seq']}")
    return OK
