"""What can be opened now, why not the rest, and what falls due."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from orchestrator.api import views
from orchestrator.api.access import Person, TheStages
from orchestrator.api.views_windows import all_ends
from orchestrator.domain import due_dates, next_steps, resumption
from orchestrator.domain.due_dates import Due
from orchestrator.domain.making import stamp
from orchestrator.domain.next_steps import Lack, Opening, StageNext

router = APIRouter(prefix="/v1", tags=["stages"])
Json = dict[str, Any]


@router.get("/next")
def what_next(person: Person, stages: TheStages) -> Json:
    """Computed from the state alone; nothing is begun."""
    state, now = stages.read(person), stages.journal.now()
    steps = next_steps.next_steps(state, now)
    return {
        "at": stamp(now),
        "posture": state.posture.value,
        "rehearsal": state.rehearsal,
        "ordered_by": {"en": next_steps.HOW_EN, "fr": next_steps.HOW_FR},
        "openings": [_opening(item) for item in steps.openings],
        "everywhere": [_lack(item) for item in steps.everywhere],
        "stages": [_stage(item) for item in steps.stages],
        "ends": all_ends(state, now),
        "resume": views.resume(resumption.outlook(state, now)),
        "obligations": [_due(item) for item in due_dates.obligations(state, now)],
    }


def _stage(item: StageNext) -> Json:
    return {
        "stage": item.stage.name,
        "title": item.stage.title.model_dump(),
        "state": item.state.value,
        "step": item.step,
        "advice": item.advice,
        "canary": item.stage.canary.partner if item.stage.canary else None,
        "votes": {role.value: list(people) for role, people in item.votes.items()},
        "openings": [_opening(opening) for opening in item.openings],
        "held": [{"flow": flow, "partner": partner} for flow, partner in item.held],
        "lacks": [_lack(lack) for lack in item.lacks],
        "quickest": _lack(item.quickest) if item.quickest else None,
        "earliest": _time(item.earliest),
        "exact": item.exact,
        "unreachable": item.unreachable or None,
    }


def _opening(item: Opening) -> Json:
    criteria = {name: level.value for name, level in item.criteria}
    return {"stage": item.stage, "flow": item.flow, "partner": item.partner, "application": item.application, "criteria": criteria}


def _lack(item: Lack) -> Json:
    own = {"lifted_at": _time(item.lifted_at), "exact": item.exact, "stage": item.stage, "never": item.never}
    return {**views.unmet(item.unmet), **own}


def _due(item: Due) -> Json:
    obligation = item.obligation
    return {
        "obligation": obligation.name,
        "title": obligation.title.model_dump(),
        "kind": obligation.kind,
        "due": _time(item.at),
        "left_s": round(item.left.total_seconds()) if item.left is not None else None,
        "overdue": item.overdue,
        "fulfilled": item.fulfilled,
        "flows": [{"flow": flow.flow, "stage": flow.stage or None, "open": flow.is_open} for flow in item.flows],
        "owner": obligation.owner,
        "source": obligation.source,
    }


def _time(at: datetime | None) -> str | None:
    return stamp(at) if at is not None else None
