"""`orchestrator check`: what a partner's contact saw of a stage from their side, signed by them.

check statement STAGE --partner P --witness W …   the text for the contact, who signs it without any access to us:
                                                  ssh-keygen -Y sign -n partner-witness@v1 -f KEY FILE
check witness STAGE --statement FILE              hands it in (FILE.sig is the signature)
check list STAGE                                  what was handed in, and whether it says that all passes
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK, PARTIAL
from orchestrator.errors import UsageError

NAMESPACE = "partner-witness@v1"
SAW = ("passes", "blocked", "cannot-tell")
LARGEST = 20_000  # bytes of a statement or a signature
Json = dict[str, Any]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check", help="what a partner's contact has seen and signed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = verbs.add_parser("statement", help="the text that the contact signs")
    made.add_argument("stage")
    made.add_argument("--partner", required=True, metavar="PARTNER")
    made.add_argument("--witness", required=True, metavar="PERSON", help="the contact, as the policy names them")
    made.add_argument("--saw", choices=SAW, default="cannot-tell", help="of every flow that --flow does not name")
    made.add_argument("--flow", action="append", default=[], metavar="FLOW=SAW", help="of this one (repeatable)")
    made.add_argument("--seen-at", default="", metavar="TIME", help="RFC 3339; by default now")
    made.add_argument("--output", type=Path, metavar="FILE", help="write it there, to the byte; by default it is printed")
    add_options(made)
    made.set_defaults(func=run_statement)
    given = verbs.add_parser("witness", help="hand in what they signed")
    given.add_argument("stage")
    given.add_argument("--statement", type=Path, required=True, metavar="FILE")
    given.add_argument("--signature", type=Path, metavar="FILE", help="by default the statement's name with .sig")
    add_options(given)
    given.set_defaults(func=run_witness)
    listing = verbs.add_parser("list", help="what was handed in of a stage")
    listing.add_argument("stage")
    add_options(listing)
    listing.set_defaults(func=run_list)


def run_statement(arguments: argparse.Namespace) -> int:
    body = {
        "partner": arguments.partner,
        "witness": arguments.witness,
        "saw": arguments.saw,
        "flows": dict(_flow(text) for text in arguments.flow),
        "seen_at": arguments.seen_at or datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    answer = Client(arguments).post(f"/v1/stages/{arguments.stage}/witness-statement", body)
    if arguments.output is None:
        print(answer["statement"], end="" if not arguments.json else "\n")
        return OK
    try:
        arguments.output.write_text(answer["statement"], encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{arguments.output} cannot be written: {error.strerror}") from error
    show(arguments, answer, f"the contact signs: ssh-keygen -Y sign -n {NAMESPACE} -f KEY {arguments.output}")
    return OK


def run_witness(arguments: argparse.Namespace) -> int:
    """Exit 2 when what was signed does not say that all passes."""
    signature = arguments.signature or arguments.statement.with_name(f"{arguments.statement.name}.sig")
    body = {"statement": _read(arguments.statement), "signature": _read(signature)}
    answer = Client(arguments).post(f"/v1/stages/{arguments.stage}/witnesses", body)
    show(arguments, answer, f"recorded: {_line(answer)}")
    return OK if answer["check"] == "successful" else PARTIAL


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get(f"/v1/stages/{arguments.stage}/witnesses")
    show(arguments, answer, "\n".join(_line(item) for item in answer) or "no partner's contact has signed anything of it")
    return OK


def _flow(text: str) -> tuple[str, str]:
    flow, equals, saw = text.partition("=")
    if not equals or saw not in SAW:
        raise UsageError(f"{text!r} is not FLOW=SAW", advice=f"SAW is one of {', '.join(SAW)}")
    return flow, saw


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error


def _line(item: Json) -> str:
    seen = ", ".join(
        f"{one['flow']} {one['service']} {one['saw']}" + (f" ({one['words']})" if one["words"] else "") for one in item["seen"]
    )
    lacks = f" — {item['lacks']}" if item["lacks"] else ""
    return f"{item['partner']}: {item['check']}, {item['witness']} at {item['seen_at']}: {seen}{lacks}"
