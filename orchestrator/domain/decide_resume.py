"""The decisions after a false alarm: that it was one, and that a suspended stage is resumed by the votes of the resumption."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import conditions, eligibility, indicators, resumption, stages
from orchestrator.domain.commands import DeclareFalseAlarm
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState, StageStatus
from orchestrator.domain.votes import assignment
from orchestrator.errors import IllegalTransition, Refused, Stale, UnknownName, UsageError


def false_alarm(state: SiteState, command: DeclareFalseAlarm, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """FalseAlarmDeclared. It opens nothing: a resumption that may be voted on is all that follows."""
    cutoff = state.last_cutoff
    if cutoff is None or state.posture in (SitePosture.NORMAL, SitePosture.SURVEILLANCE):
        raise Refused("nothing is cut off: there is no alarm to call false", rule="nothing-is-cut", advice="orchestrator status")
    if not command.reason.strip():
        raise UsageError("a false alarm is declared with its reason")
    if state.false_alarm is not None:
        raise Refused(f"{state.false_alarm.by} has said so already", rule="already-declared", advice="orchestrator stage plan resume")
    if found := indicators.unmet(state, now):
        raise Refused(found[0].message, rule=found[0].rule, advice=found[0].advice)
    since = cutoff.epoch if command.since is None else command.since
    begun = {item.epoch: item.cut_at for item in state.interrupted.values()} | {cutoff.epoch: cutoff.at}
    if since not in begun:
        known = ", ".join(str(epoch) for epoch in sorted(begun))
        raise UnknownName(f"no cut-off of the epoch {since} closed what was open", advice=f"one of {known}")
    body = {"reason": command.reason, "since_epoch": since, "epoch": cutoff.epoch, "cut_at": begun[since], "profile": cutoff.profile}
    return (make(E.FALSE_ALARM_DECLARED, body),)


def require_now(state: SiteState, now: datetime) -> None:
    """A resumption could be applied now, whatever it resumes. Raises Refused with the rule of what holds it back."""
    conditions.require_posture(state)
    for item in resumption.unmet(state, now):
        raise Refused(item.message, rule=item.rule, advice=item.advice)


def may_resume(state: SiteState, status: StageStatus, digest_now: str, now: datetime) -> StageStatus:
    """Everything that must hold for this stage to be resumed, its state excepted. The votes are those of the resumption.

    Raises Refused, as `decide.may_apply` does for a stage by itself.
    """
    ballot, asked = state.stage(RESUME), conditions.declared(state, RESUME)
    conditions.require_posture(state)
    conditions.require_same_keys(state, ballot)
    if assignment(asked.votes, eligibility.voters(state, asked, ballot)) is None:
        raise Stale("the votes of the resumption do not suffice any more", rule="votes-missing", advice="plan the stages anew")
    if digest_now != status.plan_digest:
        raise Stale(f"the plan of {status.name} made now is not the one it was opened by", rule="digest-moved", advice="plan it anew")
    for item in resumption.unmet(state, now):
        raise Refused(item.message, rule=item.rule, advice=item.advice)
    resumed = [item.stage for item in (ballot.plan.resumes if ballot.plan is not None else ())]
    lasting = [name for name in resumed if state.stage(name).state is StageState.OBSERVING]
    as_open = resumption.as_if_open(state, lasting)
    conditions.require_all(as_open, conditions.declared(as_open, status.name), now)
    return status


def resumed(state: SiteState, stage: str, digest_now: str, now: datetime) -> tuple[NewEvent, ...]:
    """StageResumed: from here on it is applied like any stage. Raises Refused."""
    status = state.stage(stage)
    if not resumption.resumed_by(state, stage):
        raise Stale(f"no resumption is under way that resumes {stage} as it is planned", rule="digest-moved", advice="plan it anew")
    stages.after(status.state, E.STAGE_RESUMED, stage)
    for other in state.stages.values():
        if other.name not in (RESUME, stage) and other.state in stages.RUNNING - {StageState.OBSERVING}:
            raise IllegalTransition(f"{other.name} is {other.state}", rule="another-stage-runs", advice="one stage at a time")
    may_resume(state, status, digest_now, now)
    body = {"plan_digest": status.plan_digest, "epoch": state.epoch, "resumption": state.stage(RESUME).plan_digest}
    return (EventMaker(state, ORCHESTRATOR, now)(E.STAGE_RESUMED, body, stage=stage),)


def ended(state: SiteState, now: datetime, reason: str) -> tuple[NewEvent, ...]:
    """The resumption is over, however far it came: it is used once, and what it has opened stays open."""
    ballot = state.stage(RESUME)
    if ballot.state is not StageState.APPLYING:
        return ()  # a cut-off or a person was faster
    make = EventMaker(state, ORCHESTRATOR, now)
    names = [item.stage for item in (ballot.plan.resumes if ballot.plan is not None else ())]
    back = [name for name in names if state.stage(name).state in stages.LETS_THROUGH | {StageState.OBSERVING}]
    text = f"laid and verified again: {', '.join(back) or 'nothing'}" + (f"; not: {reason}" if reason else "")
    last = E.STAGE_OPENED if len(back) == len(names) else E.STAGE_PARTIALLY_OPENED
    body = {"plan_digest": ballot.plan_digest, "resumed": back, "reason": text}
    steps = (E.STAGE_VERIFYING, E.STAGE_OBSERVING, last, E.STAGE_ENDED)
    return tuple(make(type_, body, stage=RESUME) for type_ in steps)
