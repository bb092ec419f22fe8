"""Sets of integer points as interval decision diagrams: the arithmetic under `packets`.

A set over k ordered dimensions is a node: a tuple of (low, high, child), sorted, disjoint, where touching intervals
never have equal children; `child` is a node of the next dimension, and LEAF after the last one. EMPTY is the empty
set at any depth. The form is canonical: two sets are equal exactly when their nodes are.

Exact sets can need exponentially many pieces: every operation counts the pieces that it makes and refuses beyond
`LIMIT`, instead of taking minutes or all memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

from orchestrator.errors import Refused

Interval = tuple[int, int]  # inclusive on both sides
Node = tuple[Any, ...]  # ((low, high, child), …)

EMPTY: Node = ()
LEAF: Node = ((0, 0, True),)
LIMIT = 2_000_000  # pieces in one operation: a few seconds of work


class Operation(Enum):
    UNION = "union"
    INTERSECTION = "intersection"
    DIFFERENCE = "difference"


class Budget:
    """Counts the pieces of one operation."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.left = limit

    def spend(self, pieces: int) -> None:
        self.left -= pieces
        if self.left < 0:
            raise Refused(
                "these sets of packets overlap in too many ways to be compared exactly",
                rule="packet-set-too-complex",
                advice="split the rules by zone or service, or write prefixes that nest instead of ranges that cross",
            )


def extended(pieces: list[tuple[int, int, Node]], low: int, high: int, child: Node) -> None:
    """Appends a piece in place, joined with the last one when they touch and agree; nothing for an empty child."""
    if not child:
        return
    if pieces:
        last_low, last_high, last_child = pieces[-1]
        if last_high + 1 == low and (last_child is child or last_child == child):
            pieces[-1] = (last_low, high, last_child)
            return
    pieces.append((low, high, child))


def apply(operation: Operation, left: Node, right: Node, budget: Budget) -> Node:
    """The union, intersection or difference of two sets of the same dimensions."""
    return _apply(operation, left, right, {}, budget)


def _apply(operation: Operation, left: Node, right: Node, done: dict[tuple[int, int], Node], budget: Budget) -> Node:
    if left is right or not left or not right:
        return _trivial(operation, left, right)
    key = (id(left), id(right))
    known = done.get(key)
    if known is not None:
        return known
    pieces: list[tuple[int, int, Node]] = []
    for low, high, one, other in _aligned(left, right):
        child = _trivial(operation, one, other) if one is LEAF or other is LEAF else _apply(operation, one, other, done, budget)
        extended(pieces, low, high, child)
    budget.spend(len(left) + len(right))
    node = tuple(pieces)
    done[key] = node
    return node


def _trivial(operation: Operation, left: Node, right: Node) -> Node:
    """The answer when both are the same, or one is empty, or both are leaves or empty."""
    if operation is Operation.UNION:
        return left or right
    if operation is Operation.INTERSECTION:
        return left if left and right else EMPTY
    return EMPTY if right else left


def _aligned(left: Node, right: Node) -> Iterator[tuple[int, int, Node, Node]]:
    """Both nodes cut at each other's borders: (low, high, child of left or EMPTY, child of right or EMPTY)."""
    i = j = 0
    point = min(left[0][0], right[0][0])
    while i < len(left) or j < len(right):
        one, until_one = _at(left, i, point)
        other, until_other = _at(right, j, point)
        until = min(end for end in (until_one, until_other) if end is not None)
        if one or other:
            yield point, until, one, other
        if i < len(left) and left[i][1] <= until:
            i += 1
        if j < len(right) and right[j][1] <= until:
            j += 1
        point = until + 1


def _at(node: Node, index: int, point: int) -> tuple[Node, int | None]:
    """What lies at `point`, given that piece `index` does not end before it, and up to where."""
    if index >= len(node):
        return EMPTY, None
    low, high, child = node[index]
    return (child, high) if low <= point else (EMPTY, low - 1)


def contains(node: Node, point: Sequence[int]) -> bool:
    for value in point:
        node = next((child for low, high, child in node if low <= value <= high), EMPTY)
        if not node:
            return False
    return True


def count(node: Node) -> int:
    """How many boxes `boxes_of` would give; cheap even when these are too many to list."""
    return _count(node, {})


def _count(node: Node, done: dict[int, int]) -> int:
    if node is LEAF:
        return 1
    known = done.get(id(node))
    if known is None:
        known = done[id(node)] = sum(_count(child, done) for _, _, child in node)
    return known


def boxes_of(node: Node) -> Iterator[tuple[Interval, ...]]:
    """Disjoint boxes whose union is the set, in order."""
    for low, high, child in node:
        if child is LEAF:
            yield ((low, high),)
        else:
            for rest in boxes_of(child):
                yield ((low, high), *rest)


def joined(boxes: Iterable[tuple[Interval, ...]], dimensions: Iterable[int]) -> list[tuple[Interval, ...]]:
    """Disjoint boxes made fewer: those that differ in one dimension only, and touch there, become one; to a fixed point."""
    current = list(boxes)
    order = list(dimensions)
    while True:
        before = len(current)
        for dimension in order:
            current = _joined_in(current, dimension)
        if len(current) == before:
            return sorted(current)


def _joined_in(boxes: list[tuple[Interval, ...]], dimension: int) -> list[tuple[Interval, ...]]:
    groups: dict[tuple[Interval, ...], list[Interval]] = {}
    for box in boxes:
        groups.setdefault(box[:dimension] + box[dimension + 1 :], []).append(box[dimension])
    result = []
    for rest, intervals in groups.items():
        intervals.sort()
        low, high = intervals[0]
        for next_low, next_high in intervals[1:]:
            if next_low != high + 1:
                result.append((*rest[:dimension], (low, high), *rest[dimension:]))
                low = next_low
            high = next_high
        result.append((*rest[:dimension], (low, high), *rest[dimension:]))
    return result
