"""The ends of openings: when they are, what is on the device, when that is renewed, and when people are warned.

`close`: the end is a deadline on the device, as long as the platform holds one (`longest`), renewed until the approved end.
`alarm`: nothing is on the device; people are warned, and at the date the stage stays open and everybody is told.

Arithmetic on times and nothing else.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.domain.plan import Plan
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import Deadline, SiteState, StageStatus, moment

WARNED_BEFORE_H = (24, 4, 1)
TOLERANCE = timedelta(seconds=5)  # what a command takes to get to a device, and a read-back to come from it
MAY_END = LETS_THROUGH | {StageState.OBSERVING, StageState.FAILED}


def end_of(plan: Plan, status: StageStatus, now: datetime) -> datetime | None:
    """When what is confirmed now ends; an end that was set before (the stage is resumed, or extended) is kept. None: never."""
    if status.ends_at:
        return moment(status.ends_at)
    if plan.window is not None:
        return moment(plan.window.ends)
    return now + timedelta(seconds=plan.open_for_s) if plan.open_for_s is not None else None


def closes(status: StageStatus) -> bool:
    """Whether its end is on the device; else it is an alarm."""
    return status.plan is not None and status.plan.on_expiry == "close"


def seconds_to_send(ends: datetime, now: datetime, longest_s: int, late_s: int = 0) -> int:
    """The whole seconds to the end (never more), as many as the platform can hold, less what commands have been late by."""
    return min(int((ends - now) // timedelta(seconds=1)) - late_s, longest_s)


def late_by(deadline: Deadline, ends: datetime) -> int:
    """The whole seconds, rounded up, by which a device closes too late: what a command took to get to it. 0 when it is not."""
    over = moment(deadline.closes_at) - ends
    return -(-over // timedelta(seconds=1)) if over > TOLERANCE else 0


def renewal_due(deadline: Deadline, ends: datetime, now: datetime) -> bool:
    """Whether a device is to be given a new deadline: the approved end has moved; it would close too late (once: a platform
    whose answers take long would be renewed for ever); it would close before the end, and less than half is left.

    False when it has closed by itself: what has closed is never opened again by this.
    """
    closing = moment(deadline.closes_at)
    left = closing - now
    if left <= timedelta(0):
        return False
    if moment(deadline.ends_at) != ends:
        return True
    if late_by(deadline, ends) and not deadline.late_s:
        return True
    return closing < ends - TOLERANCE and left < timedelta(seconds=deadline.sent_s) / 2


def closed_early(deadline: Deadline, ends: datetime, now: datetime) -> bool:
    """Whether a device must have closed by itself although its stage was to be open longer: nobody renewed it."""
    return moment(deadline.closes_at) <= now and ends - now > TOLERANCE


def is_over(status: StageStatus, now: datetime) -> bool:
    """Whether the end has come of what is on devices; before anything is confirmed, that of its window."""
    if status.plan is None or not closes(status):
        return False
    ends = status.ends_at or (status.plan.window.ends if status.plan.window is not None else "")
    return bool(ends) and now >= moment(ends)


def over(state: SiteState, now: datetime) -> tuple[StageStatus, ...]:
    """Stages that let something through, or may, and whose end on the device has come."""
    return tuple(status for status in state.stages.values() if status.state in MAY_END and status.ends_at and is_over(status, now))


def warning_due(opened: datetime, ends: datetime, warned_h: int, now: datetime) -> int | None:
    """How many hours before the end people are to be warned now; None when nothing is due, or they have been.

    Of several that were missed only the last is given: a warning says how much time is left. What lies before the opening is
    no warning. `warned_h`: the last one given, 0 for none.
    """
    due = [
        hours for hours in WARNED_BEFORE_H if opened < ends - timedelta(hours=hours) <= now < ends and (warned_h == 0 or hours < warned_h)
    ]
    return min(due, default=None)
