"""Elements that overlap a given one, found without looking at all the others.

Prefixes are nested or disjoint. So elements are kept under what is left of them once cut to given lengths (a tuple
space): for every pair of lengths that occurs, one look-up finds those whose two prefixes both meet the ones asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.domain.layer import Element

_Lengths = tuple[int, int, int, int]  # family, protocol, prefix length of the source, of the destination
_Cut = tuple[int, int]  # both prefixes, cut to the lengths of a shape
_Shape = tuple[_Lengths, int, int]  # elements of these lengths, cut to these


class ElementIndex:
    """A growing collection of elements; those that are the same count once."""

    def __init__(self, elements: Iterable[Element] = ()) -> None:
        self._held: dict[_Lengths, dict[Element, None]] = {}
        self._cut: dict[_Shape, dict[_Cut, list[Element]]] = {}
        self._shapes: dict[_Lengths, list[_Shape]] = {}
        self._asked: dict[tuple[int, int], list[_Lengths]] = {}  # per family and protocol
        self.add(elements)

    def add(self, elements: Iterable[Element]) -> None:
        for element in elements:
            lengths = _lengths(element)
            held = self._held.get(lengths)
            if held is None:
                held = self._held[lengths] = {}
                self._asked.setdefault(lengths[:2], []).append(lengths)
            if element not in held:
                held[element] = None
                for shape in self._shapes.get(lengths, ()):
                    self._cut[shape].setdefault(_cut(element, shape[1], shape[2]), []).append(element)

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


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
