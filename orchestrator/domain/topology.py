"""Which devices a conversation crosses, in order, by the routes that the inventory declares.

Traced from the application outwards (its gateway, then each device's longest match), then turned round: the answer
reads from the partner to the application. The graph of the cables is in `orchestrator.domain.cabling`; its questions
about separation are offered here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from orchestrator.domain.cabling import Point, Same, layer2_path, management_path, paths, separated, told
from orchestrator.domain.network import Address, Device, Exit, Host, Interface, Node, Prefix, Site, ZoneKind
from orchestrator.domain.policy import Flow, Partner
from orchestrator.domain.prefix_table import PrefixTable

__all__ = [
    "Hop", "Point", "crossing", "crossings", "devices_on_path", "exit_of", "host_path",
    "layer2_path", "management_path", "owner_of", "paths", "route", "routers", "routing_prefixes", "separated", "told", "way_in",
]  # fmt: skip

MOST_HOPS = 16  # a routing loop in the inventory ends here
_Place: TypeAlias = Address | int  # an address, or the number of a prefix within which nothing tells addresses apart


class Hop(NamedTuple):
    """One device on the way; for a switch the names are ports. None: the conversation begins or ends on it, or the
    inventory does not know by which port it leaves."""

    device: str
    enters: str | None
    leaves: str | None


def exit_of(site: Site, flow: Flow, partner: Partner) -> Exit:
    """The exit the flow uses: its own, else the primary one of the partner's zone. Raises KeyError."""
    if flow.exit is not None:
        return site.exit(flow.exit)
    for candidate in site.exits:
        if partner.zone in candidate.primary_for:
            return candidate
    raise KeyError(f"no exit is primary for the zone {partner.zone}")


def crossing(site: Site, flow: Flow, partner: Partner) -> tuple[Hop, ...]:
    """The devices between the partner and the application, from outside to inside, for the first pair of addresses
    of one family (`crossings` gives all of them). Empty when the routes do not lead through the flow's exit."""
    return next(iter(crossings(site, flow, partner).values()), ())


def crossings(site: Site, flow: Flow, partner: Partner) -> dict[tuple[Address, Prefix], tuple[Hop, ...]]:
    """Per address of the application and network of the partner, IPv4 first. Raises KeyError without an exit."""
    exit_ = exit_of(site, flow, partner)
    pairs = [(address, network) for address in flow.addresses for network in partner.networks if address.version == network.version]
    known = _remembered(Same(site))
    found = {}
    for address, network in sorted(pairs, key=_family_of):
        key = (exit_.name, flow.terminates_on, address, known.towards(network))
        hops = known.ways.get(key)
        if hops is None:
            hops = known.ways[key] = _through(site, exit_, flow, address, network)
        found[address, network] = hops
    return found


def _family_of(pair: tuple[Address, Prefix]) -> int:
    return pair[0].version


def way_in(site: Site, hops: Sequence[Hop], address: Address) -> tuple[Hop, ...]:
    """The way that packets to `address` take from the first router of `hops` on, by the routes; `crossing` is the way
    of the replies. Where the two differ, a stateful device sees half of the conversation."""
    first = next((hop for hop in hops if not _is_switch(site, hop.device)), None)
    if first is None:
        return ()
    traced = _follow(site, site.device(first.device), first.enters, address, [])
    return () if traced is None else traced.hops


def routers(site: Site, hops: Sequence[Hop]) -> tuple[str, ...]:
    """The devices of `hops` that route, without the switches in between."""
    return tuple(hop.device for hop in hops if not _is_switch(site, hop.device))


def devices_on_path(site: Site, from_zone: str, to_zone: str, exit_name: str) -> tuple[Hop, ...]:
    """From an external zone through an exit to the first host of a zone whose routes lead there. Raises KeyError."""
    exit_, network = site.exit(exit_name), site.zone(from_zone).prefixes[0]
    for host in site.hosts:
        for interface in host.interfaces:
            for address in interface.addresses if interface.zone == to_zone else ():
                if address.version == network.version and (hops := _from_host(site, exit_, host, interface, _any_of(network))):
                    return hops
    return ()


def host_path(site: Site, start: Host, end: Host, *, version: int = 4) -> tuple[Hop, ...] | None:
    """The devices between two hosts of the site, in order; None when the routes do not lead there."""
    source, target = _first_address(site, start, version), _first_address(site, end, version)
    if source is None or target is None:
        return None
    traced = _trace(site, start, source[0], target[1])
    if traced is None or traced.last != Point("interface", end.name, target[0].name):
        return None
    return traced.hops


def route(site: Site, node: Node, destination: Address) -> tuple[Interface, Address | None] | None:
    """The interface by which `node` sends to `destination`, and the next hop (None: it is on the link).

    Connected networks, static routes and what BGP neighbours announce; the longest match wins.
    """
    return _remembered(Same(site)).routes(node).longest(destination)


def routing_prefixes(site: Site, node: Node) -> tuple[Prefix, ...]:
    """The prefixes of its routing table: connected, static and learned."""
    return tuple(prefix for prefix, _ in _routes(site, node))


class _Remembered:
    """What was found out about one site: its routing tables, and the ways that were traced.

    Ways are remembered per place that they lead to. Two addresses that nobody of the inventory has, with the same longest
    prefix of all that it speaks of, are the same place: no route and no network tells one from the other. So a thousand
    partners behind one default route are traced once.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tables: dict[int, tuple[Node, PrefixTable[tuple[Interface, Address | None]]]] = {}
        self.ways: dict[tuple[str, str | None, Address, _Place], tuple[Hop, ...]] = {}
        self._places: dict[Prefix, _Place] = {}
        self._told_apart = PrefixTable((prefix, number) for number, prefix in enumerate(_prefixes_of(site)))
        self.onward: dict[tuple[str, str | None, Address], _Traced] = {}
        self.links: dict[tuple[Point, Point], tuple[Hop, ...] | None] = {}

    def routes(self, node: Node) -> PrefixTable[tuple[Interface, Address | None]]:
        known = self._tables.get(id(node))  # the node is kept beside its table, so that its id is nobody else's
        if known is None:
            known = self._tables[id(node)] = (node, PrefixTable(_routes(self._site, node)))
        return known[1]

    def towards(self, network: Prefix) -> _Place:
        """The place that ways to this network lead to."""
        place = self._places.get(network)
        if place is None:
            target = _any_of(network)
            owned, around = target in self._site.owners, self._told_apart.longest(target)
            place = self._places[network] = target if owned or around is None else around
        return place


def _prefixes_of(site: Site) -> Iterator[Prefix]:
    """Every prefix that a zone, an interface, a route or a neighbour's announcement of the inventory names."""
    for zone in site.zones:
        yield from zone.prefixes
    for node in (*site.devices, *site.hosts, *site.outside):
        yield from (address.network for interface in node.interfaces for address in interface.addresses)
        yield from (item.to for item in node.routes)
        yield from node.bgp.announces if node.bgp is not None else ()


@lru_cache(maxsize=8)
def _remembered(same: Same) -> _Remembered:
    return _Remembered(same.site)


def _routes(site: Site, node: Node) -> Iterator[tuple[Prefix, tuple[Interface, Address | None]]]:
    usable = [interface for interface in node.interfaces if not _is_management(site, interface)]
    connected = [(address.network, interface) for interface in usable for address in interface.addresses]
    yield from ((network, (interface, None)) for network, interface in connected)
    for version in (4, 6):
        links = [(network, interface) for network, interface in connected if network.version == version]
        for prefix, via in _learned(site, node, version):
            for network, interface in links:
                if via in network:
                    yield prefix, (interface, via)
                    break


def _learned(site: Site, node: Node, version: int) -> list[tuple[Prefix, Address]]:
    found = [(item.to, item.via) for item in node.routes if item.to.version == version and item.via.version == version]
    for neighbor in node.bgp.neighbors if node.bgp is not None else ():
        far = owner_of(site, neighbor.address)
        announced = far[0].bgp.announces if far is not None and far[0].bgp is not None else ()
        found += [(prefix, neighbor.address) for prefix in announced if prefix.version == version == neighbor.address.version]
    return found


def owner_of(site: Site, address: Address) -> tuple[Node, Interface] | None:
    """The device, host or outside router that has this address, and the interface it is on."""
    return site.owners.get(address)


class _Traced(NamedTuple):
    hops: tuple[Hop, ...]
    last: Point  # where it arrived, or the interface by which it left our devices


def _through(site: Site, exit_: Exit, flow: Flow, address: Address, network: Prefix) -> tuple[Hop, ...]:
    target = _any_of(network)
    if flow.terminates_on is not None:
        device = site.device(flow.terminates_on)
        out = route(site, device, target)
        traced = None if out is None else _follow(site, device, None, target, [])
        return _inward(site, exit_, traced)
    owner = owner_of(site, address)
    if owner is not None and isinstance(owner[0], Host):
        return _from_host(site, exit_, owner[0], owner[1], target)
    zone = site.zone_of(address).name
    for device in site.devices:  # no host of the inventory has the address: by any router of its zone that leads to the exit
        for interface in device.interfaces:
            if interface.zone == zone and (hops := _inward(site, exit_, _follow(site, device, interface.name, target, []))):
                return hops
    return ()


def _from_host(site: Site, exit_: Exit, host: Host, interface: Interface, target: Address) -> tuple[Hop, ...]:
    return _inward(site, exit_, _trace(site, host, interface, target))


def _inward(site: Site, exit_: Exit, traced: _Traced | None) -> tuple[Hop, ...]:
    """Turned round; empty unless it goes through the exit."""
    if traced is None:
        return ()
    hops = list(traced.hops)
    if not any(hop.device == exit_.device for hop in hops) and _is_switch(site, exit_.device):
        # the far end is no host of the inventory, so the layer 2 part to the exit's port is still missing
        way = layer2_path(site, traced.last, Point("port", exit_.device, exit_.interface))
        hops += _switched(way or ())
    if not any(hop.device == exit_.device and hop.leaves == exit_.interface for hop in hops):
        return ()
    return tuple(Hop(hop.device, hop.leaves, hop.enters) for hop in reversed(hops))


def _trace(site: Site, host: Host, interface: Interface, target: Address) -> _Traced | None:
    start = Point("interface", host.name, interface.name)
    if any(address.version == target.version and target in address.network for address in interface.addresses):
        return _deliver(site, start, target, [])
    via = _gateway(site, host, target)
    far = owner_of(site, via) if via is not None else None
    if far is None or not isinstance(far[0], Device):
        return None
    hops = list(_between(site, start, Point("interface", far[0].name, far[1].name)) or ())
    return _follow(site, far[0], far[1].name, target, hops)


def _gateway(site: Site, host: Host, target: Address) -> Address | None:
    """The next hop of a host: its own routes, then the inside gateway for inside addresses, then the default."""
    matching = [item for item in host.routes if item.to.version == target.version and target in item.to]
    if matching:
        return max(matching, key=lambda item: item.to.prefixlen).via
    inside = _zone_kind(site, target) in (ZoneKind.INTERNAL, ZoneKind.DMZ)
    choices: Sequence[Address] = (*(host.inside_gateway if inside else ()), *host.gateway)
    return next((address for address in choices if address.version == target.version), None)


def _follow(site: Site, device: Device, enters: str | None, target: Address, hops: list[Hop]) -> _Traced | None:
    traced = _onward(site, device, enters, target, MOST_HOPS)
    return None if traced is None else _Traced((*hops, *traced.hops), traced.last)


def _onward(site: Site, device: Device, enters: str | None, target: Address, most: int) -> _Traced | None:
    """From the device on; remembered, because many ways end alike."""
    known = _remembered(Same(site)).onward
    key = (device.name, enters, target)
    if key in known:
        return known[key]
    out = route(site, device, target) if most else None
    if out is None:
        return None
    leaves, via = out
    hops = [Hop(device.name, enters, leaves.name)]
    here = Point("interface", device.name, leaves.name)
    far = owner_of(site, via) if via is not None else None
    if via is None or far is None or not isinstance(far[0], Device):
        known[key] = _deliver(site, here, via or target, hops)
        return known[key]
    rest = _onward(site, far[0], far[1].name, target, most - 1)
    if rest is None:
        return None
    switches = _between(site, here, Point("interface", far[0].name, far[1].name)) or ()
    known[key] = _Traced((*hops, *switches, *rest.hops), rest.last)
    return known[key]


def _deliver(site: Site, here: Point, target: Address, hops: list[Hop]) -> _Traced:
    """The last link: to the host that has the address, if the inventory knows one on this link."""
    owner = owner_of(site, target)
    if owner is not None:
        end = Point("interface", owner[0].name, owner[1].name)
        switches = _between(site, here, end)
        if switches is not None:
            return _Traced((*hops, *switches), end)
    return _Traced(tuple(hops), here)


def _between(site: Site, start: Point, end: Point) -> tuple[Hop, ...] | None:
    """The switches between two places that share a link; None when they do not."""
    known = _remembered(Same(site)).links
    if (start, end) not in known:
        way = layer2_path(site, start, end)
        known[start, end] = None if way is None else tuple(_switched(way))
    return known[start, end]


def _switched(way: Sequence[Point]) -> list[Hop]:
    """The switches along a layer 2 path, with the ports by which they are entered and left."""
    hops: list[Hop] = []
    for point in way:
        if point.kind != "port":
            continue
        if hops and hops[-1].device == point.owner and hops[-1].leaves is None:
            hops[-1] = Hop(point.owner, hops[-1].enters, point.name)
        else:
            hops.append(Hop(point.owner, point.name, None))
    return hops


def _is_switch(site: Site, name: str) -> bool:
    device = site.devices_by_name.get(name)
    return device is not None and bool(device.ports)


def _is_management(site: Site, interface: Interface) -> bool:
    zone = site.zones_by_name.get(interface.zone)
    return zone is not None and zone.kind is ZoneKind.MANAGEMENT


def _zone_kind(site: Site, address: Address) -> ZoneKind | None:
    try:
        return site.zone_of(address).kind
    except KeyError:
        return None


def _first_address(site: Site, host: Host, version: int) -> tuple[Interface, Address] | None:
    for interface in host.interfaces:
        for address in () if _is_management(site, interface) else interface.addresses:
            if address.version == version:
                return interface, address.ip
    return None


def _any_of(network: Prefix) -> Address:
    """One address of the network: the first usable one."""
    return network.network_address if network.prefixlen >= network.max_prefixlen - 1 else network[1]
