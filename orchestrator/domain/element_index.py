"""Elements that overlap a given one, found without looking at all the others.

Prefixes are nested or disjoint. So elements are kept under what is left of them once cut to given lengths (a tuple
space): for every pair of lengths that occurs, one look-up finds those whose two prefixes both meet the ones asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.domain.layer import Element, ElementKey
from orchestrator.domain.packet_elements import packets_of

_Lengths = tuple[int, int, int, int]  # family, protocol, prefix length of the source, of the destination
_Cut = tuple[int, int]  # both prefixes, cut to the lengths of a shape
_Table = dict[_Cut, list[Element]]
_Shape = tuple[_Lengths, int, int]  # elements of these lengths, cut to these


class ElementIndex:
    """A growing collection of elements."""

    def __init__(self, elements: Iterable[Element] = ()) -> None:
        self._whole: dict[_Lengths, _Table] = {}  # not cut any further
        self._cut: dict[_Shape, _Table] = {}
        self._shapes: dict[_Lengths, list[_Shape]] = {}
        self._asked: dict[tuple[int, int], list[_Lengths]] = {}  # per family and protocol
        self.add(elements)

    def add(self, elements: Iterable[Element]) -> None:
        for element in elements:
            key = element.key
            lengths = (key[0], key[1], key[3], key[5])
            whole = self._whole.get(lengths)
            if whole is None:
                whole = self._whole[lengths] = {}
                self._asked.setdefault(lengths[:2], []).append(lengths)
            whole.setdefault((key[2], key[4]), []).append(element)
            for shape in self._shapes.get(lengths, ()):
                self._cut[shape].setdefault(_cut(key, shape), []).append(element)

    def holds(self, element: Element) -> bool:
        """Whether every packet of this element is in the collection."""
        near = list(self.overlapping(element))
        if any(_within(element.key, other.key) for other in near):
            return True
        return bool(near) and packets_of([element]) <= packets_of(near)

    def overlapping(self, element: Element) -> Iterator[Element]:
        """Every element of the collection that has a packet in common with this one."""
        key = element.key
        family, protocol, _, source, _, destination, low, high = key
        for lengths in self._asked.get((family, protocol), ()):
            if lengths[2] <= source and lengths[3] <= destination:
                near = self._whole[lengths].get(_cut(key, (lengths, lengths[2], lengths[3])), ())
            else:
                shape = (lengths, min(lengths[2], source), min(lengths[3], destination))
                near = (self._cut.get(shape) or self._prepared(shape)).get(_cut(key, shape), ())
            for other in near:
                if other.key[6] <= high and low <= other.key[7]:
                    yield other

    def _prepared(self, shape: _Shape) -> _Table:
        table: _Table = {}
        for held in self._whole[shape[0]].values():
            table.setdefault(_cut(held[0].key, shape), []).extend(held)
        self._cut[shape] = table
        self._shapes.setdefault(shape[0], []).append(shape)
        return table


def _cut(key: ElementKey, shape: _Shape) -> _Cut:
    """Both prefixes with nothing left beyond the lengths of the shape."""
    bits = 32 if key[0] == 4 else 128
    source, destination = bits - shape[1], bits - shape[2]
    return key[2] >> source << source, key[4] >> destination << destination


def _within(inner: ElementKey, outer: ElementKey) -> bool:
    """Of two that overlap."""
    return inner[3] >= outer[3] and inner[5] >= outer[5] and outer[6] <= inner[6] and inner[7] <= outer[7]
