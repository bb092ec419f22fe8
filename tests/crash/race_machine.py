"""The races, as a state machine: everything that people, servers, devices and time can do, in any order, one step at a time.

Between any two calls of a port of a running stage anything else may happen: a cut-off step by step, votes, a full disk, a
device that hangs, the death of the server. After each step invariants 1, 2, 5, 6 and 9 are judged by `ConductedHospital`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.domain.commands import BlockNetworks, DeclareFalseAlarm, GrantUnblock, Reisolate, RequestUnblock
from orchestrator.domain.making import stamp
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.subtractions import What
from orchestrator.errors import OrchestratorError
from orchestrator.simulation.device import Fault
from tests.crash.conducted import ConductedHospital
from tests.service.reopening import after_the_cut

P0, P1, P2, P3 = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail"
P6 = "P6-remote-maintenance"
STAGES = (P0, P1, P2, P3)
CLOSED_ALONE: tuple[tuple[What, str], ...] = (
    ("partner", "sister"), ("partner", "efs"), ("flow", "mail-in"), ("zone", "imaging"), ("application", "image-exchange"),
)  # fmt: skip
NETWORKS = ("198.51.100.99/32", "198.51.100.96/29", "203.0.113.200/32")
PEOPLE = ("eng-1", "eng-2", "rssi", "commander", "director-duty")
STARTS = (
    lambda: after_the_cut(approved=P0),
    lambda: after_the_cut(P0, approved=P1),
    lambda: after_the_cut(P0, P1, approved=P2),
    lambda: after_the_cut(P0, P1),
    lambda: after_the_cut(P0, P1, P2),
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

    @rule(
        what=st.sampled_from((("partner", "sister"), ("partner", "efs"), ("flow", "mail-in"), ("zone", "imaging"), ("application", "pacs")))
    )
    def reisolate(self, what: tuple[What, str]) -> None:
        self._try(lambda: self.hospital.stages.reisolating.order(Reisolate("rssi", *what, "an indicator", 0)))

    @rule(network=st.sampled_from(NETWORKS), hour=st.booleans())
    def block(self, network: str, hour: bool) -> None:
        until = stamp(self.hospital.now + timedelta(hours=1)) if hour else ""
        self._try(lambda: self.hospital.stages.reisolating.block(BlockNetworks("rssi", (network,), "it scans us", until)))

    @rule(network=st.sampled_from(NETWORKS), who=people, other=people, number=st.integers(1, 3))
    def unblock(self, network: str, who: str, other: str, number: int) -> None:
        self._try(lambda: self.hospital.stages.do(RequestUnblock(who, (network,), "a mistake")))
        self._try(lambda: self.hospital.stages.do(GrantUnblock(other, f"U{number}")))
        self._try(self.hospital.stages.reisolating.lay)

    @rule()
    def false_alarm(self) -> None:
        self._try(lambda: self.hospital.stages.do(DeclareFalseAlarm("commander", "a test of the sensor", None)))

    @rule()
    def resume(self) -> None:
        self._try(lambda: self.hospital.stages.plan("eng-1", RESUME))
        for person in ("commander", "eng-2", "rssi"):
            self._try(lambda person=person: self.hospital.world.vote(person, RESUME))  # type: ignore[misc]
        self._try(lambda: self.hospital.stages.apply("eng-1", RESUME))

    @rule(minutes=st.sampled_from((1, 30, 600)))
    def window(self, minutes: int) -> None:
        """Remote maintenance for one vendor: planned and approved; it opens and ends by itself."""
        starts = self.hospital.now + timedelta(minutes=minutes)
        between = (stamp(starts), stamp(starts + timedelta(hours=2)))
        self._try(lambda: self.hospital.world.evidence(P6))
        self._try(lambda: self.hospital.stages.plan("eng-1", P6, ["vendor-1"], between))
        for person in ("eng-2", "rssi"):
            for name in [name for name in self.hospital.stages.journal.state().stages if name.startswith(P6)]:
                self._try(lambda person=person, name=name: self.hospital.world.vote(person, name))  # type: ignore[misc]

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
        self.hospital.adopt()

    @rule()
    def restart(self) -> None:
        """The server that people talk to dies, and starts again."""
        name = self.hospital.server.name
        self.hospital.kill()
        self.hospital.start(name)
        self.hospital.beat()

    @precondition(lambda self: sum(server.alive for server in self.hospital.servers) < 3)
    @rule()
    def another_server(self) -> None:
        """The one before hangs: its threads go on when they like, with what they had been about to send."""
        self.hospital.start(f"server-{len(self.hospital.servers) + 1}")
        self.hospital.beat()

    @rule()
    def beat(self) -> None:
        self.hospital.beat()

    @rule()
    def the_old_one_hangs_too_long(self) -> None:
        """The newest server waits until the lease has run out, and takes it."""
        newest = self.hospital.stages.runner.acting
        for _ in range(3):
            self._try(newest.turn)
            self.hospital.pass_time(timedelta(seconds=8))
        self._try(newest.turn)

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

    @rule(hang=st.booleans())
    def sessions_hang(self, hang: bool) -> None:
        self.hospital.hanging = hang

    @rule()
    def late_commands_arrive(self) -> None:
        self.hospital.deliver()

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
            self.hospital.adopt()
            self.hospital.judge()

    def teardown(self) -> None:
        """At the end everything is mended, runs out, and what is not approved is closed; nothing hangs."""
        if not hasattr(self, "hospital"):
            return
        try:
            self.disk(full=False)
            self.devices_are_mended()
            self.hospital.hanging = False
            self.hospital.deliver()
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
            for server in self.hospital.servers:
                if server.alive:
                    self.hospital.kill(server)

    # --- within -------------------------------------------------------------------------------------------------

    def _run_out(self) -> None:
        self.hospital.adopt()
        for _ in range(3000):
            ready = self.hospital.conductor.ready()
            if not ready:
                return
            self.hospital.conductor.go(ready[0])
            self.hospital.adopt()
        raise AssertionError("what runs does not end")

    def _try(self, verb: Callable[[], object]) -> None:
        """What is refused is refused by an error of ours."""
        try:
            verb()
        except OrchestratorError:
            pass
        finally:
            self.hospital.adopt()
