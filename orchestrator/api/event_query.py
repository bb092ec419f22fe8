"""The filters of `GET /v1/events` and of its stream, as query parameters."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from orchestrator.domain.event_filter import EventFilter
from orchestrator.domain.events import EventType

_Name = Annotated[str | None, Query(max_length=100)]


def wanted(
    type: Annotated[list[EventType] | None, Query(max_length=len(EventType), description="one of these types")] = None,
    stage: _Name = None,
    device: _Name = None,
    actor: _Name = None,
) -> EventFilter:
    return EventFilter(frozenset(type or ()), stage, device, actor)


WantedEvents = Annotated[EventFilter, Depends(wanted)]
