"""What the events of delegations mean for the state."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.events import Event
from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import Loan
from orchestrator.domain.state import SiteState, moment


def delegation_granted(state: SiteState, event: Event) -> SiteState:
    """It lends nothing before it is in the log, whatever beginning was signed."""
    body = event.body
    loan = Loan(
        name=body["name"],
        giver=body["giver"],
        taker=body["taker"],
        roles=tuple(Role(role) for role in body["roles"]),
        applications=tuple(body["applications"]),
        starts=max(moment(body["starts"]), moment(event.at)),
        ends=moment(body["ends"]),
        reason=body["reason"],
        signed=body["statement"],
        seq=event.seq,
    )
    return replace(state, grants={**state.grants, loan.name: loan})


def delegation_revoked(state: SiteState, event: Event) -> SiteState:
    """The first time counts."""
    return replace(state, revoked_delegations={event.body["name"]: event.at, **state.revoked_delegations})
