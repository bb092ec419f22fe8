"""The log together with the state folded from it: read what is new, decide, append; again if somebody was faster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from orchestrator.domain.events import Event, Head, NewEvent
from orchestrator.domain.folding import apply
from orchestrator.domain.merkle import root
from orchestrator.domain.secrets_masked import PATTERNS_ONLY, Masking
from orchestrator.domain.state import SiteState
from orchestrator.errors import Stale
from orchestrator.ports import Clock, Log

_ATTEMPTS = 20


class Journal:
    """Safe for several threads; other processes (the emergency command) may append to the same log at any time.

    `require_acting` is asked before anything goes to a device; who runs the server sets it.
    `masking` takes out the secrets of what devices printed: every event of the service is written here and nowhere else.
    `take_in` brings in what they could not append: a cut-off that went to the spool stops an opening like any other.
    """

    def __init__(self, log: Log, clock: Clock, take_in: Callable[[], object] = bool, masking: Masking = PATTERNS_ONLY) -> None:
        self._log, self._clock, self._take_in, self._masking = log, clock, take_in, masking
        self._state = SiteState()
        self._roots: dict[int, str] = {}
        self._lock = threading.RLock()
        self.require_acting: Callable[[], object] = bool  # raises NotActing when another server acts on this log

    def now(self) -> datetime:
        return self._clock.now()

    def head(self) -> Head:
        """The log's head; a head that was handed out to a voter is remembered."""
        head = self._log.head()
        self._roots[head.size] = head.root
        return head

    def state(self) -> SiteState:
        """The state after everything that is in the log now. Raises LogUnavailable."""
        with self._lock:
            self._take_in()
            for event in self._log.read(self._state.seq + 1):
                self._state = apply(self._state, event)
            return self._state

    def decide(self, decision: Callable[[SiteState, datetime], Sequence[NewEvent]]) -> SiteState:
        """Appends what `decision` makes of the present state, and returns the state after it.

        The decision is taken again if the log has grown in the meantime. What it raises is raised, and nothing is appended.
        Durable on return. Raises LogUnavailable, and IllegalTransition for events that the tables do not allow now.
        """
        for _ in range(_ATTEMPTS):
            state = self.state()
            events = [self._masking.event(event) for event in decision(state, self.now())]
            if not events:
                return state
            _try_out(state, events)
            try:
                self._log.append(events, expected=state.seq + 1)
            except Stale:
                continue
            return self.state()
        raise Stale("others keep writing to the log", rule="busy", advice="try again")

    def root_at(self, size: int) -> str | None:
        """The root of the log when it had `size` events; None for a size it has not reached."""
        head = self.head()
        if size > head.size:
            return None
        if size not in self._roots:
            leaves = (bytes.fromhex(event.hash) for event in islice(self._log.read(0), size))
            self._roots[size] = root(leaves).hex()
        return self._roots[size]


def _try_out(state: SiteState, events: Sequence[NewEvent]) -> None:
    """Folds them beforehand: what contradicts the tables must not get into the log, which would not fold ever after."""
    for number, new in enumerate(events, start=state.seq + 1):
        state = apply(state, Event(new.type, new.at, new.actor, new.body, new.stage, new.device, seq=number))
