"""Extensions of a stage's end: one person asks, another of a different authority grants."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import ExtensionRequest
from orchestrator.api.views_windows import extension
from orchestrator.domain.commands import GrantExtension, RequestExtension

router = APIRouter(prefix="/v1", tags=["stages"])


@router.get("/extensions")
def extension_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """Later ends that were asked for, granted or not."""
    state = stages.read(person)
    return page.of((extension(state, item) for item in state.extensions.values()), lambda item: item["id"])


@router.post("/stages/{stage}/extensions", status_code=201)
def extension_request(stage: str, given: ExtensionRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """It moves nothing before another person grants it."""
    state = stages.do(RequestExtension(person, stage, given.until, given.reason))
    return extension(state, list(state.extensions.values())[-1])


@router.post("/extensions/{extension_id}/grant", status_code=201)
def extension_grant(extension_id: str, person: Person, stages: TheStages) -> dict[str, Any]:
    """Grants another person's: the end moves."""
    state = stages.do(GrantExtension(person, extension_id))
    return extension(state, state.extensions[extension_id])
