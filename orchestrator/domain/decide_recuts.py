"""The decisions about planned re-cuts: scheduled and cancelled by one person, without votes, for a cut-off only subtracts."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import conditions, recuts
from orchestrator.domain.commands import CancelRecut, ScheduleRecut
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.recuts import Recut
from orchestrator.domain.state import SiteState, moment
from orchestrator.domain.windows import read_time
from orchestrator.errors import Refused, UnknownName, UsageError


def schedule(state: SiteState, command: ScheduleRecut, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """RecutScheduled. Raises Refused (rule `recut-time`), UnknownName, UsageError."""
    policy = conditions.in_force(state).policy
    if command.profile not in policy.profiles_by_name:
        raise UnknownName(f"there is no profile {command.profile!r}", advice=f"there is {', '.join(policy.profiles_by_name)}")
    if not command.reason.strip():
        raise UsageError("a re-cut says its reason", advice="--reason TEXT")
    at = read_time(command.at, policy.timezone)
    if at <= now:
        raise Refused(f"{stamp(at)} is in the past", rule="recut-time", advice=f"now: orchestrator cutoff --profile {command.profile}")
    body = {"recut": f"C{len(state.recuts) + 1}", "at": stamp(at), "profile": command.profile, "reason": command.reason.strip()}
    return (make(E.RECUT_SCHEDULED, body),)


def cancel(state: SiteState, command: CancelRecut, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """RecutCancelled. Raises UnknownName, IllegalTransition, UsageError."""
    found = _known(state, command.recut)
    recuts.after(found.state, E.RECUT_CANCELLED, found.id)
    if not command.reason.strip():
        raise UsageError("what was decided is not cancelled without a reason", advice="--reason TEXT")
    return (make(E.RECUT_CANCELLED, {"recut": found.id, "reason": command.reason.strip()}),)


def started(state: SiteState, recut: str, reason: str, now: datetime) -> tuple[NewEvent, ...]:
    """RecutStarted, once; nothing when it was cancelled, or said to have started, in the meantime."""
    found = state.recuts[recut]
    if E.RECUT_STARTED not in recuts.TABLE[found.state]:
        return ()
    late_ms = max(0, round((now - found.due).total_seconds() * 1000))
    body = {"recut": recut, "profile": found.profile, "late_ms": late_ms, "reason": reason}
    return (EventMaker(state, ORCHESTRATOR, now)(E.RECUT_STARTED, body),)


def done_already(state: SiteState, recut: Recut) -> bool:
    """Whether a cut-off with its profile was ordered since its date, by whoever."""
    cutoff = state.last_cutoff
    return cutoff is not None and cutoff.profile == recut.profile and moment(cutoff.at) >= recut.due


def _known(state: SiteState, recut: str) -> Recut:
    found = state.recuts.get(recut)
    if found is None or not state.counts(found.rehearsal):
        known = ", ".join(known.id for known in state.recuts.values() if state.counts(known.rehearsal))
        raise UnknownName(f"there is no re-cut {recut!r}", advice=f"there is {known or 'none'}")
    return found
