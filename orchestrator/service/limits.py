"""How often somebody may do something: token buckets, one per source or person, bounded in number.

Per server and in memory: a limit that is lost with a restart harms nobody. Monotonic time only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """`burst` at once, then `per_s` a second."""

    burst: float
    per_s: float


class Buckets:
    """Safe for threads. Whoever is not seen for longest makes room for others: with a full bucket when they come back."""

    def __init__(self, rate: Rate, elapsed: Callable[[], float], most: int = 10_000) -> None:
        self._rate, self._elapsed, self._most = rate, elapsed, most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was
        self._lock = threading.Lock()

    def take(self, who: str) -> float:
        """Takes one and returns 0; or takes none, and returns after how many seconds there is one again."""
        with self._lock:
            now = self._elapsed()
            left, then = self._left.pop(who, (self._rate.burst, now))
            left = min(self._rate.burst, left + max(0.0, now - then) * self._rate.per_s)
            wait = 0.0 if left >= 1 else (1 - left) / self._rate.per_s
            self._left[who] = (left if wait else left - 1, now)
            while len(self._left) > self._most:
                self._left.popitem(last=False)
            return wait
