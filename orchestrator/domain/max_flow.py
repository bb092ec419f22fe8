"""Maximum flow and minimum cut on small integer networks (Edmonds and Karp), made to be solved again and again.

The network is built once; each question changes some capacities and nothing else. networkx copies its graphs for every
question: enumerating the alternatives of a hospital took some twenty times as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NewType

ENDLESS = 10**18  # an edge that is not to be cut; more than all costs together

Edge = NewType("Edge", int)


class FlowNetwork:
    """Directed, vertices numbered from 0; edges keep the number that `edge` gave them."""

    def __init__(self, vertices: int) -> None:
        self._leaving: list[list[int]] = [[] for _ in range(vertices)]
        self._to: list[int] = []
        self._capacity: list[int] = []

    def edge(self, start: int, end: int, capacity: int = ENDLESS) -> Edge:
        number = len(self._to)
        for here, there, room in ((start, end, capacity), (end, start, 0)):
            self._leaving[here].append(len(self._to))
            self._to.append(there)
            self._capacity.append(room)
        return Edge(number)

    def near_side(self, source: int, sink: int, changed: Mapping[Edge, int]) -> set[int] | None:
        """The vertices on the source's side of a minimum cut, the one nearest to it; None when only an endless edge
        could be cut. `changed` gives some edges another capacity, for this question."""
        room = list(self._capacity)
        for edge, capacity in changed.items():
            room[edge] = capacity
        while True:
            by: dict[int, int] = {source: -1}
            queue = deque([source])
            while queue and sink not in by:
                here = queue.popleft()
                for edge_ in self._leaving[here]:
                    if room[edge_] > 0 and self._to[edge_] not in by:
                        by[self._to[edge_]] = edge_
                        queue.append(self._to[edge_])
            if sink not in by:
                return set(by)
            way, here = [], sink
            while here != source:
                way.append(by[here])
                here = self._to[by[here] ^ 1]
            pushed = min(room[edge_] for edge_ in way)
            if pushed >= ENDLESS // 2:
                return None
            for edge_ in way:
                room[edge_] -= pushed
                room[edge_ ^ 1] += pushed
