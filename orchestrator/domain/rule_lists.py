"""Ordered lists of rules, first match wins: which packets they accept, and exactly in which packets two of them differ.

A rule accepts or denies one box; what no rule matches is denied, as on every device that we drive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.domain.diagram import Budget
from orchestrator.domain.first_match import FirstMatch, Line
from orchestrator.domain.packets import DIMENSIONS, Box, PacketSet


@dataclass(frozen=True)
class Rule:
    """One line of a list."""

    box: Box
    accept: bool = True

    def describe(self) -> str:
        return f"{'accept' if self.accept else 'deny'} {self.box.describe()}"


@dataclass(frozen=True)
class Difference:
    """What becomes possible, and what no longer is; false when nothing changes for any packet."""

    appears: PacketSet
    disappears: PacketSet

    def __bool__(self) -> bool:
        return bool(self.appears) or bool(self.disappears)

    def describe(self) -> tuple[str, ...]:
        """`+ …` for each box that becomes possible, then `- …` for each that no longer is."""
        return (
            *(f"+ {box.describe()}" for box in self.appears.summary()),
            *(f"- {box.describe()}" for box in self.disappears.summary()),
        )


NO_DIFFERENCE = Difference(PacketSet(), PacketSet())


def accepted(rules: Iterable[Rule]) -> PacketSet:
    """The packets whose first matching rule accepts them. Raises Refused (`packet-set-too-complex`)."""
    lists = FirstMatch(DIMENSIONS, Budget())
    return PacketSet.of_node(lists.accepted(lists.runs(_lines(rules))))


def difference(before: Iterable[Rule], after: Iterable[Rule], budget: Budget | None = None) -> Difference:
    """Exactly where the two lists decide otherwise; the work follows the rules that they do not share.

    Raises Refused (`packet-set-too-complex`) when the rules that differ lie across too many others.
    """
    lists = FirstMatch(DIMENSIONS, budget or Budget())
    appears, disappears = lists.differences(lists.runs(_lines(before)), lists.runs(_lines(after)))
    return Difference(PacketSet.of_node(appears), PacketSet.of_node(disappears))


def difference_of_boxes(before: Iterable[Box], after: Iterable[Box]) -> Difference:
    """The same for two lists that only accept: what one union holds and the other does not, both ways."""
    return difference(map(Rule, before), map(Rule, after))


def _lines(rules: Iterable[Rule]) -> Iterator[Line]:
    for rule in rules:
        yield rule.accept, rule.box.ranges(), rule.box.whole_from
