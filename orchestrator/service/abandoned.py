"""Stages that run by the log and that nothing on this server runs any more: a full disk, or an answer that nobody foresaw, has
ended their run. They are taken up without waiting for a restart: what was being laid is closed and read back, what was being
closed is closed, what was observed is observed further. Until the log can be written again this is tried again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.stages import RUNNING, StageState
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal
from orchestrator.service.reverting import revert

AFTER_S = 30.0  # how long nothing runs it before it is taken up, and before it is taken up once more
WHY = "its run ended without saying how: what was not verified is closed"


@dataclass
class Abandoned:
    """`is_run`: whether a run of the stage is under way or waits for its turn. `begin` runs work for a stage when it has its turn.
    `go_on` observes a stage further, or goes on resuming."""

    collaborators: Collaborators
    journal: Journal
    is_run: Callable[[str], bool]
    begin: Callable[[str, Callable[[], None]], object]
    go_on: Callable[[str], Callable[[], None] | None]
    _since: Mapping[str, float] = field(default_factory=dict)  # monotonic

    def turn(self) -> tuple[str, ...]:
        """Begins to take up what nothing has run for `AFTER_S`; the stages."""
        state, now = self.journal.state(), self.collaborators.elapsed()
        if state.posture is SitePosture.ISOLATING:
            return ()  # a cut-off is at work on the devices: it comes first
        found = [name for name, status in state.stages.items() if status.state in RUNNING and not self.is_run(name)]
        since = {name: self._since.get(name, now) for name in found}
        due = tuple(name for name in found if now - since[name] >= AFTER_S)
        self._since = since | dict.fromkeys(due, now)
        for name in due:
            self.begin(name, lambda name=name: self._take_up(name))  # type: ignore[misc]
        return due

    def _take_up(self, stage: str) -> None:
        on_its_way = self.go_on(stage)
        if on_its_way is not None:
            on_its_way()
            return
        now = self.journal.state().stage(stage).state
        if now not in RUNNING:
            return  # a cut-off or a person was faster
        if now is not StageState.REVERTING:
            self.journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.STAGE_REVERTING, {"reason": WHY}, stage=stage)])
        revert(self.collaborators, self.journal, stage)
