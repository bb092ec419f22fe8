"""The races, as a state machine: everything that people, servers, devices and time can do, in any order, one step at a time.

Between any two calls of a port of a running stage anything else may happen: a cut-off step by step, votes, a full disk, a
device that hangs, the death of the server. After each step invariants 1, 2, 5, 6 and 9 are judged by `ConductedHospital`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.errors import OrchestratorError
from orchestrator.simulation.device import Fault
from tests.crash.conducted import ConductedHospital
from tests.service.reopening import after_the_cut

P0, P1, P2, P3 = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail"
STAGES = (P0, P1, P2, P3)
PEOPLE = ("eng-1", "eng-2", "rssi", "commander", "director-duty")
STARTS = (
    lambda: after_the_cut(approved=P0),
    lambda: after_the_cut(P0, approved=P1),
    lambda: after_the_cut(P0, P1, approved=P2),
    lambda: after_the_cut(P0, P1),
)
FAULTS = (Fault.HANG, Fault.CONNECTION_REFUSED, Fault.LOST_OUTCOME, Fault.COMMAND_FAILS, Fault.GARBAGE, Fault.DROP_MIDWAY)
stages, people = st.sampled_from(STAGES), st.sampled_from(PEOPLE)


class Races(RuleBasedStateMachine):
    """`refused` are answers that the rules foresee: every one of them leaves things as they were."""

    hospital: ConductedHospital

    @initialize(start=st.sampled_from(range(len(STARTS))))
    def begin(self, start: int) -> None:
        self.hospital = ConductedHospital(STARTS[start]())

    # --- people -------------------------------------------------------------------------------------------------

    @rule(stage=stages, who=people)
    def plan(self, stage: str, who: str) -> None:
        self._try(lambda: self.hospital.stages.plan(who, stage))

    @rule(stage=stages)
    def evidence(self, stage: str) -> None:
        self._try(lambda: self.hospital.world.evidence(stage))

    @rule(stage=stages, who=people, approve=st.sampled_from((True, True, True, False)))
    def vote(self, stage: str, who: str, approve: bool) -> None:
        choice = "approve" if approve else "deny"
        self._try(lambda: self.hospital.world.vote(who, stage, choice, "" if approve else "not now"))  # type: ignore[arg-type]

    @rule(stage=stages)
    def approve(self, stage: str) -> None:
        self._try(lambda: self.hospital.world.approve(stage))

    @rule(stage=stages)
    def apply(self, stage: str) -> None:
        self._try(lambda: self.hospital.stages.apply("eng-1", stage))

    @rule(stage=stages)
    def approve_and_apply(self, stage: str) -> None:
        self._try(lambda: self.hospital.world.approve(stage))
        self._try(lambda: self.hospital.stages.apply("eng-1", stage))

    @rule(stage=stages)
    def revert(self, stage: str) -> None:
        self._try(lambda: self.hospital.stages.revert("eng-1", stage, "an alert"))

    @rule(stage=stages)
    def cancel(self, stage: str) -> None:
        self._try(lambda: self.hospital.stages.cancel("eng-1", stage, "not today"))

    # --- the server ---------------------------------------------------------------------------------------------

    @rule(steps=st.integers(1, 6), which=st.integers(0, 2))
    def go_on(self, steps: int, which: int) -> None:
        """Some thread goes on by so many stops."""
        for _ in range(steps):
            ready = self.hospital.conductor.ready()
            if not ready:
                return
            self.hospital.conductor.go(ready[which % len(ready)])

    @rule()
    def run_out(self) -> None:
        """Everything that runs runs to its end."""
        self._run_out()

    @rule()
    def chores(self) -> None:
        for chore in self.hospital.stages.runner.chores.all:
            self._try(chore.do)
        self.hospital.conductor.adopt(self.hospital.stages)

    @rule()
    def restart(self) -> None:
        self.hospital.kill()
        self.hospital.start()
        self._try(self.hospital.stages.runner.recover)

    # --- the world ----------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.hospital.cutting)
    @rule(profile=st.sampled_from(("total", "internet", "vendors", "compromised")), spooled=st.sampled_from((False, False, True)))
    def cut(self, profile: str, spooled: bool) -> None:
        self.hospital.cut(profile, spooled=spooled)
        self.hospital.cut_on()

    @precondition(lambda self: self.hospital.cutting)
    @rule(steps=st.integers(1, 20))
    def cut_on(self, steps: int) -> None:
        for _ in range(steps):
            self.hospital.cut_on()

    @rule(seconds=st.sampled_from((1, 30, 61, 600, 90_000)))
    def time_passes(self, seconds: int) -> None:
        self.hospital.pass_time(timedelta(seconds=seconds))

    @rule(device=st.sampled_from(("fw-ext", "fw-int", "rtr-isp", "sw-dmz", "vpn")), fault=st.sampled_from(FAULTS))
    def device_breaks(self, device: str, fault: Fault) -> None:
        self.hospital.world.hospital.machines[device].faults.add(fault)

    @rule()
    def devices_are_mended(self) -> None:
        for machine in self.hospital.world.hospital.machines.values():
            machine.faults.clear()

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self.hospital.log.unavailable = "the disk is full" if full else None

    # --- judged after each step ---------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "hospital"):
            self.hospital.conductor.adopt(self.hospital.stages)
            self.hospital.judge()

    def teardown(self) -> None:
        """At the end everything is mended, runs out, and what is not approved is closed; nothing hangs."""
        if not hasattr(self, "hospital"):
            return
        try:
            self.disk(full=False)
            self.devices_are_mended()
            while self.hospital.cut_on():
                pass
            self._run_out()
            self.chores()
            self._run_out()
            self.hospital.pass_time(timedelta(hours=1))
            self.hospital.judge()
            self.hospital.monitor.packets("at the end")
            self.hospital.judge()
        finally:
            self.hospital.kill()

    # --- within -------------------------------------------------------------------------------------------------

    def _run_out(self) -> None:
        self.hospital.conductor.adopt(self.hospital.stages)
        for _ in range(3000):
            ready = self.hospital.conductor.ready()
            if not ready:
                return
            self.hospital.conductor.go(ready[0])
            self.hospital.conductor.adopt(self.hospital.stages)
        raise AssertionError("what runs does not end")

    def _try(self, verb: Callable[[], object]) -> None:
        """What is refused is refused by an error of ours."""
        try:
            verb()
        except OrchestratorError:
            pass
        finally:
            self.hospital.conductor.adopt(self.hospital.stages)
