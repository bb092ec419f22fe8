"""Whose turn it is to send to devices: one run at a time. A run that only waits (an observation of a day) gives its turn away
meanwhile, so that what closes, ends and renews does not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class Turn:
    """A context manager; waits until nobody else has the turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Turn:
        self._lock.acquire()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None) -> None:
        self._lock.release()

    @contextmanager
    def given_away(self) -> Iterator[None]:
        """For whoever has the turn and only waits. Afterwards the turn is theirs again, and others may have changed the state."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
