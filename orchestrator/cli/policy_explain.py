"""`orchestrator policy explain`: one packet — its way, what every guard does with it, which flow and stage decide it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from orchestrator.cli import exit_codes
from orchestrator.settings import inventory_path, policy_path

if TYPE_CHECKING:
    from orchestrator.domain.network import Site
    from orchestrator.domain.policy import Policy
    from orchestrator.domain.services import FlowService
    from orchestrator.domain.stands import Stand

WHO = "an address, or the name of an application, partner, host or device (`host:sister` says which is meant)"


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `policy explain`."""
    from orchestrator.cli.policy import add_sources

    explain = verbs.add_parser("explain", help="one packet: its way, its guards, and which flow and stage decide it", description=__doc__)
    add_sources(explain)
    explain.add_argument("--from", dest="source", metavar="WHO", required=True, help=f"who opens: {WHO}")
    explain.add_argument("--to", dest="destination", metavar="WHO", required=True, help="whom: the same, or a published address")
    explain.add_argument("--service", metavar="SERVICE", required=True, help="tcp/443, udp/500, esp, icmp or icmpv6")
    explain.add_argument("--profile", metavar="NAME", help="isolation profile that the cut lays (default: the policy's)")
    when = explain.add_mutually_exclusive_group()
    when.add_argument("--stage", metavar="STAGE", help="only as it is once this stage and those before it are open")
    when.add_argument("--open", metavar="S1,S2…", help="only as it is once exactly these stages are open, in this order")
    explain.add_argument("--json", action="store_true", help="one JSON object on standard output")
    explain.set_defaults(func=run_explain)


def run_explain(arguments: argparse.Namespace) -> int:
    """Exit 0 whatever the verdict is. Raises PolicyError, UnknownName, UsageError, InputError."""
    from orchestrator.adapters.site_files import read_checked
    from orchestrator.cli.explain_words import as_json, lines
    from orchestrator.domain.digests import inventory_digest, policy_digest
    from orchestrator.domain.explaining import explain
    from orchestrator.domain.packet_ends import packets_between

    files = (arguments.inventory or inventory_path(), arguments.policy or policy_path())
    read = read_checked(*files, rehearsal=arguments.rehearsal, untested=True)  # a failing test is what it helps to understand
    site, policy = read.site, read.policy
    profile = policy.default_profile if arguments.profile is None else arguments.profile
    packets = packets_between(site, policy, arguments.source, arguments.destination, _service(arguments.service))
    at = _at(site, policy, profile, arguments)
    last_only = arguments.stage is not None or arguments.open is not None
    explained = [explain(site, policy, profile, packet, at, last_only=last_only) for packet in packets]
    if arguments.json:
        head = {"verb": "policy explain", "site": site.name, "profile": profile, "service": arguments.service}
        digests = {"policy_digest": policy_digest(policy), "inventory_digest": inventory_digest(site)}
        print(json.dumps({**head, "packets": [as_json(item) for item in explained], **digests}, ensure_ascii=False, indent=2))
    else:
        print("\n\n".join("\n".join(lines(policy, profile, item)) for item in explained))
    return exit_codes.OK


def _at(site: Site, policy: Policy, profile: str, arguments: argparse.Namespace) -> tuple[Stand, ...]:
    """After the cut and after every stage; with `--stage` or `--open`, after those that it asks for."""
    from orchestrator.domain.stands import order_of, stands, up_to

    if arguments.stage is None and arguments.open is None:
        return stands(site, policy, profile, order_of(policy), unfenced=_unfenced(site))
    chosen = up_to(policy, arguments.stage) if arguments.stage is not None else _listed(arguments.open)
    return stands(site, policy, profile, chosen, unfenced=_unfenced(site))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _unfenced(site: Site) -> frozenset[str]:
    """The devices whose dialect declares no fence: nothing is proved by them (docs/devices.md)."""
    from orchestrator.dialects.base import Fence
    from orchestrator.wiring_hospital import dialect_named

    return frozenset(device.name for device in site.devices if dialect_named(device.platform.value).traits.fence is Fence.NONE)


def _service(text: str) -> FlowService:
    from pydantic import TypeAdapter, ValidationError

    from orchestrator.domain.services import ServiceText
    from orchestrator.errors import UsageError

    adapter: TypeAdapter[FlowService] = TypeAdapter(ServiceText)
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"].removeprefix("Value error, "), advice="for example --service tcp/443") from None
