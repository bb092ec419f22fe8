"""What people are told of ends by themselves: warnings before one that is an alarm or closes, and that one has passed."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import expiry
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.stages import LETS_THROUGH
from orchestrator.domain.state import SiteState, StageStatus, moment


def told(state: SiteState, now: datetime) -> tuple[NewEvent, ...]:
    """ExpiryWarned and ExpiryPassed, each once for each end. Dated windows are announced with their end: of them no word."""
    make = EventMaker(state, ORCHESTRATOR, now)
    found = []
    for status in state.stages.values():
        if status.state not in LETS_THROUGH or not status.ends_at or status.plan is None or status.plan.open_for_s is None:
            continue
        ends = moment(status.ends_at)
        hours = expiry.warning_due(moment(status.opened_at), ends, status.warned_h, now)
        body = {"ends_at": status.ends_at, "on_expiry": status.plan.on_expiry}
        if hours is not None:
            left = {"hours": hours, "left_ms": round((ends - now).total_seconds() * 1000)}
            found.append(make(E.EXPIRY_WARNED, {**body, **left}, stage=status.name))
        if has_passed(status, now) and not status.end_passed:
            found.append(make(E.EXPIRY_PASSED, body, stage=status.name))
    return tuple(found)


def has_passed(status: StageStatus, now: datetime) -> bool:
    """Whether its end was an alarm and is over: it is open all the same, and nobody has decided so."""
    return bool(status.ends_at) and status.state in LETS_THROUGH and not expiry.closes(status) and now >= moment(status.ends_at)
