"""The decisions: `decide(state, command, now)` returns the events to append, or raises a refusal that names its rule.

No I/O, no clock, no randomness: the same state, command and time give the same answer, so that a decision can be
repeated from the log years later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from orchestrator.domain import conditions, eligibility, stages
from orchestrator.domain.commands import (
    ApplyStage,
    AttachEvidence,
    CancelStage,
    CastVote,
    Command,
    EnterLogbook,
    PlanStage,
    RecordAttestation,
    RevertStage,
)
from orchestrator.domain.duties import Verb, require
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp, without_floats
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.statement import expiry
from orchestrator.domain.votes import assignment, missing
from orchestrator.domain.voting import vote
from orchestrator.errors import IllegalTransition, Refused, Stale, UnknownName, UsageError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,30}")


def decide(state: SiteState, command: Command, now: datetime) -> tuple[NewEvent, ...]:
    """The events that the command makes. Raises Refused (with its rule) or InputError."""
    verb, decision = _DECISIONS[type(command)]
    require(verb, eligibility.roles_of(state, command.actor, now))
    return decision(state, command, now, EventMaker(state, command.actor, now))


def overdue(state: SiteState, now: datetime) -> tuple[NewEvent, ...]:
    """Plans whose time is over, as events."""
    make = EventMaker(state, ORCHESTRATOR, now)
    return tuple(
        make(E.STAGE_EXPIRED, {"reason": "the plan and its votes were not used in time"}, stage=status.name)
        for status in state.stages.values()
        if status.state in stages.VOTING and now >= expiry(status)
    )


def went_stale(state: SiteState, stage: str, reason: str, now: datetime) -> tuple[NewEvent, ...]:
    """Something that the plan depends on has moved: the votes are void."""
    make = EventMaker(state, ORCHESTRATOR, now)
    return (make(E.STAGE_STALE, {"reason": reason}, stage=stage), make(E.VOTES_VOIDED, {"reason": reason}, stage=stage))


def may_apply(state: SiteState, stage: str, digest_now: str, now: datetime) -> StageStatus:
    """Everything that must hold for the stage to be applied, its state excepted; execution asks again in its step 1.

    Raises Refused: `posture`, `votes-missing`, `expired`, `digest-moved`, and the conditions of the stage.
    """
    declared = conditions.declared(state, stage)
    status = state.stage(stage)
    conditions.require_posture(state)
    if status.plan is None:
        raise IllegalTransition(f"{stage} has no plan", rule="no-plan", advice=f"orchestrator stage plan {stage}")
    conditions.require_same_keys(state, status)
    given = eligibility.voters(state, declared, status)
    if status.state in stages.VOTING:
        if now >= expiry(status):
            raise Stale(f"the plan of {stage} has expired", rule="expired", advice="plan it again")
        if assignment(declared.votes, given) is None or status.state is not StageState.APPROVED:
            lacking = ", ".join(f"{count} {role}" for role, count in missing(declared.votes, given).items())
            raise Refused(f"{stage} has not all its votes", rule="votes-missing", advice=f"still needed: {lacking}")
    elif status.state is StageState.APPLYING and assignment(declared.votes, given) is None:
        raise Stale(f"the votes of {stage} do not suffice any more", rule="votes-missing", advice="plan it again")
    if digest_now != status.plan_digest:
        raise Stale(f"the plan of {stage} made now is not the one voted on", rule="digest-moved", advice="plan it again and vote again")
    conditions.require_all(state, declared, now)
    return status


# --- the decisions ------------------------------------------------------------------------------------------------


def _plan(state: SiteState, command: PlanStage, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    plan = command.plan
    status = state.stage(plan.stage)
    stages.after(status.state, E.STAGE_PLANNED, plan.stage)
    conditions.require_predecessors(state, conditions.declared(state, plan.stage), now)
    if not plan.devices:
        raise UsageError(f"{plan.stage} would change nothing", advice="is the layer laid? `orchestrator status`")
    if any("{until}" in device.confirm.text + device.confirm.command for device in plan.devices):
        raise Refused(
            f"{plan.stage} opens dated windows, which this version cannot end by themselves",
            rule="windows-not-yet",
            advice="leave it closed",
        )
    voided = (make(E.VOTES_VOIDED, {"reason": "planned again"}, stage=plan.stage),) if status.votes else ()
    body = {"plan_digest": plan.digest, "plan": without_floats(plan.model_dump(mode="json"))}
    return (*voided, make(E.STAGE_PLANNED, body, stage=plan.stage))


def _apply(state: SiteState, command: ApplyStage, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    status = may_apply(state, command.stage, command.digest_now, now)
    stages.after(status.state, E.STAGE_APPLYING, command.stage)
    for other in state.stages.values():
        if other.state in stages.RUNNING:
            raise IllegalTransition(
                f"{other.name} is {other.state}", rule="another-stage-runs", advice="one stage at a time: wait for its end"
            )
    return (make(E.STAGE_APPLYING, {"plan_digest": status.plan_digest, "epoch": state.epoch}, stage=command.stage),)


def _cancel(state: SiteState, command: CancelStage, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    conditions.declared(state, command.stage)
    stages.after(state.stage(command.stage).state, E.STAGE_CANCELLED, command.stage)
    return (make(E.STAGE_CANCELLED, {"reason": command.reason}, stage=command.stage),)


def _revert(state: SiteState, command: RevertStage, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    conditions.declared(state, command.stage)
    stages.after(state.stage(command.stage).state, E.STAGE_REVERTING, command.stage)
    return (make(E.STAGE_REVERTING, {"reason": command.reason}, stage=command.stage),)


def _evidence(state: SiteState, command: AttachEvidence, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    if command.stage is not None:
        conditions.declared(state, command.stage)
    if command.application is not None and command.application not in {a.name for a in conditions.in_force(state).policy.applications}:
        raise UnknownName(f"there is no application {command.application!r}")
    if not _KIND.fullmatch(command.kind):
        raise UsageError(
            f"{command.kind!r} is no kind of evidence", advice="lower-case words with hyphens, as the gates of the stages name them"
        )
    body = {
        "kind": command.kind,
        "application": command.application,
        "document_sha256": _sha256(command.document_sha256),
        "note": command.note,
    }
    return (make(E.EVIDENCE_ATTACHED, body, stage=command.stage),)


def _attestation(state: SiteState, command: RecordAttestation, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    if command.partner not in {partner.name for partner in conditions.in_force(state).policy.partners}:
        raise UnknownName(f"there is no partner {command.partner!r}")
    until = _time(command.valid_until)
    if until <= now:
        raise UsageError("the attestation has expired already")
    body = {
        "partner": command.partner,
        "state": "accepted" if command.accepted else "refused",
        "document_sha256": _sha256(command.document_sha256),
        "valid_until": stamp(until),
        "note": command.note,
    }
    return (make(E.ATTESTATION_RECORDED, body),)


def _logbook(state: SiteState, command: EnterLogbook, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    if command.stage is not None:
        conditions.declared(state, command.stage)
    if not command.text.strip():
        raise UsageError("the entry is empty")
    return (make(E.LOGBOOK_ENTERED, {"text": command.text}, stage=command.stage),)


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise UsageError("a document is named by its SHA-256, 64 lower-case hexadecimal digits", advice="sha256sum FILE")
    return text


def _time(text: str) -> datetime:
    try:
        time = moment(text)
    except ValueError:
        raise UsageError(f"{text!r} is no RFC 3339 time", advice="for example 2026-07-01T12:00:00Z") from None
    if time.tzinfo is None:
        raise UsageError(f"{text!r} has no time zone", advice="for example 2026-07-01T12:00:00Z")
    return time


_DECISIONS: Mapping[type[Command], tuple[Verb, Callable[[SiteState, Any, datetime, EventMaker], tuple[NewEvent, ...]]]] = {
    PlanStage: (Verb.PLAN, _plan),
    CastVote: (Verb.VOTE, vote),
    ApplyStage: (Verb.APPLY, _apply),
    CancelStage: (Verb.CANCEL, _cancel),
    RevertStage: (Verb.REVERT, _revert),
    AttachEvidence: (Verb.EVIDENCE, _evidence),
    RecordAttestation: (Verb.ATTESTATION, _attestation),
    EnterLogbook: (Verb.LOGBOOK, _logbook),
}
