"""`orchestrator policy check`: holds policy and inventory against each other, offline."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exit_codes, policy_ratify
from orchestrator.settings import inventory_path, policy_path

if TYPE_CHECKING:
    from orchestrator.adapters.site_files import SiteFiles


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `policy` and its verbs."""
    policy = subparsers.add_parser("policy", help="check, ratify and show the policy")
    verbs = policy.add_subparsers(dest="policy_verb", metavar="VERB", required=True)
    check = verbs.add_parser("check", help="validate policy and inventory offline; every finding has file, line and advice")
    add_sources(check)
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(func=run_check)
    policy_ratify.add_verb(verbs)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """The options that say which files are meant."""
    parser.add_argument("--policy", type=Path, metavar="DIR", help="folder of the policy files (default $ORCHESTRATOR_POLICY)")
    parser.add_argument("--inventory", type=Path, metavar="FILE", help="the Ansible inventory (default $ORCHESTRATOR_INVENTORY)")
    parser.add_argument("--rehearsal", action="store_true", help="with the rehearsal overlay (rehearsal.yaml)")


def run_check(arguments: argparse.Namespace) -> int:
    """Exit 0 when both can be ratified, else 3 with every finding."""
    from orchestrator.adapters.site_files import read_checked
    from orchestrator.errors import PolicyError

    inventory, policy = arguments.inventory or inventory_path(), arguments.policy or policy_path()
    try:
        read = read_checked(inventory, policy, rehearsal=arguments.rehearsal)
    except PolicyError as error:
        if arguments.json:
            findings = [{"file": item.file, "line": item.line, "message": item.message, "advice": item.advice} for item in error.findings]
            print(json.dumps({"ok": False, "findings": findings}, ensure_ascii=False, indent=2))
        else:
            print("\n\n".join(str(finding) for finding in error.findings))
            count = len(error.findings)
            print(f"\n{count} finding{'s' if count > 1 else ''}: nothing of this can be ratified")
        return exit_codes.BAD_INPUT
    summary = _summary(read)
    if arguments.json:
        print(json.dumps({"ok": True, "findings": [], **summary}, ensure_ascii=False, indent=2))
        return exit_codes.OK
    counts = ", ".join(f"{count} {name}" for name, count in summary["counts"].items())
    print(f"{summary['site']}: no findings\n  {counts}")
    print(f"  policy     sha256:{summary['policy_digest']}\n  inventory  sha256:{summary['inventory_digest']}")
    if summary["rehearsal"]:
        print("  REHEARSAL: with the overlay that shortens times")
    return exit_codes.OK


def _summary(read: SiteFiles) -> dict[str, Any]:
    from orchestrator.domain.digests import inventory_digest, policy_digest

    sections = ("applications", "partners", "flows", "profiles", "stages", "people")
    counts = {"devices": len(read.site.devices), **{name: len(getattr(read.policy, name)) for name in sections}}
    return {
        "site": read.site.name,
        "rehearsal": read.policy.rehearsal is not None,
        "policy_digest": policy_digest(read.policy),
        "inventory_digest": inventory_digest(read.site),
        "counts": counts,
    }
