"""`orchestrator cut prove`: what a profile separates, proved on the cables; the smallest cuts; what to close when devices are lost."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from orchestrator.cli import exit_codes
from orchestrator.settings import inventory_path, policy_path

if TYPE_CHECKING:
    from orchestrator.domain.network import Site
    from orchestrator.domain.next_guards import Remedy
    from orchestrator.domain.policy import Policy

EPILOG = "exit codes: 0 separated · 2 not separated, or nothing is promised: see the path · 3 bad input"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `cut` and its verb."""
    from orchestrator.cli.policy import add_sources

    cut = subparsers.add_parser("cut", help="prove what a profile cuts", description=__doc__)
    verbs = cut.add_subparsers(dest="cut_verb", metavar="VERB", required=True)
    prove = verbs.add_parser("prove", help="proof or remaining path, smallest cuts, what to close instead", epilog=EPILOG)
    add_sources(prove)
    prove.add_argument("--profile", metavar="NAME", help="isolation profile (default: the policy's)")
    prove.add_argument(
        "--dead",
        nargs="+",
        action="extend",
        default=[],
        metavar="DEVICE",
        help="enforces nothing, forwards as configured; one or more, repeatable",
    )
    prove.add_argument(
        "--distrust",
        nargs="+",
        action="extend",
        default=[],
        metavar="DEVICE",
        help="enforces nothing, joins all it has; one or more, repeatable",
    )
    prove.add_argument("--json", action="store_true", help="one JSON object on standard output")
    prove.set_defaults(func=run_prove)


def run_prove(arguments: argparse.Namespace) -> int:
    """Exit 0 when everything that the profile promises is separated and no transit is open, else 2. Raises PolicyError,
    UnknownName."""
    from orchestrator.adapters.site_files import read_checked
    from orchestrator.cli.cut_words import as_json, lines
    from orchestrator.domain.cut_proof import prove
    from orchestrator.domain.digests import inventory_digest, policy_digest
    from orchestrator.domain.next_guards import remedy

    inventory, folder = arguments.inventory or inventory_path(), arguments.policy or policy_path()
    read = read_checked(inventory, folder, rehearsal=arguments.rehearsal, unproved=True)
    site, policy = read.site, read.policy
    profile = policy.default_profile if arguments.profile is None else arguments.profile
    _known(profile, [item.name for item in policy.profiles], "isolation profile")
    for name in (*arguments.dead, *arguments.distrust):
        _known(name, [device.name for device in site.devices], "device")
    close_only = _close_only(site)
    lost = {"dead": tuple(arguments.dead), "distrusted": tuple(arguments.distrust)}
    proof = prove(site, policy, profile, close_only=close_only, **lost)
    asked = remedy(site, policy, profile, close_only=close_only, **lost)
    each = {} if proof.unable else _each_lost(site, policy, profile, close_only)
    if arguments.json:
        digests = {"policy_digest": policy_digest(policy), "inventory_digest": inventory_digest(site)}
        print(json.dumps({**as_json(site, proof, asked, each), **digests}, ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(site, proof, asked, each)))
    return exit_codes.OK if proof.holds and not proof.open_transit else exit_codes.PARTIAL


def _each_lost(site: Site, policy: Policy, profile: str, close_only: frozenset[str]) -> dict[str, Remedy]:
    """For every device of the profile alone: what if it is lost."""
    from orchestrator.domain.next_guards import remedy

    return {name: remedy(site, policy, profile, [name], close_only=close_only) for name in policy.profile(profile).layers}


def _close_only(site: Site) -> frozenset[str]:
    """The devices whose dialect closes whole."""
    from orchestrator.dialects.base import Composition
    from orchestrator.wiring_hospital import dialect_named

    whole = {
        platform
        for platform in {device.platform.value for device in site.devices}
        if dialect_named(platform).traits.composition is Composition.CLOSE_ONLY
    }
    return frozenset(device.name for device in site.devices if device.platform.value in whole)


def _known(name: str, names: list[str], what: str) -> None:
    from orchestrator.errors import UnknownName

    if name not in names:
        raise UnknownName(f"there is no {what} {name!r}", advice=f"use one of {', '.join(sorted(names))}")
