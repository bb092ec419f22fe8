"""Runs stages in the background, one at a time, never inside a request; picks up after a restart what was under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from orchestrator.domain import stages
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState
from orchestrator.errors import IllegalTransition
from orchestrator.service.chores import Chores
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.execution import Execution
from orchestrator.service.journal import Journal
from orchestrator.service.lifting import Lifting, lifts
from orchestrator.service.planning import Planner
from orchestrator.service.resuming import Resuming
from orchestrator.service.reverting import close_and_read_back, revert
from orchestrator.service.turn import Turn

RESTARTED = "the orchestrator was restarted in the middle of it"
WATCH_EVERY_S = 2.0
TRY_AGAIN_AFTER_S = 600.0  # a device that does not answer: each try writes to the log
_MAY_HOLD = stages.RUNNING | stages.LETS_THROUGH | {StageState.FAILED}


class Runner:
    """Threads are daemons: what a killed server leaves behind, the devices close by themselves and `recover` tidies up."""

    def __init__(self, collaborators: Collaborators, journal: Journal, planner: Planner) -> None:
        self._with, self._journal, self._planner = collaborators, journal, planner
        self._stopping = threading.Event()
        self._turn = Turn()
        self._threads: list[threading.Thread] = []
        self._tried: dict[str, float] = {}  # stage → when its leftovers were last closed, monotonic
        self.chores = Chores(self._stopping)
        self.chores.add("close leftovers", WATCH_EVERY_S, self.close_leftovers)
        self.failures: list[BaseException] = []  # what ended a run that no rule foresees, for health

    def apply(self, stage: str) -> None:
        """Runs the stage, whose StageApplying is in the log; returns at once."""
        if stage == RESUME:
            self._start(Resuming(self._journal, self._planner, self._execution, self.begin).run)
        elif lifts(self._journal.state(), stage):
            self._start(self._lifting(stage).run)
        else:
            self._start(self._execution(stage).run)

    def _execution(self, stage: str) -> Execution:
        return Execution(self._with, self._journal, self._planner, stage, self._stopping, self._turn)

    def _lifting(self, stage: str) -> Lifting:
        return Lifting(self._with, self._journal, stage, self._stopping, self._turn)

    def revert(self, stage: str) -> None:
        """Closes the stage, whose StageReverting is in the log; returns at once. A run that is under way notices and closes itself."""
        self._start(lambda: self._revert(stage))

    def recover(self) -> tuple[str, ...]:
        """After a start: observing stages go on, others that were running are reverted. Returns what it took up."""
        found = [status for status in self._journal.state().stages.values() if status.state in stages.RUNNING]
        for status in found:
            if status.name == RESUME and status.state is StageState.APPLYING:
                self.apply(RESUME)
                continue
            if status.state is StageState.OBSERVING:
                own = self._lifting(status.name) if lifts(self._journal.state(), status.name) else self._execution(status.name)
                self._start(own.observe)
                continue
            if status.state is not StageState.REVERTING:
                self._journal.decide(
                    lambda state, now, name=status.name: [  # type: ignore[misc]
                        EventMaker(state, ORCHESTRATOR, now)(E.STAGE_REVERTING, {"reason": RESTARTED}, stage=name)
                    ]
                )
            self.revert(status.name)
        return tuple(f"{status.name} was {status.state}" for status in found)

    def watch(self) -> None:
        """From now on does the chores (leftovers are closed within seconds); until `stop`."""
        self.chores.start()

    def close_leftovers(self) -> tuple[str, ...]:
        """Suspended means closed: a cut-off with a narrower profile leaves what its stages have opened on other devices.

        Begins to close that; returns the stages. A device that does not answer is tried again some minutes later.
        """
        now = time.monotonic()
        state = self._journal.state()
        if state.posture is SitePosture.ISOLATING:
            return ()  # a cut-off is at work on the devices: it comes first
        found = [name for name in _with_leftovers(state) if now - self._tried.get(name, now - TRY_AGAIN_AFTER_S) >= TRY_AGAIN_AFTER_S]
        for name in found:
            self._tried[name] = now
            self._start(partial(self._close_leftovers, name))
        return tuple(found)

    def _close_leftovers(self, stage: str) -> None:
        if stage in _with_leftovers(self._journal.state()):  # still, now that it is our turn
            close_and_read_back(self._with, self._journal, stage, strict=False)
        if stage not in _with_leftovers(self._journal.state()):
            self._tried.pop(stage, None)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until nothing runs; False when that took longer than `timeout_s`."""
        while running := [thread for thread in self._threads if thread.is_alive()]:  # one may have begun another
            running[0].join(timeout_s)
            if running[0].is_alive():
                return False
        return True

    def stop(self) -> None:
        """Stops observing (it goes on after the next start); what is not confirmed yet is closed."""
        self._stopping.set()
        self.wait(60)

    def _revert(self, stage: str) -> None:
        """Nothing to do when the run itself has closed it while we waited for our turn."""
        if self._journal.state().stage(stage).state is StageState.REVERTING:
            revert(self._with, self._journal, stage)

    def begin(self, work: Callable[[], None]) -> None:
        """Device work in the background, when what runs now has ended; returns at once."""
        self._start(work)

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            with self._turn:
                try:
                    work()
                except IllegalTransition:
                    pass  # a cut-off or a person was faster; the log says so
                except BaseException as failure:  # kept for `health`; the devices close what was not confirmed
                    self.failures.append(failure)

        thread = threading.Thread(target=run, daemon=True, name="stage")
        self._threads = [known for known in self._threads if known.is_alive()] + [thread]
        thread.start()


def _with_leftovers(state: SiteState) -> list[str]:
    """Stages that may hold nothing open any more, and do (or may) on some device."""
    return [
        status.name
        for status in state.stages.values()
        if status.state not in _MAY_HOLD
        and any(status.name in held for device in state.devices.values() for held in (device.pending, device.openings, device.releases))
    ]
