"""Makes the body of the cut pack: for every profile and device, the rendered text, so that cutting needs no rendering.

The format is `orchestrator.domain.pack`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.dialects.base import Composition, Dialect, Script
from orchestrator.domain.layer import Layer
from orchestrator.domain.network import Device, Node, Site, ZoneKind
from orchestrator.domain.pack import SCHEMA
from orchestrator.domain.pack_probes import profile_probes
from orchestrator.domain.policy import Policy, Profile
from orchestrator.domain.profiles import kept_flows, layers_of, waves
from orchestrator.service.pack_instead import instead

DialectFor = Callable[[str], Dialect]
HostKeys = Mapping[str, Sequence[str]]  # management address → OpenSSH lines `type base64`
SSH_PORT = 22


def make_pack(
    site: Site,
    policy: Policy,
    *,
    policy_digest: str,
    inventory_digest: str,
    made_at: str,
    ratified: bool,
    host_keys: HostKeys,
    dialect_for: DialectFor,
) -> dict[str, Any]:
    """The pack's body. A device without known host keys is in it with none: the cut then says so of that device, and goes on.

    Raises UnknownName for a profile that names what the inventory does not have. What to close instead of a dead device is
    worked out in peacetime only: a pack made from the files in an emergency (`ratified` false) comes without.
    """
    return {
        "schema": SCHEMA,
        "site": site.name,
        "made_at": made_at,
        "ratified": ratified,
        "policy_digest": policy_digest,
        "inventory_digest": inventory_digest,
        "default_profile": policy.default_profile,
        "rehearsal": policy.rehearsal is not None,
        "internal": [str(prefix) for zone in site.zones if not zone.is_external for prefix in zone.prefixes],
        "profiles": {
            profile.name: {
                **_profile(site, policy, profile, host_keys, dialect_for),
                **(_instead(site, policy, profile, host_keys, dialect_for) if ratified else {}),
            }
            for profile in policy.profiles
        },
        "people": {person.name: [role.value for role in person.roles] for person in policy.people},
        "vantage_points": {host.name: _reached(host, host_keys) for host in site.hosts if host.is_vantage_point},
    }


def _profile(site: Site, policy: Policy, profile: Profile, host_keys: HostKeys, dialect_for: DialectFor) -> dict[str, Any]:
    layers = tuple(_as_it_can(layer, site, dialect_for) for layer in layers_of(site, policy, profile.name))
    wave = waves(site, [layer.device for layer in layers])
    ordered = sorted(layers, key=lambda layer: wave[layer.device])
    guarded = {(layer.device, guard) for layer in layers for guard in layer.guard}
    return {
        "title": profile.title.model_dump(),
        "devices": [
            {
                **_device(site.device(layer.device), layer, dialect_for),
                **_reached(site.device(layer.device), host_keys),
                "wave": wave[layer.device],
            }
            for layer in ordered
        ],
        "probes": [probe.model_dump(mode="json") for probe in profile_probes(site, policy, profile, layers)],
        "failover_s": max((exit_.failover_s for exit_ in site.exits if (exit_.device, exit_.interface) in guarded), default=0.0),
        "manual": [step for layer in ordered for step in _by_hand(site, site.device(layer.device), layer)],
        "kept": list(_kept(site, policy, profile)),
    }


def _as_it_can(layer: Layer, site: Site, dialect_for: DialectFor) -> Layer:
    """What keeps flows on a device whose words close whole is a finding of `policy check`. A cut from files that nobody
    has checked closes it whole rather than not at all."""
    traits = dialect_for(site.device(layer.device).platform.value).traits
    if layer.coarse or traits.composition is not Composition.CLOSE_ONLY:
        return layer
    return layer.model_copy(update={"coarse": True, "keep": (), "scope": ()})


def _instead(site: Site, policy: Policy, profile: Profile, host_keys: HostKeys, dialect_for: DialectFor) -> dict[str, Any]:
    platforms = {device.platform.value for device in site.devices}
    closing = {name for name in platforms if dialect_for(name).traits.composition is Composition.CLOSE_ONLY}

    def entry(layer: Layer) -> dict[str, Any]:
        device = site.device(layer.device)
        return {**_device(device, layer, dialect_for), **_reached(device, host_keys), "wave": 0}

    close_only = frozenset(device.name for device in site.devices if device.platform.value in closing)
    return {"instead": instead(site, policy, profile, close_only=close_only, entry=entry)} if profile.cuts else {}


def _device(device: Device, layer: Layer, dialect_for: DialectFor) -> dict[str, Any]:
    dialect = dialect_for(device.platform.value)
    return {
        "device": device.name,
        "platform": device.platform.value,
        "layer": layer.model_dump(mode="json"),
        "guards": list(layer.guard),
        "lay": _script(dialect.lay(layer)),
        "persist": _script(dialect.persist(layer)),
        "read_back": _script(dialect.read_back()),
        "sessions": _script(dialect.sessions()),
        "expected": dialect.expected((layer,)).model_dump(mode="json"),
    }


def _reached(node: Node, host_keys: HostKeys) -> dict[str, Any]:
    address = str(node.management)
    return {"address": address, "port": SSH_PORT, "user": node.user, "host_keys": list(host_keys.get(address, ()))}


def _script(script: Script) -> dict[str, str]:
    return {"kind": script.kind, "command": script.command, "text": script.text}


def _by_hand(site: Site, device: Device, layer: Layer) -> list[str]:
    """What a person does where the network does not do it any more: the paper sheet."""
    links = {interface.name: interface.link for interface in device.interfaces} | {port.name: port.link or "" for port in device.ports}
    plugged = {interface.link: f"{node.name}, {interface.name}" for node in (*site.devices, *site.hosts) for interface in node.interfaces}
    segments = {segment.name: segment.description or segment.name for segment in site.segments}
    steps = []
    for guard in layer.guard:
        far = plugged.get(f"{device.name}/{guard}") or segments.get(links[guard], links[guard])
        steps.append(f"{device.name}: unplug {guard}{f' (to {far})' if far else ''}")
    return steps


def _kept(site: Site, policy: Policy, profile: Profile) -> list[str]:
    lines = [f"{entry.zone} — {entry.reason}" for entry in policy.keep if entry.zone is not None]
    lines += [f"{flow.name} with {', '.join(flow.partners)}" for flow in kept_flows(policy, profile.name)]
    lines += [f"{kept.name}: {kept.source} → {kept.destination} — {kept.reason}" for kept in profile.keeps]
    lines += [f"zone {zone} stays connected — {reason}" for zone, reason in profile.spares.items()]
    lines += [f"given up: {item.care} — {item.reason} Instead: {item.instead}" for item in profile.sacrifices]
    management = [zone.name for zone in site.zones if zone.kind is ZoneKind.MANAGEMENT]
    listed = {entry.zone for entry in policy.keep}
    return lines + [f"{name} — management, never cut" for name in management if name not in listed]
