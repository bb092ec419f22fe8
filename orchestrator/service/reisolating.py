"""Re-isolation and the block list, from the order to the last device; and the chore that goes on until nothing is owed.

 1 the epoch is raised, above every one before
 2 the order is in the log: what closes, what that takes from others, what stays and why
 3 stages that are running and are concerned go back; their runs notice and stop
 4 every device that holds a layer is fenced, what is meant is closed, blocks are laid, all read back; three times
 5 negative probes towards what was closed
 6 whatever a device still owes is tried again in the background, less and less often, until it is done

Nothing here waits for the turn of a running stage, for a vote or for another server: it only subtracts. With a log that can
be read and not written the devices are closed all the same, and whoever asked is told that nothing of it was recorded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.domain import decide_blocklist, decide_reisolation
from orchestrator.domain.commands import BlockNetworks, Reisolate
from orchestrator.domain.decide import decide
from orchestrator.domain.events import Event, NewEvent
from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import apply
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.probes import Check, Probe, ProbeResult
from orchestrator.domain.reisolation_probes import negative_probes
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState
from orchestrator.domain.subtractions import Reisolation
from orchestrator.errors import LogUnavailable, NotActing
from orchestrator.service.blocking import Blocking
from orchestrator.service.checks import check_ran
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal
from orchestrator.service.runner import Runner
from orchestrator.service.subtracting import Subtracting, Told

EMERGENCY = "emergency"  # nobody has logged in; who says to have ordered it is `by`
EVERY_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 600.0
_ATTEMPTS, _PAUSE_S = 3, 2.0


@dataclass
class _Tries:
    count: int = 0
    next: float = float("-inf")  # monotonic
    detail: str = ""


@dataclass
class Reisolating:
    collaborators: Collaborators
    journal: Journal
    runner: Runner
    elapsed: Callable[[], float] = time.monotonic
    subtracts_only: bool = False  # in the emergency command: takes nothing off the block list
    failures: list[BaseException] = field(default_factory=list)  # of work in the background, for health
    _tries: dict[str, _Tries] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _at_work: threading.Lock = field(default_factory=threading.Lock)  # of the chore: one at a time

    def __post_init__(self) -> None:
        self.subtracting = Subtracting(self.collaborators, self.journal)
        self.blocking = Blocking(self.collaborators, self.journal)
        self.runner.chores.add("close, fence and block what is owed", EVERY_S, self.turn)

    # --- orders ---------------------------------------------------------------------------------------------------

    def order(self, command: Reisolate) -> tuple[SiteState, Reisolation]:
        """Steps 1 to 3, and begins the rest in the background. `command.epoch` is filled in here; the actor `emergency` has no
        roles and needs none. Raises what `decide` raises."""
        if (done := self.journal.repeated()) is not None:
            return done, list(done.reisolations.values())[-1]
        epoch = self.collaborators.raise_epoch(self.journal.state().epoch)  # 1
        command = replace(command, epoch=epoch)
        try:
            state = self.journal.decide(lambda state, now: _decided(state, command, now))  # 2
        except LogUnavailable as failure:
            raise self._carried_out_unrecorded(command, failure) from failure
        made = list(state.reisolations.values())[-1]
        going = [name for name in made.stages if state.stage(name).state is StageState.REVERTING]
        for name in going:
            if self._acts():
                self.runner.revert(name)  # 3; the run itself notices, on whichever server it is
        self._start(lambda: self._carry_out(going, made.id))
        return state, made

    def block(self, command: BlockNetworks) -> SiteState:
        """On the list at once; begins to lay it on the devices. The actor `emergency` as for `order`. Under a new epoch: an older
        taking off that hung on its way would put its shorter list in the place of this one."""
        if (done := self.journal.repeated()) is not None:
            return done
        epoch = self.collaborators.raise_epoch(self.journal.state().epoch)
        raised = {"epoch": epoch, "why": "block"}
        state = self.journal.decide(
            lambda state, now: (*_decided(state, command, now), EventMaker(state, ORCHESTRATOR, now)(E.EPOCH_RAISED, raised))
        )
        self.lay()
        return state

    def lay(self) -> None:
        """After a block or the grant of an unblocking: begins to bring the devices to the list. The chore goes on with it."""
        if self.journal.repeated() is None:
            self._start(lambda: self._carry_out((), ""))

    def _carried_out_unrecorded(self, command: Reisolate, failure: LogUnavailable) -> LogUnavailable:
        """By the last state that could be read. What runs cannot write either, and its commands fail on the fenced devices."""
        state = self.journal.state()
        for seq, new in enumerate(_decided(state, command, self.journal.now()), start=state.seq + 1):
            state = apply(state, Event(new.type, new.at, new.actor, new.body, new.stage, new.device, seq=seq))
        made = list(state.reisolations.values())[-1]
        going = [name for name in made.stages if state.stage(name).state is StageState.REVERTING]
        told = self.subtracting.give(also=going, assumed=state)
        left = "; ".join(f"{one.device}: {one.detail}" for one in told if not one.done)
        end = f"NOT closed on {left}" if left else "it is closed on every device"
        return LogUnavailable(
            f"{failure.args[0]}: nothing of this re-isolation is recorded; {end}",
            advice="note it by hand, and order it again when the log can be written; what the log says is open may be repaired as drift",
        )

    def _carry_out(self, going: Collection[str], order: str) -> None:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self.collaborators.wait(_PAUSE_S)
            state = self.journal.state()
            told = self.subtracting.give(also=[name for name in going if state.stage(name).state is StageState.REVERTING])
            self._remember(told)
            if all(one.done for one in told):
                break
        self._release()
        self._check(order)

    # --- the chore ------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Ends blocks whose time is over, and begins what is owed and due."""
        state = self.blocking.end() if self.journal.state().ratified is not None else self.journal.state()
        due = [one.device for one in self.subtracting.owed(state) if self._is_due(one.device)]
        due += [name for name in self.blocking.to_release(state) if self._is_due(name)]
        if (due or self._unchecked(state)) and self._at_work.acquire(blocking=False):

            def work() -> None:
                try:
                    self._remember(self.subtracting.give(due) if due else ())
                    self._release()
                    self._check()
                finally:
                    self._at_work.release()

            self._start(work)

    def still_owed(self, state: SiteState) -> dict[str, str]:
        """Devices that are owed something, and what the last try said."""
        names = [*(one.device for one in self.subtracting.owed(state)), *self.blocking.to_release(state)]
        return {name: self._tries.get(name, _Tries()).detail for name in names}

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until nothing of it runs; False when that took longer than `timeout_s`."""
        while running := [thread for thread in self._threads if thread.is_alive()]:  # the chore may have begun another
            running[0].join(timeout_s)
            if running[0].is_alive():
                return False
        return True

    # --- within ---------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        for name in self.blocking.to_release(self.journal.state()) if not self.subtracts_only else ():
            if self._is_due(name):
                try:
                    self._remember([self.blocking.release(name)])
                except NotActing as other:  # the server that acts does it
                    self._remember([Told(name, str(other))])

    def _acts(self) -> bool:
        try:
            self.journal.require_acting()
        except (NotActing, LogUnavailable):
            return False
        return True

    def _is_due(self, device: str) -> bool:
        return self.elapsed() >= self._tries.get(device, _Tries()).next

    def _remember(self, told: Collection[Told]) -> None:
        for one in told:
            tries = self._tries.setdefault(one.device, _Tries())
            if one.done:
                del self._tries[one.device]
                continue
            tries.count, tries.detail = tries.count + 1, one.detail
            tries.next = self.elapsed() + min(FIRST_PAUSE_S * 2 ** max(0, tries.count - _ATTEMPTS), LONGEST_PAUSE_S)

    def _unchecked(self, state: SiteState) -> list[Reisolation]:
        """Those of which everything is closed by the log, and that nobody has probed."""
        if any(not one.checked for one in state.reisolations.values()) and not self.subtracting.owed(state):
            closing = [name for name, status in state.stages.items() if status.state is StageState.REVERTING]
            return [one for one in state.reisolations.values() if not one.checked and one.stages.keys().isdisjoint(closing)]
        return []

    def _check(self, at_once: str = "") -> None:
        """Step 5, of those of which everything is closed, and of the order `at_once`, which is asked about again when it is.
        What passes although it should not is asked once more, a little later."""
        state = self.journal.state()
        final = self._unchecked(state)
        for one in state.reisolations.values():
            if one not in final and one.id != at_once:
                continue
            probes = negative_probes(state, one)
            results = self._asked(probes)
            if any(result.check is not Check.SUCCESSFUL for result in results):
                self.collaborators.wait(_PAUSE_S)
                results = self._asked(probes)
            self._say(one, results, final=one in final)

    def _say(self, one: Reisolation, results: Sequence[ProbeResult], *, final: bool) -> None:
        self.journal.decide(lambda state, now: _checked(state, one, results, now, final=final))

    def _asked(self, probes: Sequence[Probe]) -> tuple[ProbeResult, ...]:
        return self.collaborators.probes.run(probes, deadline_s=self.collaborators.probe_deadline_s) if probes else ()

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as failure:  # kept for `health`; the chore goes on with what is owed
                self.failures.append(failure)

        thread = threading.Thread(target=run, daemon=True, name="re-isolation")
        self._threads = [known for known in self._threads if known.is_alive()] + [thread]
        thread.start()


def _decided(state: SiteState, command: Reisolate | BlockNetworks, now: datetime) -> tuple[NewEvent, ...]:
    """By somebody with a role; by the emergency command, whoever can read its cut key."""
    make = EventMaker(state, EMERGENCY, now)
    if command.actor == EMERGENCY and isinstance(command, Reisolate):
        return decide_reisolation.order(state, command, now, make)
    if command.actor == EMERGENCY and isinstance(command, BlockNetworks):
        return decide_blocklist.block(state, command, now, make)
    return decide(state, command, now)


def _checked(state: SiteState, one: Reisolation, results: Collection[ProbeResult], now: datetime, *, final: bool) -> list[NewEvent]:
    """What the probes said: successful when each was stopped; inconclusive when nobody could ask."""
    make = EventMaker(state, ORCHESTRATOR, now)
    answers = {result.check for result in results}
    check = Check.FAILED if Check.FAILED in answers else Check.SUCCESSFUL if answers == {Check.SUCCESSFUL} else Check.INCONCLUSIVE
    leaks = [f"{result.probe.vantage} → {result.probe.destination} {result.probe.kind}{f'/{result.probe.port}' if result.probe.port else ''}" for result in results if result.check is Check.FAILED]  # fmt: skip  # noqa: E501
    body = {"reisolation": one.id, "check": check.value, "asked": len(results), "leaks": leaks[:50], "final": final}
    ran = check_ran(f"re-isolation {one.id}", list(results))
    return [make(E.CHECK_RAN, ran), make(E.REISOLATION_CHECKED, body)]
