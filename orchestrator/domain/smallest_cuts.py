"""The smallest sets of containment that separate a ground: minimum cuts, exact, and their alternatives of equal size.

What can be chosen is a *unit*: a whole device (a router or firewall, with all its interfaces), one port of a switch,
or one cable pulled by a person. Each unit becomes one edge of a flow network, everything between units one vertex, so
that a minimum cut of the network is a cheapest set of units (Menger). Alternatives are
enumerated after Lawler: branch on each unit of the last cut, once without it and once with it, cheapest first.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import networkx as nx

from orchestrator.domain.cabling import Point
from orchestrator.domain.cut_ground import Ground, Guard, guard_of, walk
from orchestrator.domain.max_flow import ENDLESS, FlowNetwork

PART = 1  # a part of a device that the inside needs: chosen after a whole one, all else being equal
ONE = 10**4
GIVES_UP = 10**8  # for each kept conversation that is closed with it
BY_HAND = 10**12  # somebody has to walk there
MOST = 48  # cuts looked at when alternatives are enumerated


@dataclass(frozen=True)
class Unit:
    """`name` is empty for a device closed as one. `cost` orders: by hand, conversations given up, number, parts."""

    device: str
    name: str
    cost: int
    points: frozenset[Point] = field(repr=False)

    @property
    def by_hand(self) -> bool:
        return self.cost >= BY_HAND


class Cut(NamedTuple):
    """`guards` to close, outermost of each unit; `by_hand` what nobody can drive; `size` is the number of units."""

    guards: tuple[Guard, ...]
    by_hand: tuple[Guard, ...]
    size: int
    cost: int

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(sorted({guard.device for guard in (*self.guards, *self.by_hand)}))


def smallest_cut(on: Ground, units: Sequence[Unit], closed: Collection[Point] = ()) -> Cut | None:
    """A cheapest cut, the points of `closed` being shut already; None when no choice of units separates.

    Empty (`size` 0) when they are separated already.
    """
    return next(_cuts(on, units, closed), None)


def smallest_cuts(on: Ground, units: Sequence[Unit], closed: Collection[Point] = ()) -> tuple[tuple[Cut, ...], bool]:
    """All cuts of the smallest number of units, one per set of devices, the cheapest first and then the one nearest to
    the outside; and whether the enumeration was ended by its bound (`MOST`)."""
    found: list[Cut] = []
    for number, cut in enumerate(_cuts(on, units, closed)):
        if found and cut.cost // ONE > found[0].cost // ONE:
            return _ordered(on, found), False
        if number >= MOST:
            return _ordered(on, found), True
        found.append(cut)
    return _ordered(on, found), False


def _ordered(on: Ground, found: Sequence[Cut]) -> tuple[Cut, ...]:
    away = nx.multi_source_dijkstra_path_length(on.graph, set(on.sources)) if on.sources else {}
    distance = {guard_of(point): steps for point, steps in away.items() if point.kind in ("interface", "port")}
    ranked = sorted(found, key=lambda cut: (cut.cost, sum(distance.get(guard, 0) for guard in (*cut.guards, *cut.by_hand)), cut))
    first: dict[tuple[str, ...], Cut] = {}
    for cut in ranked:
        first.setdefault(cut.devices, cut)
    return tuple(first.values())


def _cuts(on: Ground, units: Sequence[Unit], closed: Collection[Point]) -> Iterator[Cut]:
    """Every cut, cheapest first."""
    network = _Network(on, units, frozenset(closed))
    first = network.cheapest(frozenset(), frozenset())
    heap = [] if first is None else [(_cost(units, first), tuple(sorted(first)), frozenset[int](), frozenset[int]())]
    while heap:
        _, chosen, taken, barred = heapq.heappop(heap)
        yield _as_cut(on, [units[index] for index in chosen], closed)
        for index in chosen:
            if index in taken:
                continue
            other = network.cheapest(taken, barred | {index})
            if other is not None:
                heapq.heappush(heap, (_cost(units, other), tuple(sorted(other)), taken, barred | {index}))
            taken |= {index}


def _cost(units: Sequence[Unit], chosen: Collection[int]) -> int:
    return sum(units[index].cost for index in chosen)


class _Network:
    """Units are edges (vertices 2i to 2i + 1); what lies between them is joined into one vertex each."""

    def __init__(self, on: Ground, units: Sequence[Unit], closed: frozenset[Point]) -> None:
        graph = on.graph.subgraph(_between(on, closed))
        unit_of = {point: index for index, unit in enumerate(units) for point in unit.points if point in graph}
        regions = list(nx.connected_components(graph.subgraph([point for point in graph if point not in unit_of])))
        region_of = {point: 2 * len(units) + number for number, region in enumerate(regions) for point in region}
        into = {**region_of, **{point: 2 * index for point, index in unit_of.items()}}
        out_of = {**region_of, **{point: 2 * index + 1 for point, index in unit_of.items()}}
        self._source = 2 * len(units) + len(regions)
        self._flow = FlowNetwork(self._source + 2)
        self._of_unit = [self._flow.edge(2 * index, 2 * index + 1, unit.cost) for index, unit in enumerate(units)]
        joined = {
            (out_of[here], into[there])
            for one, other in graph.edges
            for here, there in ((one, other), (other, one))
            if unit_of.get(here, -1) != unit_of.get(there, -2)
        }
        joined |= {(self._source, into[point]) for point in on.sources if point in graph}
        joined |= {(out_of[point], self._source + 1) for point in on.targets if point in graph}
        for start, end in sorted(joined):
            self._flow.edge(start, end)

    def cheapest(self, taken: frozenset[int], barred: frozenset[int]) -> frozenset[int] | None:
        """The cheapest cut that has all of `taken` and none of `barred`; None when there is none."""
        changed = {self._of_unit[index]: 0 for index in taken} | {self._of_unit[index]: ENDLESS for index in barred}
        near = self._flow.near_side(self._source, self._source + 1, changed)
        if near is None:
            return None
        return taken | {index for index in range(len(self._of_unit)) if 2 * index in near and 2 * index + 1 not in near}


def _between(on: Ground, closed: Collection[Point]) -> set[Point]:
    """What lies on ways from a source to the first target: all that can be in a cut, and on a large site not much."""
    seen = {point for point in on.sources if point not in closed}
    queue = list(seen)
    while queue:
        here = queue.pop()
        for near in on.graph.neighbors(here) if here not in on.targets else ():
            if near not in closed and near not in seen:
                seen.add(near)
                queue.append(near)
    return seen


def _as_cut(on: Ground, chosen: Sequence[Unit], closed: Collection[Point]) -> Cut:
    """With the guards by which the outside would enter each unit: nothing that lies further inside is touched."""
    of_hands = {point for unit in chosen if unit.by_hand for point in unit.points}
    of_units = {point for unit in chosen for point in unit.points}
    front = walk(on, {*closed, *of_units}).front
    met = [point for point in front if point in of_units]
    return Cut(
        tuple(guard_of(point) for point in met if point not in of_hands),
        tuple(guard_of(point) for point in met if point in of_hands),
        len(chosen),
        sum(unit.cost for unit in chosen),
    )
