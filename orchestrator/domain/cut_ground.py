"""What a profile promises to separate, and walking the cables from there: the ground of the cut proof.

A promise says: nothing passes from these zones to those. The external zones of a profile's `cuts` make one promise
together (against the inside); every inside zone in `cuts` makes one of its own (against everything else).

A device that is *dead* forwards as configured and enforces nothing. One that is *distrusted* forwards anything to
anywhere: the VLANs of a distrusted switch count as one. The management network is outside of all this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from orchestrator.domain.cabling import Graph, Point, site_graph, zone_points
from orchestrator.domain.network import Device, Grain, Site, ZoneKind
from orchestrator.domain.policy import Profile

INSIDE = (ZoneKind.INTERNAL, ZoneKind.DMZ)


class Guard(NamedTuple):
    """One place where a device can close: an interface, or a port of a switch."""

    device: str
    name: str

    def __str__(self) -> str:
        return f"{self.device}[{self.name}]"


class Promise(NamedTuple):
    """`zones` shall reach none of `targets`; ways through `spared` zones stay open on purpose and are not counted."""

    zones: tuple[str, ...]
    targets: tuple[str, ...]
    spared: tuple[str, ...]


@dataclass(frozen=True)
class Ground:
    """The cables on which a promise is proved: where it starts, and where it must not arrive."""

    graph: Graph
    sources: tuple[Point, ...]
    targets: frozenset[Point]


class Walk(NamedTuple):
    """How far one comes: the shortest path to a target if one is reached, every point reached, the closed points met."""

    path: tuple[Point, ...] | None
    reached: frozenset[Point]
    front: tuple[Point, ...]


def promises(site: Site, profile: Profile) -> tuple[Promise, ...]:
    """Empty for a profile that promises no separation (`cuts` empty)."""
    kinds = {zone.name: zone.kind for zone in site.zones}
    inside = tuple(name for name, kind in kinds.items() if kind in INSIDE)
    outer = tuple(name for name in profile.cuts if kinds[name] is ZoneKind.EXTERNAL)
    made = [Promise(outer, inside, _spared(profile, outer))] if outer else []
    for name in profile.cuts:
        if kinds[name] in INSIDE:
            others = tuple(other for other, kind in kinds.items() if kind is not ZoneKind.MANAGEMENT and other != name)
            made.append(Promise((name,), others, _spared(profile, (name,))))
    return tuple(made)


def ground(site: Site, promise: Promise, *, distrusted: Collection[str] = ()) -> Ground:
    """The cables without the spared zones. Points of the management network are not on it."""
    graph: Graph = site_graph(site).copy()
    graph.remove_nodes_from([point for point, data in site_graph(site).nodes.items() if data.get("zone") in promise.spared])
    for device in site.devices:
        if device.name in distrusted and device.ports:
            vlans = sorted(point for point in graph if point.owner == device.name and point.kind == "vlan")
            graph.add_edges_from(pairwise(vlans))
    sources = tuple(point for point in zone_points(site, promise.zones) if point in graph)
    return Ground(graph, sources, frozenset(point for point in zone_points(site, promise.targets) if point in graph))


def walk(on: Ground, closed: Collection[Point]) -> Walk:
    """From every source, breadth first, never onto a closed point. The same answer at every run."""
    came_from: dict[Point, Point | None] = {point: None for point in on.sources if point not in closed}
    front = {point for point in on.sources if point in closed}
    queue, arrived = deque(came_from), next((point for point in came_from if point in on.targets), None)
    while queue:
        point = queue.popleft()
        for near in sorted(on.graph.neighbors(point)):
            if near in closed:
                front.add(near)
            elif near not in came_from:
                came_from[near] = point
                queue.append(near)
                if arrived is None and near in on.targets:
                    arrived = near
    return Walk(_way_back(came_from, arrived), frozenset(came_from), tuple(sorted(front)))


def closed_by(site: Site, profile: Profile, promise: Promise, *, unable: Collection[str] = ()) -> frozenset[Point]:
    """The points that the profile's layers close for this promise, without the devices that are dead or distrusted.

    A layer with a scope drops only packets with an end in the zones of its scope: it counts for these and no others.
    """
    if profile.scope_zones and not set(promise.zones) <= set(profile.scope_zones):
        return frozenset()
    driven = {device.name for device in site.devices if can_be_driven(device)} - set(unable)
    return points_of(Guard(device, name) for device, names in profile.layers.items() if device in driven for name in names)


def points_of(guards: Iterable[Guard]) -> frozenset[Point]:
    """Both kinds of each, for a guard does not say whether it is a port: a point that is not on the ground closes nothing."""
    return frozenset(Point(kind, device, name) for device, name in guards for kind in ("interface", "port"))


def guard_of(point: Point) -> Guard:
    return Guard(point.owner, point.name)


def can_be_driven(device: Device) -> bool:
    """False for a device of which only a person can pull the cable."""
    return not set(device.grain) <= {Grain.MANUAL}


def _spared(profile: Profile, cut: Collection[str]) -> tuple[str, ...]:
    return tuple(zone for zone in profile.spares if zone not in cut)


def _way_back(came_from: dict[Point, Point | None], end: Point | None) -> tuple[Point, ...] | None:
    if end is None:
        return None
    path, step = [end], came_from[end]
    while step is not None:
        path.append(step)
        step = came_from[step]
    return tuple(reversed(path))
