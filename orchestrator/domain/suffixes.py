"""Boxes of integers cut into suffixes, each known by a small number: what sets of boxes are built and compared with.

A box of k intervals has a suffix at each depth 0 to k: what is left of it once the first dimensions are fixed. Equal
suffixes share a number, so that a cell of a sweep is a frozenset of small integers: cheap to hash, cheap to compare.
Number 0 at depth k is the empty suffix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from orchestrator.domain.diagram import EMPTY, LEAF, Budget, Interval, Node, extended

Cell = frozenset[int]
_M = TypeVar("_M")


class Suffixes:
    """The numbered suffixes of the boxes of one operation, and the unions of them that were asked for."""

    def __init__(self, dimensions: int, budget: Budget) -> None:
        self.dimensions, self.budget = dimensions, budget
        self.first: list[list[Interval]] = [[] for _ in range(dimensions)]  # the interval of a suffix
        self.rest: list[list[int]] = [[] for _ in range(dimensions)]  # the suffix behind it, one level down
        self.whole: list[set[int]] = [*(set() for _ in range(dimensions)), {0}]  # those that contain every point of their depth
        self._numbers: list[dict[tuple[Interval, int, bool], int]] = [{} for _ in range(dimensions)]
        self._boxes: dict[tuple[Interval, ...], int] = {}
        self._unions: list[dict[Cell, Node]] = [{} for _ in range(dimensions)]
        self._chains: list[dict[int, Node]] = [{} for _ in range(dimensions)]

    def number(self, box: Sequence[Interval], whole_from: int | None = None) -> int:
        """The number of a box at depth 0. From dimension `whole_from` on it is the whole (None: no such promise)."""
        box = tuple(box)
        number = self._boxes.get(box)
        if number is None:
            number = self._boxes[box] = self._numbered(box, whole_from)
        return number

    def _numbered(self, box: tuple[Interval, ...], whole_from: int | None) -> int:
        known = 0
        for depth in range(self.dimensions - 1, -1, -1):
            whole = whole_from is not None and depth >= whole_from
            key = (box[depth], known, whole)
            numbers = self._numbers[depth]
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = len(numbers)
                self.first[depth].append(box[depth])
                self.rest[depth].append(known)
                if whole:
                    self.whole[depth].add(number)
            known = number
        return known

    def union(self, depth: int, cell: Cell) -> Node:
        """All points of the suffixes, as a diagram."""
        if not cell:
            return EMPTY
        if depth == self.dimensions:
            return LEAF
        if len(cell) == 1:
            return self._chain(depth, next(iter(cell)))
        known = self._unions[depth].get(cell)
        if known is None:
            known = self._unions[depth][cell] = self._united(depth, cell)
        return known

    def _united(self, depth: int, cell: Cell) -> Node:
        self.budget.spend(len(cell))
        first, rest = self.first[depth], self.rest[depth]
        cut: Sweep[int] = Sweep((first[number], rest[number]) for number in cell)
        pieces: list[tuple[int, int, Node]] = []
        for low, high, members in cut.pieces(self.budget):
            extended(pieces, low, high, self.union(depth + 1, frozenset(members)))
        return tuple(pieces)

    def _chain(self, depth: int, number: int) -> Node:
        if depth == self.dimensions:
            return LEAF
        known = self._chains[depth].get(number)
        if known is None:
            low, high = self.first[depth][number]
            known = self._chains[depth][number] = ((low, high, self._chain(depth + 1, self.rest[depth][number])),)
        return known


class Sweep(Generic[_M]):
    """Intervals, each with a member, cut wherever one starts or ends: which members lie over each piece.

    Intervals that touch no other give one piece each without further work: the usual case, and linear after sorting.
    """

    def __init__(self, intervals: Iterable[tuple[Interval, _M]]) -> None:
        self._members: dict[Interval, list[_M]] = {}
        for interval, member in intervals:
            known = self._members.get(interval)
            if known is None:
                self._members[interval] = [member]
            else:
                known.append(member)

    def pieces(self, budget: Budget, is_hot: Callable[[_M], bool] | None = None) -> Iterator[tuple[int, int, Iterable[_M]]]:
        """(low, high, members over it), in order. With `is_hot`: only pieces with such a member over them."""
        if len(self._members) == 1:
            ((interval, members),) = self._members.items()
            if is_hot is None or any(map(is_hot, members)):
                yield *interval, members
            return
        group: list[Interval] = []
        end = -1
        for interval in sorted(self._members):
            if interval[0] > end and group:
                yield from self._group(group, budget, is_hot)
                group = []
            group.append(interval)
            end = max(end, interval[1])
        yield from self._group(group, budget, is_hot)

    def _group(
        self, group: Sequence[Interval], budget: Budget, is_hot: Callable[[_M], bool] | None
    ) -> Iterator[tuple[int, int, Iterable[_M]]]:
        """The pieces of intervals that hang together."""
        if is_hot is not None and not any(is_hot(member) for interval in group for member in self._members[interval]):
            return
        if len(group) == 1:
            yield *group[0], self._members[group[0]]
            return
        starts: dict[int, list[_M]] = {}
        ends: dict[int, list[_M]] = {}
        for low, high in group:
            starts.setdefault(low, []).extend(self._members[low, high])
            ends.setdefault(high + 1, []).extend(self._members[low, high])
        active: dict[_M, int] = {}
        hot, start = 0, 0
        for point in sorted(starts.keys() | ends.keys()):
            if active and (is_hot is None or hot):
                budget.spend(len(active) + 1)
                yield start, point - 1, active
            for member in ends.get(point, ()):
                left = active[member] - 1
                if left:
                    active[member] = left
                else:
                    del active[member]
                if is_hot is not None and is_hot(member):
                    hot -= 1
            for member in starts.get(point, ()):
                active[member] = active.get(member, 0) + 1
                if is_hot is not None and is_hot(member):
                    hot += 1
            start = point


def build(boxes: Iterable[Sequence[Interval]], budget: Budget) -> Node:
    """The union of boxes; each is one interval per dimension, all of the same length."""
    listed = list(boxes)
    if not listed:
        return EMPTY
    suffixes = Suffixes(len(listed[0]), budget)
    return suffixes.union(0, frozenset(map(suffixes.number, listed)))
