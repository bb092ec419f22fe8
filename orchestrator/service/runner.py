"""Runs stages in the background, one at a time, never inside a request; picks up after a restart what was under way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection
from typing import TypeVar

from orchestrator.domain import conditions
from orchestrator.domain.left_over import LeftOver
from orchestrator.domain.making import stamp
from orchestrator.domain.policy import DriftWatch
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.stages import StageState
from orchestrator.errors import IllegalTransition, LogUnavailable, NotActing, OrchestratorError
from orchestrator.service.abandoned import Abandoned
from orchestrator.service.acting import Acting, TookOver
from orchestrator.service.chores import Chores
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.drift import Drift
from orchestrator.service.drift_repair import DriftRepair
from orchestrator.service.execution import Execution
from orchestrator.service.failures import Failures
from orchestrator.service.journal import Journal
from orchestrator.service.lifting import Lifting, lifts
from orchestrator.service.planning import Planner
from orchestrator.service.recovery import Hook, Recovery
from orchestrator.service.resuming import Resuming
from orchestrator.service.reverting import revert
from orchestrator.service.turn import Turn
from orchestrator.service.unknown import Unknown

WATCH_EVERY_S = 2.0
BEGINNING = "beginning to act"
_KEPT = 100  # failures
_T = TypeVar("_T")


class Runner:
    """Threads are daemons: what a killed server leaves behind, the devices close by themselves and `recover` tidies up."""

    def __init__(self, collaborators: Collaborators, journal: Journal, planner: Planner) -> None:
        self._with, self._journal, self._planner = collaborators, journal, planner
        self._stopping = threading.Event()
        self._turn = Turn()
        self._threads: list[threading.Thread] = []
        self._runs: dict[threading.Thread, str] = {}  # of which stage each is a run; empty: of none
        self._starting = threading.Lock()  # one that has not begun is not alive yet, and must not be forgotten
        self.failures: list[BaseException] = []  # the last ones that no rule foresees, whatever has become of them since
        self.failed = Failures()  # those that nobody has made good, for health
        self.acting = Acting(collaborators.lease, collaborators.server, collaborators.elapsed, self._begin_to_act, self._stopping)
        journal.require_acting = self.acting.require
        self.drift = Drift(collaborators, journal)
        self.unknown = Unknown(collaborators, journal, self.begin)
        self.repair = DriftRepair(collaborators, journal, self.drift, self.close_leftovers)
        self.recoveries: list[Hook] = []  # what other parts of the server take up after a start
        self._recovery = Recovery(collaborators, journal, self.drift, self.recoveries)
        self.chores = Chores(self._stopping, lambda: self.acting.acts)
        self.chores.add("close leftovers", WATCH_EVERY_S, self.close_leftovers)
        self._abandoned = Abandoned(collaborators, journal, self._is_run, self._begin_for, self._on_its_way)
        self.chores.add("take up what nothing runs", WATCH_EVERY_S, self._abandoned.turn)
        self.chores.add("drift", self._drift_every_s, self.look_for_drift)

    def apply(self, stage: str) -> None:
        """Runs the stage, whose StageApplying is in the log; returns at once."""
        if stage == RESUME:
            self._begin_for(stage, self._resuming().run)
        elif lifts(self._journal.state(), stage):
            self._begin_for(stage, self._lifting(stage).run)
        else:
            self._begin_for(stage, self._execution(stage).run)

    def _resuming(self) -> Resuming:
        return Resuming(self._journal, self._planner, self._execution, self._begin_for)

    def _execution(self, stage: str) -> Execution:
        return Execution(self._with, self._journal, self._planner, stage, self._stopping, self._turn)

    def _lifting(self, stage: str) -> Lifting:
        return Lifting(self._with, self._journal, stage, self._stopping, self._turn)

    def revert(self, stage: str) -> None:
        """Closes the stage, whose StageReverting is in the log; returns at once. A run that is under way notices and closes itself."""
        self._begin_for(stage, lambda: self._revert(stage))

    def start(self) -> None:
        """What a server does: it takes the lease if it can, takes up what it finds, and does the chores; until `stop`."""
        if self._with.lease is None:
            self.recover()
        else:
            with contextlib.suppress(LogUnavailable):
                self.acting.turn()
        self.acting.watch()
        self.watch()

    def recover(self) -> tuple[str, ...]:
        """Takes up what an earlier server left (`recovery.py`), in the background. Returns which stages it found under way."""
        found = self._recovery.found()
        state = self._journal.state()
        self._start(lambda: self._recover(found), what="taking up what was left")
        return tuple(f"{name} was {was}" for name, was in (*found.reverts, *((name, state.stage(name).state) for name in found.goes_on)))

    def _recover(self, found: LeftOver) -> None:
        self._recovery.run(found)
        self._go_on(found)

    def _go_on(self, found: LeftOver) -> None:
        for name in found.goes_on:
            if (work := self._on_its_way(name)) is not None:
                self._begin_for(name, work)

    def _on_its_way(self, stage: str) -> Callable[[], None] | None:
        """What goes on as before after whatever interrupted it: an observation, a resumption; None for everything else."""
        state = self._journal.state()
        if state.stage(stage).state is StageState.OBSERVING:
            return (self._lifting(stage) if lifts(state, stage) else self._execution(stage)).observe
        return self._resuming().run if stage == RESUME and state.stage(stage).state is StageState.APPLYING else None

    def _begin_to_act(self, took: TookOver) -> None:
        """In the thread of the lease, while it goes on being renewed."""
        with self._turn:
            try:
                self._recovery.take_over(took)
                found = self._recovery.found()
                self._recovery.run(found)
            except BaseException as failure:
                self._keep(failure, "", BEGINNING)
                raise
            self.failed.made_good(BEGINNING)
            self.acting.begun()
        self._go_on(found)

    def watch(self) -> None:
        """From now on does the chores (leftovers are closed within seconds); until `stop`."""
        self.chores.start()

    def close_leftovers(self) -> tuple[str, ...]:
        """Begins to close what stages have left on devices: those that failed because a device could not be read, and those that
        were suspended. Returns the stages. What cannot be read is tried again later (`unknown.py`)."""
        return self.unknown.turn()

    def look_for_drift(self) -> None:
        """Reads every device, beside what runs, and begins to repair at once where the policy says so."""
        self._start(self._look_for_drift, turn=False, what="looking for drift")

    def _look_for_drift(self) -> None:
        found = self.drift.look()
        policy = conditions.in_force(self._journal.state()).policy if found else None
        if policy is None or policy.drift.repair != "at-once":
            return
        due = self.repair.due(found)
        if due:
            self._start(lambda: self._repair_at_once(due), what="repairing drift")

    def _repair_at_once(self, devices: Collection[str]) -> None:
        self.repair.repair(devices, only_more=True)

    def _drift_every_s(self) -> float:
        ratified = self._journal.state().ratified
        return ratified.policy.drift.every.total_seconds() if ratified is not None else DriftWatch().every.total_seconds()

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
        self.acting.stop()

    def _revert(self, stage: str) -> None:
        """Nothing to do when the run itself has closed it while we waited for our turn."""
        if self._journal.state().stage(stage).state is StageState.REVERTING:
            revert(self._with, self._journal, stage)

    def begin(self, work: Callable[[], None], what: str = "closing leftovers") -> None:
        """Device work in the background, when what runs now has ended; returns at once. `what` it is, for health."""
        self._start(work, what=what)

    def ask(self, work: Callable[[], _T], wait_s: float) -> _T | None:
        """Device work that somebody waits for, when what runs now has ended; None when that takes longer: it goes on. Raises what
        the work raises."""
        answers: list[_T] = []
        refusals: list[OrchestratorError] = []

        def run() -> None:
            try:
                answers.append(work())
            except OrchestratorError as refusal:
                refusals.append(refusal)

        self._start(run).join(wait_s)
        if refusals:
            raise refusals[0]
        return answers[0] if answers else None

    def _begin_for(self, stage: str, work: Callable[[], None]) -> None:
        """The same, as a run of this stage."""
        self._start(work, stage=stage)

    def _is_run(self, stage: str) -> bool:
        """Whether a run of it is under way, or waits for its turn; while a resumption runs, it runs its stages."""
        return any(thread.is_alive() and name in (stage, RESUME) for thread, name in self._runs.items())

    def _keep(self, failure: BaseException, stage: str, what: str) -> None:
        self.failures = [*self.failures[1 - _KEPT :], failure]
        self.failed.add(stamp(self._journal.now()), stage, what, failure)

    def _start(self, work: Callable[[], object], *, turn: bool = True, stage: str = "", what: str = "work on devices") -> threading.Thread:
        def run() -> None:
            with self._turn if turn else contextlib.nullcontext():
                try:
                    self._journal.require_acting()
                    self.failed.made_good(stage)  # it is taken up; if that fails as well, it is said anew
                    work()
                    self.failed.made_good(stage or what)
                except (IllegalTransition, NotActing):
                    pass  # a cut-off, a person or another server was faster; the log says so
                except BaseException as failure:  # kept for `health`; the devices close what was not confirmed
                    self._keep(failure, stage, what)

        thread = threading.Thread(target=run, daemon=True, name="stage")
        with self._starting:
            self._threads = [known for known in self._threads if known.is_alive()] + [thread]
            self._runs = {known: name for known, name in self._runs.items() if known.is_alive()} | {thread: stage}
            thread.start()
        return thread
