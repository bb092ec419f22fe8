"""`orchestrator attestation add PARTNER`: record what became of an attestation of remediation, a partner's or ours to them.

The way of one is requested, received, verified, accepted; docs/stages.md has the table. `--accepted` and `--refused` record
the whole way at once, for somebody who has done all of it in one sitting.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.records import add_document, digest_of

STATES = ("requested", "received", "verified", "accepted", "accepted-with-reservation", "refused", "revoked")
_ACCEPTED = ("accepted", "accepted-with-reservation")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("attestation", help="record attestations of remediation, theirs and ours", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = verbs.add_parser("add", help="record one move")
    add.add_argument("partner", help="as the policy names it")
    verdict = add.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--state", dest="to", choices=STATES, metavar="STATE", help=", ".join(STATES))
    verdict.add_argument("--accepted", dest="at_once", action="store_const", const="accepted", help="received, verified and accepted")
    verdict.add_argument("--refused", dest="at_once", action="store_const", const="refused", help="received and refused")
    add.add_argument("--way", choices=("theirs", "ours"), default="theirs", help="theirs, to us (default), or ours, to them")
    add.add_argument("--reservation", default="", metavar="TEXT", help="needed with accepted-with-reservation")
    add.add_argument("--days", type=int, default=30, metavar="N", help="accepted for so long (default: %(default)s)")
    add_document(add, required=False)
    add_options(add)
    add.set_defaults(func=run_add)
    listing = verbs.add_parser("list", help="the last of each partner and way")
    add_options(listing)
    listing.set_defaults(func=run_list)


def run_add(arguments: argparse.Namespace) -> int:
    state = arguments.to or arguments.at_once  # not `state`: that is the directory
    until = datetime.now(UTC) + timedelta(days=arguments.days)
    body = {
        "partner": arguments.partner,
        "way": arguments.way,
        "state": state,
        "at_once": arguments.at_once is not None,
        "document_sha256": digest_of(arguments) or None,
        "valid_until": until.isoformat(timespec="seconds") if state in _ACCEPTED else None,
        "reservation": arguments.reservation,
        "note": arguments.note,
    }
    answer = Client(arguments).post("/v1/attestations", body)
    show(arguments, answer, f"recorded: {_line(answer)}, event {answer['seq']}")
    return OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/attestations")
    show(arguments, answer, "\n".join(f"{item['at']}  {_line(item)}, by {item['by']}" for item in answer) or "no attestations yet")
    return OK


def _line(answer: dict[str, str]) -> str:
    whose = "ours to" if answer["way"] == "ours" else "that of"
    until = f" until {answer['valid_until']}" if answer["valid_until"] else ""
    reservation = f" ({answer['reservation']})" if answer["reservation"] else ""
    return f"{whose} {answer['partner']} {answer['state']}{until}{reservation}"
