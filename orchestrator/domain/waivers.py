"""Waivers (*dérogations*): a gate that does not hold, and two named persons who answer for going on without it.

One requests it (reason, accepted risk, end date), another grants it; it stands for the gate until its end date, and is
listed everywhere until then. Never for a vote, a predecessor that a stage `requires`, eradication or care.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.events import EventType as E
from orchestrator.domain.transitions import look_up

LONGEST = timedelta(days=30)


class WaiverState(StrEnum):
    REQUESTED = "requested"
    GRANTED = "granted"
    ENDED = "ended"


S = WaiverState
INITIAL = S.REQUESTED
TABLE: Mapping[WaiverState, Mapping[E, WaiverState]] = {
    S.REQUESTED: {E.WAIVER_GRANTED: S.GRANTED, E.WAIVER_ENDED: S.ENDED},
    S.GRANTED: {E.WAIVER_ENDED: S.ENDED},
    S.ENDED: {},
}


@dataclass(frozen=True)
class Waiver:
    """`gate` is the gate's id within `stage`; `partner` confines it to one. `until` RFC 3339."""

    id: str
    stage: str
    gate: str
    partner: str | None
    reason: str
    accepted_risk: str
    until: str
    requested_by: str
    requested_at: str
    seq: int
    state: WaiverState = INITIAL
    granted_by: str = ""
    granted_at: str = ""
    ended_by: str = ""
    ended_at: str = ""
    ended_because: str = ""
    rehearsal: bool = False

    def in_force(self, now: datetime) -> bool:
        """Granted, not ended, and not past its end date. (Whether a rehearsal's counts, `SiteState.counts` says.)"""
        return self.state is S.GRANTED and now < datetime.fromisoformat(self.until)


def after(state: WaiverState, event: E, waiver: str = "the waiver") -> WaiverState:
    """The state after `event`. Raises IllegalTransition (rule `illegal-transition`)."""
    return look_up(TABLE, state, event, waiver)
