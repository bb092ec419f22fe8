"""Folding what a cut-off interrupts, and what is said and done after a false alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.false_alarms import FalseAlarm, Interrupted
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState


def interrupted(before: SiteState, after: SiteState, event: Event, epoch: int) -> SiteState:
    """`after` a cut-off that changed `before`: what had been open is remembered. A new alarm ends what was said of the last one."""
    gone = {
        status.name: Interrupted(status.name, status.plan_digest, epoch, event.at, status.opened_at, status.planned_seq)
        for status in before.stages.values()
        if status.state in LETS_THROUGH
        and after.stage(status.name).state is StageState.SUSPENDED
        and not (status.plan is not None and (status.plan.lifts or status.plan.resumes))
    }
    return replace(after, interrupted={**before.interrupted, **gone}, false_alarm=None)


def applied(state: SiteState) -> SiteState:
    """A resumption is applied: its false alarm is used up."""
    return state if state.false_alarm is None else replace(state, false_alarm=replace(state.false_alarm, used=True))


def _false_alarm_declared(state: SiteState, event: Event) -> SiteState:
    body = event.body
    said = FalseAlarm(body["since_epoch"], body["epoch"], body["cut_at"], body["reason"], event.actor, event.at)
    return replace(state, false_alarm=said)


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.FALSE_ALARM_DECLARED: _false_alarm_declared,
}
