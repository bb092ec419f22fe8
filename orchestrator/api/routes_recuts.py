"""Planned re-cuts: see them, schedule one, cancel one. They need no votes: a cut-off only subtracts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import ReasonRequest, RecutRequest
from orchestrator.api.views_windows import recut
from orchestrator.domain.commands import CancelRecut, ScheduleRecut

router = APIRouter(prefix="/v1/recuts", tags=["recuts"])


@router.get("")
def recut_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """All of them, those that are over too."""
    state, now = stages.read(person), stages.journal.now()
    return page.of((recut(state, item, now) for item in state.recuts.values()), lambda item: item["id"])


@router.post("", status_code=201)
def recut_schedule(given: RecutRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """At its date the server starts the emergency command, which needs no server from then on."""
    state = stages.do(ScheduleRecut(person, given.at, given.profile, given.reason))
    return recut(state, list(state.recuts.values())[-1], stages.journal.now())


@router.post("/{recut_id}/cancel", status_code=201)
def recut_cancel(recut_id: str, given: ReasonRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """Drops a cut-off at a date. Nothing happens then."""
    state = stages.do(CancelRecut(person, recut_id, given.reason))
    return recut(state, state.recuts[recut_id], stages.journal.now())
