"""The site as a graph: what is plugged into what, and therefore what a cut leaves connected.

Points are interfaces, switch ports, one VLAN per switch and zone, unmanaged segments, and one forwarding core per
router, firewall or gateway (ours, and those of others: `outside`). Two points are joined when a frame or packet can
go from one to the other inside one box or over one cable. Hosts do not forward: they are their interfaces only.
The management network is left out unless asked for: no device forwards between it and the rest.

Which way the routing tables send a flow is told by `orchestrator.domain.topology`; here every cable counts, used or not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import networkx as nx

from orchestrator.domain.network import Device, Host, Interface, Node, Outside, Site, ZoneKind

Cut: TypeAlias = Mapping[str, Iterable[str]]  # device → its guarded interfaces or ports
PointKind = Literal["interface", "port", "vlan", "segment", "core"]

ORCHESTRATOR = "orchestrator"


class Point(NamedTuple):
    """A vertex: `owner` is a device, host or outside router (for a segment: its name); `name` the part of it."""

    kind: PointKind
    owner: str
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "segment":
            return f"segment {self.owner}"
        if self.kind == "core":
            return self.owner
        return f"{self.owner}[{self.name}]" if self.kind != "vlan" else f"{self.owner}[zone {self.name}]"


Graph: TypeAlias = "nx.Graph[Point]"


class Same:
    """A site as the key of a cache: by identity, because comparing two sites address by address costs more than a graph."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __hash__(self) -> int:
        return id(self.site)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.site is self.site


def site_graph(site: Site, *, management: bool = False) -> Graph:
    """The graph of the site; vertices carry `zone` (cores: none). Shared: do not change it, copy it.

    Links that lead nowhere are left out (`policy check` reports them).
    """
    return _graph(Same(site), management)


@lru_cache(maxsize=16)
def _graph(same: Same, management: bool) -> Graph:
    site = same.site
    graph: Graph = nx.Graph()
    hidden = {zone.name for zone in site.zones if zone.kind is ZoneKind.MANAGEMENT and not management}
    segments = {segment.name for segment in site.segments}
    switches = {device.name: {port.name for port in device.ports} for device in site.devices}
    for segment in site.segments:
        if segment.zone not in hidden:
            graph.add_node(Point("segment", segment.name), zone=segment.zone)
    for device in site.devices:
        for port in device.ports:
            if port.zone in hidden:
                continue
            point, vlan = Point("port", device.name, port.name), Point("vlan", device.name, port.zone)
            graph.add_node(point, zone=port.zone)
            graph.add_node(vlan, zone=port.zone)
            graph.add_edge(point, vlan)
            if port.link is not None and (far := _plug(port.link, segments, switches)) is not None and far in graph:
                graph.add_edge(point, far)
    for node in (*site.devices, *site.outside, *site.hosts):
        for interface in node.interfaces:
            if interface.zone not in hidden:
                _plug_in(graph, node, interface, segments, switches)
    if management:
        point = Point("interface", ORCHESTRATOR, site.orchestrator.name)
        graph.add_node(point, zone=site.orchestrator.zone)
        if (far := _plug(site.orchestrator.link, segments, switches)) in graph and far is not None:
            graph.add_edge(point, far)
    return graph


def _plug_in(graph: Graph, node: Node, interface: Interface, segments: set[str], switches: Mapping[str, set[str]]) -> None:
    point = Point("interface", node.name, interface.name)
    graph.add_node(point, zone=interface.zone)
    far = _plug(interface.link, segments, switches)
    if far is not None and far in graph:
        graph.add_edge(point, far)
    if isinstance(node, Device | Outside):
        graph.add_edge(point, Point("core", node.name))


def _plug(link: str, segments: Collection[str], switches: Mapping[str, set[str]]) -> Point | None:
    """What a link names: a segment, or a port of a switch; None when there is no such thing."""
    switch, slash, port = link.partition("/")
    if slash:
        return Point("port", switch, port) if port in switches.get(switch, set()) else None
    return Point("segment", link) if link in segments else None


def zone_points(site: Site, zones: Collection[str]) -> tuple[Point, ...]:
    """Where traffic of these zones can begin or end: hosts, VLANs, segments, and routers of others.

    A segment of an external zone onto which only our own devices are plugged (the edge segment) is not a place where
    anyone outside can send from by itself, so it does not count.
    """
    graph = site_graph(site)
    ours = {device.name for device in site.devices}
    external = {zone.name for zone in site.zones if zone.is_external}
    found = []
    for point, zone in _zones_of(graph):
        if zone not in zones:
            continue
        if zone in external and point.kind in ("segment", "vlan"):
            if any(near.kind == "interface" and near.owner not in ours for near in graph.neighbors(point)):
                found.append(point)
        elif point.kind in ("segment", "vlan") or (point.kind == "interface" and point.owner not in ours):
            found.append(point)
    return tuple(sorted(found))


def separated(
    site: Site, cut: Cut, external: Collection[str], inside: Collection[str], *, spared: Collection[str] = ()
) -> tuple[Point, ...] | None:
    """None when no path is left from the zones `external` to the zones `inside` once the guards of `cut` are closed;
    else the shortest remaining path.

    `spared` zones are left connected on purpose: paths through them are not counted.
    """
    graph = site_graph(site)
    guarded = {Point(kind, device, name) for device, names in cut.items() for name in names for kind in ("interface", "port")}
    removed = guarded | {point for point, zone in _zones_of(graph) if zone in spared and zone not in external}
    left: Graph = graph.copy()
    left.remove_nodes_from(removed)
    sources = [point for point in zone_points(site, external) if point in left]
    return _shortest(left, sources, set(zone_points(site, inside)))


def _shortest(graph: Graph, sources: Iterable[Point], targets: Collection[Point]) -> tuple[Point, ...] | None:
    """The shortest path from any source to any target, breadth first; the same one at every run."""
    came_from: dict[Point, Point | None] = dict.fromkeys(sources)
    queue = deque(came_from)
    while queue:
        point = queue.popleft()
        if point in targets:
            path: list[Point] = []
            step: Point | None = point
            while step is not None:
                path.append(step)
                step = came_from[step]
            return tuple(reversed(path))
        for near in sorted(graph.neighbors(point)):
            if near not in came_from:
                came_from[near] = point
                queue.append(near)
    return None


def _zones_of(graph: Graph) -> Iterator[tuple[Point, str | None]]:
    """Every vertex and its zone; a core has none."""
    for point, data in graph.nodes.items():
        yield point, data.get("zone")


def paths(site: Site, from_zone: str, to_zone: str, *, longest: int = 24) -> Iterator[tuple[Point, ...]]:
    """Every simple path between two zones of at most `longest` edges, shortest start and end points only."""
    graph = site_graph(site)
    ends = set(zone_points(site, {to_zone}))
    starts = set(zone_points(site, {from_zone}))
    for start in sorted(starts):
        for path in nx.all_simple_paths(graph, start, ends, cutoff=longest):
            if not any(point in starts or point in ends for point in path[1:-1]):
                yield tuple(path)


def told(path: Iterable[Point]) -> str:
    """A path for people, hop by hop: a box once, with the way in and the way out."""
    hops: list[str] = []
    box: list[Point] = []

    def close() -> None:
        if box:
            names = [point.name for point in box if point.kind in ("interface", "port")]
            hops.append(f"{box[0].owner}[{' → '.join(names)}]" if names else box[0].owner)
            box.clear()

    for point in path:
        if point.kind == "segment":
            close()
            hops.append(f"segment {point.owner}")
            continue
        if box and box[0].owner != point.owner:
            close()
        box.append(point)
    close()
    return " → ".join(hops)


def management_path(site: Site, device: Device) -> tuple[Point, ...] | None:
    """From the orchestrator to the device's management address; None when the inventory shows no such path.

    Out of band it is layer 2 only; with `management_via` it is routed through that one device.
    """
    graph = site_graph(site, management=True)
    start = Point("interface", ORCHESTRATOR, site.orchestrator.name)
    end = next(
        (
            Point("interface", device.name, interface.name)
            for interface in device.interfaces
            if any(address.ip == device.management for address in interface.addresses)
        ),
        None,
    )
    if end is None:
        return None
    if device.management_via is None:
        return _shortest_between(_unrouted(Same(site), True), start, end)
    via = Point("core", device.management_via)
    view = graph.subgraph([point for point in graph if point.kind != "core" or point == via])
    try:
        return (*nx.shortest_path(view, start, via), *nx.shortest_path(view, via, end)[1:])
    except (nx.NodeNotFound, nx.NetworkXNoPath):
        return None


@lru_cache(maxsize=16)
def _unrouted(same: Same, management: bool) -> Graph:
    graph: Graph = site_graph(same.site, management=management).copy()
    graph.remove_nodes_from([point for point in graph if point.kind == "core"])
    return graph


def layer2_path(site: Site, start: Point, end: Point) -> tuple[Point, ...] | None:
    """Between two interfaces or ports without any router in between; None when there is none."""
    return _shortest_between(_unrouted(Same(site), False), start, end)


def _shortest_between(graph: Graph, start: Point, end: Point) -> tuple[Point, ...] | None:
    try:
        between = graph.adj[start].keys() & graph.adj[end].keys()
        if len(between) == 1 and start != end and end not in graph.adj[start]:
            return start, next(iter(between)), end  # the usual case: both on one segment
        return tuple(nx.shortest_path(graph, start, end))
    except (KeyError, nx.NodeNotFound, nx.NetworkXNoPath):
        return None


def bridging_hosts(site: Site) -> tuple[tuple[Host, str, str], ...]:
    """Hosts with one leg outside and one inside: (host, external zone, inside zone). They may forward, or be made to."""
    kinds = {zone.name: zone.kind for zone in site.zones}
    found = []
    for host in site.hosts:
        outer = [item.zone for item in host.interfaces if kinds.get(item.zone) is ZoneKind.EXTERNAL]
        inner = [item.zone for item in host.interfaces if kinds.get(item.zone) in (ZoneKind.INTERNAL, ZoneKind.DMZ)]
        if outer and inner:
            found.append((host, outer[0], inner[0]))
    return tuple(found)
