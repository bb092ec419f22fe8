"""A short list of boxes for people: they may overlap, together they are exactly the set.

A cross is two bars, not three pieces. Finding the least such list is hard in general; ours is made of boxes that cannot
be made larger, each chosen for what it still adds, none that could be left out. It is never longer than the disjoint list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from orchestrator.domain.diagram import EMPTY, Budget, Interval, Node, Operation, apply, boxes_of, count
from orchestrator.domain.suffixes import build

Ranges = tuple[Interval, ...]
MOST_BOXES = 32  # of the disjoint list: beyond it nobody reads, and the search would cost more than it gives
MOST_ORDERS = 6


def cover(node: Node, disjoint: Sequence[Ranges]) -> list[Ranges]:
    """Maximal boxes whose union is the set, given a list of disjoint boxes that make it up; that list when it is long."""
    if not 2 <= len(disjoint) <= MOST_BOXES:
        return list(disjoint)
    candidates = sorted({largest for box in disjoint for largest in _largest(node, box)})
    chosen = _irredundant(node, _greedy(node, candidates))
    return sorted(chosen if len(chosen) <= len(disjoint) else disjoint)


def _largest(node: Node, box: Ranges) -> Iterator[Ranges]:
    """The box grown one dimension after the other as far as the set goes, in several orders."""
    growing = [index for index in range(len(box)) if len({piece[index] for piece in boxes_of(node)}) > 1]
    for number, order in enumerate(permutations(growing)):
        if number == MOST_ORDERS:
            return
        grown = box
        for index in order:
            grown = (*grown[:index], _reach(node, grown, index), *grown[index + 1 :])
        yield grown


def _reach(node: Node, box: Ranges, index: int) -> Interval:
    """How far the box, which lies in the set, can be stretched in one dimension."""
    low, high = box[index]
    return next((first, last) for first, last in _values(node, box, index) if first <= low and high <= last)


def _values(node: Node, box: Ranges, index: int, depth: int = 0) -> list[Interval]:
    """The values of one dimension for which the rest of the box lies in the set: disjoint, sorted, not touching."""
    if depth == index:
        found: list[Interval] = []
        for low, high, child in node:
            if _holds(child, box, depth + 1):
                joins = bool(found) and found[-1][1] + 1 == low
                found[-1:] = [(found[-1][0], high)] if joins else [*found[-1:], (low, high)]
        return found
    common: list[Interval] | None = None
    for child in _over(node, box[depth]):
        values = _values(child, box, index, depth + 1) if child else []
        common = values if common is None else _both(common, values)
    return common or []


def _holds(node: Node, box: Ranges, depth: int) -> bool:
    """Whether the rest of the box lies in the set."""
    return depth == len(box) or all(child and _holds(child, box, depth + 1) for child in _over(node, box[depth]))


def _over(node: Node, interval: Interval) -> Iterator[Node]:
    """The children over an interval, EMPTY for each gap."""
    point, end = interval
    for low, high, child in node:
        if high < point:
            continue
        if low > end:
            break
        if low > point:
            yield EMPTY
        yield child
        point = high + 1
    if point <= end:
        yield EMPTY


def _both(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    overlaps = ((max(low, first), min(high, last)) for low, high in one for first, last in other)
    return sorted((low, high) for low, high in overlaps if low <= high)


def _greedy(node: Node, candidates: Sequence[Ranges]) -> list[Ranges]:
    """Each time the candidate that leaves the fewest pieces, the larger one first among equals."""
    left, chosen, remaining = node, [], list(candidates)
    while left:
        rests = {box: _minus(left, [box]) for box in remaining}
        best = min(remaining, key=lambda box: (count(rests[box]), -_volume(box), box))
        chosen.append(best)
        left = rests[best]
        remaining.remove(best)
    return chosen


def _irredundant(node: Node, chosen: Sequence[Ranges]) -> list[Ranges]:
    kept = list(chosen)
    for box in sorted(chosen, key=_volume):
        others = [other for other in kept if other != box]
        if not _minus(node, others):
            kept = others
    return kept


def _minus(node: Node, boxes: Sequence[Ranges]) -> Node:
    budget = Budget()
    return apply(Operation.DIFFERENCE, node, build(boxes, budget), budget)


def _volume(box: Ranges) -> int:
    size = 1
    for low, high in box:
        size *= high - low + 1
    return size
