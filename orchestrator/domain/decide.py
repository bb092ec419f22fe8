"""The decisions: `decide(state, command, now)` returns the events to append, or raises a refusal that names its rule.

Those about stages are here, those about what people put on record in `decide_records.py` and `decide_waivers.py`.

No I/O, no clock, no randomness: the same state, command and time give the same answer, so that a decision can be
repeated from the log years later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from orchestrator.domain import (
    conditions,
    decide_blocklist,
    decide_extensions,
    decide_incidents,
    decide_lift,
    decide_people,
    decide_records,
    decide_recuts,
    decide_reisolation,
    decide_resume,
    decide_waivers,
    eligibility,
    resumption,
    stages,
)
from orchestrator.domain.commands import (
    AcceptDifferences,
    ApplyStage,
    AttachEvidence,
    BlockNetworks,
    CancelRecut,
    CancelStage,
    CastVote,
    Command,
    DeclareFalseAlarm,
    DeferStage,
    EndWaiver,
    EnterLogbook,
    GrantExtension,
    GrantUnblock,
    GrantWaiver,
    PlanStage,
    RecordAttestation,
    Reisolate,
    ReportMonitor,
    RequestExtension,
    RequestUnblock,
    RequestWaiver,
    RevertStage,
    SayPartnerReady,
    ScheduleRecut,
)
from orchestrator.domain.duties import Verb, require
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, without_floats
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState, StageStatus
from orchestrator.domain.statement import expiry
from orchestrator.domain.votes import assignment, missing
from orchestrator.domain.voting import vote
from orchestrator.domain.windows import require_open_now, require_window
from orchestrator.errors import IllegalTransition, Refused, Stale, UsageError


def decide(state: SiteState, command: Command, now: datetime) -> tuple[NewEvent, ...]:
    """The events that the command makes. Raises Refused (with its rule) or InputError."""
    verb, decision = _DECISIONS[type(command)]
    roles = eligibility.roles_of(state, command.actor, now)
    require(verb, roles, own=decide_people.whose(state, command) == command.actor)
    return decision(state, command, now, EventMaker(state, command.actor, now))


def overdue(state: SiteState, now: datetime) -> tuple[NewEvent, ...]:
    """Plans whose time is over, and changes of people's keys whose delay is, as events."""
    make = EventMaker(state, ORCHESTRATOR, now)
    expired = tuple(
        make(E.STAGE_EXPIRED, {"reason": "the plan and its votes were not used in time"}, stage=status.name)
        for status in state.stages.values()
        if status.state in stages.VOTING and now >= expiry(status)
    )
    return expired or decide_people.due(state, now)


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
    if resumption.resumed_by(state, stage):
        return decide_resume.may_resume(state, status, digest_now, now)
    conditions.require_same_keys(state, status)
    given = eligibility.voters(state, declared, status)
    if status.state in (*stages.VOTING, StageState.APPLYING) and now >= expiry(status):
        raise Stale(f"the plan of {stage} has expired", rule="expired", advice="plan it again")
    if status.state in stages.VOTING:
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
    conditions.require_predecessors(state, conditions.declared(state, plan.stage), now, plan.flows)
    if plan.resumes:
        decide_resume.require_now(state, now)
    elif not plan.devices:
        raise UsageError(f"{plan.stage} would change nothing", advice="is the layer laid? `orchestrator status`")
    require_window(state, plan, now)
    voided = (make(E.VOTES_VOIDED, {"reason": "planned again"}, stage=plan.stage),) if status.votes else ()
    body = {"plan_digest": plan.digest, "plan": without_floats(plan.model_dump(mode="json"))}
    planned = (*voided, make(E.STAGE_PLANNED, body, stage=plan.stage))
    if plan.window is None:
        return planned
    announced = {**plan.window.model_dump(), "partners": list(plan.partners), "plan_digest": plan.digest}
    return (*planned, make(E.WINDOW_ANNOUNCED, announced, stage=plan.stage))


def open_window(state: SiteState, stage: str, digest_now: str, now: datetime) -> tuple[NewEvent, ...]:
    """What begins an approved window at its start, by nobody's hand: StageApplying, citing its approval. Raises as `decide`."""
    if state.stage(stage).state is not StageState.APPROVED:
        return ()  # applied by hand, or dropped, in the meantime
    status = state.stage(stage)
    approved = {"approved_by": sorted(vote.person for vote in status.approvals), "plan_seq": status.planned_seq}
    return _applying(state, stage, digest_now, now, EventMaker(state, ORCHESTRATOR, now), approved)


def _apply(state: SiteState, command: ApplyStage, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    return _applying(state, command.stage, command.digest_now, now, make, {})


def _applying(
    state: SiteState, stage: str, digest_now: str, now: datetime, make: EventMaker, more: Mapping[str, object]
) -> tuple[NewEvent, ...]:
    status = may_apply(state, stage, digest_now, now)
    stages.after(status.state, E.STAGE_APPLYING, stage)
    require_open_now(status, now)
    for other in state.stages.values():
        if other.state in stages.RUNNING:
            raise IllegalTransition(
                f"{other.name} is {other.state}", rule="another-stage-runs", advice="one stage at a time: wait for its end"
            )
    return (make(E.STAGE_APPLYING, {"plan_digest": status.plan_digest, "epoch": state.epoch, **more}, stage=stage),)


def _cancel(state: SiteState, command: CancelStage, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    conditions.declared(state, command.stage)
    stages.after(state.stage(command.stage).state, E.STAGE_CANCELLED, command.stage)
    return (make(E.STAGE_CANCELLED, {"reason": command.reason}, stage=command.stage),)


def _revert(state: SiteState, command: RevertStage, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    conditions.declared(state, command.stage)
    decide_lift.require_layer(state, command.stage)
    stages.after(state.stage(command.stage).state, E.STAGE_REVERTING, command.stage)
    return (make(E.STAGE_REVERTING, {"reason": command.reason}, stage=command.stage),)


_DECISIONS: Mapping[type[Command], tuple[Verb, Callable[[SiteState, Any, datetime, EventMaker], tuple[NewEvent, ...]]]] = {
    PlanStage: (Verb.PLAN, _plan),
    CastVote: (Verb.VOTE, vote),
    ApplyStage: (Verb.APPLY, _apply),
    CancelStage: (Verb.CANCEL, _cancel),
    RevertStage: (Verb.REVERT, _revert),
    AttachEvidence: (Verb.EVIDENCE, decide_records.evidence),
    RecordAttestation: (Verb.ATTESTATION, decide_records.attestation),
    SayPartnerReady: (Verb.PARTNER_READY, decide_records.partner_ready),
    ReportMonitor: (Verb.MONITOR_REPORT, decide_records.monitor_report),
    EnterLogbook: (Verb.LOGBOOK, decide_records.logbook),
    decide_incidents.DeclareIncident: (Verb.INCIDENT, decide_incidents.declare),
    decide_incidents.OrderCutoff: (Verb.CUTOFF_ORDER, decide_incidents.order_cutoff),
    decide_incidents.JudgeCutoff: (Verb.CUTOFF_JUDGE, decide_incidents.judge),
    decide_incidents.DistrustDevice: (Verb.DISTRUST, decide_incidents.distrust),
    decide_incidents.TrustDevice: (Verb.TRUST, decide_incidents.trust),
    decide_incidents.AttestManualAct: (Verb.MANUAL_ACT, decide_incidents.manual_act),
    RequestWaiver: (Verb.WAIVER, decide_waivers.request),
    GrantWaiver: (Verb.WAIVER, decide_waivers.grant),
    EndWaiver: (Verb.WAIVER_END, decide_waivers.end),
    DeclareFalseAlarm: (Verb.FALSE_ALARM, decide_resume.false_alarm),
    DeferStage: (Verb.DEFER, decide_lift.defer),
    AcceptDifferences: (Verb.LIFT_ACCEPT, decide_lift.accept),
    RequestExtension: (Verb.EXTENSION, decide_extensions.request),
    GrantExtension: (Verb.EXTENSION, decide_extensions.grant),
    ScheduleRecut: (Verb.RECUT, decide_recuts.schedule),
    CancelRecut: (Verb.RECUT, decide_recuts.cancel),
    Reisolate: (Verb.REISOLATE, decide_reisolation.order),
    BlockNetworks: (Verb.BLOCK, decide_blocklist.block),
    RequestUnblock: (Verb.UNBLOCK, decide_blocklist.request),
    GrantUnblock: (Verb.UNBLOCK, decide_blocklist.grant),
    decide_people.ChangePeople: (Verb.PEOPLE_CHANGE, decide_people.request),
    decide_people.StopPeopleChange: (Verb.PEOPLE_STOP, decide_people.stop),
    decide_people.RevokeKey: (Verb.KEY_REVOKE, decide_people.revoke_key),
    decide_people.EndSessions: (Verb.SESSIONS_END, decide_people.end_sessions),
}
