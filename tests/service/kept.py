"""Where the logs of the hospitals in these tests are kept: in memory, unless the test says otherwise (`STORES` of its module)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.memory_volatile import MemoryVolatile
from orchestrator.domain.events import Event, Head, NewEvent
from orchestrator.errors import LogUnavailable
from orchestrator.ports import Log, Volatile


@dataclass(frozen=True)
class Kept:
    """A new, empty log, and what its servers share and may lose."""

    log: MemoryLog
    volatile: Volatile


class DurableLog(MemoryLog):
    """A durable log that can be told to be `unavailable` like the one in memory."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._durable = log

    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        if self.unavailable:
            raise LogUnavailable(f"the log cannot be written: {self.unavailable}")
        return self._durable.append(events, expected=expected)

    def read(self, start: int = 0) -> Iterator[Event]:
        return self._durable.read(start)

    def head(self) -> Head:
        return self._durable.head()


def in_memory() -> Kept:
    return Kept(MemoryLog(), MemoryVolatile())


_makes: list[Callable[[], Kept]] = [in_memory]


def kept() -> Kept:
    return _makes[-1]()


@contextmanager
def kept_by(make: Callable[[], Kept]) -> Iterator[None]:
    """Every hospital that is made meanwhile keeps its log there."""
    _makes.append(make)
    try:
        yield
    finally:
        _makes.pop()
