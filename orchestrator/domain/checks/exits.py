"""Exits and flows on the topology: which exit a flow uses, which devices it crosses, and which of them enforce it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.checks.problem import Problem, in_inventory, in_policy
from orchestrator.domain.network import Address, Grain, Platform, Site
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.topology import Hop, crossings, exit_of, routers, way_in

GRAINS = {
    Platform.NFTABLES: {Grain.FLOW, Grain.MANUAL},
    Platform.IPTABLES: {Grain.FLOW, Grain.MANUAL},
    Platform.OPENVSWITCH: {Grain.PORT, Grain.FLOW, Grain.MANUAL},
    Platform.FRR: {Grain.ROUTE, Grain.MANUAL},
}
# Our words for the others close whole, whatever the box could do.
KEEPS_FLOWS = frozenset({Platform.NFTABLES, Platform.IPTABLES, Platform.OPENVSWITCH})


def devices(site: Site, policy: Policy) -> Iterator[Problem]:
    """A device's grain is one that its platform has; an exit is in the zone of its interface, and primary alone."""
    del policy
    for device in site.devices:
        wrong = [grain.value for grain in device.grain if grain not in GRAINS[device.platform]]
        if wrong or not device.grain:
            message = f"{device.name} ({device.platform.value}) cannot enforce at grain {', '.join(wrong) or 'nothing'}"
            able = ", ".join(sorted(grain.value for grain in GRAINS[device.platform]))
            yield in_inventory("devices", device.name, "grain", message=message, advice=f"use {able}")
    primary: dict[str, str] = {}
    for exit_ in site.exits:
        device = site.device(exit_.device)
        zone = next(item.zone for item in device.attachments if item.name == exit_.interface)
        if zone != exit_.zone:
            message = f"the exit {exit_.name} says zone {exit_.zone}, but {exit_.interface} of {exit_.device} is in {zone}"
            yield in_inventory("exits", exit_.name, "zone", message=message, advice="correct one of the two")
        if not site.zone(exit_.zone).is_external:
            message = f"the exit {exit_.name} leads to the zone {exit_.zone}, which is not external"
            yield in_inventory("exits", exit_.name, "zone", message=message, advice="an exit meets an external zone")
        for index, name in enumerate(exit_.primary_for):
            if primary.setdefault(name, exit_.name) != exit_.name:
                message = f"{name} has two primary exits: {primary[name]} and {exit_.name}"
                yield in_inventory("exits", exit_.name, "primary_for", index, message=message, advice="one primary exit per zone")


def flows(site: Site, policy: Policy) -> Iterator[Problem]:
    """Each flow goes by its exit and crosses a device that can tell it from others; inbound ones are published."""
    for flow in policy.flows:
        if flow.direction == "out" and flow.terminates_on is not None:
            message = f"{flow.name} goes out, but says that it ends on {flow.terminates_on}"
            yield in_policy("flows", flow.name, "terminates_on", message=message, advice="only an inbound flow ends on a device")
        for index, name in enumerate(flow.partners):
            yield from _flow(site, flow, policy.partner(name), index)


def _flow(site: Site, flow: Flow, partner: Partner, index: int) -> Iterator[Problem]:
    where = ("flows", flow.name, "partners", index)
    try:
        exit_ = exit_of(site, flow, partner)
        ways = crossings(site, flow, partner)
    except KeyError:
        message = f"no exit leads to {partner.name}: none is primary for its zone {partner.zone}"
        yield in_policy(*where, message=message, advice="add the zone to an exit's `primary_for`, or name the flow's `exit`")
        return
    told: set[str] = set()
    for (address, network), hops in ways.items():
        if not hops:
            message = f"by the routes of the inventory, {address} does not reach {partner.name} ({network}) through the exit {exit_.name}"
            advice = "correct the gateway and routes on the way, or the flow's `exit`"
        elif not any(Grain.FLOW in site.device(hop.device).grain for hop in hops):
            message = (
                f"{flow.name} with {partner.name} crosses no device that enforces flows (only {', '.join(hop.device for hop in hops)})"
            )
            advice = "lead it through a firewall; an interface or a port lets everything or nothing through"
        elif (there := _other_way(site, flow, address, hops)) is not None:
            back = " → ".join(routers(site, hops))
            message = f"{partner.name} reaches {address} by {' → '.join(there) or 'no way'}, but the replies go by {back}"
            advice = "add the route that is missing: a firewall that sees half of a conversation drops it"
        else:
            yield from _published(site, flow, hops, index)
            continue
        if message not in told:
            told.add(message)
            yield in_policy(*where, message=message, advice=advice)


def _other_way(site: Site, flow: Flow, address: Address, hops: tuple[Hop, ...]) -> tuple[str, ...] | None:
    """The routers on the way in where they are others than on the way out; None when both agree or an address
    translation on the way decides it."""
    if flow.terminates_on is not None:
        return None
    for hop in hops:
        nat = site.device(hop.device).nat
        if hop.enters in nat.masquerade and (address.version == 4 or nat.masquerade_ipv6):
            return None
    there = routers(site, way_in(site, hops, address))
    return None if there == routers(site, hops) else there


def _published(site: Site, flow: Flow, hops: tuple[Hop, ...], index: int) -> Iterator[Problem]:
    """An inbound IPv4 flow through a translating device works only if that device publishes its address and ports."""
    translating = [hop.device for hop in hops if hop.enters in site.device(hop.device).nat.masquerade]
    if index or flow.direction == "out" or flow.terminates_on is not None or not translating:
        return
    device = site.device(translating[0])
    for number, address in enumerate(flow.addresses):
        there = {(item.protocol, item.to_port) for item in device.nat.published_to.get(address, ())}
        for service in flow.services if address.version == 4 else ():
            protocol = {6: "tcp", 17: "udp"}.get(service.protocol)
            if protocol is None or service.ports is None:
                continue
            low, high = service.ports
            if not all((protocol, port) in there for port in range(low, min(high, low + 64) + 1)):
                message = f"{device.name} publishes no address for {address} {protocol}/{low}{'' if low == high else f'-{high}'}"
                advice = f"add it to `nat.published` of {device.name}, or remove the service: nobody outside can reach it"
                yield in_policy("flows", flow.name, "addresses", number, message=message, advice=advice)
