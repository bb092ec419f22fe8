"""What may be lost, in memory: the public double of the shared store, for one process."""

from __future__ import annotations

import threading
from datetime import datetime


class MemoryVolatile:
    """Implements `ports.Volatile`. Safe for threads."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[str, datetime]] = {}
        self._lock = threading.Lock()

    def put(self, kind: str, key: str, value: str, *, until: datetime) -> None:
        with self._lock:
            self._kept[kind, key] = (value, until)

    def get(self, kind: str, key: str, *, now: datetime) -> str | None:
        with self._lock:
            return _fresh(self._kept.get((kind, key)), now)

    def take(self, kind: str, key: str, *, now: datetime) -> str | None:
        with self._lock:
            return _fresh(self._kept.pop((kind, key), None), now)

    def all(self, kind: str, *, now: datetime) -> tuple[tuple[str, str], ...]:
        with self._lock:
            return tuple(sorted((key, value) for (of, key), (value, until) in self._kept.items() if of == kind and now < until))

    def clear(self, *, now: datetime) -> None:
        with self._lock:
            self._kept = {name: kept for name, kept in self._kept.items() if now < kept[1]}


def _fresh(kept: tuple[str, datetime] | None, now: datetime) -> str | None:
    return kept[0] if kept is not None and now < kept[1] else None
