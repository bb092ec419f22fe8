"""The states of one device within a change (*device step*). Everything that changes one is an edge of TABLE.

`sent`: the device, or a library, says that it did it; that is not believed. Only a read-back makes `applied`. From
`unknown` and `refused` nothing is opened: the device is read back first (invariant 7). Closing is always possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchestrator.domain.transitions import look_up


class DeviceStepState(StrEnum):
    UNTOUCHED = "untouched"
    INTENDED = "intended"
    SENT = "sent"
    APPLIED = "applied"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Move(StrEnum):
    INTEND_TO_OPEN = "intent to open or confirm"
    INTEND_TO_CLOSE = "intent to close"
    ANSWERED_YES = "answered: done"
    ANSWERED_NO = "answered: refused"
    NO_ANSWER = "no answer"
    READ_AS_EXPECTED = "read back as expected"
    READ_OTHERWISE = "read back otherwise"
    NOT_READ = "could not be read back"


D, M = DeviceStepState, Move
INITIAL = D.UNTOUCHED

_ALWAYS = {
    M.INTEND_TO_CLOSE: D.INTENDED,
    M.READ_AS_EXPECTED: D.APPLIED,
    M.READ_OTHERWISE: D.REFUSED,
    M.NOT_READ: D.UNKNOWN,
}
_ANSWERED = {M.ANSWERED_YES: D.SENT, M.ANSWERED_NO: D.REFUSED, M.NO_ANSWER: D.UNKNOWN}

TABLE: Mapping[DeviceStepState, Mapping[Move, DeviceStepState]] = {
    D.UNTOUCHED: {**_ALWAYS, M.INTEND_TO_OPEN: D.INTENDED},
    D.INTENDED: {**_ALWAYS, **_ANSWERED, M.INTEND_TO_OPEN: D.INTENDED},
    D.SENT: {**_ALWAYS, **_ANSWERED, M.INTEND_TO_OPEN: D.INTENDED},
    D.APPLIED: {**_ALWAYS, **_ANSWERED, M.INTEND_TO_OPEN: D.INTENDED},
    D.REFUSED: {**_ALWAYS, **_ANSWERED},
    D.UNKNOWN: {**_ALWAYS, **_ANSWERED},
}


def after(state: DeviceStepState, move: Move, what: str = "the device") -> DeviceStepState:
    """The state after the move. Raises IllegalTransition (rule `illegal-transition`)."""
    return look_up(TABLE, state, move, what)
