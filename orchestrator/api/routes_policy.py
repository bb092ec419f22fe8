"""What is ratified, with its present state: the policy, applications, partners, flows; the votes that were cast; what checks said."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.domain import conditions
from orchestrator.domain.event_filter import EventFilter
from orchestrator.domain.events import EventType
from orchestrator.domain.state import SiteState

router = APIRouter(prefix="/v1", tags=["policy"])
Json = dict[str, Any]
_Name = Annotated[str | None, Query(max_length=100)]


@router.get("/policy")
def policy(person: Person, stages: TheStages) -> Json:
    """What is in force, and by which event of the log."""
    ratified = conditions.in_force(stages.read(person))
    return {
        "site": ratified.site.name,
        "policy_digest": ratified.policy_digest,
        "inventory_digest": ratified.inventory_digest,
        "ratified_at": ratified.at,
        "ratified_by_event": ratified.seq,
        "rehearsal": ratified.policy.rehearsal is not None,
        "default_profile": ratified.policy.default_profile,
        "profiles": list(ratified.policy.profiles_by_name),
        "stages": [stage.name for stage in ratified.policy.stages],
        "ratification": {role.value: count for role, count in ratified.policy.ratification.items()},
    }


@router.get("/applications")
def application_list(person: Person, stages: TheStages, page: ThePage) -> list[Json]:
    """The applications of the ratified policy, and their flows."""
    state = stages.read(person)
    found = conditions.in_force(state).policy
    return page.of(
        (
            {**one.model_dump(mode="json"), "flows": [_flow(state, flow) for flow in found.flows if flow.application == one.name]}
            for one in found.applications
        ),
        lambda item: item["name"],
    )


@router.get("/partners")
def partner_list(person: Person, stages: TheStages, page: ThePage) -> list[Json]:
    """With whether they say that their side is open, and the flows with them."""
    state = stages.read(person)
    found = conditions.in_force(state).policy
    now = stages.journal.now()
    listed = []
    for one in found.partners:
        ready, theirs = state.readiness.get(one.name), state.attestation(one.name, "theirs")
        listed.append(
            {
                **one.model_dump(mode="json"),
                "ready": ready.ready if ready is not None else None,
                "attestation_state": theirs.state_at(now).value if theirs is not None else "none",
                "flows": [_flow(state, flow) for flow in found.flows if one.name in flow.partners],
            }
        )
    return page.of(listed, lambda item: item["name"])


@router.get("/flows")
def flow_list(person: Person, stages: TheStages, page: ThePage, application: _Name = None, partner: _Name = None) -> list[Json]:
    """The flow matrix, each with the state of its conversations by partner and stage."""
    state = stages.read(person)
    return page.of(
        (
            {**flow.model_dump(mode="json"), **_flow(state, flow)}
            for flow in conditions.in_force(state).policy.flows
            if application in (None, flow.application) and (partner is None or partner in flow.partners)
        ),
        lambda item: item["name"],
    )


def _flow(state: SiteState, flow: Any) -> Json:
    found = [
        {"partner": partner, "stage": status.name, "state": held.value}
        for status in state.stages.values()
        for (name, partner), held in status.conversations.items()
        if name == flow.name
    ]
    return {"name": flow.name, "conversations": found}


@router.get("/votes")
def vote_list(person: Person, stages: TheStages, page: ThePage, stage: _Name = None) -> list[Json]:
    """On the plans that stand now; earlier ones are in the log."""
    state = stages.read(person)
    return page.of(
        (
            {
                "stage": status.name,
                "plan_digest": status.plan_digest,
                "person": vote.person,
                "choice": vote.choice,
                "roles": list(vote.roles),
                "reason": vote.reason,
                "statement": vote.statement,
                "signature": vote.signature,
                "at": vote.at,
                "seq": vote.seq,
            }
            for status in state.stages.values()
            if stage in (None, status.name)
            for vote in status.votes.values()
        ),
        lambda item: item["seq"],
    )


@router.get("/checks")
def check_list(
    person: Person,
    stages: TheStages,
    page: ThePage,
    stage: _Name = None,
    after: Annotated[int, Query(ge=-1, description="the last sequence number that you have")] = -1,
) -> list[Json]:
    """What probes answered, each time that they were asked: in order, from `after` on."""
    stages.read(person)
    events = stages.journal.events(EventFilter(frozenset({EventType.CHECK_RAN}), stage), max(after, page.position))
    found = ({"seq": event.seq, "at": event.at, "stage": event.stage, **event.body} for event in events)
    return page.of(found, lambda item: item["seq"], begins_after=True)
