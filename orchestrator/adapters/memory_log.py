"""The log in memory: the public double of the durable one, for fast tests and the simulation. Not durable."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from orchestrator.domain.chain import Chain
from orchestrator.domain.events import Event, Head, NewEvent
from orchestrator.errors import LogUnavailable, Stale


class MemoryLog:
    """Implements `ports.Log`. Set `unavailable` to a reason to let the next appends fail as a full disk would."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._chain = Chain()
        self._lock = threading.Lock()
        self.unavailable: str | None = None

    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        with self._lock:
            if self.unavailable:
                raise LogUnavailable(f"the log cannot be written: {self.unavailable}")
            if expected is not None and expected != self._chain.size:
                raise Stale(f"the log has {self._chain.size} events, not {expected}", rule="log-size")
            chain, sealed = self._chain.seal(events)
            self._events.extend(sealed)
            self._chain = chain
            return chain.head()

    def read(self, start: int = 0) -> Iterator[Event]:
        position = max(start, 0)
        while position < len(self._events):
            yield self._events[position]
            position += 1

    def head(self) -> Head:
        return self._chain.head()
