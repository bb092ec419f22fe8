"""The block list: see it, put on it (one person), take off it (one asks, another grants)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import BlockRequest, UnblockRequest
from orchestrator.api.views_subtractions import block, blocks, unblocking
from orchestrator.domain.commands import BlockNetworks, GrantUnblock, RequestUnblock

router = APIRouter(prefix="/v1/blocks", tags=["blocks"])


@router.get("")
def block_list(person: Person, stages: TheStages) -> dict[str, Any]:
    """The block list, and which devices have it."""
    return blocks(stages, stages.read(person))


@router.post("", status_code=202)
def block_apply(given: BlockRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """On the list at once; the devices follow. Needs no votes: it only subtracts."""
    stages.state()
    networks, vital = tuple(given.networks), tuple(given.although_vital)
    state = stages.reisolating.block(BlockNetworks(person, networks, given.reason, given.until or "", although_vital=vital))
    return {**blocks(stages, state), "made": block(list(state.blocks.values())[-1])}


@router.get("/removals")
def removal_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """What was asked to be taken off the list."""
    return page.of((unblocking(one) for one in stages.read(person).unblockings.values()), lambda item: item["id"])


@router.post("/removals", status_code=201)
def removal_request(given: UnblockRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """Takes nothing off before another person grants it."""
    state = stages.do(RequestUnblock(person, tuple(given.networks), given.reason))
    return unblocking(list(state.unblockings.values())[-1])


@router.post("/removals/{id}/grant", status_code=202)
def removal_grant(id: str, person: Person, stages: TheStages) -> dict[str, Any]:
    """Grants another person's: it is off the list at once, and the devices follow."""
    state = stages.do(GrantUnblock(person, id))
    stages.reisolating.lay()
    return unblocking(state.unblockings[id])
