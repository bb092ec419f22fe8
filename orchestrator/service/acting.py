"""Which of several servers acts on the log: this one, or another. One sends to devices, the others answer questions.

It acts as long as it renews its lease. Who waits watches the lease's beat on a monotonic clock of its own: a server that has
not beaten for `LEASE_S` hangs, or its machine is gone; one whose process has ended, or that has stopped in order, is followed
at once. No wall clock of any machine counts.

A server that was frozen finds its lease lost before its next step (`require`); what it had sent already fails on the devices,
because whoever took over has fenced them.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import LogUnavailable, NotActing
from orchestrator.ports import Held, Lease

LEASE_S = 15.0
BEAT_S = 3.0


@dataclass(frozen=True)
class TookOver:
    """From whom (empty: from nobody), and whether that server may still be alive and hang."""

    instead_of: str
    may_live: bool


class Acting:
    """`begin` is called, in a thread of its own, when this server begins to act; until it is done (or says `begun`), `require`
    refuses everybody else, while the lease is renewed."""

    def __init__(
        self,
        lease: Lease | None,
        name: str,
        elapsed: Callable[[], float],
        begin: Callable[[TookOver], None],
        stopping: threading.Event,
    ) -> None:
        self._lease, self.name, self._elapsed, self._begin, self._stopping = lease, name, elapsed, begin, stopping
        self._holder = f"{name} {uuid.uuid4().hex[:8]}"
        self._held: Held | None = None
        self._beginning = False
        self._beginner: threading.Thread | None = None
        self._watched: tuple[Held | None, float] | None = None  # the lease as last seen to change, and when
        self._lock = threading.RLock()

    @property
    def acts(self) -> bool:
        """As far as this server knows without asking."""
        return self._lease is None or (self._held is not None and not self._beginning)

    @property
    def who(self) -> str:
        """The server that acts, by name; empty when nobody does, or it cannot be told."""
        if self._lease is None:
            return self.name
        try:
            seen = self._lease.seen()
        except LogUnavailable:
            return ""
        return "" if seen is None or seen.gone else _name(seen)

    def require(self) -> None:
        """Asks the lease itself. Raises NotActing (rule `another-server-acts`), LogUnavailable."""
        if self._lease is None:
            return
        held, seen = self._held, self._lease.seen()
        if held is not None and seen is not None and (seen.holder, seen.term) == (held.holder, held.term):
            if self._beginning and threading.current_thread() is not self._beginner:
                raise NotActing(
                    f"{self.name} has only just begun to act on this log, and looks at what it finds",
                    rule="another-server-acts",
                    advice="try again in a few seconds",
                )
            return
        self._held = None
        other = _name(seen) if seen is not None and seen.holder and not seen.gone else ""
        raise NotActing(
            f"{other or 'nobody'} acts on this log now, and {self.name} does not",
            rule="another-server-acts",
            advice=f"ask {other}" if other else f"within {LEASE_S:.0f} s a server takes over; the emergency cut-off needs none",
        )

    def turn(self) -> bool:
        """Renews the lease, or takes it when nobody has it; whether this server acts now. Raises LogUnavailable."""
        if self._lease is None:
            return True
        with self._lock:
            if self._held is not None:
                self._held = self._lease.renew(self._held)
            if self._held is None and not self._stopping.is_set():
                self._try(self._lease)
            return self._held is not None

    def stop(self) -> None:
        """Gives the lease back, so that another server follows at once."""
        if self._lease is not None and self._held is not None:
            with self._lock:
                held, self._held = self._held, None
                try:
                    self._lease.release(held)
                except LogUnavailable:
                    return  # it runs out

    def watch(self) -> None:
        """From now on takes a turn every `BEAT_S`, in a thread; until the server stops."""
        if self._lease is not None:
            threading.Thread(target=self._watch, daemon=True, name="lease").start()

    # --- within -------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.wait(BEAT_S):
            try:
                self.turn()
            except LogUnavailable:
                continue  # whoever wants to send anything asks the lease, and is refused

    def _try(self, lease: Lease) -> None:
        seen, now = lease.seen(), self._elapsed()
        if self._watched is None or _beat(self._watched[0]) != _beat(seen):
            self._watched = (seen, now)
        free = seen is None or not seen.holder or seen.gone
        silent_s = now - self._watched[1]
        if not free and silent_s < LEASE_S:
            return
        held = lease.acquire(self._holder, seen)
        if held is None:
            return  # somebody was faster
        self._watched = None
        self._beginning, self._held = True, held
        took = TookOver(_name(seen) if seen is not None else "", may_live=not free)
        self._beginner = threading.Thread(target=self._begin_as, args=(lease, held, took), daemon=True, name="beginning to act")
        self._beginner.start()

    def _begin_as(self, lease: Lease, held: Held, took: TookOver) -> None:
        """What fails here is kept by whoever begins; the lease goes back, and is tried for again."""
        try:
            self._begin(took)
        except BaseException:
            with self._lock:
                self._held = None
                with contextlib.suppress(LogUnavailable):
                    lease.release(held)
        finally:
            self._beginning = False

    def begun(self) -> None:
        """From here on anything may be asked of this server."""
        self._beginning = False

    def wait(self, timeout_s: float) -> None:
        """Until what `begin` does has ended."""
        if self._beginner is not None:
            self._beginner.join(timeout_s)


def _name(held: Held) -> str:
    return held.holder.rpartition(" ")[0]


def _beat(held: Held | None) -> tuple[str, int, int] | None:
    return None if held is None else (held.holder, held.term, held.beat)
