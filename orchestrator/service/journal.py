"""The log together with the state folded from it: read what is new, decide, append; again if somebody was faster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from orchestrator.domain.event_filter import EventFilter
from orchestrator.domain.events import Event, Head, NewEvent
from orchestrator.domain.folding import apply
from orchestrator.domain.merkle import root
from orchestrator.domain.secrets_masked import PATTERNS_ONLY, Masking
from orchestrator.domain.state import SiteState, moment
from orchestrator.errors import Stale
from orchestrator.ports import Clock, Log
from orchestrator.service import requests
from orchestrator.service.requests import Index, Request

_ATTEMPTS = 20
_NEAR = 64  # events: nearer ones are read on to, farther ones are looked for


class Journal:
    """Safe for several threads; other processes (the emergency command) may append to the same log at any time.

    A request that repeats a command which is in the log (`requests.py`) sees the log as it was right after it, at that time.
    `require_acting` is asked before anything goes to a device; who runs the server sets it.
    `masking` takes out the secrets of what devices printed: every event of the service is written here and nowhere else.
    `take_in` brings in what they could not append: a cut-off that went to the spool stops an opening like any other.
    """

    def __init__(self, log: Log, clock: Clock, take_in: Callable[[], object] = bool, masking: Masking = PATTERNS_ONLY) -> None:
        self._log, self._clock, self._take_in, self._masking = log, clock, take_in, masking
        self._state = SiteState()
        self._index = Index()
        self._roots: dict[int, str] = {}
        self._lock = threading.RLock()
        self.require_acting: Callable[[], object] = bool  # raises NotActing when another server acts on this log

    def now(self) -> datetime:
        return moment(self._event(repeated).at) if (repeated := _repeated()) is not None else self._clock.now()

    def head(self) -> Head:
        """The log's head; a head that was handed out to a voter is remembered."""
        head = self._log.head()
        self._roots[head.size] = head.root
        return head

    def state(self) -> SiteState:
        """The state after everything that is in the log now. Raises LogUnavailable."""
        if (then := self.repeated()) is not None:
            return then
        with self._lock:
            self._take_in()
            for event in self._log.read(self._state.seq + 1):
                self._state = apply(self._state, event)
                self._index.take(event, self._state)
            state = self._state
        if (request := requests.current()) is not None and request.seen is None:
            request.seen = state.seq
        return state

    def repeated(self) -> SiteState | None:
        """The state right after the command that this request repeats: who begins something besides does not begin it again.
        None for everything that is asked for the first time."""
        if (seq := _repeated()) is None:
            return None
        state = self._index.before(seq)
        for event in islice(self._log.read(state.seq + 1), seq - state.seq):
            state = apply(state, event)
        return state

    def done(self, request: Request) -> int | None:
        """The last event of the command that this request asks for, when it is in the log already. Raises KeyUsed."""
        self.state()
        return self._index.done(request)

    def version(self, name: str, seen: int | None = None) -> int:
        """Of an object (`stages/P1`): the last event that moved it, -1 for none. Of what was `seen` (up to this event): where it
        has moved since, a version that it never has."""
        last = self._index.version(name)
        return last if seen is None or last <= seen else seen

    def events(self, wanted: EventFilter, after: int = -1) -> Iterator[Event]:
        """Those that fit, after this sequence number, in order. However long the log is, only what fits is read, and its neighbours.
        Raises LogUnavailable."""
        with self._lock:
            self.state()
            places = self._index.places(wanted, after)
        return filter(wanted.fits, self._log.read(after + 1) if places is None else self._at(places))

    def _at(self, places: Iterable[int]) -> Iterator[Event]:
        rest: Iterator[Event] = iter(())
        last = -_NEAR - 1
        for place in places:
            if place - last > _NEAR:
                rest = self._log.read(place)
            yield next(event for event in rest if event.seq == place)
            last = place

    def seen(self) -> SiteState:
        """As of the last look, without another: for what must not wait for the log."""
        return self._state

    def decide(self, decision: Callable[[SiteState, datetime], Sequence[NewEvent]]) -> SiteState:
        """Appends what `decision` makes of the present state, and returns the state right after it.

        The decision is taken again if the log has grown in the meantime. What it raises is raised, and nothing is appended.
        Durable on return. Raises LogUnavailable, and IllegalTransition for events that the tables do not allow now; for a request
        with a key, AlreadyDone and KeyUsed; for one about an object as it was seen, Moved.
        """
        if (then := self.repeated()) is not None:
            return then
        request = requests.current()
        for _ in range(_ATTEMPTS):
            state = self.state()
            self._index.require_new(request)
            events = [self._masking.event(event) for event in decision(state, self.now())]
            if not events:
                return state
            self._index.require_unmoved(request, events)
            if request is not None:
                events = request.marked(events)
            after = _try_out(state, events)
            try:
                self._log.append(events, expected=state.seq + 1)
            except Stale:
                continue
            if request is not None:
                request.written |= requests.first_of_command(events) is not None
            return after
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

    def _event(self, seq: int) -> Event:
        return next(iter(self._log.read(seq)))


def _repeated() -> int | None:
    request = requests.current()
    return request.repeated if request is not None else None


def _try_out(state: SiteState, events: Sequence[NewEvent]) -> SiteState:
    """Folds them beforehand: what contradicts the tables must not get into the log, which would not fold ever after."""
    for number, new in enumerate(events, start=state.seq + 1):
        state = apply(state, Event(new.type, new.at, new.actor, new.body, new.stage, new.device, seq=number))
    return state
