"""`orchestrator policy schema`: the JSON Schema of a policy file, for editors."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orchestrator.cli import exit_codes


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `policy schema`."""
    schema = verbs.add_parser("schema", help="the JSON Schema (2020-12) of a policy file, for editors", description=__doc__)
    schema.add_argument("--out", type=Path, metavar="FILE", help="write it there (default: standard output)")
    schema.set_defaults(func=run_schema)


def run_schema(arguments: argparse.Namespace) -> int:
    """Exit 0. Raises UsageError when the file cannot be written."""
    from orchestrator.adapters.policy_schema import schema_text
    from orchestrator.errors import UsageError

    if arguments.out is None:
        sys.stdout.write(schema_text())
        return exit_codes.OK
    try:
        arguments.out.write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{arguments.out} cannot be written: {error.strerror}", advice="give a file in a folder that exists") from error
    print(f"{arguments.out}: head each policy file with  # yaml-language-server: $schema=<the way to it>")
    return exit_codes.OK
