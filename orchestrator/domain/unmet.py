"""One condition that does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Unmet:
    """One condition that does not hold: the rule, what is the matter, what to do.

    `flows` and `partners` are those that it holds back (empty: all of the stage). `takes` is how long until it can hold:
    exact for a wait (`exact`), else what it usually takes; None when nobody can say.
    """

    rule: str
    message: str
    advice: str
    flows: tuple[str, ...] = ()
    partners: tuple[str, ...] = ()
    takes: timedelta | None = None
    exact: bool = False
