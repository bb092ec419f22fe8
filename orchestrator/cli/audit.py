"""`orchestrator audit`: export the log, verify an export, read the log; print the tables of one in PostgreSQL.

`verify` answers with an exit code of its own: 0 genuine, 1 consistent but not anchored, 2 broken, 3 bad command line.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

from orchestrator.cli import exit_codes
from orchestrator.errors import InputError
from orchestrator.settings import StateDirectory, inventory_path, policy_path, state_directory
from orchestrator.wiring_log import log_is_there, open_log

_BROKEN = 2  # as `audit verify` says it


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `audit` and its verbs."""
    from orchestrator.export import verify

    audit = subparsers.add_parser("audit", help="export and verify the log", description=__doc__)
    verbs = audit.add_subparsers(dest="audit_verb", metavar="VERB", required=True)

    export = verbs.add_parser("export", help="write everything that a reviewer needs, verifiable offline")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that does not exist yet, or a file .zip or .tar")
    export.add_argument("--incident", default="", help="the incident that the export is about")
    export.add_argument("--at", type=int, metavar="SEQ", help="end with this event (default: the last one)")
    export.add_argument("--tlp", default="TLP:AMBER", help="marking (default TLP:AMBER)")
    export.add_argument("--by", default="", help="who asks for it (default: the account)")
    export.add_argument("--site", default="", help="name of the site (default: the inventory's)")
    export.add_argument("--inventory", type=Path, metavar="FILE", help="put into the export (default $ORCHESTRATOR_INVENTORY)")
    export.add_argument("--policy", type=Path, metavar="DIR", help="put into the export (default $ORCHESTRATOR_POLICY)")
    export.add_argument("--json", action="store_true", help="one JSON object on standard output")
    export.set_defaults(func=run_export)

    check = verbs.add_parser("verify", help="verify an export, offline", description=verify.__doc__)
    check.formatter_class = argparse.RawDescriptionHelpFormatter
    check.add_argument("path", metavar="PATH", help="a folder, .zip or .tar")
    verify.add_arguments(check)
    check.set_defaults(func=run_verify)

    log = verbs.add_parser("log", help="print the events, one a line")
    log.add_argument("--start", type=int, default=0, metavar="SEQ", help="begin with this event")
    log.add_argument("--json", action="store_true", help="as in events.jsonl")
    log.set_defaults(func=run_log)
    schema = verbs.add_parser("schema", help="print what the owner of a PostgreSQL database runs once, before the log is in it")
    schema.add_argument("--role", required=True, metavar="NAME", help="the account that writes the log: SELECT and INSERT, no more")
    schema.set_defaults(func=run_schema)
    for parser in (export, log):
        parser.add_argument("--state", default=argparse.SUPPRESS, metavar="DIR", help="state directory")


def run_export(arguments: argparse.Namespace) -> int:
    """Merges what is spooled, logs ExportCreated, writes the export."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.adapters.site_key import load_or_create_site_key
    from orchestrator.adapters.spool import Spool
    from orchestrator.adapters.sshsig import SshSignatures
    from orchestrator.export.bundle import About, Material, create_export

    state = _state(arguments)
    _require_log(state)
    inventory, policy = arguments.inventory or inventory_path(), arguments.policy or policy_path()
    about = About(arguments.site or _site_of(inventory), arguments.by or _account(), arguments.incident, arguments.tlp)
    key = load_or_create_site_key(state.site_key)
    signers = state.allowed_signers.read_text(encoding="utf-8") if state.allowed_signers.exists() else ""
    material = Material(key.public_line, signers, _attachments(inventory, policy))
    with open_log(state) as log:
        merged = Spool(state.spool, state.spool_fallback).merge_into(log)
        made = create_export(log, SshSignatures(signers, key.private), arguments.out, about, material, clock=SystemClock(), at=arguments.at)
    if arguments.json:
        found = {"verb": "audit export", "path": str(made.path), "id": made.id, "events": made.head.size, "root": made.head.root}
        print(json.dumps({**found, "rehearsal": made.rehearsal, "merged_from_spool": merged, "site_key": key.public_line}))
        return exit_codes.OK
    kind = " of a REHEARSAL" if made.rehearsal else ""
    print(f"{made.path}: {made.head.size} events{kind}, head {made.head.size}:{made.head.root}")
    print(f"signed by the site key {key.public_line}")
    print("note head and key where nobody can change them: they are what a reviewer verifies against")
    return exit_codes.OK


def run_verify(arguments: argparse.Namespace) -> int:
    from orchestrator.export import verify

    try:
        return verify.run(arguments)
    except (ValueError, OSError) as error:
        raise InputError(str(error), advice="name the folder, .zip or .tar that `audit export` wrote") from error


def run_log(arguments: argparse.Namespace) -> int:
    """Prints the events; a broken log as far as it goes, and says where it breaks."""
    from orchestrator.domain.canonical import canonical
    from orchestrator.domain.events import exported
    from orchestrator.domain.plain_text import shown
    from orchestrator.export.chronology import message

    state = _state(arguments)
    _require_log(state)
    with open_log(state, read_only=True) as log:
        for event in log.read(arguments.start):
            if arguments.json:
                print(canonical(exported(event)).decode("utf-8"))
            else:
                print(shown(f"{event.seq:6d}  {event.at}  {message(event)}"))
        if log.broken is not None:
            print(f"the log is broken: {log.broken}", file=sys.stderr)
            return _BROKEN
    return exit_codes.OK


def run_schema(arguments: argparse.Namespace) -> int:
    """Prints SQL; connects to nothing."""
    from orchestrator.adapters.postgres_schema import setup

    print(setup(arguments.role), end="")
    return exit_codes.OK


def _require_log(state: StateDirectory) -> None:
    if not log_is_there(state):
        raise InputError(f"there is no log in {state.root}", advice="give --state, or set ORCHESTRATOR_STATE")


def _state(arguments: argparse.Namespace) -> StateDirectory:
    return StateDirectory(Path(arguments.state)) if getattr(arguments, "state", None) else state_directory()


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return "unknown"


def _site_of(inventory: Path) -> str:
    """The site's name, as the inventory says it. Raises InputError when it does not."""
    from orchestrator.adapters.yaml_documents import read_document

    try:
        return str(read_document(inventory).root["all"]["vars"]["site"])
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{inventory} does not say which site this is", advice="give --site or --inventory") from error


def _attachments(inventory: Path, policy: Path) -> dict[str, bytes]:
    """The files of inventory and policy as they are now, under the names that they have in an export."""
    files = {f"inventory/{inventory.name}": inventory} if inventory.is_file() else {}
    files |= {f"policies/{path.name}": path for path in sorted(policy.glob("*.y*ml")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items()}
