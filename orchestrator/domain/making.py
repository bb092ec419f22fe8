"""Making events: the time and actor of one decision, the rehearsal mark, and bodies that the log can hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.domain.events import EventType, NewEvent
from orchestrator.domain.state import SiteState

ORCHESTRATOR = "orchestrator"


def stamp(now: datetime) -> str:
    """RFC 3339, UTC, milliseconds: the time of an event."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_floats(value: Any) -> Any:
    """JSON without floats, which the log refuses: whole ones as integers, others as text. Reading back gives the same number."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, dict):
        return {key: without_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_floats(item) for item in value]
    return value


class EventMaker:
    """Makes the events of one moment and actor; under the rehearsal overlay every one of them says so."""

    def __init__(self, state: SiteState, actor: str, now: datetime) -> None:
        self._actor, self._at, self._rehearsal = actor, stamp(now), state.rehearsal

    def __call__(
        self, type_: EventType, body: Mapping[str, Any], *, stage: str | None = None, device: str | None = None, actor: str | None = None
    ) -> NewEvent:
        marked = {**body, "rehearsal": True} if self._rehearsal else dict(body)
        return NewEvent(type_, self._at, actor or self._actor, marked, stage, device)
