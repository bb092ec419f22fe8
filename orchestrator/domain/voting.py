"""The decision on one vote. The order of the refusals: the statement is ours and present, then the person, then the stage."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import conditions, eligibility, stages
from orchestrator.domain.commands import CastVote
from orchestrator.domain.decide_people import known_keys
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import Head, NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.policy import Stage
from orchestrator.domain.signers import Verified
from orchestrator.domain.stages import StageState
from orchestrator.domain.standing import Standing
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.statement import NAMESPACE, Statement, expiry, read_statement, statement_for
from orchestrator.domain.votes import seats
from orchestrator.errors import NotAllowed, NotAuthenticated, Stale, UsageError


def vote(state: SiteState, command: CastVote, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """VoteCast, with StageDenied or StageApproved when this vote decides."""
    declared = conditions.declared(state, command.stage)
    status = state.stage(command.stage)
    stages.after(status.state, E.VOTE_CAST, command.stage)
    statement = read_statement(command.statement)
    _require_key(state, command.key, now)
    _require_present(state, status, statement, command.signer, now)
    standing = _require_eligible(state, declared, status, command.signer, now)
    if statement.choice == "deny" and not statement.reason.strip():
        raise UsageError("a denial needs a reason")
    if statement.choice == "approve":
        _require_kind_of_key(state, command.key)
        conditions.require_all(state, declared, now)
    cast = make(
        E.VOTE_CAST,
        {
            "person": command.signer,
            "choice": statement.choice,
            "reason": statement.reason,
            "roles": sorted(standing.roles),
            **({"lent": {giver: sorted(roles) for giver, roles in sorted(standing.lent.items())}} if standing.lent else {}),
            "plan_digest": statement.plan_digest,
            "statement": command.statement,
            "signature": command.signature,
            "key": command.key.recorded(),
            "handed_in_by": command.actor,
        },
        stage=command.stage,
        actor=command.signer,
    )
    if statement.choice == "deny":
        reason = {"reason": f"{command.signer}: {statement.reason}"}
        return cast, make(E.STAGE_DENIED, reason, stage=command.stage, actor=command.signer)
    filled = seats(declared.votes, {**eligibility.voters(state, declared, status), command.signer: standing})
    if filled is None or status.state is StageState.APPROVED:
        return (cast,)
    approved = {"plan_digest": status.plan_digest, "places": {person: seat.role.value for person, seat in filled.items()}}
    if lent := {person: seat.authority for person, seat in filled.items() if seat.authority != person}:
        approved["by_authority_of"] = lent
    return cast, make(E.STAGE_APPROVED, approved, stage=command.stage, actor=ORCHESTRATOR)


def _require_present(state: SiteState, status: StageStatus, statement: Statement, signer: str, now: datetime) -> None:
    """The statement is its signer's, about the present plan, made after it, and not expired."""
    if statement.voter != signer:
        raise NotAuthenticated(f"signed by {signer} in the name of {statement.voter}", rule="signature")
    conditions.require_same_keys(state, status)
    head = Head(statement.log_head.size, statement.log_head.root)
    present = statement_for(state, status.name, head, signer, statement.choice, statement.reason).model_dump()
    moved = [name for name, value in statement.model_dump().items() if name != "expires" and value != present[name]]
    if moved or head.size <= status.planned_seq:
        what = ", ".join(moved) or "the plan was made after it"
        raise Stale(f"the statement is not about the present plan of {status.name}: {what}", rule="digest-moved", advice="look at the plan again and sign a new statement")  # fmt: skip  # noqa: E501
    try:
        expires = moment(statement.expires)
        in_time = now < expires <= expiry(status)
    except (ValueError, TypeError):  # not a time, or one without a zone
        raise UsageError("`expires` is no RFC 3339 time in UTC") from None
    if not in_time:
        raise Stale("the statement has expired, or outlives its plan", rule="expired", advice="sign a new statement")


def _require_key(state: SiteState, key: Verified, now: datetime) -> None:
    """The key that signed still counts in the state that this is decided on: it may have been revoked since it was looked at."""
    if not known_keys(state).holds(key.person, key.fingerprint, NAMESPACE, now):
        raise NotAuthenticated(f"the key {key.fingerprint} of {key.person} does not count any more", rule="signature")


def _require_kind_of_key(state: SiteState, key: Verified) -> None:
    """Raises NotAllowed (rule `user-verification`): what opens is signed as the policy asks for. A denial takes any key."""
    wanted = conditions.in_force(state).policy.votes_signed_with
    if wanted == "security-key" and not key.user_present:
        message = f"{key.person} signed with a key of the type {key.key_type}, not with a security key"
        raise NotAllowed(message, rule="user-verification", advice="sign with a security key: ssh-keygen -t ed25519-sk")
    if wanted == "user-verification" and not key.user_verified:
        message = f"the key of {key.person} does not say that its user was verified"
        advice = "sign with a security key that asks for your PIN: ssh-keygen -t ed25519-sk -O verify-required"
        raise NotAllowed(message, rule="user-verification", advice=advice)


def _require_eligible(state: SiteState, declared: Stage, status: StageStatus, person: str, now: datetime) -> Standing:
    """The person may vote on this plan; returns the places that the vote may fill, and by whose authority."""
    if person == status.proposer:
        raise NotAllowed("who proposes a plan does not vote on it", rule="proposer-cannot-vote", advice="others vote; you may cancel it")
    standing = eligibility.standing_on(state, declared, person, now)
    left = standing.without(eligibility.spent(status, person))
    if standing.roles and not left.roles:
        givers = ", ".join(sorted(standing.lent))
        raise NotAllowed(
            f"{person} would vote on {declared.name} by the authority of {givers}, who proposed it or votes on it themselves",
            rule="delegation-used",
            advice="a delegate acts instead of the giver, never beside: somebody else votes",
        )
    if not left.roles:
        wanted = ", ".join(f"{count} {role}" for role, count in sorted(declared.votes.items()))
        raise NotAllowed(f"{person} has no role that {declared.name} asks for", rule="role-cannot-vote", advice=f"it asks for {wanted}")
    if person in status.votes:
        raise NotAllowed(f"{person} has voted on this plan already", rule="already-voted", advice="to take it back, cancel the stage")
    return left
