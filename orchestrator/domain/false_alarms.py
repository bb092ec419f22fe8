"""What a cut-off closed that had been open and verified, and the word that it was a false alarm: plain data of the state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interrupted:
    """A stage that was open, or partially open, when a cut-off came, with its plan's digest. `epoch` and `cut_at` are the
    cut-off's; `opened_at` and `planned_seq` give the order in which stages had been opened."""

    stage: str
    plan_digest: str
    epoch: int
    cut_at: str
    opened_at: str
    planned_seq: int


@dataclass(frozen=True)
class FalseAlarm:
    """The cut-offs from the epoch `since` to `last` were a false alarm. `used`: a resumption has been applied for it."""

    since: int
    last: int
    cut_at: str  # of the first of them: the time to resume counts from here
    reason: str
    by: str
    at: str
    used: bool = False
