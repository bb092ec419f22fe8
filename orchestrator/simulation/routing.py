"""Where a packet goes in the simulated hospital: longest-prefix routing over the inventory, hop by hop.

It answers one question: which interfaces and switch ports does a packet of the original direction cross, and with
which addresses does each device's forward hook see it (after destination NAT, before source NAT)?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_interface, ip_network

from orchestrator.domain.network import Address, Device, Host, Interface, Node, Prefix, Site

MAX_HOPS = 16


@dataclass(frozen=True)
class Hop:
    """One crossing of one device. `out` is None when the packet ends on the device itself."""

    device: str
    inside: str | None  # the interface or port it came in by; None: it was sent by the device
    out: str | None
    source: Address
    destination: Address
    port: int | None
    translated: bool


@dataclass(frozen=True)
class Walk:
    """The crossings in order, and the node that the packet reached; None with `reason` when it is lost on its way."""

    hops: tuple[Hop, ...]
    arrived: str | None
    destination: Address
    reason: str = ""


@dataclass(frozen=True)
class _Wire:
    """An interface as it is plugged: the layer-2 crossings between two of them follow from the links."""

    node: Node
    interface: Interface


class Routing:
    """Routes of one site. Pure: the answer depends on the inventory only."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._nodes: dict[str, Node] = {node.name: node for node in (*site.devices, *site.hosts, *site.outside)}

    @cached_property
    def _owners(self) -> dict[Address, _Wire]:
        return {
            address.ip: _Wire(node, interface)
            for node in self._nodes.values()
            for interface in node.interfaces
            for address in interface.addresses
        }

    def walk(self, start: str, destination: Address, protocol: int, port: int | None, source: Address | None = None) -> Walk:
        """Follows a packet from the host `start`. Raises KeyError for an unknown host."""
        node = self._nodes[start]
        entered: str | None = None
        hops: list[Hop] = []
        origin = source
        translated = False
        for _ in range(MAX_HOPS):
            if isinstance(node, Device) and entered is not None:
                destination, port, changed = self._translate(node, destination, protocol, port)
                translated = translated or changed
            if any(address.ip == destination for interface in node.interfaces for address in interface.addresses):
                if isinstance(node, Device) and origin is not None:
                    hops.append(Hop(node.name, entered, None, origin, destination, port, translated))
                return Walk(tuple(hops), node.name, destination)
            chosen = self._next(node, destination)
            if chosen is None:
                return Walk(tuple(hops), None, destination, f"{node.name} has no route to {destination}")
            leaving, next_hop = chosen
            if origin is None:
                origin = next(a.ip for a in leaving.addresses if a.version == destination.version)
            if isinstance(node, Device) and entered is not None:
                hops.append(Hop(node.name, entered, leaving.name, origin, destination, port, translated))
            wire = self._owners.get(next_hop)
            if wire is None or wire.interface.zone != leaving.zone:
                return Walk(tuple(hops), None, destination, f"nobody answers for {next_hop} next to {node.name}")
            hops.extend(self._switches(leaving, wire.interface, origin, destination, port, translated))
            if leaving.name in node.nat.masquerade and (origin.version == 4 or node.nat.masquerade_ipv6):
                origin = next(a.ip for a in leaving.addresses if a.version == origin.version)
            node, entered = wire.node, wire.interface.name
        return Walk(tuple(hops), None, destination, "the packet goes round in circles")

    def _translate(self, device: Device, destination: Address, protocol: int, port: int | None) -> tuple[Address, int | None, bool]:
        for rule in device.nat.published:
            if rule.public == destination and rule.port == port and (rule.protocol == "tcp") == (protocol == 6):
                return rule.to, rule.to_port, True
        return destination, port, False

    def _routes(self, node: Node) -> Iterator[tuple[Prefix, Address | None, Interface | None]]:
        """(prefix, next hop or None when on-link, interface when on-link)."""
        for interface in node.interfaces:
            for address in interface.addresses:
                if interface.zone != self._management:
                    yield address.network, None, interface
        for route in node.routes:
            yield route.to, route.via, None
        if isinstance(node, Host):
            for via in node.gateway:
                yield ip_network("0.0.0.0/0" if via.version == 4 else "::/0"), via, None
            for via in node.inside_gateway:
                for zone in self._site.zones:
                    if not zone.is_external and zone.name != self._management:
                        yield from ((prefix, via, None) for prefix in zone.prefixes if prefix.version == via.version)
        if node.bgp:
            for neighbor in node.bgp.neighbors:
                peer = self._owners.get(neighbor.address)
                if peer is not None and peer.node.bgp is not None:
                    for prefix in peer.node.bgp.announces:
                        if prefix.version == neighbor.address.version:
                            yield prefix, neighbor.address, None

    @cached_property
    def _management(self) -> str:
        return self._site.orchestrator.zone

    def _next(self, node: Node, destination: Address) -> tuple[Interface, Address] | None:
        """The leaving interface and the next hop's address: longest prefix first."""
        best: tuple[int, Interface, Address] | None = None
        for prefix, via, on_link in self._routes(node):
            if prefix.version != destination.version or destination not in prefix:
                continue
            if best is not None and prefix.prefixlen <= best[0]:
                continue
            interface = on_link or self._towards(node, via)
            if interface is not None:
                best = (prefix.prefixlen, interface, via or destination)
        return None if best is None else (best[1], best[2])

    def _towards(self, node: Node, via: Address | None) -> Interface | None:
        for interface in node.interfaces:
            for address in interface.addresses:
                if via is not None and via.version == address.version and via in ip_interface(str(address)).network:
                    return interface
        return None

    def _switches(
        self, leaving: Interface, arriving: Interface, source: Address, destination: Address, port: int | None, translated: bool
    ) -> Iterator[Hop]:
        """The switch crossed between two interfaces, if any (one switch at most between two of them)."""
        ends = []
        for interface in (leaving, arriving):
            switch, slash, name = interface.link.partition("/")
            if slash:
                ends.append((switch, name))
            else:
                ends.extend(
                    (device.name, candidate.name)
                    for device in self._site.devices
                    for candidate in device.ports
                    if candidate.link == interface.link
                )
        if len(ends) == 2 and ends[0][0] == ends[1][0] and ends[0] != ends[1]:
            yield Hop(ends[0][0], ends[0][1], ends[1][1], source, destination, port, translated)
