"""What `evidence`, `attestation` and `logbook` share: options, and the SHA-256 of a document that stays where it is."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from orchestrator.errors import UsageError


def add_document(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """A document by its file or by its digest: only the digest leaves this machine."""
    document = parser.add_mutually_exclusive_group(required=required)
    document.add_argument("--file", type=Path, metavar="FILE", help="the document; its SHA-256 is recorded, it stays where it is")
    document.add_argument("--sha256", metavar="HEX", help="its SHA-256")
    parser.add_argument("--note", default="", metavar="TEXT")


def digest_of(arguments: argparse.Namespace) -> str:
    """In hex; empty when no document is given."""
    if arguments.sha256 or arguments.file is None:
        return str(arguments.sha256 or "")
    try:
        with arguments.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as failure:
        raise UsageError(f"{arguments.file} cannot be read: {failure}") from failure
