"""What partners' contacts see of a stage from their side: the text that they sign, handing it in, and what was handed in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import StatementText, WitnessRequest, WitnessStatementRequest
from orchestrator.domain import conditions, witnesses
from orchestrator.domain.state import SiteState, Witnessed

router = APIRouter(prefix="/v1/stages", tags=["stages"])


@router.post("/{stage}/witness-statement")
def witness_statement(stage: str, given: WitnessStatementRequest, person: Person, stages: TheStages) -> StatementText:
    """To be signed by the contact in the namespace partner-witness@v1. Records nothing."""
    seen = {"": given.saw, **given.flows}
    return StatementText(statement=stages.witness_statement(person, stage, given.partner, given.witness, seen, given.seen_at))


@router.post("/{stage}/witnesses", status_code=201)
def witness(stage: str, given: WitnessRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """The witness is who signed; anybody who decides here can hand it in."""
    state = stages.witness(person, stage, given.statement, given.signature)
    return _shown(state, max((item for item in state.witnessed.values() if item.stage == stage), key=lambda item: item.seq), stages)


@router.get("/{stage}/witnesses")
def witnesses_list(stage: str, person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """The last of each partner."""
    state = stages.read(person)
    conditions.declared(state, stage)
    return page.of((_shown(state, item, stages) for item in state.witnessed.values() if item.stage == stage), lambda item: item["partner"])


def _shown(state: SiteState, item: Witnessed, stages: TheStages) -> dict[str, Any]:
    """`check`: of everything that the stage opens to the partner, by its present plan; `lacks` says why it is not successful."""
    policy = conditions.in_force(state).policy
    check, lacks = witnesses.lack_of(state, policy, item.stage, item.partner, None, stages.journal.now())
    return {
        "stage": item.stage,
        "partner": item.partner,
        "witness": item.witness,
        "seen_at": item.seen_at,
        "seen": [{"flow": flow, "service": service, "saw": saw, "words": words} for flow, service, saw, words in item.seen],
        "plan_digest": item.plan_digest,
        "handed_in_by": item.by,
        "at": item.at,
        "check": check.value,
        "lacks": lacks,
    }
