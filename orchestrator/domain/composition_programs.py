"""What a device with our layer in it does to a packet, as a small program, and exactly which packets it lets through.

A program is lists of lines. A packet goes through the lists in order; in each, the first line that matches acts, and no
match denies. What is left after the last list passes. This is enough to say all five compositions, right and wrong ones:

| composition    | program                                                                                     |
|----------------|---------------------------------------------------------------------------------------------|
| `and`          | (pinholes → next, the rest → deny), (the site's lines)                                      |
| `resubmit`     | (unmarked: pinholes → again, unmarked: the rest → deny, the site's lines)                   |
| `complement`   | (everything around the pinholes → deny, the site's lines)                                   |
| `intersection` | (the site's lines, each accept narrowed to the layer)                                       |
| `close-only`   | () while it lies; (the site's lines) once it is released                                    |

Packets are those that cross the guard and open a conversation; replies belong to it (docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.composition import Composition
from orchestrator.domain.packets import Box, PacketSet, whole
from orchestrator.domain.rule_lists import Rule, accepted

EVERYTHING = (Box(4, whole(4), whole(4)), Box(6, whole(6), whole(6)))
ANY_SITE = tuple(Rule(box) for box in EVERYTHING)  # a site that lets everything through
NO_SITE: tuple[Rule, ...] = ()  # a site that lets nothing through


class Act(StrEnum):
    """What a line does with the packets that it is the first to match."""

    ACCEPT = "accept"  # they pass the device: nothing after it is asked
    DENY = "deny"
    NEXT = "next"  # the next list decides (`return` from a chain of ours)
    AGAIN = "again"  # marked, and this list is asked once more (OpenFlow: a register and `resubmit`)


@dataclass(frozen=True)
class Line:
    act: Act
    box: Box
    unmarked: bool = False  # asks only about packets that no `AGAIN` of this list has marked


@dataclass(frozen=True)
class Program:
    lists: tuple[tuple[Line, ...], ...]


def passes(program: Program) -> PacketSet:
    """Exactly what the device lets through. Raises Refused (`packet-set-too-complex`)."""
    passed, alive = PacketSet(), PacketSet(EVERYTHING)
    for lines in program.lists:
        accept, go_on = _first(lines, Act.ACCEPT), _first(lines, Act.NEXT)
        if again := _first(lines, Act.AGAIN):
            marked = [line for line in lines if not line.unmarked]
            accept |= again & _first(marked, Act.ACCEPT)
            go_on |= again & _first(marked, Act.NEXT)
        passed |= alive & accept
        alive &= go_on
    return passed | alive


def _first(lines: Sequence[Line], act: Act) -> PacketSet:
    """The packets whose first matching line does this."""
    if not any(line.act is act for line in lines):
        return PacketSet()
    return accepted(Rule(line.box, line.act is act) for line in lines)


def program_of(composition: Composition, layer: Iterable[Box], site: Iterable[Rule], *, released: bool = False) -> Program:
    """The device's program. `layer`: the pinholes, everything else on the guard is denied; `site`: its own first-match list."""
    pinholes, rules = tuple(layer), tuple(site)
    if composition is Composition.AND:
        return Program(((*_lines(Act.NEXT, pinholes), *_lines(Act.DENY, EVERYTHING)), own_lines(rules)))
    if composition is Composition.RESUBMIT:
        ours = (*_lines(Act.AGAIN, pinholes, unmarked=True), *_lines(Act.DENY, EVERYTHING, unmarked=True))
        return Program(((*ours, *own_lines(rules)),))
    if composition is Composition.COMPLEMENT:
        return Program(((*_lines(Act.DENY, around(pinholes)), *own_lines(rules)),))
    if composition is Composition.INTERSECTION:
        permitted = PacketSet(pinholes)
        return Program((own_lines([piece for rule in rules for piece in narrowed(rule, permitted)]),))
    return Program((own_lines(rules),) if released else ((),))


def own_lines(rules: Iterable[Rule]) -> tuple[Line, ...]:
    """The site's lines as they are."""
    return tuple(Line(Act.ACCEPT if rule.accept else Act.DENY, rule.box) for rule in rules)


def around(pinholes: Iterable[Box]) -> tuple[Box, ...]:
    """Disjoint boxes that are everything but the pinholes."""
    return (PacketSet(EVERYTHING) - PacketSet(pinholes)).readable()


def narrowed(rule: Rule, layer: PacketSet) -> tuple[Rule, ...]:
    """What a line of the site becomes under `intersection`: a deny stays, an accept keeps what the layer lets through.

    Line by line this is exact. A packet of the layer meets the same verdicts in the same order as before; any other
    packet meets no accept.
    """
    if not rule.accept:
        return (rule,)
    return tuple(Rule(box) for box in (PacketSet([rule.box]) & layer).readable())


def _lines(act: Act, boxes: Iterable[Box], *, unmarked: bool = False) -> tuple[Line, ...]:
    return tuple(Line(act, box, unmarked) for box in boxes)
