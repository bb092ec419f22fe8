"""`orchestrator evidence add`, `attestation add`, `logbook add`: what people put on record."""

from __future__ import annotations

import argparse
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`evidence`; `attestation` and `logbook` hang their own parsers in (cli/attestation.py, cli/logbook.py)."""
    verbs = subparsers.add_parser("evidence", help="attach evidence to a stage", description=__doc__).add_subparsers(
        dest="evidence_verb", metavar="VERB", required=True
    )
    parser = adding(verbs, "add a piece of evidence that lifts a gate")
    parser.add_argument("kind", help="the gate's kind of evidence, as the policy names it")
    parser.add_argument("--stage", help="the stage that it is for")
    parser.add_argument("--application", help="or the application that it is about")
    document(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    body = {"kind": args.kind, "stage": args.stage, "application": args.application, "note": args.note}
    return hand_in(args, "/v1/evidence", {**body, "document_sha256": digest_of(args)}, f"{args.kind} is on record")


def adding(verbs: Any, help_: str) -> argparse.ArgumentParser:
    """The parser of an `add`."""
    from orchestrator.cli.client import add_connection

    parser: argparse.ArgumentParser = verbs.add_parser("add", help=help_)
    add_connection(parser)
    return parser


def document(parser: argparse.ArgumentParser) -> None:
    """The options that name the document behind the words; only its digest is sent."""
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--file", type=Path, metavar="FILE", help="the document; its SHA-256 is recorded, the file stays with you")
    one.add_argument("--sha256", metavar="HEX", help="the digest of the document")
    parser.add_argument("--note", default="", metavar="TEXT")


def digest_of(args: argparse.Namespace) -> str:
    """Raises UsageError for a file that cannot be read."""
    from orchestrator.errors import UsageError

    if args.sha256:
        return str(args.sha256)
    try:
        with args.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{args.file} cannot be read: {error}") from error


def in_days(days: int) -> str:
    """RFC 3339, UTC, that many days from now."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")


def hand_in(args: argparse.Namespace, path: str, body: dict[str, Any], said: str) -> int:
    """Posts what is not None."""
    from orchestrator.cli.client import Client

    answer = Client(args).post(path, {key: value for key, value in body.items() if value is not None})
    print(json.dumps(answer) if args.json else said)
    return 0
