"""The states of a stage (*palier*). Everything that changes a stage's state is an edge of TABLE and goes through `after`.

Rules:
- a stage changes state by events of the log only; events that are not in the table (DeviceChanged, CheckRan …) are
  recorded about a stage and leave its state alone;
- a cut-off is an edge of every state: it suspends what is open or running and makes stale what was voted on;
- `failed` means that a device is unknown: the only way on is to close and read back (`reverting`, or `ended` when its time
  is over), never a new plan;
- a new plan, from any state that allows one, starts without votes;
- `partially-open` lets some of its flows and partners through and others not; more of them are opened by a supplement, a
  plan of its own named `STAGE+2`, which goes through the same table;
- `suspended` may be resumed after a false alarm, by the votes of the resumption: same plan, same digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchestrator.domain.events import EventType as E
from orchestrator.domain.transitions import look_up


class StageState(StrEnum):
    DRAFT = "draft"
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting-approval"
    APPROVED = "approved"
    APPLYING = "applying"
    VERIFYING = "verifying"
    OBSERVING = "observing"
    PARTIALLY_OPEN = "partially-open"
    OPEN = "open"
    REVERTING = "reverting"
    REVERTED = "reverted"
    FAILED = "failed"
    SUSPENDED = "suspended"
    STALE = "stale"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    ENDED = "ended"
    DEFERRED = "deferred"


S = StageState
INITIAL = S.DRAFT

_BEFORE_APPROVAL = {
    E.STAGE_PLANNED: S.PLANNED,
    E.VOTES_VOIDED: S.PLANNED,
    E.VOTE_CAST: S.AWAITING_APPROVAL,
    E.STAGE_APPROVED: S.APPROVED,
    E.STAGE_DENIED: S.DENIED,
    E.STAGE_CANCELLED: S.CANCELLED,
    E.STAGE_EXPIRED: S.EXPIRED,
    E.STAGE_STALE: S.STALE,
    E.CUTOFF_ORDERED: S.STALE,
}
_CLOSES = {
    E.STAGE_REVERTING: S.REVERTING,
    E.STAGE_FAILED: S.FAILED,
    E.STAGE_SUSPENDED: S.SUSPENDED,
    E.CUTOFF_ORDERED: S.SUSPENDED,
}


def _ended(end: StageState) -> dict[E, StageState]:
    """The way on from an end: a new plan, or the decision to leave it closed."""
    return {E.STAGE_PLANNED: S.PLANNED, E.STAGE_DEFERRED: S.DEFERRED, E.VOTES_VOIDED: end, E.CUTOFF_ORDERED: end}


TABLE: Mapping[StageState, Mapping[E, StageState]] = {
    S.DRAFT: {E.STAGE_PLANNED: S.PLANNED, E.STAGE_DEFERRED: S.DEFERRED, E.CUTOFF_ORDERED: S.DRAFT},
    S.PLANNED: _BEFORE_APPROVAL,
    S.AWAITING_APPROVAL: _BEFORE_APPROVAL,
    S.APPROVED: {**_BEFORE_APPROVAL, E.VOTE_CAST: S.APPROVED, E.STAGE_APPLYING: S.APPLYING},
    S.APPLYING: {**_CLOSES, E.STAGE_STALE: S.STALE, E.STAGE_VERIFYING: S.VERIFYING},
    S.VERIFYING: {**_CLOSES, E.STAGE_OBSERVING: S.OBSERVING},
    S.OBSERVING: {**_CLOSES, E.STAGE_OPENED: S.OPEN, E.STAGE_PARTIALLY_OPENED: S.PARTIALLY_OPEN, E.STAGE_ENDED: S.ENDED},
    S.PARTIALLY_OPEN: {**_CLOSES, E.STAGE_NARROWED: S.PARTIALLY_OPEN, E.STAGE_OPENED: S.OPEN, E.STAGE_ENDED: S.ENDED},
    S.OPEN: {**_CLOSES, E.STAGE_NARROWED: S.PARTIALLY_OPEN, E.STAGE_ENDED: S.ENDED},
    S.REVERTING: {
        E.STAGE_REVERTED: S.REVERTED,
        E.STAGE_FAILED: S.FAILED,
        E.STAGE_SUSPENDED: S.SUSPENDED,
        E.CUTOFF_ORDERED: S.SUSPENDED,
    },
    S.FAILED: {E.STAGE_REVERTING: S.REVERTING, E.STAGE_SUSPENDED: S.SUSPENDED, E.CUTOFF_ORDERED: S.SUSPENDED, E.STAGE_ENDED: S.ENDED},
    S.SUSPENDED: {**_ended(S.SUSPENDED), E.STAGE_RESUMED: S.APPLYING},
    **{end: _ended(end) for end in (S.REVERTED, S.STALE, S.DENIED, S.CANCELLED, S.EXPIRED, S.ENDED, S.DEFERRED)},
}

VOTING = frozenset({S.PLANNED, S.AWAITING_APPROVAL, S.APPROVED})
RUNNING = frozenset({S.APPLYING, S.VERIFYING, S.OBSERVING, S.REVERTING})
LETS_THROUGH = frozenset({S.OPEN, S.PARTIALLY_OPEN})
MOVES_A_STAGE = frozenset(event for edges in TABLE.values() for event in edges)


def after(state: StageState, event: E, stage: str = "the stage") -> StageState:
    """The state after `event`. Raises IllegalTransition (rule `illegal-transition`)."""
    return look_up(TABLE, state, event, stage)
