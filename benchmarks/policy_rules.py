"""Lists of rules for `make bench-policy`: as sites have them, the same in other words, with one change, and the worst."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence
from typing import Any

from orchestrator.domain.diagram import Interval
from orchestrator.domain.packets import ANY_SELECTOR, TCP, UDP, Box, Direction, whole
from orchestrator.domain.rule_lists import Rule

PORTS = (22, 25, 53, 80, 104, 443, 2575, 5671, 8443, 11112)
INWARDS: Interval = (Direction.IN, Direction.IN)


def site_rules(count: int, seed: int) -> list[Rule]:
    """IPv4, first match wins, one in seven denies; networks and hosts that share prefixes; some for everybody, some
    with wide port ranges. Many overlap."""
    chance = random.Random(seed)
    networks = [chance.getrandbits(32) for _ in range(max(20, count // 10))]
    return [Rule(_box(chance, networks), accept=chance.random() < 6 / 7) for _ in range(count)]


def _box(chance: random.Random, networks: Sequence[int]) -> Box:
    kind = chance.random()
    source = _prefix((chance.choice(networks) + chance.getrandbits(8)) % 2**32, chance.choice([16, 24, 24, 28, 32, 32, 32]))
    host = 10 << 24 | chance.getrandbits(14 if kind < 0.7 else 20)
    port = chance.choice(PORTS)
    return Box(
        family=4,
        source=whole(4) if kind < 0.03 else source,
        destination=_prefix(host, chance.choice([32, 32, 32, 28, 24])),
        protocol=(TCP, TCP) if chance.random() < 0.75 else (UDP, UDP),
        selector=(1024, 65535) if 0.03 <= kind < 0.06 else ANY_SELECTOR if 0.06 <= kind < 0.08 else (port, port),
        direction=INWARDS,
    )


def _prefix(address: int, length: int) -> Interval:
    low = address >> (32 - length) << (32 - length)
    return low, low + 2 ** (32 - length) - 1


def in_other_words(rules: Sequence[Rule], seed: int) -> list[Rule]:
    """The same decisions: neighbours of one verdict shuffled, one rule in ten written as two halves."""
    chance = random.Random(seed)
    found: list[Rule] = []
    for _, run in itertools.groupby(rules, key=lambda rule: rule.accept):
        pieces = [piece for rule in run for piece in (_halves(rule, chance) if chance.random() < 0.1 else [rule])]
        chance.shuffle(pieces)
        found += pieces
    return found


def _halves(rule: Rule, chance: random.Random) -> list[Rule]:
    wide = [name for name in ("source", "destination", "selector") if len(set(getattr(rule.box, name))) == 2]
    if not wide:
        return [rule, rule]
    name = chance.choice(wide)
    low, high = getattr(rule.box, name)
    middle = chance.randrange(low, high)
    return [_narrowed(rule, name, (low, middle)), _narrowed(rule, name, (middle + 1, high))]


def _narrowed(rule: Rule, name: str, interval: Interval) -> Rule:
    changes: dict[str, Any] = {name: interval}
    return dataclasses.replace(rule, box=dataclasses.replace(rule.box, **changes))


def with_one_change(rules: Sequence[Rule]) -> list[Rule]:
    """One rule more in the middle, for a service that nothing else speaks of."""
    extra = Box(4, _prefix(198 << 24, 24), _prefix(10 << 24 | 77, 32), (TCP, TCP), (7, 7), INWARDS)
    return [*rules[: len(rules) // 2], Rule(extra), *rules[len(rules) // 2 :]]


def disjoint(count: int) -> list[Rule]:
    return [
        Rule(Box(4, (16 * index, 16 * index + 9), (7 * index, 7 * index), (TCP, TCP), (index % 1000, index % 1000), INWARDS))
        for index in range(count)
    ]


def tangle(count: int, seed: int) -> list[Rule]:
    """Half of the universe each, crossing one another in every dimension: no list of this kind is ever written."""
    chance = random.Random(seed)

    def half(most: int) -> Interval:
        low = chance.randrange(most // 2)
        return low, low + most // 2

    boxes = (Box(4, half(2**32 - 1), half(2**32 - 1), (TCP, TCP), half(65535), INWARDS) for _ in range(count))
    return [Rule(box, accept=chance.random() < 0.5) for box in boxes]
