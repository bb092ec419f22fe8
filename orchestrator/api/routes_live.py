"""The log as it grows: server-sent events, resumed by the sequence number of the last one."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from orchestrator.api import views
from orchestrator.api.access import Person, TheIdentity, TheStages
from orchestrator.api.event_query import WantedEvents
from orchestrator.api.live import Live, LiveResponse
from orchestrator.domain.canonical import canonical
from orchestrator.domain.event_filter import EventFilter
from orchestrator.domain.events import Event
from orchestrator.errors import NotAuthenticated, OrchestratorError, Refused, UsageError
from orchestrator.service.identity import Identity
from orchestrator.service.stages import Stages

HEARTBEAT_S = 10.0
CHECK_EVERY_S = 2.0  # whose token it is, and what it may
COME_BACK_MS = 1000
PAGE = 50
_POSITION = re.compile(r"-1|[0-9]{1,15}", re.ASCII)

router = APIRouter(prefix="/v1/events", tags=["site"])


@router.get(
    "/stream",
    status_code=200,
    response_class=LiveResponse,
    responses={
        200: {
            "description": "an endless stream; `id` is the event's `seq`, `event` its type, `data` as in `GET /v1/events`",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def event_stream(
    request: Request,
    person: Person,
    stages: TheStages,
    identity: TheIdentity,
    wanted: WantedEvents,
    after: Annotated[int | None, Query(ge=-1, description="the last sequence number that you have (default: from now on)")] = None,
    last_event_id: Annotated[str | None, Header(description="the same, as a client sends it that comes back; it counts first")] = None,
) -> LiveResponse:
    """Events as they are written, until you leave or your token ends. A client that does not keep up is left, and comes back with
    the last `id` it has; so do you when the server stops. Between events there are comments, and an `id` alone when what was
    passed by is not what you want."""
    live: Live = request.app.state.live
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    reader = _Reader(stages, identity, token, person, wanted)
    size = await run_in_threadpool(reader.size)
    position = _position(last_event_id, after, size)
    live.enter(person)
    return LiveResponse(_pieces(live, reader, position), lambda: live.leave(person))


def _position(last_event_id: str | None, after: int | None, size: int) -> int:
    """The last event that the client has. Raises UsageError for what no event of this log is called."""
    if last_event_id is not None and not _POSITION.fullmatch(last_event_id):
        raise UsageError("Last-Event-ID is no sequence number", advice="give back the `id` that the stream gave you, or none")
    position = size - 1 if last_event_id is None and after is None else int(last_event_id if last_event_id is not None else after or 0)
    if position >= size:
        raise UsageError(
            f"there is no event {position}: the log has {size}", advice="is it another hospital's log? read it from the start: after=-1"
        )
    return position


@dataclass(frozen=True)
class _Reader:
    """What one stream asks of the service; each call is short, and made in a thread."""

    stages: Stages
    identity: Identity
    token: str
    person: str
    wanted: EventFilter

    def size(self) -> int:
        """Raises what reading raises for somebody who may not."""
        return self.stages.read(self.person).seq + 1

    def check(self) -> None:
        """Raises NotAuthenticated when the token is over, NotAllowed when the roles are."""
        if self.identity.person(self.token) != self.person:
            raise NotAuthenticated("the token is somebody else's now", rule="token")
        self.stages.read(self.person)

    def page(self, after: int) -> Sequence[Event]:
        return list(islice(self.stages.collaborators.log.read(after + 1), PAGE))


async def _pieces(live: Live, reader: _Reader, position: int) -> AsyncGenerator[bytes]:
    yield format_sse_event(comment="from here on", id=str(position), retry=COME_BACK_MS)
    checked, spoke = time.monotonic(), time.monotonic()
    told = position  # the last id that the client has
    try:
        while not live.closing:
            grown = await live.beyond(position + 1, min(CHECK_EVERY_S, HEARTBEAT_S))
            page = await live.read(lambda after=position: reader.page(after)) if grown else ()  # type: ignore[misc]
            for event in page:
                if time.monotonic() - checked >= CHECK_EVERY_S:
                    await live.read(reader.check)
                    checked = time.monotonic()
                position = event.seq
                if reader.wanted.fits(event):
                    yield _shown(event)
                    told, spoke = position, time.monotonic()
            if not page and time.monotonic() - checked >= CHECK_EVERY_S:
                await live.read(reader.check)
                checked = time.monotonic()
            if time.monotonic() - spoke >= HEARTBEAT_S:
                yield format_sse_event(comment="still here", id=str(position) if position != told else None)
                told, spoke = position, time.monotonic()
        yield format_sse_event(comment="the server stops", id=str(position))
    except OrchestratorError as error:
        yield _ended(error)


def _shown(event: Event) -> bytes:
    data = canonical(views.event(event)).decode("utf-8")
    return format_sse_event(id=str(event.seq), event=event.type.value, data_str=data)


def _ended(error: OrchestratorError) -> bytes:
    """Why the stream ends, as an event of its own that has no `id`."""
    why: dict[str, Any] = {"detail": Exception.__str__(error), "advice": error.advice}
    why["rule"] = error.rule if isinstance(error, Refused) else "unavailable"
    return format_sse_event(event="end", data_str=canonical(why).decode("utf-8"))
