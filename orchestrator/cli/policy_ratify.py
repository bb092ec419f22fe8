"""`orchestrator policy ratify`: writes what people sign, takes their signatures, writes the cut pack."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orchestrator.cli import exit_codes
from orchestrator.settings import state_directory

if TYPE_CHECKING:
    from orchestrator.adapters.site_files import SiteFiles
    from orchestrator.service.ratify import Ratification


def add_verb(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `ratify` to the verbs of `policy`."""
    verb = subparsers.add_parser(
        "ratify",
        help="put the policy and the inventory on disk in force, by votes; write the cut pack",
        description="1. --statement-out FILE  2. each person: ssh-keygen -Y sign -n policy-ratification@v1 -f KEY FILE  "
        "3. --statement FILE --signature PERSON=FILE.sig …",
    )
    verb.add_argument("--policy", type=Path, metavar="DIR", help="folder of the policy files (default $ORCHESTRATOR_POLICY)")
    verb.add_argument("--inventory", type=Path, metavar="FILE", help="the Ansible inventory (default $ORCHESTRATOR_INVENTORY)")
    verb.add_argument("--rehearsal", action="store_true", help="with the rehearsal overlay (rehearsal.yaml)")
    verb.add_argument("--statement-out", metavar="FILE", help="write the text that people sign (- for standard output)")
    verb.add_argument("--statement", type=Path, metavar="FILE", help="the text that was signed (default: what would be written now)")
    verb.add_argument("--signature", action="append", default=[], metavar="PERSON=FILE", help="a signature; once per person")
    verb.add_argument("--by", metavar="PERSON", help="who hands them in (default: the first who signed)")
    verb.add_argument("--pack-only", action="store_true", help="write the cut pack of the policy in force once more")
    verb.add_argument(
        "--unratified", action="store_true", help="with --pack-only: of the files on disk; the pack says that nobody ratified it"
    )
    verb.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0, 3 for findings or bad arguments, 4 when the votes do not suffice."""
    from orchestrator.errors import UsageError
    from orchestrator.wiring_policy import ratification

    if arguments.unratified and not arguments.pack_only:
        raise UsageError("--unratified goes with --pack-only: nothing is ratified without votes")
    around = ratification(state_directory())
    if arguments.pack_only:
        return _write_pack(around, arguments)
    if arguments.statement_out is not None:
        return _write_statement(around, _files(arguments), arguments.statement_out)
    if not arguments.signature:
        raise UsageError("say --statement-out FILE, or --signature PERSON=FILE", advice="orchestrator policy ratify --help")
    return _hand_in(around, _files(arguments), arguments)


def _files(arguments: argparse.Namespace) -> SiteFiles:
    from orchestrator.wiring_policy import files_on_disk

    return files_on_disk(inventory=arguments.inventory, policy=arguments.policy, rehearsal=arguments.rehearsal)


def _write_statement(around: Ratification, files: SiteFiles, target: str) -> int:
    from orchestrator.service.ratify import statement_now

    text = statement_now(around, files.site, files.policy)
    _show_difference(around, files, sys.stderr if target == "-" else sys.stdout)
    if target == "-":
        sys.stdout.write(text)
        return exit_codes.OK
    Path(target).write_text(text, encoding="utf-8")
    print(f"{target}: sign it with  ssh-keygen -Y sign -n policy-ratification@v1 -f KEY {target}")
    return exit_codes.OK


def _show_difference(around: Ratification, files: SiteFiles, to: TextIO) -> None:
    """What signing would change, against what is in force; the first policy is compared with nothing."""
    from orchestrator.cli.policy_diff import lines
    from orchestrator.domain.network import Site
    from orchestrator.domain.policy_changes import between
    from orchestrator.service.ratify import in_force

    found = in_force(around.log)
    if found is None:
        print("nothing is ratified yet: this would be the first policy", file=to)
        return
    before, event = found
    site = Site.model_validate(event.body["inventory"])
    difference = between((site, before.policy), (files.site, files.policy), before.allowed_signers, around.allowed_signers)
    print("against the policy in force:", *lines(difference), "", sep="\n", file=to)


def _hand_in(around: Ratification, files: SiteFiles, arguments: argparse.Namespace) -> int:
    from orchestrator.service.ratify import ratify, statement_now

    signatures = dict(_signature(text) for text in arguments.signature)
    statement = _read(arguments.statement) if arguments.statement else statement_now(around, files.site, files.policy)
    actor = arguments.by or next(iter(signatures))
    outcome = ratify(around, files.site, files.policy, signatures=signatures, statement=statement, actor=actor)
    print(f"ratified by {', '.join(f'{person} ({role})' for person, role in outcome.votes.items())}")
    print(f"  policy     sha256:{outcome.policy_digest}\n  inventory  sha256:{outcome.inventory_digest}")
    if files.policy.rehearsal is not None:
        print("  REHEARSAL: with the overlay that shortens times")
    print(f"  cut pack   {state_directory().cut_pack}")
    return exit_codes.OK


def _write_pack(around: Ratification, arguments: argparse.Namespace) -> int:
    from orchestrator.domain.digests import inventory_digest, policy_digest
    from orchestrator.service.ratify import write_pack, write_ratified_pack

    if arguments.unratified:
        files = _files(arguments)
        digests = (policy_digest(files.policy), inventory_digest(files.site))
        write_pack(around, files.site, files.policy, digests=digests, ratified=False, now=around.clock.now())
        print(f"{state_directory().cut_pack}: a cut pack that NOBODY RATIFIED")
    else:
        write_ratified_pack(around)
        print(f"{state_directory().cut_pack}: the cut pack of the policy in force")
    return exit_codes.OK


def _signature(text: str) -> tuple[str, str]:
    from orchestrator.errors import UsageError

    person, equals, path = text.partition("=")
    if not equals or not person or not path:
        raise UsageError(f"{text!r} is not PERSON=FILE")
    return person, _read(Path(path))


def _read(path: Path) -> str:
    from orchestrator.errors import UsageError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
