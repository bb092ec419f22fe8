"""Which cable goes from where to where, read off the inventory; and the words that lay the cables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.domain.network import Device, Node, Site
from orchestrator.lab.layout import ADMIN, SEGMENTS, Layout


@dataclass(frozen=True, order=True)
class End:
    """One end of a cable: an interface inside a node's namespace."""

    node: str
    interface: str


@dataclass(frozen=True)
class Cable:
    """A veth pair. `segment`: the bridge that the second end is plugged into, when it ends in a segment."""

    first: End
    second: End
    segment: str | None = None


def nodes_of(site: Site) -> tuple[Node, ...]:
    """Every node that has a namespace and a disk of its own."""
    return (*site.devices, *site.hosts, *site.outside)


def bridge_name(segment: str) -> str:
    return f"br-{segment}"[:15]  # IFNAMSIZ


def cables_of(site: Site) -> tuple[Cable, ...]:
    """All cables, in an order that only the inventory decides (the names of segment ends are counted)."""
    segments = {segment.name for segment in site.segments}
    ends: list[tuple[End, str]] = [(End(ADMIN, site.orchestrator.name), site.orchestrator.link)]
    for node in nodes_of(site):
        ends += [(End(node.name, interface.name), interface.link) for interface in node.interfaces]
        if isinstance(node, Device):
            ends += [(End(node.name, port.name), port.link) for port in node.ports if port.link is not None]
    cables: list[Cable] = []
    for number, (end, link) in enumerate(ends):
        if link in segments:
            cables.append(Cable(end, End(SEGMENTS, f"s{number}"), segment=link))
        else:
            switch, _, port = link.partition("/")
            cables.append(Cable(end, End(switch, port)))
    return tuple(cables)


def plugged_ports(device: Device, cables: Iterable[Cable]) -> tuple[str, ...]:
    """The ports of a switch that have a cable in them."""
    used = {end.interface for cable in cables for end in (cable.first, cable.second) if end.node == device.name}
    return tuple(port.name for port in device.ports if port.name in used)


def laying(cables: Iterable[Cable], layout: Layout) -> str:
    """`ip -batch` lines that lay these cables."""
    return "".join(
        f"link add {cable.first.interface} netns {layout.namespace(cable.first.node)} type veth "
        f"peer name {cable.second.interface} netns {layout.namespace(cable.second.node)}\n"
        for cable in cables
    )


def bridging(site: Site, cables: Iterable[Cable], have: set[str]) -> str:
    """`ip -batch` lines, for the namespace of the segments, that make the bridges and plug the cables in.

    `have`: interfaces that exist there already.
    """
    lines = []
    for segment in site.segments:
        bridge = bridge_name(segment.name)
        if bridge not in have:
            lines.append(f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
        lines.append(f"link set {bridge} up")
    for cable in cables:
        if cable.segment is not None:
            lines.append(f"link set {cable.second.interface} master {bridge_name(cable.segment)} up")
    return "\n".join(lines) + "\n"
