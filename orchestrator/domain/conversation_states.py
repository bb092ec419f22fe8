"""The states of one conversation (a flow with one partner) within a stage. Everything that changes one is an edge of TABLE.

A stage moves its conversations together, but for those that its plan leaves out (`deferred`) and those that are closed
alone (`reisolated`). What lies closed already is not moved by the closing of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchestrator.domain.events import EventType as E
from orchestrator.domain.transitions import look_up


class ConversationState(StrEnum):
    CLOSED = "closed"
    PLANNED = "planned"
    DEFERRED = "deferred"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    UNKNOWN = "unknown"
    REISOLATED = "reisolated"
    SUSPENDED = "suspended"
    ENDED = "ended"


class Move(StrEnum):
    """What happens to a conversation, whatever event says so."""

    INCLUDED = "in the plan"
    LEFT_OUT = "left out of the plan"
    DROPPED = "the plan is dropped"
    APPLYING = "being laid"
    OPENED = "verified and lasting"
    CLOSING = "being closed"
    CLOSED = "read back closed"
    LOST = "a device is unknown"
    REISOLATED = "closed alone"
    CUT = "cut off"
    ENDED = "its time is over"


C, M = ConversationState, Move
INITIAL = C.CLOSED


def _idle(state: ConversationState) -> dict[Move, ConversationState]:
    """Nothing of it lies anywhere: only a new plan moves it."""
    stays = dict.fromkeys((M.APPLYING, M.OPENED, M.DROPPED, M.CLOSING, M.CLOSED, M.LOST, M.REISOLATED, M.CUT, M.ENDED), state)
    return {M.INCLUDED: C.PLANNED, M.LEFT_OUT: C.DEFERRED, **stays}


_LIES = {M.CLOSING: C.CLOSING, M.LOST: C.UNKNOWN, M.CUT: C.SUSPENDED}

TABLE: Mapping[ConversationState, Mapping[Move, ConversationState]] = {
    C.CLOSED: _idle(C.CLOSED),
    C.PLANNED: {**_idle(C.CLOSED), M.CLOSING: C.PLANNED, M.REISOLATED: C.PLANNED, M.OPENED: C.PLANNED, M.APPLYING: C.OPENING},
    C.DEFERRED: _idle(C.DEFERRED),
    C.OPENING: {**_LIES, M.OPENED: C.OPEN, M.DROPPED: C.CLOSED, M.ENDED: C.ENDED},
    C.OPEN: {**_LIES, M.OPENED: C.OPEN, M.REISOLATED: C.REISOLATED, M.ENDED: C.ENDED},
    C.CLOSING: {**_LIES, M.CLOSED: C.CLOSED},
    C.UNKNOWN: {**_LIES, M.ENDED: C.ENDED},
    C.REISOLATED: _idle(C.REISOLATED),
    C.SUSPENDED: {**_idle(C.SUSPENDED), M.APPLYING: C.OPENING},
    C.ENDED: _idle(C.ENDED),
}

MOVED_BY: Mapping[E, Move] = {
    E.STAGE_APPLYING: M.APPLYING,
    E.STAGE_RESUMED: M.APPLYING,
    E.STAGE_OPENED: M.OPENED,
    E.STAGE_PARTIALLY_OPENED: M.OPENED,
    E.STAGE_REVERTING: M.CLOSING,
    E.STAGE_REVERTED: M.CLOSED,
    E.STAGE_FAILED: M.LOST,
    E.STAGE_NARROWED: M.REISOLATED,
    E.STAGE_SUSPENDED: M.CUT,
    E.CUTOFF_ORDERED: M.CUT,
    E.STAGE_ENDED: M.ENDED,
    E.STAGE_STALE: M.DROPPED,
    E.STAGE_DENIED: M.DROPPED,
    E.STAGE_CANCELLED: M.DROPPED,
    E.STAGE_EXPIRED: M.DROPPED,
}


def after(state: ConversationState, move: Move, what: str = "the conversation") -> ConversationState:
    """The state after the move. Raises IllegalTransition (rule `illegal-transition`)."""
    return look_up(TABLE, state, move, what)
