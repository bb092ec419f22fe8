"""The states of an attestation of remediation: one table for both ways, theirs (of a partner, accepted by us) and ours
(to a partner, accepted by them).

`accepted` and `accepted-with-reservation` end by themselves at their `valid_until`: they are then `expired`, which no event
says. Every other move is recorded, and is an edge of TABLE. A new document goes the whole way again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, TypeAlias

from orchestrator.errors import IllegalTransition

Way: TypeAlias = Literal["theirs", "ours"]


class AttestationState(StrEnum):
    NONE = "none"
    REQUESTED = "requested"
    RECEIVED = "received"
    VERIFIED = "verified"
    ACCEPTED = "accepted"
    RESERVED = "accepted-with-reservation"
    REFUSED = "refused"
    EXPIRED = "expired"
    REVOKED = "revoked"


S = AttestationState
INITIAL = S.NONE
ACCEPTED = frozenset({S.ACCEPTED, S.RESERVED})
_BEGINS = (S.RECEIVED, S.REQUESTED)  # received: also without having been asked for

TABLE: Mapping[AttestationState, tuple[AttestationState, ...]] = {
    S.NONE: _BEGINS,
    S.REQUESTED: (S.REQUESTED, S.RECEIVED, S.REFUSED),  # refused: they will not give one
    S.RECEIVED: (S.RECEIVED, S.VERIFIED, S.REFUSED),  # received again: a better document
    S.VERIFIED: (S.RECEIVED, S.ACCEPTED, S.RESERVED, S.REFUSED),
    S.ACCEPTED: (S.RECEIVED, S.REQUESTED, S.REVOKED, S.EXPIRED),
    S.RESERVED: (S.RECEIVED, S.REQUESTED, S.VERIFIED, S.REVOKED, S.EXPIRED),  # verified: the reservation is looked at again
    S.REFUSED: _BEGINS,
    S.EXPIRED: _BEGINS,
    S.REVOKED: _BEGINS,
}


def after(state: AttestationState, to: AttestationState, what: str = "the attestation") -> AttestationState:
    """`to`, when the table leads there. Raises IllegalTransition (rule `illegal-transition`) with what is possible."""
    if to is S.EXPIRED:
        raise IllegalTransition(
            f"{what} is {state}: it expires by itself", rule="illegal-transition", advice="to end it before its time: --state revoked"
        )
    if to not in TABLE[state]:
        possible = ", ".join(target for target in TABLE[state] if target is not S.EXPIRED)
        raise IllegalTransition(f"{what} is {state}: it cannot be {to} now", rule="illegal-transition", advice=f"from here: {possible}")
    return to


def way_to(state: AttestationState, to: AttestationState) -> tuple[AttestationState, ...]:
    """The fewest states to go through, `to` included and never none: for somebody who has done all of it in one sitting.
    Empty when the table leads nowhere near."""
    queue: deque[tuple[AttestationState, tuple[AttestationState, ...]]] = deque([(state, ())])
    seen = {state}
    while queue:
        at, path = queue.popleft()
        for target in TABLE[at]:
            if target is to and to is not S.EXPIRED:
                return (*path, target)
            if target not in seen and target is not S.EXPIRED:
                seen.add(target)
                queue.append((target, (*path, target)))
    return ()


def mermaid() -> str:
    """The table as a Mermaid state diagram; docs/stages.md holds exactly this text."""
    lines = ["stateDiagram-v2", *(f'    state "{state}" as {_id(state)}' for state in TABLE), f"    [*] --> {_id(INITIAL)}"]
    for state, targets in TABLE.items():
        for target in targets:
            lines.append(f"    {_id(state)} --> {_id(target)}: {'by time' if target is S.EXPIRED else 'AttestationRecorded'}")
    return "\n".join(lines) + "\n"


def _id(state: AttestationState) -> str:
    return state.value.replace("-", "_")
