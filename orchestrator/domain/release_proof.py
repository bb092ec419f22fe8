"""A coarse device may be reopened only if on every path that it reopens a flow device still enforces the policy.

Proved on the cables (`orchestrator.domain.cabling`), not on the routing tables: routes can be changed by whoever holds
a router, cables cannot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import networkx as nx

from orchestrator.domain.cabling import Graph, Point, site_graph, told, zone_points
from orchestrator.domain.layer import Layer
from orchestrator.domain.network import Site, ZoneKind
from orchestrator.errors import Refused


def prove_releases(
    site: Site,
    releases: Mapping[str, Iterable[str]],
    layers: Mapping[str, Sequence[Layer]],
    *,
    released: Mapping[str, Collection[str]],
    untrusted: Collection[str] = (),
    unfenced: Collection[str] = (),
) -> None:
    """Raises Refused (rule `coarse-behind-flow`) with the first path from outside to inside that a release would open.

    `layers` lie applied on the devices. A layer with a scope closes only part of its guard and proves nothing; neither
    does a device that is `untrusted`, nor a coarse guard of an `unfenced` one (a late command can reopen it).
    """
    if not any(releases.values()):
        return
    closed = {
        (device, name)
        for device, laid in layers.items()
        for layer in laid
        for name in layer.guard
        if device not in untrusted and not layer.scope and not (layer.coarse and device in unfenced)
    }
    opening = {(device, name) for device, names in (*releases.items(), *released.items()) for name in names}
    graph: Graph = site_graph(site).copy()
    graph.remove_nodes_from(
        [point for point in graph if (point.owner, point.name) in closed - opening and point.kind in ("interface", "port")]
    )
    outside = [point for point in zone_points(site, {zone.name for zone in site.zones if zone.is_external}) if point in graph]
    inner = {zone.name for zone in site.zones if zone.kind in (ZoneKind.INTERNAL, ZoneKind.DMZ)}
    inside = [point for point in zone_points(site, inner) if point in graph]
    for device, names in sorted(releases.items()):
        for name in sorted(names):
            path = _path_through(graph, [point for point in graph if (point.owner, point.name) == (device, name)], outside, inside)
            if path is not None:
                raise Refused(
                    f"releasing {name} on {device} would leave a path without any flow device that enforces: {told(path)}",
                    rule="coarse-behind-flow",
                    advice="lay the layer on a flow device on this path first (a wider cut-off), or keep this guard closed",
                )


def _path_through(graph: Graph, guards: Sequence[Point], outside: Sequence[Point], inside: Sequence[Point]) -> tuple[Point, ...] | None:
    """A way from outside to inside that uses the guard: outside on one side of it, inside on another."""
    for guard in guards:
        rest: Graph = graph.copy()
        sides = sorted(graph.neighbors(guard))
        rest.remove_node(guard)
        for outer in sides:
            to_outside = _shortest(rest, outer, outside)
            for inner in sides:
                to_inside = _shortest(rest, inner, inside) if inner != outer and to_outside is not None else None
                if to_outside is not None and to_inside is not None:
                    return (*reversed(to_outside), guard, *to_inside)
    return None


def _shortest(graph: Graph, start: Point, ends: Sequence[Point]) -> tuple[Point, ...] | None:
    found: dict[Point, list[Point]] = nx.single_source_shortest_path(graph, start)
    reached = sorted((len(found[end]), tuple(found[end])) for end in ends if end in found)
    return reached[0][1] if reached else None
