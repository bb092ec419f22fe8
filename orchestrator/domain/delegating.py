"""Delegations granted in the crisis: the statement that their giver signs, and the decisions to grant and to take back.

    {"what": "delegation", "site", "policy_digest", "rehearsal", "log_head": {"size", "root"}, "giver", "taker",
     "roles": [...], "applications": [...], "starts", "ends", "reason"}

It is canonical JSON, signed in the namespace `reconnect-delegation@v1`, and may be handed in by anybody of the policy: its
taker may have no role yet. It is bound to the ratified policy, lends only what the giver holds by it, and ends within
7 days. A delegation is called by its statement: `grant-` and the beginning of its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.domain import duties, eligibility
from orchestrator.domain.canonical import canonical
from orchestrator.domain.commands import Command
from orchestrator.domain.conditions import in_force
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import Head, NewEvent
from orchestrator.domain.making import EventMaker, stamp
from orchestrator.domain.plain_text import plain
from orchestrator.domain.policy import Policy
from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import GRANTED, owned
from orchestrator.domain.state import SiteState, moment
from orchestrator.domain.statement import LogHead
from orchestrator.errors import NotAllowed, NotAuthenticated, Refused, Stale, UnknownName, UsageError

NAMESPACE = "reconnect-delegation@v1"
LONGEST = timedelta(days=7)
_SIGN_THIS = "sign the exact text that GET /v1/delegations/statement gives"


class DelegationStatement(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    what: Literal["delegation"] = "delegation"
    site: str
    policy_digest: str
    rehearsal: bool
    log_head: LogHead
    giver: str
    taker: str
    roles: tuple[Role, ...] = Field(min_length=1, max_length=len(Role))
    applications: tuple[str, ...] = Field(max_length=100)
    starts: str
    ends: str
    reason: Annotated[str, AfterValidator(plain)] = Field(min_length=1, max_length=1000)

    def text(self) -> str:
        """The exact text to sign."""
        return canonical(self.model_dump(mode="json")).decode()


@dataclass(frozen=True)
class Lending:
    """What somebody wants to lend, before it is signed."""

    giver: str
    taker: str
    roles: tuple[Role, ...]
    applications: tuple[str, ...]
    starts: datetime
    ends: datetime
    reason: str


@dataclass(frozen=True)
class GrantDelegation(Command):
    """`signer` is whose key signed `statement`, verified; `actor` is who hands it in."""

    statement: str
    signature: str
    signer: str


@dataclass(frozen=True)
class RevokeDelegation(Command):
    delegation: str
    reason: str = ""


def delegation_statement(state: SiteState, head: Head, lending: Lending, now: datetime) -> DelegationStatement:
    """What the giver signs. Refuses at once what would be refused when it is handed in."""
    ratified = in_force(state)
    statement = DelegationStatement(
        site=ratified.site.name,
        policy_digest=ratified.policy_digest,
        rehearsal=state.rehearsal,
        log_head=LogHead(size=head.size, root=head.root),
        giver=lending.giver,
        taker=lending.taker,
        roles=tuple(sorted(set(lending.roles))),
        applications=tuple(sorted(set(lending.applications))),
        starts=stamp(lending.starts),
        ends=stamp(lending.ends),
        reason=lending.reason,
    )
    _require_lendable(ratified.policy, statement, now)
    return statement


def read_delegation(text: str) -> DelegationStatement:
    """The statement of this text. Raises UsageError for what is not one, or not in canonical form."""
    try:
        statement = DelegationStatement.model_validate(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise UsageError("this is no statement of a delegation", advice=_SIGN_THIS) from error
    if statement.text() != text:
        raise UsageError("the statement is not in canonical form", advice=_SIGN_THIS)
    return statement


def grant(state: SiteState, command: GrantDelegation, now: datetime) -> tuple[NewEvent, ...]:
    """DelegationGranted. Raises Refused (rules `signature`, `digest-moved`, `delegation-…`) or UsageError."""
    ratified = in_force(state)
    duties.require_writing(eligibility.roles_of(state, command.actor, now))  # somebody of the policy; roles they may have none
    statement = read_delegation(command.statement)
    if statement.giver != command.signer:
        raise NotAuthenticated(f"signed by {command.signer} in the name of {statement.giver}", rule="signature")
    present = (ratified.site.name, ratified.policy_digest, state.rehearsal)
    if (statement.site, statement.policy_digest, statement.rehearsal) != present or statement.log_head.size <= ratified.keys_since:
        raise Stale("the delegation is not about the policy in force", rule="digest-moved", advice="sign a new statement")
    _require_lendable(ratified.policy, statement, now)
    name = GRANTED + hashlib.sha256(command.statement.encode()).hexdigest()[:12]
    if name in state.grants:
        raise Refused(f"{name} has been handed in before", rule="delegation-known", advice="sign a new statement to lend again")
    make = EventMaker(state, command.signer, now)
    content = statement.model_dump(mode="json", include={"giver", "taker", "roles", "applications", "starts", "ends", "reason"})
    signed = {"statement": command.statement, "signature": command.signature, "handed_in_by": command.actor}
    return (make(E.DELEGATION_GRANTED, {"name": name, **content, **signed}),)


def revoke(state: SiteState, command: RevokeDelegation, now: datetime) -> tuple[NewEvent, ...]:
    """DelegationRevoked: of one granted in the crisis, or of the policy's. At once, and for good under this name."""
    loan = next((loan for loan in eligibility.loans(state) if loan.name == command.delegation), None)
    if loan is None:
        raise UnknownName(f"there is no delegation {command.delegation!r}", advice="orchestrator delegation list")
    roles = eligibility.roles_of(state, command.actor, now)
    duties.require_writing(roles)
    if command.actor != loan.giver and Role.SECURITY_OFFICER not in roles:
        message = f"{loan.name} is {loan.giver}'s"
        raise NotAllowed(message, rule="delegation-not-yours", advice=f"{loan.giver} or a security officer takes it back")
    if loan.revoked_at is not None:
        raise Refused(f"{loan.name} was taken back at {stamp(loan.revoked_at)}", rule="delegation-known", advice="nothing is left to do")
    return (EventMaker(state, command.actor, now)(E.DELEGATION_REVOKED, {"name": loan.name, "reason": command.reason}),)


def _require_lendable(policy: Policy, statement: DelegationStatement, now: datetime) -> None:
    """Raises NotAllowed or Refused: between people of the policy, what the giver holds, for a week at most."""
    for name in (statement.giver, statement.taker):
        if name not in policy.people_by_name:
            raise NotAllowed(f"{name} is nobody in the ratified policy", rule="unknown-person")
    giver, taker = policy.person(statement.giver), policy.person(statement.taker)
    if giver.name == taker.name:
        raise NotAllowed(f"{giver.name} delegates to themselves", rule="delegation-taker", advice="name another person")
    if Role.AUDITOR in (*giver.roles, *taker.roles, *statement.roles):
        raise NotAllowed("an auditor takes no part in what they review", rule="delegation-taker", advice="name another person")
    foreign = sorted(set(statement.roles) - set(giver.roles))
    if foreign:
        held = ", ".join(sorted(giver.roles)) or "no role of their own"
        message = f"{giver.name} does not hold {', '.join(foreign)}"
        raise NotAllowed(message, rule="delegation-authority", advice=f"by the ratified policy {giver.name} holds {held}")
    strange = sorted(set(statement.applications) - owned(policy, giver))
    if strange:
        message = f"{giver.name} is not the owner of {', '.join(strange)}"
        raise NotAllowed(message, rule="delegation-authority", advice=f"they own {', '.join(sorted(owned(policy, giver))) or 'none'}")
    starts, ends = _time(statement.starts), _time(statement.ends)
    if not starts < ends or ends <= now or ends > now + LONGEST:
        message = f"a delegation from {statement.starts} to {statement.ends} is empty, over, or too long"
        raise Refused(message, rule="delegation-time", advice=f"it ends by {stamp(now + LONGEST)}; after that, sign another one")


def _time(text: str) -> datetime:
    try:
        time = moment(text)
    except ValueError:
        raise UsageError(f"{text!r} is no RFC 3339 time", advice="for example 2026-07-01T12:00:00Z") from None
    if time.tzinfo is None or stamp(time) != text:
        raise UsageError(f"{text!r} is not written as the log writes times", advice="for example 2026-07-01T12:00:00.000Z")
    return time
