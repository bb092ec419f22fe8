"""`orchestrator policy check`: holds policy and inventory against each other, offline; with `--all`, those of every site."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exit_codes
from orchestrator.settings import inventory_path, policy_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.adapters.site_files import SiteFiles
    from orchestrator.domain.checks.absence import Absence
    from orchestrator.errors import Finding

Told = tuple[dict[str, Any], list[str]]  # one site as a JSON object, and as lines for people


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `policy check`."""
    from orchestrator.cli.policy import add_sources

    check = verbs.add_parser("check", help="validate policy and inventory offline; every finding has file, line and advice")
    add_sources(check)
    check.add_argument(
        "--all",
        action="store_true",
        help="every site of a region: --policy is the folder of their folders, --inventory the folder of their inventories",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(func=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Exit 0 when everything can be ratified, else 3 with every finding."""
    if arguments.all:
        return _check_all(arguments)
    told, lines = _site(arguments.inventory or inventory_path(), arguments.policy or policy_path(), arguments.rehearsal)
    print(json.dumps(told, ensure_ascii=False, indent=2) if arguments.json else "\n".join(lines))
    return exit_codes.OK if told["ok"] else exit_codes.BAD_INPUT


def _check_all(arguments: argparse.Namespace) -> int:
    from orchestrator.adapters.region_files import same_names, sites_in
    from orchestrator.errors import PolicyError

    found: tuple[Finding, ...] = ()
    told: list[Told] = []
    try:
        sites = sites_in(arguments.policy or policy_path().parent, arguments.inventory or inventory_path().parent)
    except PolicyError as error:
        found = error.findings
    else:
        told = [_site(paths.inventory, paths.policy, arguments.rehearsal) for paths in sites]
        found = same_names(sites, rehearsal=arguments.rehearsal)
    good = sum(site["ok"] for site, _ in told)
    if arguments.json:
        answer = {"ok": not found and good == len(told), "findings": _as_json(found), "sites": [site for site, _ in told]}
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        blocks = [*("\n".join(lines) for _, lines in told), *map(str, found)]
        print("\n\n".join((*blocks, f"{len(told)} sites, {good} of them without findings")))
    return exit_codes.OK if told and not found and good == len(told) else exit_codes.BAD_INPUT


def _site(inventory: Path, policy: Path, rehearsal: bool) -> Told:
    from orchestrator.adapters.site_files import read_checked
    from orchestrator.domain.checks.absence import absences
    from orchestrator.errors import PolicyError, PolicyTestsFail

    try:
        read = read_checked(inventory, policy, rehearsal=rehearsal)
    except PolicyError as error:
        tests = _tests(error.declared, len(error.findings)) if isinstance(error, PolicyTestsFail) else None
        return {"ok": False, "findings": _as_json(error.findings), "tests": tests}, _refused(error.findings, tests)
    return _sound(read, absences(read.site, read.policy))


def _sound(read: SiteFiles, absent: Sequence[Absence]) -> Told:
    from orchestrator.cli import policy_notes

    summary, tests = _summary(read), _tests(len(read.policy.tests))
    told = {"ok": True, "findings": [], "tests": tests, "notes": policy_notes.as_json(absent), **summary}
    declared = tests["declared"]
    lines = [
        f"{summary['site']}: no findings",
        f"  {', '.join(f'{count} {name}' for name, count in summary['counts'].items())}",
        f"  {declared} tests of the policy passed" if declared else "  the policy has no tests of its own (docs/policy.md)",
        f"  policy     sha256:{summary['policy_digest']}",
        f"  inventory  sha256:{summary['inventory_digest']}",
    ]
    if summary["rehearsal"]:
        lines.append("  REHEARSAL: with the overlay that shortens times")
    if absent:
        lines += ["notes, nothing that refuses:", *(f"  {line}" for line in policy_notes.as_text(absent))]
    return told, lines


def _refused(findings: Sequence[Finding], tests: dict[str, int] | None) -> list[str]:
    """Every finding. `tests` is None when they were not asked, because of the findings."""
    lines = ["\n\n".join(map(str, findings)), ""]
    if tests is not None:
        lines.append(f"{tests['passed']} of {tests['declared']} tests of the policy passed")
    count = len(findings)
    return [*lines, f"{count} finding{'s' if count > 1 else ''}: nothing of this can be ratified"]


def _as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [{"file": item.file, "line": item.line, "message": item.message, "advice": item.advice} for item in findings]


def _tests(declared: int, failed: int = 0) -> dict[str, int]:
    return {"declared": declared, "passed": declared - failed}


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
