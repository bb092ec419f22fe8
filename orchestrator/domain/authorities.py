"""Two people's word: of two different authorities, as in a quorum."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import conditions, eligibility, standing
from orchestrator.domain.duties import ROLES_OF, Verb
from orchestrator.domain.state import SiteState


def two_authorities(state: SiteState, verb: Verb, first: str, first_at: datetime, second: str, now: datetime) -> bool:
    """Whether `first` (who spoke at `first_at`) and `second` (who speaks now) are two persons, neither acting by what the
    other has lent them, nor both by what one third person has."""
    asking = _authorities(state, verb, first, first_at) - {second}
    granting = _authorities(state, verb, second, now) - {first}
    return first != second and any(one != other for one in asking for other in granting)


def _authorities(state: SiteState, verb: Verb, person: str, at: datetime) -> set[str]:
    """By whose authority the person had the verb at that time: their own, or that of who has lent it to them."""
    policy = conditions.in_force(state).policy
    if person not in policy.people_by_name:
        return set()  # taken out of the policy since
    running = [loan for loan in eligibility.loans(state) if loan.runs(at)]
    found = standing.standing(policy, person, turns=standing.turns_at(policy, person, at), loans=running)
    return {whose for whose, roles in ((person, found.own), *found.lent.items()) if not ROLES_OF[verb].isdisjoint(roles)}
