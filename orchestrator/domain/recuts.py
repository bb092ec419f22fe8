"""Planned re-cuts: a cut-off at a date that was set beforehand (the day on which the attacker is evicted).

It only subtracts: one person schedules it, without votes. A cut-off that comes more than `LATEST` after its date would meet
people who do not expect it any more: then it waits for a person, and status says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.events import EventType as E
from orchestrator.domain.transitions import look_up

LATEST = timedelta(hours=1)


class RecutState(StrEnum):
    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"
    STARTED = "started"


S = RecutState
INITIAL = S.SCHEDULED
TABLE: Mapping[RecutState, Mapping[E, RecutState]] = {
    S.SCHEDULED: {E.RECUT_CANCELLED: S.CANCELLED, E.RECUT_STARTED: S.STARTED},
    S.CANCELLED: {},
    S.STARTED: {},
}


@dataclass(frozen=True)
class Recut:
    """A cut-off with this profile at `at` (RFC 3339)."""

    id: str
    at: str
    profile: str
    reason: str
    by: str
    scheduled_at: str
    state: RecutState = INITIAL
    ended_at: str = ""  # when it was cancelled or started
    ended_by: str = ""
    ended_because: str = ""
    rehearsal: bool = False

    @property
    def due(self) -> datetime:
        return datetime.fromisoformat(self.at)

    def is_due(self, now: datetime) -> bool:
        """Its date has come, and has not passed by more than `LATEST`."""
        return self.state is S.SCHEDULED and self.due <= now <= self.due + LATEST

    def asks(self, now: datetime) -> bool:
        """It was missed by too much: a person cuts off, or cancels it."""
        return self.state is S.SCHEDULED and now > self.due + LATEST


def after(state: RecutState, event: E, recut: str = "the re-cut") -> RecutState:
    """The state after `event`. Raises IllegalTransition (rule `illegal-transition`)."""
    return look_up(TABLE, state, event, recut)
