"""From a flow to the elements that each device on its way must hold.

A flow speaks of the application's own addresses and services. Each device sees the packet after its own destination
translation and before its own source translation; devices nearer to the partner see the published address and port,
or the translated source. So the packet is followed from where it starts, device by device (docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from orchestrator.domain.layer import Element
from orchestrator.domain.network import Address, Device, Grain, Prefix, Published, Site
from orchestrator.domain.packet_elements import disjoint
from orchestrator.domain.packets import prefixes_of, span
from orchestrator.domain.policy import Flow, Partner
from orchestrator.domain.services import FlowService
from orchestrator.domain.topology import Hop, crossings

Guards = Mapping[str, Collection[str]]  # device → guarded interfaces or ports
Ways = Mapping[tuple[Address, Prefix], tuple[Hop, ...]]  # (the application's address, the partner's network) → from outside to inside


class Sight(NamedTuple):
    """How one device on the way sees packets of a flow."""

    device: str
    element: Element


def elements_of(site: Site, flow: Flow, partner: Partner, guards: Guards | None = None) -> dict[str, tuple[Element, ...]]:
    """Per device of flow grain that the flow crosses at a guarded interface (without `guards`: at any): its elements.

    Disjoint, prefix-aligned, `deny_from` taken out. Raises KeyError when no exit leads to the partner's zone.
    """
    return elements_along(site, flow, crossings(site, flow, partner), guards)


def elements_along(
    site: Site, flow: Flow, ways: Ways, guards: Guards | None = None, *, coarse: bool = False
) -> dict[str, tuple[Element, ...]]:
    """`elements_of` for ways that are known already. `coarse`: what devices of coarser grain see as well."""
    found: dict[str, list[Element]] = {}
    for (address, network), hops in ways.items():
        holding = {
            hop.device for hop in hops
            if (guards is None or is_guarded(hop, guards)) and (coarse or Grain.FLOW in site.device(hop.device).grain)
        }  # fmt: skip
        for remaining in without_prefixes(network, flow.deny_from) if holding else ():
            for service in flow.services:
                for sight in _sights(site, flow, hops, address, remaining, service, holding):
                    found.setdefault(sight.device, []).append(sight.element)
    alike = {tuple(map(id, elements)): elements for elements in found.values()}  # most devices on the way see the same
    made = {same: disjoint(elements) for same, elements in alike.items()}
    return {device: made[tuple(map(id, elements))] for device, elements in found.items()}


def is_guarded(hop: Hop, guards: Guards) -> bool:
    """Whether the conversation passes a guard of this device."""
    names = guards.get(hop.device, ())
    return hop.enters in names or hop.leaves in names


def paths_of(site: Site, flow: Flow, partner: Partner) -> tuple[tuple[Hop, ...], ...]:
    """The different ways that the flow's conversations take, from outside to inside; () for one that leads nowhere."""
    return tuple(dict.fromkeys(crossings(site, flow, partner).values()))


def publications(site: Site, hops: Sequence[Hop], address: Address, service: FlowService) -> Iterator[tuple[int, Published]]:
    """The destination translations on the way that lead to the service: (position of the hop, translation)."""
    if service.ports is None:
        return
    transport = {6: "tcp", 17: "udp"}[service.protocol]
    for position, hop in enumerate(hops):
        for published in site.device(hop.device).nat.published_to.get(address, ()):
            if published.protocol == transport and service.ports[0] <= published.to_port <= service.ports[1]:
                yield position, published


def without_prefixes(network: Prefix, taken: Collection[Prefix]) -> tuple[Prefix, ...]:
    """What is left of a network, as the fewest prefixes."""
    if not taken:
        return (network,)
    pieces = [span(network)]
    for prefix in taken:
        if prefix.version == network.version:
            low, high = span(prefix)
            pieces = [
                piece
                for first, last in pieces
                for piece in ((first, min(last, low - 1)), (max(first, high + 1), last))
                if piece[0] <= piece[1]
            ]
    return tuple(prefix for piece in pieces for prefix in prefixes_of(4 if network.version == 4 else 6, piece))


def _sights(
    site: Site, flow: Flow, hops: Sequence[Hop], address: Address, network: Prefix, service: FlowService, holding: Collection[str]
) -> Iterator[Sight]:
    """`hops` read from outside to inside, whoever opens the conversation; only what the devices `holding` see. Devices
    that see the packet alike share one element."""
    if flow.direction == "out":
        yield from _outwards(site, hops, prefix_of(address), network, service, holding)
    elif flow.terminates_on is not None:
        yield from _to_device(site, hops, flow.terminates_on, network, service, holding)
    else:
        yield from _inwards(site, hops, address, network, service, holding)


def _outwards(
    site: Site, hops: Sequence[Hop], source: Prefix, network: Prefix, service: FlowService, holding: Collection[str]
) -> Iterator[Sight]:
    seen: Element | None = None
    for hop in reversed(hops):
        if hop.device in holding:
            if seen is None or seen.source is not source:
                seen = _element(source, network, service)
            yield Sight(hop.device, seen)
        source = _masqueraded(site.device(hop.device), hop.enters, source)


def _inwards(
    site: Site, hops: Sequence[Hop], address: Address, network: Prefix, service: FlowService, holding: Collection[str]
) -> Iterator[Sight]:
    translated = list(publications(site, hops, address, service))
    source, own = network, prefix_of(address)
    seen: Element | None = None
    for position, hop in enumerate(hops):
        if hop.device in holding:
            ahead = [published for where, published in translated if where > position]
            if ahead:
                for published in ahead:
                    yield Sight(hop.device, _element(source, prefix_of(published.public), service, (published.port, published.port)))
            else:
                if seen is None or seen.source is not source:
                    seen = _element(source, own, service)
                yield Sight(hop.device, seen)
        source = _masqueraded(site.device(hop.device), hop.leaves, source)


def _to_device(
    site: Site, hops: Sequence[Hop], device: str, network: Prefix, service: FlowService, holding: Collection[str]
) -> Iterator[Sight]:
    """To the device's own address on the interface by which the partner reaches it."""
    last = next((hop for hop in hops if hop.device == device), None)
    if last is None or last.enters is None:
        return
    for own in site.device(device).interface(last.enters).addresses:
        if own.version == network.version:
            seen = _element(network, prefix_of(own.ip), service)
            for hop in hops:
                if hop.device in holding:
                    yield Sight(hop.device, seen)


def _masqueraded(device: Device, leaves: str | None, source: Prefix) -> Prefix:
    """The source that the next device sees."""
    translated = leaves in device.nat.masquerade and (source.version == 4 or device.nat.masquerade_ipv6)
    if not translated or leaves is None:
        return source
    return next((prefix_of(own.ip) for own in device.interface(leaves).addresses if own.version == source.version), source)


def _element(source: Prefix, destination: Prefix, service: FlowService, ports: tuple[int, int] | None = None) -> Element:
    protocol = 58 if service.protocol == 1 and source.version == 6 else service.protocol  # `icmp` means the family's own
    return Element(source=source, destination=destination, protocol=protocol, ports=ports or service.ports)


def element_between(source: Address, destination: Address, service: FlowService) -> Element:
    """The element of one conversation that nothing translates."""
    return _element(prefix_of(source), prefix_of(destination), service)


def prefix_of(address: Address) -> Prefix:
    """The address as a prefix of its own."""
    return _host4(int(address)) if address.version == 4 else _host6(int(address))


@lru_cache(maxsize=65_536)  # one application has many flows
def _host4(number: int) -> Prefix:
    return IPv4Network((number, 32))


@lru_cache(maxsize=65_536)
def _host6(number: int) -> Prefix:
    return IPv6Network((number, 128))
