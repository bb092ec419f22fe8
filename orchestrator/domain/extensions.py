"""Extensions of an end: one person asks for a stage to stay open longer, another of a different authority grants it.

It is bound to the plan and to the end that it was asked for: after either has moved it is asked for anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.events import EventType as E
from orchestrator.domain.transitions import look_up


class ExtensionState(StrEnum):
    REQUESTED = "requested"
    GRANTED = "granted"


S = ExtensionState
INITIAL = S.REQUESTED
TABLE: Mapping[ExtensionState, Mapping[E, ExtensionState]] = {S.REQUESTED: {E.EXTENSION_GRANTED: S.GRANTED}, S.GRANTED: {}}


@dataclass(frozen=True)
class Extension:
    """`until` and `ends_at` (the end that it moves) RFC 3339."""

    id: str
    stage: str
    plan_digest: str
    ends_at: str
    until: str
    reason: str
    requested_by: str
    requested_at: str
    seq: int
    state: ExtensionState = INITIAL
    granted_by: str = ""
    granted_at: str = ""
    rehearsal: bool = False


def after(state: ExtensionState, event: E, extension: str = "the extension") -> ExtensionState:
    """The state after `event`. Raises IllegalTransition (rule `illegal-transition`)."""
    return look_up(TABLE, state, event, extension)
