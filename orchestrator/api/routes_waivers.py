"""Waivers: see them, request one, grant another's, end one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.api import views
from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import ReasonRequest, WaiverRequest
from orchestrator.domain.commands import EndWaiver, GrantWaiver, RequestWaiver
from orchestrator.domain.state import SiteState
from orchestrator.service.stages import Stages

router = APIRouter(prefix="/v1/waivers", tags=["waivers"])


def _shown(stages: Stages, state: SiteState, waiver: str) -> dict[str, Any]:
    return views.waiver(state, state.waivers[waiver], stages.journal.now())


@router.get("")
def waiver_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """All of them, those that are over too; `in_force` says which stand for a gate now."""
    state = stages.read(person)
    return page.of((views.waiver(state, waiver, stages.journal.now()) for waiver in state.waivers.values()), lambda item: item["id"])


@router.post("", status_code=201)
def waiver_request(given: WaiverRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """Asks for one; it stands for nothing before another person grants it."""
    command = RequestWaiver(person, given.stage, given.gate, given.reason, given.accepted_risk, given.until, given.partner)
    state = stages.do(command)
    return _shown(stages, state, list(state.waivers)[-1])


@router.post("/{waiver}/grant", status_code=201)
def waiver_grant(waiver: str, person: Person, stages: TheStages) -> dict[str, Any]:
    """Grants a waiver that another person has requested: it stands for its gate from now on."""
    return _shown(stages, stages.do(GrantWaiver(person, waiver)), waiver)


@router.post("/{waiver}/end", status_code=201)
def waiver_end(waiver: str, given: ReasonRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """Takes it back, or says that it is not granted: the gate holds again for itself."""
    return _shown(stages, stages.do(EndWaiver(person, waiver, given.reason)), waiver)
