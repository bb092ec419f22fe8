"""Who may do what, and who may vote on what: the roles of a person at a time, by the ratified policy.

Own roles, turns of duty that run then, and delegations that run then (of the policy, or granted in the crisis). A vote
counts with the roles at the time when it was cast, as long as the voter and the giver are in the policy in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from orchestrator.domain import standing
from orchestrator.domain.conditions import in_force
from orchestrator.domain.policy import Stage
from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import Loan, Standing
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.errors import NotAllowed


def loans(state: SiteState) -> tuple[Loan, ...]:
    """Every delegation that is known: of the ratified policy and granted since, with the time it was taken back at.

    One that was signed before the people's keys were ratified anew is taken back by that, as votes are: its key may be
    among those that were revoked.
    """
    ratified = in_force(state)
    revoked = {name: moment(at) for name, at in state.revoked_delegations.items()}
    revoked |= {
        loan.name: moment(ratified.keys_at) for loan in state.grants.values() if loan.seq < ratified.keys_since and loan.name not in revoked
    }
    known = (*standing.loans_of(ratified.policy), *state.grants.values())
    return tuple(replace(loan, revoked_at=revoked.get(loan.name)) for loan in known)


def roles_of(state: SiteState, person: str, now: datetime) -> frozenset[Role]:
    """The roles of a person now, lent ones included. Raises NotAllowed (rules `not-ratified`, `unknown-person`)."""
    policy = in_force(state).policy
    if person not in policy.people_by_name:
        raise NotAllowed(f"{person} is nobody in the ratified policy", rule="unknown-person")
    running = [loan for loan in loans(state) if loan.runs(now)]
    return standing.standing(policy, person, turns=standing.turns_at(policy, person, now), loans=running).roles


def standing_on(state: SiteState, stage: Stage, person: str, at: datetime) -> Standing:
    """The places that a person may fill in the quorum of a stage at a time, whatever its plan. Raises as `roles_of`."""
    roles_of(state, person, at)
    policy = in_force(state).policy
    running = [loan for loan in loans(state) if loan.runs(at)]
    turns = standing.turns_at(policy, person, at)
    return standing.standing_for(policy, stage, person, turns=turns, loans=running, opens=standing.applications_of(policy, stage))


def spent(status: StageStatus, person: str) -> frozenset[str]:
    """Whose authority nobody votes by on the present plan: who proposed it or votes on it has lent nothing for it."""
    return frozenset({status.proposer, *status.votes} - {person})


def voters(state: SiteState, stage: Stage, status: StageStatus) -> Mapping[str, Standing]:
    """Who has approved, with the places each may fill by the policy in force now and the roles at the time of the vote."""
    people = in_force(state).policy.people_by_name
    return {
        vote.person: standing_on(state, stage, vote.person, moment(vote.at)).without(spent(status, vote.person))
        for vote in status.approvals
        if vote.person in people
    }
