"""Applying a stage on the simulated hospital: what ends up open, and that nothing else does, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.spool import Spool
from orchestrator.dialects.base import Script
from orchestrator.domain.decide import may_apply
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.folding import fold
from orchestrator.domain.layer import Observed
from orchestrator.domain.making import stamp
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState
from orchestrator.errors import IllegalTransition, Stale
from orchestrator.ports import Credential, Outcome
from orchestrator.service.device_steps import Expectation
from orchestrator.simulation.device import Fault
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes
from tests.service.reopening import Reopening, after_the_cut

LIFELINES, MAIL, CARE, IMAGES = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P4-images"


def types(reopening: Reopening, stage: str) -> list[str]:
    return [event.type.value for event in reopening.log.read() if event.stage == stage]


def held(reopening: Reopening) -> dict[str, tuple[set[object], set[str]]]:
    """What is open on each device, as the device itself says."""
    return {name: (set(machine.opened), set(machine.released)) for name, machine in reopening.hospital.machines.items()}


def test_the_imaging_portal_opens_to_those_of_the_stage_and_to_nobody_else() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    portal = "203.0.113.20"
    assert not reopening.reaches("sister", portal, 443)
    reopening.open(IMAGES)
    assert reopening.reaches("sister", portal, 443)
    assert not reopening.reaches("sister", "203.0.113.21", 443), "the web site is still closed"
    assert reopening.stages.state().posture == "restoring"


def test_the_order_of_the_events_is_the_order_of_the_steps() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.apply(LIFELINES)
    after_approval = types(reopening, LIFELINES)
    after_approval = after_approval[after_approval.index("StageApplying") :]
    phases = ["DeviceChangeIntended", "DeviceChanged", "DeviceReadBack"]
    opened = phases * 2  # fw-ext, then rtr-isp behind which it stands
    assert after_approval == [
        "StageApplying", "CheckRan", *opened, "StageVerifying", "CheckRan", *opened, "StageObserving", "CheckRan", "StageOpened",
    ]  # fmt: skip
    devices = [event.device for event in reopening.log.read() if event.type is E.DEVICE_CHANGED]
    assert devices == ["fw-ext", "rtr-isp", "fw-ext", "rtr-isp"]


def test_what_is_open_is_lasting_and_known_to_the_log() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    assert reopening.apply(LIFELINES).state == "open"
    reopening.clock.wait(3600)
    state = reopening.stages.state()
    for name, machine in reopening.hospital.machines.items():
        observed = machine.observed()
        assert set(observed.opened) == set(state.device(name).opened)
        assert observed.temporary == ()
        assert machine.released.keys() == state.device(name).released


def test_the_canary_partner_is_open_and_verified_before_any_other() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    assert reopening.apply(CARE).state == "open"
    events = [event for event in reopening.log.read() if event.stage == CARE]
    first = next(event for event in events if event.type is E.DEVICE_CHANGE_INTENDED)
    assert {opening["partner"] for opening in first.body["change"]["openings"]} == {"sister"}
    checks = [event.body["when"] for event in events if event.type is E.CHECK_RAN]
    assert checks == ["before", "canary", "after", "observed"]
    others = [
        event.seq for event in events
        if event.type is E.DEVICE_CHANGE_INTENDED and {o["partner"] for o in event.body["change"]["openings"]} - {"sister"}
    ]  # fmt: skip
    canary = next(event.seq for event in events if event.type is E.CHECK_RAN and event.body["when"] == "canary")
    assert canary < min(others)


def test_a_canary_that_does_not_answer_keeps_the_others_closed() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    before = held(reopening)
    reopening.hospital.dark.add("sister")
    status = reopening.apply(CARE)
    assert status.state == "reverted"
    assert "canary" in status.detail
    assert held(reopening) == before
    intended = [event for event in reopening.log.read() if event.stage == CARE and event.type is E.DEVICE_CHANGE_INTENDED]
    opened = {o["partner"] for event in intended if event.body["action"] == "open" for o in event.body["change"]["openings"]}
    assert opened == {"sister"}


@pytest.mark.parametrize(
    ("fault", "device", "state"),
    [
        (Fault.COMMAND_FAILS, "fw-ext", "stale"),  # it cannot even be read: nothing is sent
        (Fault.HANG, "rtr-isp", "stale"),
        (Fault.GARBAGE, "fw-ext", "stale"),
    ],
)
def test_a_device_that_cannot_be_read_beforehand_makes_the_stage_stale(fault: Fault, device: str, state: str) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)
    reopening.hospital.machines[device].faults.add(fault)
    status = reopening.apply(LIFELINES)
    assert status.state == state
    assert device in status.detail
    assert status.votes == {}
    assert held(reopening) == before
    assert E.DEVICE_CHANGE_INTENDED not in {event.type for event in reopening.log.read()}


class FailsAt(SimulatedHospital):
    """A hospital of which one device gets a fault as soon as one kind of script arrives for it."""

    def __init__(self, hospital: SimulatedHospital, device: str, verb: str, fault: Fault, *, heals_after: str | None = None) -> None:
        self.__dict__.update(hospital.__dict__)
        self._device, self._verb, self._fault, self._heals = device, verb, fault, heals_after

    def _execute(self, machine: object, script: Script, credential: Credential, deadline_s: float, number: int) -> Outcome:
        target = self.machines[self._device]
        if machine is target and f'"verb": "{self._verb}"' in script.text:
            target.faults.add(self._fault)
        elif machine is target and self._heals and f'"verb": "{self._heals}"' in script.text:
            target.faults.clear()
        return super()._execute(target if machine is target else machine, script, credential, deadline_s, number)  # type: ignore[arg-type]


def with_fault(reopening: Reopening, device: str, verb: str, fault: Fault, heals: str | None) -> None:
    reopening.hospital = FailsAt(reopening.hospital, device, verb, fault, heals_after=heals)


@pytest.mark.parametrize("verb", ["open", "confirm"])
@pytest.mark.parametrize("fault", [Fault.COMMAND_FAILS, Fault.HANG, Fault.LOST_OUTCOME])
@pytest.mark.parametrize("device", ["fw-ext", "rtr-isp"])
def test_a_failure_on_the_way_closes_everything_again(device: str, verb: str, fault: Fault) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)
    with_fault(reopening, device, verb, fault, heals="close")
    status = reopening.apply(LIFELINES)
    assert status.state == "reverted", status.detail
    assert device in status.detail
    assert held(reopening) == before
    state = reopening.stages.state()
    assert not any(state.device(name).openings or state.device(name).pending for name in state.devices)
    with_fault(reopening, device, "never", fault, heals=None)
    reopening.open(LIFELINES)


def test_a_device_that_stays_unknown_makes_the_stage_failed_until_it_is_closed_by_hand() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    with_fault(reopening, "fw-ext", "confirm", Fault.HANG, heals=None)
    assert reopening.apply(LIFELINES).state == "failed"
    with pytest.raises(IllegalTransition):
        reopening.stages.plan("eng-1", LIFELINES)
    assert "fw-ext" in reopening.status(LIFELINES).detail
    assert LIFELINES in reopening.stages.state().device("fw-ext").pending
    reopening.hospital.machines["fw-ext"].faults.clear()
    with_fault(reopening, "fw-ext", "never", Fault.HANG, heals=None)
    reopening.stages.revert("eng-1", LIFELINES, "the firewall answers again")
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "reverted"
    assert reopening.hospital.machines["fw-ext"].opened == {}


def test_a_colleague_who_opened_something_by_hand_makes_the_stage_stale() -> None:
    reopening = after_the_cut(LIFELINES, approved=MAIL)
    plan = reopening.status(MAIL).plan
    assert plan is not None
    element = plan.devices[0].change.elements[0].model_copy(update={"ports": (22, 22)})
    reopening.hospital.machines["fw-ext"].opened[element] = None
    status = reopening.apply(MAIL)
    assert status.state == "stale"
    assert "open and should not be" in status.detail


def test_something_that_passes_and_should_not_closes_the_stage() -> None:
    reopening = after_the_cut(approved=LIFELINES)

    class Lying(SimulatedProbes):
        """From the moment the stage is laid, one negative probe gets through."""

        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            results = super().run(probes, deadline_s=deadline_s)
            negative = next((result for result in results if not result.probe.expects_pass), None)
            return tuple(result.model_copy(update={"passed": True}) if result is negative else result for result in results)

    reopening.probes = Lying(reopening.hospital)
    reopening.stages = reopening.server()
    status = reopening.apply(LIFELINES)
    assert status.state == "reverted"
    assert "should not pass" in status.detail
    assert reopening.hospital.machines["fw-ext"].opened == {}


def test_inconclusive_never_opens() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    plan = reopening.status(LIFELINES).plan
    assert plan is not None
    reopening.hospital.dark.add(next(probe.vantage for probe in plan.probes if probe.purpose == "positive"))
    status = reopening.apply(LIFELINES)
    assert status.state == "reverted"
    assert "inconclusive" in status.detail


def test_a_cut_off_pre_empts_and_suspends() -> None:
    reopening = after_the_cut(LIFELINES, approved=MAIL)
    waited = reopening.clock.wait

    def cut_while_observing(seconds: float) -> None:
        waited(seconds)
        if reopening.epoch == 41:
            reopening.cut()

    reopening.wait = cut_while_observing
    reopening.stages = reopening.server()
    assert reopening.apply(MAIL).state == "suspended"
    state = reopening.stages.state()
    assert state.stage(LIFELINES).state == "suspended"
    assert state.posture == "isolated"
    assert state.epoch == 42
    assert all(not machine.opened and not machine.released for machine in reopening.hospital.machines.values())
    assert not any(state.device(name).openings for name in state.devices)


class CutsBefore(FailsAt):
    """The emergency command runs between our decision and the arrival of our first script of this kind."""

    def __init__(self, reopening: Reopening, verb: str, fails_at: str) -> None:
        super().__init__(reopening.hospital, "rtr-isp", fails_at, Fault.COMMAND_FAILS, heals_after="close")
        self._reopening, self._cut_before, self._done = reopening, verb, False

    def _execute(self, machine: object, script: Script, credential: Credential, deadline_s: float, number: int) -> Outcome:
        if f'"verb": "{self._cut_before}"' in script.text and not self._done:
            self._done = True
            self._reopening.cut()
        return super()._execute(machine, script, credential, deadline_s, number)


@pytest.mark.parametrize("verb", ["open", "confirm", "close"])
def test_a_command_that_arrives_after_the_cut_off_opens_nothing(verb: str) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.hospital = CutsBefore(reopening, verb, fails_at="confirm" if verb == "close" else "never")
    assert reopening.apply(LIFELINES).state == "suspended"
    assert all(not machine.opened and not machine.released for machine in reopening.hospital.machines.values())


def test_after_a_cut_off_a_guard_that_is_still_released_is_found() -> None:
    """What a stage had released must be shut, whatever else the cut-off has laid on the device since."""
    wanted = Expectation({}, None, frozenset(), frozenset(), shut=frozenset({"up0"}), only_absent=frozenset())
    assert wanted.differences(Observed(present=True, slots={"total-1": "a", "vendors-2": "b"})) == ("still released: up0",)
    assert wanted.differences(Observed(present=True, closed=("lte0", "up0"))) == ()
    assert wanted.differences(Observed(present=False)) == (), "the layer was lifted: there is nothing left to hold shut"


def test_a_narrower_cut_off_leaves_the_stages_that_it_does_not_touch() -> None:
    reopening = after_the_cut(LIFELINES, profile="internet")
    reopening.cut("vendors")
    state = reopening.stages.state()
    assert state.stage(LIFELINES).state == "open"
    assert state.device("fw-ext").openings
    reopening.open(MAIL)  # the epoch of the firewall is still its own


def test_what_a_narrower_cut_off_suspends_is_closed_on_the_devices_that_it_did_not_touch() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    reopening.cut("internet")  # which keeps the sister hospitals, and therefore does not touch the port towards them
    state = reopening.stages.state()
    assert state.stage(CARE).state == state.stage(LIFELINES).state == "suspended"
    assert reopening.hospital.machines["sw-dmz"].released
    assert set(reopening.stages.runner.close_leftovers()) == {CARE, LIFELINES}
    assert reopening.stages.runner.wait(10)
    assert all(not machine.opened and not machine.released for machine in reopening.hospital.machines.values())
    state = reopening.stages.state()
    assert not any(state.device(name).openings or state.device(name).releases for name in state.devices)
    assert state.stage(CARE).state == "suspended"
    assert reopening.stages.runner.close_leftovers() == ()
    reopening.open(LIFELINES)


def test_leftovers_on_a_device_that_does_not_answer_are_tried_again_later_and_a_cut_off_comes_first() -> None:
    reopening = after_the_cut(LIFELINES)
    reopening.hospital.machines["rtr-isp"].faults.add(Fault.HANG)
    reopening.cut("internet")
    reopening.append(E.CUTOFF_ORDERED, {"epoch": 99, "profile": "vendors", "devices": ["vpn"]})
    assert reopening.stages.runner.close_leftovers() == (), "a cut-off is under way"
    reopening.append(E.CUTOFF_VERIFIED, {"epoch": 99})
    assert reopening.stages.runner.close_leftovers() == (LIFELINES,)
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.state().device("rtr-isp").releases
    assert reopening.stages.runner.close_leftovers() == (), "not at once again"


def test_a_cut_off_that_only_the_spool_knows_stops_an_opening(tmp_path: Path) -> None:
    reopening = after_the_cut(LIFELINES, approved=MAIL)
    spool = Spool(tmp_path / "spool")
    spool.allocate()
    waited = reopening.clock.wait

    def cut_with_a_full_disk(seconds: float) -> None:
        waited(seconds)
        order = {"epoch": 42, "profile": "total", "devices": ["fw-ext"], "rehearsal": True}
        spool.append([NewEvent(E.CUTOFF_ORDERED, stamp(reopening.clock.now()), "emergency", order)])

    reopening.wait = cut_with_a_full_disk
    reopening.take_in = lambda: spool.holds_something() and spool.merge_into(reopening.log)
    reopening.stages = reopening.server()
    assert reopening.apply(MAIL).state == "suspended"
    assert reopening.stages.state().posture == "isolating"
    merged = [event for event in reopening.log.read() if event.type is E.SPOOL_MERGED]
    assert merged
    assert all(event.body["rehearsal"] is True for event in merged)
    assert not spool.holds_something()


def test_a_restart_in_the_middle_of_laying_closes_and_says_so() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.stages.state()
    with_fault(reopening, "fw-ext", "never", Fault.HANG, heals=None)

    class Dies(BaseException):
        """SIGKILL, as far as a test can."""

    class KilledAt(SimulatedHospital):
        def __init__(self, hospital: SimulatedHospital) -> None:
            self.__dict__.update(hospital.__dict__)

        def run(self, scripts, *, credential, deadline_s, verb):  # type: ignore[no-untyped-def]
            yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)
            if verb == "open":
                raise Dies

    alive = reopening.hospital
    reopening.hospital = KilledAt(alive)
    reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.stages.runner.wait(10)
    assert isinstance(reopening.stages.runner.failures[0], Dies)
    assert reopening.hospital.machines["fw-ext"].opened
    reopening.hospital = alive
    reopening.stages = reopening.server()
    assert reopening.stages.runner.recover() == (f"{LIFELINES} was applying",)
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "reverted"
    assert reopening.hospital.machines["fw-ext"].opened == {}
    assert reopening.stages.runner.recover() == (), "a second restart changes nothing"


def test_a_restart_while_observing_goes_on_observing() -> None:
    reopening = after_the_cut(approved=LIFELINES)

    def server_stops(_seconds: float) -> None:
        reopening.stages.runner._stopping.set()

    reopening.wait = server_stops
    reopening.stages = reopening.server()
    assert reopening.apply(LIFELINES).state == "observing"
    reopening.wait = None
    reopening.stages = reopening.server()
    reopening.stages.runner.recover()
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "open"


def test_reverting_an_open_stage_takes_its_openings_and_leaves_the_others() -> None:
    reopening = after_the_cut(LIFELINES)
    before = held(reopening)
    reopening.open(MAIL)
    reopening.stages.revert("rssi", MAIL, "an indicator of compromise")
    assert reopening.stages.runner.wait(10)
    assert reopening.status(MAIL).state == "reverted"
    assert held(reopening) == before
    assert reopening.status(LIFELINES).state == "open"


def test_the_log_refuses_intent_then_nothing_is_sent() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)

    class Full(SimulatedProbes):
        """The disk is full from the first check on."""

        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            reopening.log.unavailable = "no space left on device"
            return super().run(probes, deadline_s=deadline_s)

    reopening.probes = Full(reopening.hospital)
    reopening.stages = reopening.server()
    reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.runner.failures, "health says so"
    assert held(reopening) == before


def test_folding_all_at_once_is_folding_one_by_one() -> None:
    reopening = after_the_cut(LIFELINES)
    assert fold(reopening.log.read(), SiteState()) == reopening.stages.journal.state()


def test_every_change_on_a_device_was_intended_before_with_the_digest_of_its_bytes() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.apply(LIFELINES)
    intended: dict[tuple[str | None, str], str] = {}
    for event in reopening.log.read():
        if event.type is E.DEVICE_CHANGE_INTENDED:
            intended[event.device, event.body["action"]] = event.body["sent_sha256"]
        if event.type is E.DEVICE_CHANGED:
            assert intended.pop((event.device, event.body["action"]))
    assert intended == {}
    assert all(event.body["rehearsal"] for event in reopening.log.read() if event.actor == "orchestrator" and event.stage)


def test_the_devices_are_opened_with_the_open_key_and_read_and_closed_with_the_cut_key() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.hospital.sent.clear()
    reopening.apply(LIFELINES)
    reopening.stages.revert("eng-1", LIFELINES, "over")
    reopening.stages.runner.wait(10)
    used = {(verb, credential) for _, verb, credential in reopening.hospital.sent}
    assert used == {("open", Credential.OPEN), ("confirm", Credential.OPEN), ("read_back", Credential.CUT), ("close", Credential.CUT)}


def test_with_a_full_disk_what_is_can_still_be_read_although_a_plan_has_expired() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.clock.wait(30 * 86_400)
    reopening.log.unavailable = "no space left on device"
    assert reopening.stages.read("auditor").stage(LIFELINES).state == "approved"
    reopening.log.unavailable = None
    assert reopening.stages.read("auditor").stage(LIFELINES).state == "expired"


@pytest.mark.parametrize("round_", [1, 2], ids=["before anything is sent", "when the openings lie"])
def test_other_keys_that_are_ratified_on_the_way_stop_it(round_: int) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)

    class Ratified(SimulatedProbes):
        """People ratify other keys while a round of questions is asked."""

        rounds = 0

        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            self.rounds += 1
            if self.rounds == round_:
                reopening.allowed_signers = reopening.allowed_signers.replace("eng-2 ", "eng-4 ")
                reopening.ratify()
            return super().run(probes, deadline_s=deadline_s)

    reopening.probes = Ratified(reopening.hospital)
    reopening.stages = reopening.server()
    status = reopening.apply(LIFELINES)
    assert status.state == "reverted"
    assert "ratified since" in status.detail
    assert held(reopening) == before
    sent = {event.body["action"] for event in reopening.log.read() if event.type is E.DEVICE_CHANGED and event.stage == LIFELINES}
    assert sent == ({"close"} if round_ == 1 else {"open", "close"})


def test_a_plan_that_expires_while_it_waits_for_its_turn_is_stale() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    status = reopening.status(LIFELINES)
    assert status.plan is not None
    plan = status.plan.model_copy(update={"expires_after_s": 60})
    short = replace(status, state=StageState.APPLYING, plan=plan, plan_digest=plan.digest)
    state = reopening.stages.journal.state()
    state = replace(state, stages={**state.stages, LIFELINES: short})
    assert may_apply(state, LIFELINES, plan.digest, reopening.clock.now())
    with pytest.raises(Stale) as refusal:
        may_apply(state, LIFELINES, plan.digest, reopening.clock.now() + timedelta(seconds=61))
    assert refusal.value.rule == "expired"
