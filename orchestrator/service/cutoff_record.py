"""Steps 4 and 10 of the cut-off: its events, in the log if it can be written, else in the spool. It waits for neither.

One thread opens the log and appends, in order. What the log has not taken in time, or refuses, goes to the spool, which
is merged later and marked as late. An append that was under way when its time ran out may end up in both: every event
carries `epoch` and its device, by which the merge (and a reader) tells them apart.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.events import NewEvent
    from orchestrator.ports import Log

INTENT_WAITS_S = 0.3
OUTCOME_WAITS_S = 5.0


class _Entry:
    def __init__(self, event: NewEvent) -> None:
        self.events = (event,)
        self.lock = threading.Lock()
        self.where: str | None = None  # `log`, `spool` or `nowhere`
        self.settled = threading.Event()

    def settle(self, where: str) -> None:
        with self.lock:
            self.where = self.where or where
        self.settled.set()


class Recorder:
    """`failures` says, for people, why something is not in the log."""

    def __init__(self, log: Callable[[], Log], spool: Callable[[Sequence[NewEvent]], None]) -> None:
        self._open_log, self._spool = log, spool
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._entries: list[_Entry] = []
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._append_all, daemon=True)
        self._thread.start()

    def record(self, event: NewEvent, *, within_s: float = OUTCOME_WAITS_S) -> None:
        """Hands an event to the log; returns at once. After `within_s` without an answer it is spooled."""
        from orchestrator.domain.secrets_masked import PATTERNS_ONLY

        entry = _Entry(PATTERNS_ONLY.event(event))
        self._entries.append(entry)
        self._queue.put(entry)
        timer = threading.Timer(within_s, self._too_late, (entry,))
        timer.daemon = True
        timer.start()

    def finish(self, *, within_s: float = OUTCOME_WAITS_S) -> str:
        """Waits until everything is settled; says where it all is: `log`, `spool` (in part at least) or `nowhere`."""
        deadline = time.monotonic() + within_s
        for entry in self._entries:
            if not entry.settled.wait(max(0.0, deadline - time.monotonic())):
                self._too_late(entry)
        places = {entry.where for entry in self._entries}
        return "nowhere" if "nowhere" in places else "spool" if "spool" in places else "log"

    def _append_all(self) -> None:
        log: Log | None = None
        while entry := self._queue.get():
            if entry.settled.is_set():
                continue
            try:
                log = log or self._open_log()
                log.append(entry.events)
                entry.settle("log")
            except Exception as failure:  # a log in any state must not stop a cut-off
                self._to_spool(entry, str(failure).splitlines()[0] if str(failure) else type(failure).__name__)

    def _too_late(self, entry: _Entry) -> None:
        self._to_spool(entry, "the log did not answer in time")

    def _to_spool(self, entry: _Entry, reason: str) -> None:
        with entry.lock:
            if entry.where is not None:
                return
            try:
                self._spool(entry.events)
                entry.where = "spool"
                failure = f"the log was not written ({reason}): the events are in the spool"
            except Exception as second:
                entry.where = "nowhere"
                failure = f"neither the log ({reason}) nor the spool ({second}) was written: copy this verdict by hand"
        entry.settled.set()
        if failure not in self.failures:
            self.failures.append(failure)
