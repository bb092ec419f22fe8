"""Stages: see, plan, vote, apply, cancel, revert."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import AfterValidator

from orchestrator.api import views
from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import ONE_LINE, PlanRequest, ReasonRequest, StatementText, VoteRequest
from orchestrator.domain import conditions
from orchestrator.domain.plain_text import plain
from orchestrator.domain.stage_names import RESUME, supplements
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState
from orchestrator.errors import Stale
from orchestrator.service.stages import Stages
from orchestrator.service.unknown import away, concerned

router = APIRouter(prefix="/v1/stages", tags=["stages"])


def _shown(stages: Stages, state: SiteState, stage: str) -> dict[str, Any]:
    """`unknown`: the devices that cannot be read, since when, and how often they were tried."""
    unknown = away(state, stages.runner.unknown.tries.values(), concerned(state, stage))
    return {**views.stage(state, conditions.declared(state, stage), stages.journal.now()), "unknown": unknown}


@router.get("")
def stages_list(
    person: Person,
    stages: TheStages,
    page: ThePage,
    state: Annotated[list[StageState] | None, Query(max_length=len(StageState), description="only those in one of these states")] = None,
) -> list[dict[str, Any]]:
    """In the order of the policy, each with its supplements after it; the resumption after a false alarm."""
    now_is = stages.read(person)
    known = conditions.in_force(now_is).policy
    names = [name for declared in known.stages for name in (declared.name, *supplements(declared.name, now_is.stages))]
    names += [RESUME] * (RESUME in now_is.stages and known.resume is not None)
    fitting = (name for name in names if state is None or now_is.stage(name).state in state)
    lines = (views.stage_line(now_is, conditions.declared(now_is, name), stages.journal.now()) for name in fitting)
    return page.of(lines, lambda line: line["stage"])


@router.get("/{stage}")
def stage_show(stage: str, person: Person, stages: TheStages) -> dict[str, Any]:
    """One stage: state, votes, gates, what it waits for, its plan in short."""
    return _shown(stages, stages.read(person), stage)


@router.post("/{stage}/plan", status_code=201)
def stage_plan(stage: str, person: Person, stages: TheStages, wanted: PlanRequest | None = None) -> dict[str, Any]:
    """Of a stage that is partially open, a supplement is planned: the answer names it as its `stage`."""
    window = (wanted.window.starts, wanted.window.ends) if wanted and wanted.window else None
    state = stages.plan(person, stage, wanted.partners if wanted else None, window)
    return _shown(stages, state, max((stage, *supplements(stage, state.stages)), key=lambda name: state.stage(name).planned_seq))


@router.get("/{stage}/plan")
def plan_show(stage: str, person: Person, stages: TheStages) -> dict[str, Any]:
    """The plan, scripts included: what is voted on."""
    state = stages.read(person)
    conditions.declared(state, stage)
    if state.stage(stage).plan is None:
        raise Stale(f"{stage} has no plan", rule="no-plan", advice=f"orchestrator stage plan {stage}")
    return views.plan(state.stage(stage))


@router.get("/{stage}/vote-statement")
def vote_statement(
    stage: str,
    person: Person,
    stages: TheStages,
    choice: Literal["approve", "deny"] = "approve",
    reason: Annotated[str, Query(max_length=1000, json_schema_extra=ONE_LINE), AfterValidator(plain)] = "",
) -> StatementText:
    """The exact text to sign in the namespace reconnect-approval@v1."""
    return StatementText(statement=stages.vote_statement(person, stage, choice, reason))


@router.post("/{stage}/votes", status_code=201)
def vote(stage: str, given: VoteRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """The voter is who signed; anybody who may vote can hand a vote in."""
    return _shown(stages, stages.vote(person, stage, given.statement, given.signature), stage)


@router.post("/{stage}/apply", status_code=202)
def apply(stage: str, person: Person, stages: TheStages) -> JSONResponse:
    """Begins; look at `GET /v1/stages/{stage}` for how it goes on."""
    return _begun(_shown(stages, stages.apply(person, stage), stage), stage)


@router.post("/{stage}/cancel")
def cancel(stage: str, given: ReasonRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """Drops the plan and its votes."""
    return _shown(stages, stages.cancel(person, stage, given.reason), stage)


@router.post("/{stage}/revert", status_code=202)
def revert(stage: str, given: ReasonRequest, person: Person, stages: TheStages) -> JSONResponse:
    """Begins to close. Needs no votes: it only subtracts."""
    return _begun(_shown(stages, stages.revert(person, stage, given.reason), stage), stage)


def _begun(body: dict[str, Any], stage: str) -> JSONResponse:
    return JSONResponse(body, 202, headers={"Location": f"/v1/stages/{stage}"})
