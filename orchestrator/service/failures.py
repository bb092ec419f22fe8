"""What ended work in the background that no rule foresees, for health: dated, named, and gone once it is made good.

What a stage's run fails with stands as long as the stage runs by the log and nobody has taken it up; what any other work fails
with, until the same work ends well.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from orchestrator.domain.stages import RUNNING
from orchestrator.domain.state import SiteState


@dataclass(frozen=True)
class Failure:
    """`at` is a time (RFC 3339); `what` is the stage, or the work, in words."""

    at: str
    what: str
    why: str
    is_stage: bool

    def __str__(self) -> str:
        return f"{self.at} {self.what}: {self.why}"


class Failures:
    """One per stage or work: the last one."""

    def __init__(self) -> None:
        self._found: dict[str, Failure] = {}
        self._lock = threading.Lock()

    def add(self, at: str, stage: str, work: str, failure: BaseException) -> None:
        """`stage` is empty for work that is no stage's."""
        entry = Failure(at, stage or work, f"{type(failure).__name__}: {failure}", is_stage=bool(stage))
        with self._lock:
            self._found[entry.what] = entry

    def made_good(self, what: str) -> None:
        """The stage is taken up, or the work has ended well."""
        with self._lock:
            self._found.pop(what, None)

    def standing(self, state: SiteState) -> tuple[Failure, ...]:
        """Those that nobody has made good; a stage that has ended in the log needs nobody any more."""
        with self._lock:
            ended = [what for what, one in self._found.items() if one.is_stage and state.stage(what).state not in RUNNING]
            for what in ended:
                del self._found[what]
            return tuple(self._found.values())
