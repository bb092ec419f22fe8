"""Elements that overlap a given one, found without looking at all the others.

Prefixes are nested or disjoint. So elements are kept under what is left of them once cut to given lengths (a tuple
space): for every pair of lengths that occurs, one look-up finds those whose two prefixes both meet the ones asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import packets_of

_Lengths = tuple[int, int, int, int]  # family, protocol, prefix length of the source, of the destination
_Cut = tuple[int, int]  # both prefixes, cut to the lengths of a shape
_Shape = tuple[_Lengths, int, int]  # elements of these lengths, cut to these


class ElementIndex:
    """A growing collection of elements."""

    def __init__(self, elements: Iterable[Element] = ()) -> None:
        self._held: dict[_Lengths, list[Element]] = {}
        self._cut: dict[_Shape, dict[_Cut, list[Element]]] = {}
        self._shapes: dict[_Lengths, list[_Shape]] = {}
        self._asked: dict[tuple[int, int], list[_Lengths]] = {}  # per family and protocol
        self.add(elements)

    def add(self, elements: Iterable[Element]) -> None:
        for element in elements:
            lengths = _lengths(element)
            held = self._held.get(lengths)
            if held is None:
                held = self._held[lengths] = []
                self._asked.setdefault(lengths[:2], []).append(lengths)
            held.append(element)
            for shape in self._shapes.get(lengths, ()):
                self._cut[shape].setdefault(_cut(element, shape[1], shape[2]), []).append(element)

    def holds(self, element: Element) -> bool:
        """Whether every packet of this element is in the collection."""
        near = list(self.overlapping(element))
        if any(_within(element, other) for other in near):
            return True
        return bool(near) and packets_of([element]) <= packets_of(near)

    def overlapping(self, element: Element) -> Iterator[Element]:
        """Every element of the collection that has a packet in common with this one."""
        family, protocol, source, destination = _lengths(element)
        for lengths in self._asked.get((family, protocol), ()):
            shape = (lengths, min(lengths[2], source), min(lengths[3], destination))
            table = self._cut.get(shape)
            if table is None:
                table = self._prepared(shape)
            for other in table.get(_cut(element, shape[1], shape[2]), ()):
                if element.ports is None or other.ports is None or _meet(element.ports, other.ports):
                    yield other

    def _prepared(self, shape: _Shape) -> dict[_Cut, list[Element]]:
        table: dict[_Cut, list[Element]] = {}
        for element in self._held[shape[0]]:
            table.setdefault(_cut(element, shape[1], shape[2]), []).append(element)
        self._cut[shape] = table
        self._shapes.setdefault(shape[0], []).append(shape)
        return table


def _lengths(element: Element) -> _Lengths:
    return element.family, element.protocol, element.source.prefixlen, element.destination.prefixlen


def _cut(element: Element, source: int, destination: int) -> _Cut:
    bits = 32 if element.family == 4 else 128
    return int(element.source.network_address) >> (bits - source), int(element.destination.network_address) >> (bits - destination)


def _within(inner: Element, outer: Element) -> bool:
    """Of two that overlap."""
    if inner.source.prefixlen < outer.source.prefixlen or inner.destination.prefixlen < outer.destination.prefixlen:
        return False
    return inner.ports is None or outer.ports is None or (outer.ports[0] <= inner.ports[0] and inner.ports[1] <= outer.ports[1])


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
