"""Ends, warnings, extensions, deadlines on devices and planned re-cuts, folded into the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain import extensions, recuts
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.extensions import Extension
from orchestrator.domain.recuts import Recut
from orchestrator.domain.state import Deadline, DeviceStatus, SiteState, StageStatus


def with_deadline(device: DeviceStatus, event: Event, settled: str) -> DeviceStatus:
    """After a read-back that settled what a stage holds: closed, it ends no more; confirmed, it ends as the read-back said."""
    stage, found = str(event.stage), event.body.get("deadline")
    deadlines = {name: deadline for name, deadline in device.deadlines.items() if name != stage or settled == "narrow"}
    if settled == "confirm" and found is not None:
        deadlines[stage] = Deadline(found["closes_at"], found["sent_s"], found["ends_at"], found.get("late_s", 0))
    return replace(device, deadlines=deadlines)


def _observing(state: SiteState, event: Event) -> SiteState:
    """From its confirmation on, what was opened has its end."""
    ends = event.body.get("ends_at")
    return _with_stage(state, event, ends_at=ends) if ends is not None else state


def _warned(state: SiteState, event: Event) -> SiteState:
    return _with_stage(state, event, warned_h=event.body["hours"])


def _passed(state: SiteState, event: Event) -> SiteState:
    return _with_stage(state, event, end_passed=event.at)


def _extension_requested(state: SiteState, event: Event) -> SiteState:
    body = event.body
    asked = Extension(
        body["extension"], str(event.stage), body["plan_digest"], body["ends_at"], body["until"], body["reason"],
        event.actor, event.at, event.seq, rehearsal=_rehearsal(event),
    )  # fmt: skip
    return replace(state, extensions={**state.extensions, asked.id: asked})


def _extension_granted(state: SiteState, event: Event) -> SiteState:
    """The end moves, and its warnings are given anew."""
    asked = state.extensions[event.body["extension"]]
    granted = replace(asked, state=extensions.after(asked.state, event.type, asked.id), granted_by=event.actor, granted_at=event.at)
    state = replace(state, extensions={**state.extensions, asked.id: granted})
    return _with_stage(state, event, ends_at=event.body["until"], warned_h=0, end_passed="")


def _recut_scheduled(state: SiteState, event: Event) -> SiteState:
    body = event.body
    made = Recut(body["recut"], body["at"], body["profile"], body["reason"], event.actor, event.at, rehearsal=_rehearsal(event))
    return replace(state, recuts={**state.recuts, made.id: made})


def _recut_ended(state: SiteState, event: Event) -> SiteState:
    found = state.recuts[event.body["recut"]]
    ended = replace(
        found,
        state=recuts.after(found.state, event.type, found.id),
        ended_at=event.at,
        ended_by=event.actor,
        ended_because=event.body.get("reason", ""),
    )
    return replace(state, recuts={**state.recuts, ended.id: ended})


def _with_stage(state: SiteState, event: Event, **changed: object) -> SiteState:
    status: StageStatus = replace(state.stage(str(event.stage)), **changed)  # type: ignore[arg-type]
    return replace(state, stages={**state.stages, status.name: status})


def _rehearsal(event: Event) -> bool:
    return event.body.get("rehearsal") is True


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.STAGE_OBSERVING: _observing,
    E.EXPIRY_WARNED: _warned,
    E.EXPIRY_PASSED: _passed,
    E.EXTENSION_REQUESTED: _extension_requested,
    E.EXTENSION_GRANTED: _extension_granted,
    E.RECUT_SCHEDULED: _recut_scheduled,
    E.RECUT_CANCELLED: _recut_ended,
    E.RECUT_STARTED: _recut_ended,
}
