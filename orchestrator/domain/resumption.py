"""Resuming after a false alarm: which stages, until when, and what holds it back.

One vote resumes what was open and verified when the cut-off came: the same plans, by their digests, in the order in which
they had been opened. Nothing else: a stage whose plan would not be made the same today, or whose gates do not hold any
more, is left out by name and goes the usual way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.domain import indicators
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.false_alarms import Interrupted
from orchestrator.domain.layer import ordered
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.policy_words import Text
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.unmet import Unmet
from orchestrator.errors import UnknownName

TITLE = Text(en="Resume what was open before the false alarm", fr="Reprendre ce qui était ouvert avant la fausse alerte")
_UNDER_WAY = frozenset({StageState.APPLYING, StageState.VERIFYING, StageState.OBSERVING})


@dataclass(frozen=True)
class Outlook:
    """Whether a resumption is possible. `until`: how long one can be applied, once the false alarm is declared. `stages`: what
    was open, without what is left out whatever the planner says (`left_out`: each with why). `lacks` holds all of it back."""

    stages: tuple[str, ...]
    left_out: tuple[str, ...]
    until: datetime | None
    lacks: tuple[Unmet, ...]


def as_stage(policy: Policy) -> Stage:
    """The resumption as if it were a stage, so that it is voted on like one. Raises UnknownName where the policy has none."""
    if policy.resume is None:
        raise UnknownName(
            "the policy does not say who resumes after a false alarm", advice="plan the stages anew; or add `resume:` to the policy"
        )
    return Stage.model_construct(
        name=RESUME, title=TITLE, flows=(), partners=None, requires=(), gates=(), votes=policy.resume.votes,
        observation=timedelta(0), confirm_window=timedelta(minutes=5), plan_expiry=policy.resume.within, canary=None, checks=(),
        window=None, open_for=None, back_first=(), lifts=False,
    )  # fmt: skip


def candidates(state: SiteState) -> tuple[Interrupted, ...]:
    """What the cut-offs of the declared false alarm closed and nobody has touched since, in the order in which it was opened."""
    alarm = state.false_alarm
    found = [
        item
        for item in state.interrupted.values()
        if alarm is not None and item.epoch >= alarm.since
        and state.stage(item.stage).state is StageState.SUSPENDED
        and state.stage(item.stage).plan_digest == item.plan_digest
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda item: (item.opened_at, item.planned_seq)))


def lack_of(state: SiteState, item: Interrupted, now: datetime) -> str:
    """Why this one cannot be resumed as it was, whatever the planner says; empty when it can."""
    status = state.stage(item.stage)
    planned = {pair: held for pair, held in status.conversations.items() if status.plan is not None and _in_plan(status.plan, pair)}
    alone = sorted(f"{flow} with {partner}" for (flow, partner), held in planned.items() if held is not ConversationState.SUSPENDED)
    if alone:
        return f"not all of its plan was open: {', '.join(alone)}"
    if status.plan is not None and status.plan.on_expiry == "close":
        return "it closes by itself at a date: a window is announced and voted on anew"
    if status.ends_at and moment(status.ends_at) <= now:
        return f"its approved time ended at {status.ends_at}"
    return ""


def _in_plan(plan: Plan, pair: tuple[str, str]) -> bool:
    return pair[0] in plan.flows and pair[1] in plan.partners


def unmet(state: SiteState, now: datetime) -> Iterator[Unmet]:
    """What holds back any resumption, whatever it would resume."""
    alarm, end = state.false_alarm, until(state)
    if alarm is None or state.last_cutoff is None or alarm.last != state.last_cutoff.epoch:
        yield Unmet("false-alarm-missing", "nobody has declared the last cut-off a false alarm", "orchestrator false-alarm --reason TEXT")
        return
    if alarm.used and state.stage(RESUME).state not in _UNDER_WAY:
        yield Unmet("resume-used", "this false alarm has been resumed from already", "what is still closed is planned and voted on anew")
    if end is not None and now >= end:
        yield Unmet("resume-too-late", f"the time to resume ended at {end:%Y-%m-%dT%H:%MZ}", "plan the stages anew, and vote on each")
    yield from indicators.unmet(state, now)


def until(state: SiteState) -> datetime | None:
    """How long a resumption can be applied; None when no false alarm is declared, or the policy resumes nothing."""
    resume = state.ratified.policy.resume if state.ratified is not None else None
    return None if state.false_alarm is None or resume is None else moment(state.false_alarm.cut_at) + resume.within


def outlook(state: SiteState, now: datetime) -> Outlook | None:
    """None when nothing that was open is closed by the last cut-off, or the policy resumes nothing."""
    if state.ratified is None or state.ratified.policy.resume is None or state.last_cutoff is None:
        return None
    alarm = state.false_alarm
    items = candidates(state) if alarm is not None else _interrupted_last(state)
    if not items or (alarm is not None and alarm.used):
        return None
    lacking = {item.stage: lack_of(state, item, now) for item in items}
    stages = tuple(name for name, why in lacking.items() if not why)
    left_out = tuple(f"{name}: {why}" for name, why in lacking.items() if why)
    return Outlook(stages, left_out, until(state), tuple(unmet(state, now)))


def _interrupted_last(state: SiteState) -> tuple[Interrupted, ...]:
    """What the last cut-off closed, before anybody has said what it was."""
    last = state.last_cutoff.epoch if state.last_cutoff is not None else 0
    found = [item for item in state.interrupted.values() if item.epoch == last and state.stage(item.stage).state is StageState.SUSPENDED]
    return tuple(sorted(found, key=lambda item: (item.opened_at, item.planned_seq)))


def resumed_by(state: SiteState, stage: str) -> bool:
    """Whether the resumption that is under way resumes this stage, as it is planned."""
    ballot = state.stage(RESUME)
    if ballot.state not in _UNDER_WAY or ballot.plan is None:
        return False
    return any(item.stage == stage and item.plan_digest == state.stage(stage).plan_digest for item in ballot.plan.resumes)


def as_if_open(state: SiteState, names: Collection[str]) -> SiteState:
    """The state in which these stages are open again: a predecessor that is resumed counts for those that follow it."""
    opened = {name: replace(state.stage(name), state=StageState.OPEN) for name in names}
    return replace(state, stages={**state.stages, **opened})


def with_openings(state: SiteState, resumed: Iterable[StageStatus]) -> SiteState:
    """The state in which the devices hold what these stages had laid: what the next one was planned beside."""
    for status in resumed:
        for part in status.plan.devices if status.plan is not None else ():
            device = state.device(part.device)
            elements = ordered((*part.change.elements, *(opening.element for opening in part.change.shared)))
            openings = {**device.openings, status.name: elements}
            releases = {**device.releases, status.name: part.change.releases}
            state = replace(state, devices={**state.devices, part.device: replace(device, openings=openings, releases=releases)})
    return state
