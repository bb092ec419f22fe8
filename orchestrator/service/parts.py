"""Which part of a voted plan is laid at once: all of it, or a canary partner's first; always a part of what was voted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.domain import conditions
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.network import Prefix, Site, ZoneKind
from orchestrator.domain.plan import DevicePlan, Plan
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.state import Ratified, SiteState
from orchestrator.service.device_steps import without_held


@dataclass(frozen=True)
class Part:
    """What is laid at once on one device: its voted plan, and the part of its change that is laid now."""

    plan: DevicePlan
    change: DeviceChange


def parts_of(plan: Plan, state: SiteState) -> list[Part]:
    """Per device what is ours to lay, without what other stages hold open there; a device with nothing of either is left out."""
    parts = [Part(part, without_held(part.change, state.device(part.device), plan.stage)) for part in plan.devices]
    return [part for part in parts if part.change.shared or not part.change.is_empty]


def canary_of(plan: Plan, state: SiteState) -> str | None:
    """The partner that goes first; None when the stage names none, or opens to nobody else."""
    canary = conditions.declared(state, plan.stage).canary
    return canary.partner if canary and canary.partner in plan.partners and len(plan.partners) > 1 else None


def canary_parts(parts: Sequence[Part], partner: str) -> list[Part]:
    """The canary's openings, and the coarse devices that must be released for them."""
    chosen = []
    for part in parts:
        openings = tuple(opening for opening in part.change.openings if opening.partner == partner)
        if openings or part.change.releases:
            chosen.append(replace(part, change=DeviceChange(device=part.plan.device, openings=openings, releases=part.change.releases)))
    return chosen


def canary_probes(plan: Plan, partner: str, ratified: Ratified) -> list[Probe]:
    """Of what should pass, the canary's; of what should not, and of care, all."""
    networks = ratified.policy.partner(partner).networks
    addresses = {host.name: [address.ip for i in host.interfaces for address in i.addresses] for host in ratified.site.hosts}

    def is_theirs(probe: Probe) -> bool:
        ends = (probe.destination, *([probe.source] if probe.source else addresses.get(probe.vantage, [])))
        return any(end.version == network.version and end in network for end in ends for network in networks)

    return [probe for probe in plan.probes if probe.purpose is not Purpose.POSITIVE or is_theirs(probe)]


def touches_management(site: Site, plan: Plan) -> list[str]:
    """What of the plan would touch a management path, of any device; empty when nothing does."""
    zones = {zone.name: zone for zone in site.zones if zone.kind is ZoneKind.MANAGEMENT}
    prefixes = [prefix for zone in zones.values() for prefix in zone.prefixes]
    found = []
    for part in plan.devices:
        device = site.device(part.device)
        carrying = {interface.name for interface in device.interfaces if interface.zone in zones}
        carrying |= {port.name for port in device.ports if port.zone in zones}
        found += [f"{part.device}: {name} carries management" for name in sorted(carrying & set(part.change.releases))]
        for element in part.change.elements:
            ends = [end for end in (element.source, element.destination) if any(_within(end, prefix) for prefix in prefixes)]
            found += [f"{part.device}: {end} lies in the management network" for end in ends]
    return found


def _within(end: Prefix, prefix: Prefix) -> bool:
    return end.version == prefix.version and end.prefixlen >= prefix.prefixlen and end.network_address in prefix
