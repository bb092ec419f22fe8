"""Lifting the layer: what it makes possible, differences accepted by name, stages deferred. After a false alarm: saying so."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from orchestrator.api import views
from orchestrator.api.access import Person, TheStages
from orchestrator.api.schemas import DifferencesRequest, FalseAlarmRequest, ReasonRequest
from orchestrator.domain import conditions, resumption
from orchestrator.domain.commands import AcceptDifferences, DeclareFalseAlarm, DeferStage
from orchestrator.service.lift_overview import Overview, overview
from orchestrator.service.stages import Stages

router = APIRouter(prefix="/v1", tags=["lift"])
Json = dict[str, Any]


@router.post("/false-alarm", status_code=201)
def false_alarm(given: FalseAlarmRequest, person: Person, stages: TheStages) -> Json:
    """Opens nothing: what follows is the plan of a resumption, and its votes."""
    state = stages.do(DeclareFalseAlarm(person, given.reason, given.since))
    alarm = state.false_alarm
    assert alarm is not None  # it was just declared
    return {**asdict(alarm), "resume": views.resume(resumption.outlook(state, stages.journal.now()))}


@router.post("/stages/{stage}/defer")
def defer(stage: str, given: ReasonRequest, person: Person, stages: TheStages) -> Json:
    """Left closed by decision; planning it takes that back."""
    state = stages.do(DeferStage(person, stage, given.reason))
    return views.stage(state, conditions.declared(state, stage), stages.journal.now())


@router.get("/lift")
def lift(person: Person, stages: TheStages) -> Json:
    """What lifting the layer makes possible, by name, and who has accepted it."""
    return _shown(overview(stages, person))


@router.post("/lift/accept", status_code=201)
def accept(given: DifferencesRequest, person: Person, stages: TheStages) -> Json:
    """Accepts differences by name: packets that pass without the layer, and that no flow names."""
    return _decided(stages, AcceptDifferences(person, tuple(given.names), given.reason))


@router.post("/lift/withdraw", status_code=201)
def withdraw(given: DifferencesRequest, person: Person, stages: TheStages) -> Json:
    """Takes an acceptance back."""
    return _decided(stages, AcceptDifferences(person, tuple(given.names), given.reason, withdrawn=True))


def _decided(stages: Stages, command: AcceptDifferences) -> Json:
    stages.do(command)
    return _shown(overview(stages, command.actor))


def _shown(found: Overview) -> Json:
    plan = found.plan
    return {
        "stage": found.status.name,
        "state": found.status.state.value,
        "detail": found.status.detail,
        "devices": found.devices,
        "differences": [
            {"name": item.name, "passed": item.passed, "accepted": item.accepted.model_dump() if item.accepted is not None else None}
            for item in found.differences
        ],
        "accepted": [item.model_dump() for item in found.accepted],
        "plan": plan.lift.model_dump(mode="json") if plan is not None and plan.lift is not None else None,
    }
