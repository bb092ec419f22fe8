"""One request as the journal sees it: which command it repeats, what it takes to be unmoved, what its answer was made of.

A request travels with the thread that works for it, and never into work in the background: a thread begins without one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from heapq import merge

from orchestrator.domain.event_filter import EventFilter
from orchestrator.domain.events import Event, EventType, NewEvent
from orchestrator.domain.making import ORCHESTRATOR
from orchestrator.domain.objects import objects_of
from orchestrator.domain.state import SiteState
from orchestrator.errors import AlreadyDone, KeyUsed, Moved

MARK = "request"  # the member of an event's body
_SNAPSHOT_EVERY = 512  # events


@dataclass
class Request:
    """`key` and `content` are SHA-256 in hex, of the person with their idempotency key and of what is asked for; empty without
    one. `versions` are those at which `object` may stand; None: at any. `repeated` is the last event of the command that this
    request repeats: all of it then happens as the log was after that event, and nothing is written."""

    key: str = ""
    content: str = ""
    object: str = ""
    versions: frozenset[int] | None = None
    repeated: int | None = None
    seen: int | None = None  # the last event of the state that the answer was first made of
    written: bool = False  # its command is in the log, by this very run

    def marked(self, events: Sequence[NewEvent]) -> list[NewEvent]:
        """The events of the command, the first of them with the mark: key, content, and how many events of the command follow."""
        at = None if self.written or not self.key else first_of_command(events)
        if at is None:
            return list(events)
        mark = f"{self.key}:{self.content}:{len(events) - at - 1}"
        return [*events[:at], replace(events[at], body={**events[at].body, MARK: mark}), *events[at + 1 :]]


_CURRENT: ContextVar[Request | None] = ContextVar("request", default=None)


def current() -> Request | None:
    """The request that this thread works for; None in the background and in tests of the service."""
    return _CURRENT.get()


@contextmanager
def handling(request: Request) -> Iterator[None]:
    token = _CURRENT.set(request)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def first_of_command(events: Sequence[NewEvent]) -> int | None:
    """Which event is the command's own: not what the server does by itself on the way, nor a refusal that is recorded."""
    own = (n for n, e in enumerate(events) if e.actor != ORCHESTRATOR and e.type is not EventType.ACCESS_DENIED)
    return next(own, None)


def _holds(places: array[int], seq: int) -> bool:
    at = bisect_right(places, seq)
    return at > 0 and places[at - 1] == seq


@dataclass(frozen=True)
class _Done:
    content: str
    seq: int  # of the command's last event


class Index:
    """What the journal keeps beside the state while it reads: which requests are in the log, when each object moved last, and
    states of long ago to begin from; and where in the log events of each kind are, by type, stage, device and actor. It grows with the
    log by some hundred bytes per marked command, and by 32 bytes per event."""

    def __init__(self) -> None:
        self._done: dict[str, _Done] = {}
        self._moved: dict[str, int] = {}
        self._snapshots: list[SiteState] = [SiteState()]
        self._places: dict[tuple[str, str], array[int]] = {}

    def take(self, event: Event, state: SiteState) -> None:
        """The next event, and the state after it."""
        if isinstance(mark := event.body.get(MARK), str) and mark.count(":") == 2:
            key, content, following = mark.split(":")
            if following.isdecimal():
                self._done.setdefault(key, _Done(content, event.seq + int(following)))
        for kind in (("type", event.type), ("stage", event.stage), ("device", event.device), ("actor", event.actor)):
            if kind[1] is not None:
                self._places.setdefault((kind[0], kind[1]), array("Q")).append(event.seq)
        for name in objects_of(event):
            self._moved[name] = event.seq
        if event.seq % _SNAPSHOT_EVERY == 0:
            self._snapshots.append(state)

    def done(self, request: Request | None) -> int | None:
        """The last event of the command that this request asks for, if it is in the log. Raises KeyUsed."""
        found = self._done.get(request.key) if request is not None and request.key else None
        if found is None or request is None:
            return None
        if found.content != request.content:
            raise KeyUsed(advice="a new request takes a new key; the same key repeats the very same request")
        return found.seq

    def require_new(self, request: Request | None) -> None:
        """Raises AlreadyDone, when another run of the same request was faster; KeyUsed."""
        if request is not None and not request.written and (seq := self.done(request)) is not None:
            raise AlreadyDone(seq)

    def require_unmoved(self, request: Request | None, events: Sequence[NewEvent]) -> None:
        """Raises Moved, when the object that the command is about is not at the version that was seen."""
        if request is None or request.versions is None or request.written or first_of_command(events) is None:
            return
        if (now := self.version(request.object)) not in request.versions:
            known = f"is at version {now} now" if now >= 0 else "has no version"
            raise Moved(f"{request.object} {known}", advice=f"look at it again: GET /v1/{request.object}")

    def version(self, name: str) -> int:
        """The last event about this object (`stages/P1`); -1 when there is none."""
        return self._moved.get(name, -1)

    def places(self, wanted: EventFilter, after: int) -> Iterator[int] | None:
        """The sequence numbers of the events that fit, those after `after`, in order; None when nothing is filtered. Found one by
        one: who wants a page pays for a page. What the index takes while they are read is not among them."""
        named = (("stage", wanted.stage), ("device", wanted.device), ("actor", wanted.actor))
        asked = [[(kind, value)] for kind, value in named if value is not None]
        asked += [[("type", one) for one in wanted.types]] if wanted.types else []
        if not asked:
            return None
        found = [[self._since(kind, after) for kind in kinds] for kinds in asked]
        fewest, *others = sorted(found, key=lambda places: sum(map(len, places)))
        return (seq for seq in merge(*fewest) if all(any(_holds(one, seq) for one in places) for places in others))

    def _since(self, kind: tuple[str, str], after: int) -> array[int]:
        places = self._places.get(kind, array("Q"))
        return places[bisect_right(places, after) :]

    def before(self, seq: int) -> SiteState:
        """A state not after this event, to fold on from."""
        return self._snapshots[bisect_right(self._snapshots, seq, key=lambda state: state.seq) - 1]
