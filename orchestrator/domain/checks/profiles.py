"""Isolation profiles on the topology: they cut what they promise, and nothing that is to be kept."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.cabling import separated, told
from orchestrator.domain.checks.exits import KEEPS_FLOWS
from orchestrator.domain.checks.problem import Key, Problem, in_policy
from orchestrator.domain.network import Device, Grain, Site, ZoneKind
from orchestrator.domain.policy import Flow, KeptFlow, Partner, Policy, Profile
from orchestrator.domain.policy_words import Level
from orchestrator.domain.topology import Hop, crossings, host_path, owner_of

INSIDE = (ZoneKind.INTERNAL, ZoneKind.DMZ)


def layers(site: Site, policy: Policy) -> Iterator[Problem]:
    """A guard is of a kind that the device can close: ports of a switch, interfaces of everything else."""
    for profile in policy.profiles:
        for name, guard in profile.layers.items():
            device = site.device(name)
            where = ("profiles", profile.name, "layers", name)
            if set(device.grain) <= {Grain.MANUAL}:
                message = f"{name} cannot be driven (grain manual): no layer can be laid on it"
                yield in_policy(*where, message=message, advice="guard the device behind it, and put the cable on the paper sheet")
            ports = {port.name for port in device.ports}
            for index, item in enumerate(guard):
                if device.ports and item not in ports:
                    message = f"{item} is an interface of the switch {name}, which closes ports"
                    yield in_policy(*where, index, message=message, advice="name the port through which the traffic goes")
                if guard.index(item) != index:
                    yield in_policy(*where, index, message=f"{item} is named twice", advice="name each interface once")
            if profile.scope_zones and is_coarse(device):
                message = f"{name} closes {', '.join(guard)} whole: it cannot confine the cut to {', '.join(profile.scope_zones)}"
                yield in_policy(*where, message=message, advice="guard a firewall instead, or drop `scope_zones`")
        for index, zone in enumerate(profile.scope_zones):
            if not site.zone(zone).is_external:
                message = f"the scope {zone} is not an external zone"
                yield in_policy("profiles", profile.name, "scope_zones", index, message=message, advice="name external zones")


def separation(site: Site, policy: Policy) -> Iterator[Problem]:
    """What `cuts` promises holds on the graph of the cables; the remaining path is named hop by hop."""
    inside = {zone.name for zone in site.zones if zone.kind in INSIDE}
    for profile in policy.profiles:
        for index, name in enumerate(profile.cuts):
            where: tuple[Key, ...] = ("profiles", profile.name, "cuts", index)
            zone = site.zone(name)
            if zone.kind is ZoneKind.MANAGEMENT:
                yield in_policy(*where, message=f"{name} is a management zone", advice="the management network is never cut")
                continue
            everywhere = {item.name for item in site.zones if item.kind is not ZoneKind.MANAGEMENT}
            targets = inside if zone.is_external else everywhere - {name}
            path = separated(site, profile.layers, {name}, targets, spared=set(profile.spares) - {name})
            if path is None:
                continue
            through = [item.name for item in site.zones if item.is_external and item.name not in profile.cuts]
            passed = [item for item in through if any(item == _zone_at(site, str(point.owner), point.name) for point in path)]
            message = f"{profile.name} does not cut {name} off; this path is left: {told(path)}"
            advice = "guard one more interface or port on this path"
            if passed:
                advice += f"; or, if {passed[0]} is to stay connected, name it under `spares` with the reason"
            yield in_policy(*where, message=message, advice=advice)
        for name in profile.spares:
            where = ("profiles", profile.name, "spares", name)
            if name in profile.cuts:
                yield in_policy(*where, message=f"{name} is both cut and spared", advice="decide for one")
            elif not site.zone(name).is_external:
                yield in_policy(*where, message=f"{name} is not an external zone", advice="`spares` names external zones only")


def kept_through(site: Site, policy: Policy) -> Iterator[Problem]:
    """Kept flows cross no guard that is closed whole; vital flows have a decision wherever a profile cuts them."""
    entries = {entry.flow: entry.name for entry in policy.keep if entry.flow is not None}
    for profile in policy.profiles:
        for flow in policy.flows:
            hit = _hit(site, policy, profile, flow)
            if hit is None:
                continue
            decision, device = flow.decisions.get(profile.name), site.device(hit.device)
            if policy.application(flow.application).criteria.care is Level.VITAL and decision is None:
                message = f"{flow.name} is vital and {profile.name} cuts it at {device.name}, but nobody decided that"
                advice = f"decide in peacetime: `decisions: {{{profile.name}: keep}}` or `cut`"
                yield in_policy("flows", flow.name, "decisions", message=message, advice=advice)
            if flow.name in entries and decision == "cut":
                message = f"{flow.name} is on the keep-list ({entries[flow.name]}) and cut by {profile.name}"
                yield in_policy("flows", flow.name, "decisions", profile.name, message=message, advice="decide for one")
            if (decision == "keep" or flow.name in entries) and (coarse := _coarse_hit(site, policy, profile, flow)) is not None:
                keyed: tuple[Key, ...] = (
                    ("flows", flow.name, "decisions", profile.name) if decision == "keep" else ("keep", entries[flow.name])
                )
                yield _closed_whole(keyed, profile, flow.name, coarse)
        for kept in profile.keeps:
            yield from _kept(site, profile, kept)


def _kept(site: Site, profile: Profile, kept: KeptFlow) -> Iterator[Problem]:
    where = ("profiles", profile.name, "keeps", kept.name)
    ends = [owner_of(site, network.network_address) for network in (kept.source, kept.destination)]
    hosts = [next((host for host in site.hosts if end is not None and host.name == end[0].name), None) for end in ends]
    for key, network, host in zip(("source", "destination"), (kept.source, kept.destination), hosts, strict=True):
        if host is None:
            message = f"{network.network_address} is no host of the inventory"
            yield in_policy(*where, key, message=message, advice="kept flows go from gateway to gateway: name their addresses")
    if hosts[0] is None or hosts[1] is None:
        return
    hops = host_path(site, hosts[0], hosts[1], version=kept.source.version) or ()
    guarded = [hop for hop in hops if guards(profile, hop)]
    if not guarded:
        message = f"{kept.name} crosses no guard of {profile.name}: keeping it changes nothing"
        yield in_policy(*where, message=message, advice="remove it, or correct its addresses")
    for hop in guarded:
        if is_coarse(site.device(hop.device)):
            yield _closed_whole(where, profile, kept.name, hop)


def _closed_whole(where: tuple[Key, ...], profile: Profile, name: str, hop: Hop) -> Problem:
    message = f"{name} is kept, but it crosses {hop.device}, which {profile.name} closes whole"
    return in_policy(*where, message=message, advice=f"guard a firewall instead of {hop.device}, or decide `cut`")


def guards(profile: Profile, hop: Hop) -> bool:
    """Whether a guard of the profile lies where the conversation enters or leaves the device."""
    guard = profile.layers.get(hop.device, ())
    return hop.enters in guard or hop.leaves in guard


def is_coarse(device: Device) -> bool:
    """Closed whole: it cannot tell one flow from another."""
    return Grain.FLOW not in device.grain or device.platform not in KEEPS_FLOWS


def _hit(site: Site, policy: Policy, profile: Profile, flow: Flow) -> Hop | None:
    """The first guard of the profile that the flow crosses."""
    return next(iter(_hits(site, policy, profile, flow)), None)


def _coarse_hit(site: Site, policy: Policy, profile: Profile, flow: Flow) -> Hop | None:
    return next((hop for hop in _hits(site, policy, profile, flow) if is_coarse(site.device(hop.device))), None)


def _hits(site: Site, policy: Policy, profile: Profile, flow: Flow) -> Iterator[Hop]:
    for name in flow.partners:
        partner = policy.partner(name)
        if profile.scope_zones and partner.zone not in profile.scope_zones:
            continue
        for hops in _ways(site, flow, partner):
            yield from (hop for hop in hops if guards(profile, hop))


def _ways(site: Site, flow: Flow, partner: Partner) -> list[tuple[Hop, ...]]:
    try:
        return list(crossings(site, flow, partner).values())
    except KeyError:  # no exit: told by the check of the flows
        return []


def _zone_at(site: Site, owner: str, name: str) -> str | None:
    for segment in site.segments:
        if segment.name == owner and not name:
            return segment.zone
    for device in site.devices:
        if device.name == owner:
            return next((item.zone for item in device.attachments if item.name == name), None)
    return None
