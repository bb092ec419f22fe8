"""Delegations: see them, grant one by the giver's signed statement, take one back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import ONE_LINE, DelegationRequest, ReasonRequest, StatementText
from orchestrator.domain.delegating import Lending
from orchestrator.domain.making import stamp
from orchestrator.domain.plain_text import plain
from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import Loan
from orchestrator.service.delegations import Delegations

router = APIRouter(prefix="/v1/delegations", tags=["people"])


@router.get("")
def delegation_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """Of the policy and granted since; over ones included."""
    loans, now = Delegations(stages).known(person)
    return page.of((_shown(loan, now) for loan in loans), lambda item: item["delegation"])


@router.get("/statement")
def delegation_statement(
    person: Person,
    stages: TheStages,
    taker: Annotated[str, Query(max_length=100)],
    role: Annotated[list[Role], Query(min_length=1, max_length=10)],
    minutes: Annotated[int, Query(ge=1, le=7 * 24 * 60, description="how long it runs, from now on")],
    reason: Annotated[str, Query(min_length=1, max_length=1000, json_schema_extra=ONE_LINE), AfterValidator(plain)],
    application: Annotated[list[str] | None, Query(max_length=100, description="which of yours, for an application owner")] = None,
) -> StatementText:
    """What you sign, in the namespace reconnect-delegation@v1, to lend roles of yours."""
    now = stages.journal.now()
    lending = Lending(person, taker, tuple(role), tuple(application or ()), now, now + timedelta(minutes=minutes), reason)
    return StatementText(statement=Delegations(stages).statement(lending))


@router.post("", status_code=201)
def delegation_grant(given: DelegationRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """The giver is who signed; anybody of the policy can hand it in."""
    return _shown(Delegations(stages).grant(person, given.statement, given.signature), stages.journal.now())


@router.post("/{delegation}/revoke")
def delegation_revoke(delegation: str, given: ReasonRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """At once. Its giver's, or a security officer's."""
    return _shown(Delegations(stages).revoke(person, delegation, given.reason), stages.journal.now())


def _shown(loan: Loan, now: datetime) -> dict[str, Any]:
    return {
        "delegation": loan.name,
        "giver": loan.giver,
        "taker": loan.taker,
        "roles": [role.value for role in loan.roles],
        "applications": list(loan.applications),
        "starts": stamp(loan.starts),
        "ends": stamp(loan.ends),
        "reason": loan.reason,
        "by": "statement" if loan.signed else "policy",
        "revoked_at": stamp(loan.revoked_at) if loan.revoked_at else None,
        "runs": loan.runs(now),
    }
