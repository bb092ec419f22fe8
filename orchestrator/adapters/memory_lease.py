"""The lease in memory: the public double of the durable one, for fast tests and the simulation."""

from __future__ import annotations

import threading
from dataclasses import replace

from orchestrator.errors import LogUnavailable
from orchestrator.ports import Held


class MemoryLease:
    """Implements `ports.Lease` for several servers of one process. `unavailable`: it cannot be read or written, as with a full
    disk. `end` stands for the death of its holder's process."""

    def __init__(self) -> None:
        self._held: Held | None = None
        self._lock = threading.Lock()
        self.unavailable = ""

    def seen(self) -> Held | None:
        with self._lock:
            self._require()
            return self._held

    def acquire(self, holder: str, instead_of: Held | None) -> Held | None:
        with self._lock:
            self._require()
            if _who(self._held) != _who(instead_of):
                return None
            self._held = Held(holder, 1 if self._held is None else self._held.term + 1, 0)
            return self._held

    def renew(self, held: Held) -> Held | None:
        with self._lock:
            self._require()
            if self._held is None or (self._held.holder, self._held.term) != (held.holder, held.term):
                return None
            self._held = replace(self._held, beat=self._held.beat + 1)
            return self._held

    def release(self, held: Held) -> None:
        with self._lock:
            self._require()
            if self._held is not None and (self._held.holder, self._held.term) == (held.holder, held.term):
                self._held = replace(self._held, holder="", gone=False)

    def end(self) -> None:
        """The process of whoever holds it has ended without releasing it."""
        with self._lock:
            if self._held is not None:
                self._held = replace(self._held, gone=True)

    def _require(self) -> None:
        if self.unavailable:
            raise LogUnavailable(f"the lease cannot be read: {self.unavailable}")


def _who(held: Held | None) -> tuple[str, int, int] | None:
    return None if held is None else (held.holder, held.term, held.beat)
