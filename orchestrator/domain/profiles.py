"""From an isolation profile to the layers that a cut-off lays, device by device.

A slot is named after its profile and the digest of its definition: laying the same profile again changes nothing, a
redefined profile lies beside the old one, and a packet must pass both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

from orchestrator.domain.canonical import digest
from orchestrator.domain.compile import elements_of, without_prefixes
from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Device, Grain, Prefix, Site
from orchestrator.domain.packet_elements import disjoint
from orchestrator.domain.policy import Flow, Policy, Profile
from orchestrator.domain.sides import sides
from orchestrator.errors import Refused, UnknownName

SLOT_DIGITS = 8
EVERYTHING = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def layers_of(site: Site, policy: Policy, profile: str) -> tuple[Layer, ...]:
    """The layers of a profile, in the order of the policy. Raises UnknownName for a profile, device or guard that is not there."""
    definition = _profile(policy, profile)
    guards = {device: tuple(names) for device, names in definition.layers.items()}
    kept = kept_elements(site, policy, definition)
    layers = [
        _layer(site, definition, device, guard, scope_of(site, definition, device, guard), kept.get(device, ()))
        for device, guard in guards.items()
    ]
    content = {layer.device: layer.model_dump(mode="json", exclude={"slot", "profile"}) for layer in layers}
    slot = f"{definition.name}-{digest({'profile': definition.name, 'layers': content})[:SLOT_DIGITS]}"
    return tuple(layer.model_copy(update={"slot": slot}) for layer in layers)


def layers_in_force(site: Site, policy: Policy, slots: Mapping[str, Iterable[str]]) -> dict[str, tuple[Layer, ...]]:
    """The layers behind the slots that lie on each device. Raises Refused (rule `unknown-slot`) for a slot that no
    profile of this policy defines: it was laid under another policy, and what it lets pass is not known here."""
    known = {(layer.device, layer.slot): layer for profile in policy.profiles for layer in layers_of(site, policy, profile.name)}
    found: dict[str, tuple[Layer, ...]] = {}
    for device, names in slots.items():
        for name in names:
            further = None if (device, name) in known else _further(site, policy, device, name)
            if further is not None:
                known[device, name] = further
            if (device, name) not in known:
                raise Refused(
                    f"{device} holds the slot {name}, which no profile of the ratified policy defines",
                    rule="unknown-slot",
                    advice="plan with the policy that it was laid under, or lift that layer by vote",
                )
        found[device] = tuple(known[device, name] for name in names)
    return found


def further_layer(site: Site, policy: Policy, profile: str, device: str, guard: str, *, whole: bool = False) -> Layer:
    """What a cut-off lays on one more guard because another device did not take its layer: same scope and kept flows,
    in a slot of its own. `whole`: on a device whose dialect keeps no flows."""
    asked = _profile(policy, profile)
    definition = asked.model_copy(update={"layers": {device: (guard,)}})
    scope = scope_of(site, asked, device, (guard,))
    keep = kept_elements(site, policy, definition).get(device, ())
    layer = _layer(site, definition, device, (guard,), scope, () if whole else keep)
    content = layer.model_dump(mode="json", exclude={"slot", "profile"})
    return layer.model_copy(update={"slot": f"{profile}-{digest({'profile': profile, 'further': content})[:SLOT_DIGITS]}"})


def _further(site: Site, policy: Policy, device: str, slot: str) -> Layer | None:
    """The further layer of this name: it holds one guard, so that looking at every guard of the device finds it."""
    owner = next((item for item in site.devices if item.name == device), None)
    for profile in policy.profiles if owner is not None else ():
        for place in owner.attachments if owner is not None and slot.startswith(f"{profile.name}-") else ():
            for whole in (False, True):
                layer = further_layer(site, policy, profile.name, device, place.name, whole=whole)
                if layer.slot == slot:
                    return layer
    return None


def kept_flows(policy: Policy, profile: str) -> tuple[Flow, ...]:
    """The flows that the profile keeps: decided so in peacetime, or on the keep-list and not decided otherwise."""
    listed = {entry.flow for entry in policy.keep}
    return tuple(flow for flow in policy.flows if flow.decisions.get(profile, "keep" if flow.name in listed else "cut") == "keep")


def kept_elements(site: Site, policy: Policy, profile: Profile) -> dict[str, tuple[Element, ...]]:
    """Per device of the profile: what passes its layer. Gateway-to-gateway flows lie on every device that separates their ends."""
    found: dict[str, list[Element]] = {device: [] for device in profile.layers}
    for flow in kept_flows(policy, profile.name):
        for name in flow.partners:
            for crossed, elements in elements_of(site, flow, policy.partner(name), profile.layers).items():
                found[crossed] += elements
    for kept in profile.keeps:
        element = Element(source=kept.source, destination=kept.destination, protocol=kept.service.protocol, ports=kept.service.ports)
        for name, guard in profile.layers.items():
            device = _device(site, name)
            if Grain.FLOW not in device.grain:
                continue
            behind, aside = sides(site, device, guard)
            layer = Layer(slot="x", profile=profile.name, device=name, guard=guard, behind=behind, aside=aside)
            if layer.is_behind(element.source.network_address) != layer.is_behind(element.destination.network_address):
                found[name].append(element)
    return {name: disjoint(elements) for name, elements in found.items()}


def scope_of(site: Site, profile: Profile, device: str, guard: Iterable[str]) -> tuple[Prefix, ...]:
    """What the layer of this device is confined to: the prefixes of `scope_zones`.

    A firewall's guard into spared zones stops only what goes beyond them (a transit zone has an internet exit of its
    own): the scope is then everything that is neither of these zones nor of the site itself.
    """
    chosen = tuple(prefix for zone in profile.scope_zones for prefix in site.zone(zone).prefixes)
    spared = spared_behind(site, profile, device, guard)
    if chosen or spared is None:
        return chosen
    untouched = [prefix for zone in site.zones if not zone.is_external or zone.name in spared for prefix in zone.prefixes]
    return tuple(rest for everything in EVERYTHING for rest in without_prefixes(everything, untouched))


def spared_behind(site: Site, profile: Profile, device: str, guard: Iterable[str]) -> frozenset[str] | None:
    """The spared zones that this guard leads into; None when it is a switch's, or leads anywhere else as well."""
    owner = _device(site, device)
    zones = {item.zone for item in owner.interfaces if item.name in set(guard)}
    spared = zones & set(profile.spares) - set(profile.cuts)
    return frozenset(spared) if spared and spared == zones and not owner.ports and Grain.FLOW in owner.grain else None


def waves(site: Site, devices: Iterable[str]) -> dict[str, int]:
    """Which wave each device is cut in: 0 first. A device whose management path crosses another one comes before it."""
    depth = {name: _depth(site, name) for name in devices}
    deepest = max(depth.values(), default=0)
    return {name: deepest - steps for name, steps in depth.items()}


def _layer(site: Site, profile: Profile, name: str, guard: tuple[str, ...], scope: tuple[Prefix, ...], keep: tuple[Element, ...]) -> Layer:
    device = _device(site, name)
    known = {item.name for item in device.interfaces} | {port.name for port in device.ports}
    for item in guard:
        if item not in known:
            raise UnknownName(
                f"{name} has no interface or port {item!r}", advice=f"profile {profile.name}: use one of {', '.join(sorted(known))}"
            )
    behind, aside = sides(site, device, guard)
    coarse = Grain.FLOW not in device.grain or (bool(device.ports) and Grain.PORT in device.grain and not keep and not scope)
    return Layer(
        slot="x", profile=profile.name, device=name, guard=guard, scope=scope,
        keep=() if coarse else keep, behind=behind, aside=aside, coarse=coarse,
    )  # fmt: skip


def _depth(site: Site, name: str) -> int:
    """How many devices the management path crosses. A circle of `management_via` is the policy check's to report."""
    seen: set[str] = set()
    via = site.device(name).management_via
    while via is not None and via not in seen:
        seen.add(via)
        via = site.device(via).management_via
    return len(seen)


def _profile(policy: Policy, name: str) -> Profile:
    try:
        return policy.profile(name)
    except KeyError:
        known = ", ".join(profile.name for profile in policy.profiles)
        raise UnknownName(f"there is no isolation profile {name!r}", advice=f"use one of {known}") from None


def _device(site: Site, name: str) -> Device:
    try:
        return site.device(name)
    except KeyError:
        raise UnknownName(f"there is no device {name!r} in the inventory", advice="correct the profile's `layers`") from None
