"""Which devices hold the inside together: closing one of them whole would take parts of it away from others.

Found on the tree of blocks and cut vertices, for all devices at once: trying each device by itself takes minutes on a
site of a thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import cast

import networkx as nx

from orchestrator.domain.cabling import Graph, Point


@lru_cache(maxsize=16)
def parting_cores(graph: Graph, outer: frozenset[str], inside: frozenset[str]) -> frozenset[str]:
    """The owners of cores without which the zones `inside` fall apart, the zones `outer` being left out. `graph` is a
    site's shared one: the answer is kept for it."""
    inner: Graph = graph.subgraph([point for point, data in graph.nodes.items() if data.get("zone") not in outer])
    ends = {point for point, data in inner.nodes.items() if data.get("zone") in inside and point.kind in ("segment", "vlan")}
    joints = set(nx.articulation_points(inner))
    tree: nx.Graph[Point | int] = nx.Graph()
    held: dict[Point | int, int] = {joint: joint in ends for joint in joints}
    for number, block in enumerate(cast("Iterable[set[Point]]", nx.biconnected_components(inner))):
        held[number] = len((block & ends) - joints)
        tree.add_node(number)
        tree.add_edges_from((number, joint) for joint in block & joints)
    found: set[str] = set()
    for part in nx.connected_components(tree):
        found |= _with_two_sides(tree, part, held)
    return frozenset(found)


def _with_two_sides(tree: nx.Graph[Point | int], part: Collection[Point | int], held: dict[Point | int, int]) -> set[str]:
    """Cut vertices (cores) with ends in at least two of the subtrees around them."""
    root = next(iter(part))
    above: dict[Point | int, Point | int] = dict(nx.bfs_predecessors(tree, root))
    below = {vertex: held[vertex] for vertex in part}
    for vertex in reversed([root, *above]):
        if vertex in above:
            below[above[vertex]] += below[vertex]
    sides: dict[Point | int, int] = dict.fromkeys(part, 0)
    for vertex, parent in above.items():
        sides[parent] += below[vertex] > 0
        sides[vertex] += below[root] > below[vertex]
    return {vertex.owner for vertex in part if isinstance(vertex, Point) and vertex.kind == "core" and sides[vertex] > 1}
