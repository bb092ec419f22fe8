"""Re-isolations: close a partner, an application, a zone or a flow again; see what became of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import ReisolationRequest
from orchestrator.api.views_subtractions import reisolation
from orchestrator.domain.commands import Reisolate
from orchestrator.errors import UnknownName

router = APIRouter(prefix="/v1/reisolations", tags=["reisolations"])


@router.get("")
def reisolation_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """Everything that was closed again, in its order."""
    state = stages.read(person)
    return page.of((reisolation(stages, state, one) for one in state.reisolations.values()), lambda item: item["id"])


@router.get("/{id}")
def reisolation_show(id: str, person: Person, stages: TheStages) -> dict[str, Any]:
    """What became of one, device by device."""
    state = stages.read(person)
    if id not in state.reisolations:
        raise UnknownName(f"there is no re-isolation {id!r}", advice=f"there is {', '.join(state.reisolations) or 'none'}")
    return reisolation(stages, state, state.reisolations[id])


@router.post("", status_code=202)
def reisolation_order(given: ReisolationRequest, person: Person, stages: TheStages) -> JSONResponse:
    """Begins; needs no votes: it only subtracts. Look at its Location for how it goes on."""
    stages.state()
    state, made = stages.reisolating.order(
        Reisolate(person, given.what, given.name, given.reason, epoch=0, although_vital=tuple(given.although_vital))
    )
    return JSONResponse(reisolation(stages, state, made), 202, headers={"Location": f"/v1/reisolations/{made.id}"})
