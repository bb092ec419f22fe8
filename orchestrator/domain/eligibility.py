"""Who may do what, and who may vote on what: the roles of a person at a time, by the ratified policy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from orchestrator.domain.conditions import in_force
from orchestrator.domain.policy import Stage
from orchestrator.domain.policy_words import Role
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.errors import NotAllowed


def roles_of(state: SiteState, person: str, now: datetime) -> frozenset[Role]:
    """The roles of a person now. Raises NotAllowed (rules `not-ratified`, `unknown-person`)."""
    del now
    try:
        return frozenset(in_force(state).policy.person(person).roles)
    except KeyError:
        raise NotAllowed(f"{person} is nobody in the ratified policy", rule="unknown-person") from None


def voting_roles(state: SiteState, stage: Stage, person: str, now: datetime) -> frozenset[Role]:
    """The places that a person may fill in the quorum of a stage: an application owner only for their own applications."""
    policy = in_force(state).policy
    roles = roles_of(state, person, now) & set(stage.votes)
    applications = {policy.flow(flow).application for flow in stage.flows}
    owned = {a.name for a in policy.applications if a.owner == person} | set(policy.person(person).owns)
    return roles if owned & applications else roles - {Role.APPLICATION_OWNER}


def voters(state: SiteState, stage: Stage, status: StageStatus) -> Mapping[str, frozenset[Role]]:
    """Who has approved, with the places each may fill by the policy in force now and the roles at the time of the vote."""
    people = {person.name for person in in_force(state).policy.people}
    return {vote.person: voting_roles(state, stage, vote.person, moment(vote.at)) for vote in status.approvals if vote.person in people}
