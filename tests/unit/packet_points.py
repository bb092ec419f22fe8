"""A universe of packets small enough to count, and lists of rules such as sites have."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

from hypothesis import strategies as st

from orchestrator.domain.diagram import Interval
from orchestrator.domain.packets import Box

SIDE = 6  # addresses and ports 0 to 5: 4 x 6 x 6 x 6 points with family and protocol
SPANS = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)).map(lambda pair: (min(pair), max(pair)))
BOXES = st.builds(
    Box,
    family=st.sampled_from([4, 6]),
    source=SPANS,
    destination=SPANS,
    protocol=st.sampled_from([(6, 6), (17, 17), (6, 17)]),
    selector=SPANS,
    direction=st.sampled_from([(0, 1), (0, 0), (1, 1)]),
)
SETS = st.lists(BOXES, max_size=5)
Point = tuple[int, int, int, int, int, int]


def points(boxes: Iterable[Box]) -> set[Point]:
    found: set[Point] = set()
    for box in boxes:
        found.update(itertools.product(*(_few(interval) for interval in box.ranges())))  # type: ignore[arg-type]
    return found


def _few(interval: Interval) -> list[int]:
    """The values of the universe in an interval, for wide ones too."""
    low, high = interval
    return [value for value in (*range(SIDE), 6, 17) if low <= value <= high]


def rules(count: int, seed: int) -> list[Box]:
    """Rules as sites have them: one service from a network to a host, with some that overlap."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        length = chance.choice([8, 16, 24, 28, 32])
        source = chance.getrandbits(32) >> (32 - length) << (32 - length)
        host = 10 << 24 | chance.getrandbits(24)
        port = chance.choice([22, 25, 53, 80, 443, 8443, 104, 11112])
        made.append(Box(4, (source, source + 2 ** (32 - length) - 1), (host, host), (6, 6), (port, port)))
    return made
