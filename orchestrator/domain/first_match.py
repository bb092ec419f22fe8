"""Ordered lists of boxes, first match wins: what a list accepts, and exactly where two lists differ.

A list is cut like a set (`suffixes`), cell by cell; in each cell it is a sequence of runs, neighbours of one verdict
together, for their order among themselves means nothing. What no run matches is denied.

Two lists are compared without building either of them whole. Rules that both have, in an order that agrees, decide
alike wherever they are the first match: two lists can differ only where another rule lies. So a cell is cut only where
a rule lies that the two do not share there (a *suspect*), and the work follows the difference, not the lists.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from orchestrator.domain.diagram import EMPTY, Budget, Interval, Node, extended
from orchestrator.domain.suffixes import Cell, Suffixes, Sweep

Run = tuple[bool, Cell]  # (accept?, the suffixes of its rules)
Runs = tuple[Run, ...]  # verdicts alternate; the last one accepts; () denies everything
Ranked = tuple[int, int]  # (the suffix, which run of the list it is in)
Sided = tuple[bool, Ranked, bool]  # (of the second list?, the suffix behind, is it a suspect?)
_RANK = itemgetter(1)
Line = tuple[bool, Sequence[Interval], int | None]  # (accept?, box, the dimension from which on it is whole)


class FirstMatch:
    """Lists of rules over the same dimensions; raises Refused (`packet-set-too-complex`) beyond the budget."""

    def __init__(self, dimensions: int, budget: Budget) -> None:
        self._suffixes, self._budget = Suffixes(dimensions, budget), budget
        self._accepted: list[dict[Runs, Node]] = [{} for _ in range(dimensions)]
        self._differences: list[dict[tuple[Runs, Runs], tuple[Node, Node]]] = [{} for _ in range(dimensions)]

    def runs(self, lines: Iterable[Line]) -> Runs:
        """A list of rules in its normal form."""
        verdicts: list[bool] = []
        ranked: list[Ranked] = []
        for accept, box, whole_from in lines:
            if not verdicts or verdicts[-1] != accept:
                verdicts.append(accept)
            ranked.append((self._suffixes.number(box, whole_from), len(verdicts) - 1))
        return self._normal(0, verdicts, ranked)

    def accepted(self, runs: Runs, depth: int = 0) -> Node:
        """What the list lets through, as a diagram."""
        if not runs:
            return EMPTY
        if len(runs) == 1:
            return self._suffixes.union(depth, runs[0][1])
        known = self._accepted[depth].get(runs)
        if known is None:
            known = self._accepted[depth][runs] = self._cut(depth, runs)
        return known

    def _cut(self, depth: int, runs: Runs) -> Node:
        first, rest = self._suffixes.first[depth], self._suffixes.rest[depth]
        self._budget.spend(sum(len(cell) for _, cell in runs))
        verdicts = [accept for accept, _ in runs]
        sweep: Sweep[Ranked] = Sweep((first[number], (rest[number], rank)) for rank, (_, cell) in enumerate(runs) for number in cell)
        pieces: list[tuple[int, int, Node]] = []
        for low, high, members in sweep.pieces(self._budget):
            extended(pieces, low, high, self.accepted(self._normal(depth + 1, verdicts, members), depth + 1))
        return tuple(pieces)

    def differences(self, before: Runs, after: Runs, depth: int = 0) -> tuple[Node, Node]:
        """(what only `after` lets through, what only `before` does), as diagrams."""
        if before == after:
            return EMPTY, EMPTY
        if not before or not after:
            return self.accepted(after, depth), self.accepted(before, depth)
        key = (before, after)
        known = self._differences[depth].get(key)
        if known is None:
            known = self._differences[depth][key] = self._cut_both(depth, before, after)
        return known

    def _cut_both(self, depth: int, before: Runs, after: Runs) -> tuple[Node, Node]:
        first, rest = self._suffixes.first[depth], self._suffixes.rest[depth]
        self._budget.spend(sum(len(cell) for runs in (before, after) for _, cell in runs))
        suspects = _suspects(before, after)
        least, most = min(first[number][0] for number in suspects), max(first[number][1] for number in suspects)
        sweep: Sweep[Sided] = Sweep(
            ((max(low, least), min(high, most)), (is_after, (rest[number], rank), number in suspects))
            for is_after, runs in ((False, before), (True, after))
            for rank, (_, cell) in enumerate(runs)
            for number in cell
            for low, high in (first[number],)
            if low <= most and high >= least
        )
        verdicts = [accept for accept, _ in before], [accept for accept, _ in after]
        come: list[tuple[int, int, Node]] = []
        gone: list[tuple[int, int, Node]] = []
        for low, high, members in sweep.pieces(self._budget, _is_suspect):
            listed = list(members)
            one = self._normal(depth + 1, verdicts[0], [ranked for is_after, ranked, _ in listed if not is_after])
            other = self._normal(depth + 1, verdicts[1], [ranked for is_after, ranked, _ in listed if is_after])
            appears, disappears = self.differences(one, other, depth + 1)
            extended(come, low, high, appears)
            extended(gone, low, high, disappears)
        return tuple(come), tuple(gone)

    def _normal(self, depth: int, verdicts: Sequence[bool], members: Iterable[Ranked]) -> Runs:
        """Without what an earlier rule hides, neighbours of one verdict joined, no denial at the end."""
        earliest = dict(sorted(members, key=_RANK, reverse=True))
        ranks = set(earliest.values())
        if len(ranks) == 1 and depth < self._suffixes.dimensions:  # the usual cell
            return ((True, frozenset(earliest)),) if verdicts[ranks.pop()] else ()
        whole = self._suffixes.whole[depth]
        last = min((earliest[number] for number in whole & earliest.keys()), default=len(verdicts)) if whole else len(verdicts)
        cells: dict[int, list[int]] = {}
        for number, rank in earliest.items():
            if rank < last or (rank == last and number in whole):
                cells.setdefault(rank, []).append(number)
        runs: list[tuple[bool, list[int]]] = []
        for rank in sorted(cells):
            if runs and runs[-1][0] == verdicts[rank]:
                runs[-1][1].extend(cells[rank])
            else:
                runs.append((verdicts[rank], cells[rank]))
        if runs and not runs[-1][0]:
            runs.pop()
        return tuple((accept, frozenset(numbers)) for accept, numbers in runs)


def _is_suspect(member: Sided) -> bool:
    return member[2]


def _suspects(before: Runs, after: Runs) -> Cell:
    """The suffixes that the two lists do not share, or not with the same verdict, or not in an order that agrees."""
    if len(before) == len(after) == 1:
        return before[0][1] ^ after[0][1]
    one, other = _ranks(before), _ranks(after)
    shared = {number for number in one.keys() & other.keys() if before[one[number]][0] == after[other[number]][0]}
    return frozenset((one.keys() | other.keys()) - _in_one_order(shared, one, other))


def _ranks(runs: Runs) -> dict[int, int]:
    return {number: rank for rank, (_, cell) in enumerate(runs) for number in cell}


def _in_one_order(shared: Iterable[int], one: Mapping[int, int], other: Mapping[int, int]) -> set[int]:
    """The most of them whose ranks rise in both lists: the longest rising run of the second ranks, by patience."""
    listed = sorted(shared, key=lambda number: (one[number], other[number]))
    tails: list[int] = []  # the smallest last rank of a rising run of each length
    ends: list[int] = []  # which of `listed` ends it
    before: list[int] = []  # which of `listed` comes before each one in its run
    for index, number in enumerate(listed):
        length = bisect_right(tails, other[number])
        before.append(ends[length - 1] if length else -1)
        if length == len(tails):
            tails.append(other[number])
            ends.append(index)
        else:
            tails[length], ends[length] = other[number], index
    chosen: set[int] = set()
    index = ends[-1] if ends else -1
    while index >= 0:
        chosen.add(listed[index])
        index = before[index]
    return chosen
