"""Lifting the layer: what is voted on, what is asked while it is loosened, and what every device holds whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest

from orchestrator.adapters.memory_lease import MemoryLease
from orchestrator.dialects.base import Script
from orchestrator.domain.commands import AcceptDifferences, DeferStage, ReportMonitor
from orchestrator.domain.events import EventType as E
from orchestrator.domain.lift_conditions import accepted
from orchestrator.domain.making import stamp
from orchestrator.domain.plan import Plan
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.domain.stages import StageState
from orchestrator.errors import IllegalTransition, NotAllowed, Refused, UsageError
from orchestrator.ports import Credential, DeviceStep, Outcome
from orchestrator.simulation.device import Fault, SimulatedDevice
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes
from tests.service.reopening import DOCUMENT, Reopening, after_the_cut
from tests.service.test_execution import held
from tests.service.test_two_servers import begins

LIFELINES, LIFT = "P0-lifelines", "P8-lift"
OTHERS = (
    "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail", "P4-images", "P5-patients-and-payments", "P6-remote-maintenance",
    "P7-public",
)  # fmt: skip


def defer(reopening: Reopening, *stages: str) -> None:
    for stage in stages:
        reopening.stages.do(DeferStage("rssi", stage, "not before the new firewall"))


def accept(reopening: Reopening, *names: str, withdrawn: bool = False) -> None:
    reopening.stages.do(AcceptDifferences("rssi", names, "as before the attack", withdrawn))


def differences(reopening: Reopening) -> list[str]:
    """The pairs of zones that are asked about."""
    plan = planned(reopening)
    assert plan.lift is not None
    return sorted({name.partition(":")[0] for name in plan.lift.differences})


def planned(reopening: Reopening) -> Plan:
    plan = reopening.status(LIFT).plan
    assert plan is not None
    return plan


@cache
def _ready() -> Reopening:
    reopening = after_the_cut(LIFELINES)
    defer(reopening, *OTHERS)
    reopening.evidence(LIFT)
    reopening.stages.plan("eng-1", LIFT)
    accept(reopening, *differences(reopening))
    return reopening


def ready() -> Reopening:
    """Lifelines open, everything else deferred, every difference accepted."""
    return _ready().copy()


def vote(reopening: Reopening) -> None:
    reopening.stages.plan("eng-1", LIFT)
    for person in ("commander", "rssi", "director-duty"):
        reopening.vote(person, LIFT)


@cache
def _approved() -> Reopening:
    reopening = ready()
    vote(reopening)
    return reopening


def approved() -> Reopening:
    return _approved().copy()


def layers(reopening: Reopening) -> dict[str, str]:
    """Whether the layer lies on each device, as the device itself says."""
    found = {}
    for name, machine in reopening.hospital.machines.items():
        seen = machine.observed()
        found[name] = "loosened" if seen.loosened_s is not None else "laid" if seen.present else "none"
    return found


class Steps(SimulatedHospital):
    """Does something just before or after a verb reaches a device."""

    def __init__(self, reopening: Reopening, verb: str, device: str, before: Callable[[SimulatedDevice], object]) -> None:
        self.__dict__.update(reopening.hospital.__dict__)
        self._verb, self._device, self._before, self._done = verb, device, before, False

    def _execute(self, machine: SimulatedDevice, script: Script, credential: Credential, deadline_s: float, number: int) -> Outcome:
        if f'"verb": "{self._verb}"' in script.text and machine.declared.name == self._device and not self._done:
            self._done = True
            self._before(machine)
        return super()._execute(machine, script, credential, deadline_s, number)


def meddled(reopening: Reopening, verb: str, device: str, before: Callable[[SimulatedDevice], object]) -> None:
    reopening.hospital = Steps(reopening, verb, device, before)
    reopening.probes = SimulatedProbes(reopening.hospital)
    reopening.stages = reopening.server()


def test_the_layer_is_lifted_into_surveillance_and_the_site_is_normal_when_that_is_over() -> None:
    reopening = approved()
    laid = {name for name, word in layers(reopening).items() if word == "laid"}
    assert laid
    status = reopening.apply(LIFT)
    assert status.state == "open", status.detail
    assert set(layers(reopening).values()) == {"none"}
    assert all(not machine.boots and machine.epoch is None for machine in reopening.hospital.machines.values())
    state = reopening.stages.state()
    assert state.posture == "normal"
    assert not any(device.slots or device.openings or device.pending for device in state.devices.values())
    events = list(reopening.log.read())
    lifted = [event.device for event in events if event.type is E.LAYER_LIFTED]
    assert set(lifted) == laid
    observing = next(event.seq for event in events if event.type is E.STAGE_OBSERVING and event.stage == LIFT)
    ended = next(event.seq for event in events if event.type is E.SURVEILLANCE_ENDED)
    assert observing < ended


def test_coarse_devices_are_loosened_last_and_lifted_first() -> None:
    reopening = approved()
    coarse = {device.device for device in planned(reopening).devices if device.order == 1}
    assert coarse == {"sw-core", "sw-dmz", "rtr-isp", "rtr-backup"}
    reopening.apply(LIFT)
    sent = [
        (event.body["action"], event.device)
        for event in reopening.log.read()
        if event.type is E.DEVICE_CHANGE_INTENDED and event.stage == LIFT
    ]
    order = {action: [device in coarse for verb, device in sent if verb == action] for action in ("loosen", "lift")}
    assert order["loosen"] == sorted(order["loosen"])
    assert order["lift"] == sorted(order["lift"], reverse=True)


def test_the_plan_says_what_becomes_possible_and_what_is_left_closed() -> None:
    plan = planned(approved())
    assert plan.lift is not None
    assert {(guard.device, guard.guard) for guard in plan.lift.guards} >= {("fw-ext", "wan0"), ("rtr-backup", "lte0")}
    assert all(guard.boxes for guard in plan.lift.guards if guard.device == "fw-ext")
    assert [text.partition(" ")[0] for text in plan.lift.deferred] == list(OTHERS)
    assert "not before the new firewall" in plan.lift.deferred[0]
    assert {item.device for item in plan.lift.site_rules} == {device.device for device in plan.devices}
    assert any(line.through == ("fw-ext",) for line in plan.becomes_possible)
    assert {item.by for item in plan.lift.accepted} == {"rssi"}


def test_what_passes_beyond_the_matrix_and_nobody_has_accepted_tightens_everything() -> None:
    reopening = ready()
    accept(reopening, "internet-to-offices", withdrawn=True)
    vote(reopening)
    before = held(reopening)
    status = reopening.apply(LIFT)
    assert status.state == "reverted", status.detail
    assert "internet-to-offices:" in status.detail
    assert held(reopening) == before
    assert "none" not in {word for name, word in layers(reopening).items() if reopening.stages.state().device(name).slots}
    assert reopening.stages.state().posture == "restoring"
    check = [event for event in reopening.log.read() if event.type is E.CHECK_RAN and event.body["when"] == "beyond the matrix"][-1]
    assert all(name.startswith("internet-to-offices:") for name in check.body["not_accepted"])


def test_a_lift_waits_for_every_stage_that_is_neither_open_nor_deferred() -> None:
    reopening = after_the_cut(LIFELINES)
    defer(reopening, *OTHERS[:-1])
    reopening.evidence(LIFT)
    with pytest.raises(Refused) as refusal:
        reopening.stages.plan("eng-1", LIFT)
    assert refusal.value.rule == "predecessor-not-open"
    assert "P7-public" in str(refusal.value)
    defer(reopening, OTHERS[-1])
    assert reopening.status("P7-public").state == "deferred"


def test_who_defers_and_who_accepts() -> None:
    reopening = after_the_cut()
    for nobody in ("eng-1", "director-duty", "auditor"):
        with pytest.raises(NotAllowed):
            reopening.stages.do(DeferStage(nobody, OTHERS[0], "why"))
    with pytest.raises(UsageError):
        reopening.stages.do(DeferStage("rssi", OTHERS[0], " "))
    with pytest.raises(UsageError):
        reopening.stages.do(DeferStage("rssi", LIFT, "why"))
    with pytest.raises(NotAllowed):
        reopening.stages.do(AcceptDifferences("eng-1", ("internet-to-offices",), "why"))
    opened = after_the_cut(LIFELINES)
    with pytest.raises(IllegalTransition):
        opened.stages.do(DeferStage("rssi", LIFELINES, "it is open"))
    accept(reopening, "care-to-internet", "internet-to-dmz-in:tcp/22", "blocked:198.51.100.66/32")
    accept(reopening, "care-to-internet", withdrawn=True)
    taken = ["blocked:198.51.100.66/32", "internet-to-dmz-in:tcp/22"]
    assert [item.name for item in accepted(reopening.stages.state())] == taken
    for mistyped in ("foo", "care-to-internt", "care-internet", "internet-to-dmz:tcp/22", "Blocked:198.51.100.66/32"):
        with pytest.raises(UsageError, match="no name of a difference"):
            accept(reopening, mistyped)
    assert [item.name for item in accepted(reopening.stages.state())] == taken


def test_a_gate_that_lapses_and_an_open_indicator_hold_the_lift_back() -> None:
    reopening = approved()
    now = reopening.clock.now()
    reopening.clock.wait(60)
    until = reopening.clock.now()
    reopening.stages.do(ReportMonitor("rssi", "detection", stamp(now), stamp(until), 2, ("core",), DOCUMENT))
    with pytest.raises(Refused) as refusal:
        reopening.stages.apply("commander", LIFT)
    assert refusal.value.rule == "indicator-open"
    later = approved()
    later.clock.wait(25 * 3600)
    with pytest.raises(Refused):
        later.stages.apply("commander", LIFT)
    assert set(layers(later).values()) <= {"laid", "none"}


def test_site_rules_that_moved_since_the_vote_make_it_stale() -> None:
    reopening = approved()
    reopening.hospital.machines["fw-ext"].site_rules = "accept everything from 198.51.100.99"
    with pytest.raises(Refused) as refusal:
        reopening.stages.apply("commander", LIFT)
    assert refusal.value.rule == "digest-moved"
    assert reopening.status(LIFT).state == "stale"


def test_site_rules_that_move_during_the_lift_put_every_device_back() -> None:
    reopening = approved()
    before = held(reopening)

    def meddle(machine: SimulatedDevice) -> None:
        machine.site_rules = "accept everything from 198.51.100.99"

    meddled(reopening, "lift", "fw-ext", meddle)
    status = reopening.apply(LIFT)
    assert status.state == "reverted", status.detail
    assert "site's own rules" in status.detail
    assert held(reopening) == before, "what was open is open again, and nothing else"
    assert {name for name, word in layers(reopening).items() if word == "laid"} == {device.device for device in planned(reopening).devices}
    assert all(set(machine.boots) == set(machine.slots) for machine in reopening.hospital.machines.values())


@pytest.mark.parametrize("verb", ["loosen", "lift"])
def test_a_device_that_refuses_puts_every_device_back(verb: str) -> None:
    reopening = approved()
    before = held(reopening)
    reopening.hospital = Refuses(reopening, verb, "fw-ext")
    reopening.probes = SimulatedProbes(reopening.hospital)
    reopening.stages = reopening.server()
    status = reopening.apply(LIFT)
    assert status.state == "reverted", status.detail
    assert held(reopening) == before
    assert {name for name, word in layers(reopening).items() if word == "laid"} == {device.device for device in planned(reopening).devices}
    told = [event.body for event in reopening.log.read() if event.type is E.DEVICE_READ_BACK and event.body["action"] == "tighten"]
    assert {body["layer"] for body in told} == {"laid"}


class Refuses(SimulatedHospital):
    """One device answers no to one verb."""

    def __init__(self, reopening: Reopening, verb: str, device: str) -> None:
        self.__dict__.update(reopening.hospital.__dict__)
        self._verb, self._device = verb, device

    def _execute(self, machine: SimulatedDevice, script: Script, credential: Credential, deadline_s: float, number: int) -> Outcome:
        if f'"verb": "{self._verb}"' in script.text and machine.declared.name == self._device:
            return Outcome(self._device, DeviceStep.REFUSED, "", 0.0, "no")
        return super()._execute(machine, script, credential, deadline_s, number)


def test_a_device_that_dies_after_it_was_loosened_is_said_to_be_unknown_and_comes_back_by_itself() -> None:
    reopening = approved()
    before = held(reopening)
    meddled(reopening, "lift", "vpn", lambda machine: machine.faults.add(Fault.HANG))
    status = reopening.apply(LIFT)
    assert status.state == "failed"
    assert status.detail.startswith("vpn: unknown")
    assert layers(reopening)["fw-ext"] == "laid"
    reopening.clock.wait(300)
    assert layers(reopening)["vpn"] == "laid", "nobody has told it to"
    reopening.hospital.machines["vpn"].faults.clear()
    reopening.stages.revert("eng-1", LIFT, "it answers again")
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFT).state == "reverted"
    assert held(reopening) == before


def test_a_cut_off_in_the_middle_leaves_nothing_loosened_or_lifted() -> None:
    reopening = approved()
    meddled(reopening, "lift", "fw-ext", lambda _machine: reopening.cut())
    status = reopening.apply(LIFT)
    assert status.state == "suspended"
    state = reopening.stages.state()
    for name, machine in reopening.hospital.machines.items():
        assert set(machine.observed().slots) == set(state.device(name).slots), name
        assert not machine.opened
    assert not any(device.pending for device in state.devices.values())


def test_a_narrower_cut_off_in_the_middle_of_it_lays_again_what_was_lifted_elsewhere() -> None:
    reopening = approved()
    meddled(reopening, "lift", "fw-ext", lambda _machine: reopening.cut("vendors"))
    reopening.apply(LIFT)
    state = reopening.stages.state()
    for name, machine in reopening.hospital.machines.items():
        assert set(machine.observed().slots) == set(state.device(name).slots), name
        assert machine.loosened_until is None


class Dies(BaseException):
    """SIGKILL, as far as a test can."""


@pytest.mark.parametrize("verb", ["loosen", "lift"])
def test_a_restart_in_the_middle_puts_every_device_back(verb: str) -> None:
    reopening = approved()
    before = held(reopening)
    alive = reopening.hospital

    class KilledAfter(SimulatedHospital):
        def __init__(self) -> None:
            self.__dict__.update(alive.__dict__)

        def run(self, scripts, *, credential, deadline_s, verb):  # type: ignore[no-untyped-def]
            yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)
            if verb == wanted:
                raise Dies

    wanted = verb
    reopening.hospital = KilledAfter()
    reopening.probes = SimulatedProbes(reopening.hospital)
    reopening.stages = reopening.server()
    reopening.stages.apply("commander", LIFT)
    reopening.stages.runner.wait(10)
    assert isinstance(reopening.stages.runner.failures[0], Dies)
    assert "none" in layers(reopening).values() or "loosened" in layers(reopening).values()
    reopening.hospital, reopening.probes = alive, SimulatedProbes(alive)
    reopening.stages = reopening.server()
    reopening.stages.runner.recover()
    assert reopening.stages.runner.wait(20)
    assert reopening.stages.runner.failures == []
    assert reopening.status(LIFT).state == "reverted", reopening.status(LIFT).detail
    assert held(reopening) == before
    state = reopening.stages.state()
    for name, machine in reopening.hospital.machines.items():
        assert set(machine.observed().slots) == set(state.device(name).slots), name
    assert reopening.stages.runner.recover() == (), "a second restart changes nothing"


def test_a_restart_during_surveillance_goes_on_with_it_and_a_cut_off_from_there_works_as_ever() -> None:
    reopening = approved()
    waited = reopening.clock.wait

    def server_stops(_seconds: float) -> None:
        if reopening.stages.journal.state().stage(LIFT).state is StageState.OBSERVING:
            reopening.stages.runner._stopping.set()

    reopening.wait = server_stops
    reopening.stages = reopening.server()
    assert reopening.apply(LIFT).state == "observing"
    assert reopening.stages.state().posture == "surveillance"
    with pytest.raises(Refused) as refusal:
        reopening.stages.revert("rssi", LIFT, "why")
    assert refusal.value.rule == "layer-lifted"
    twin = reopening.copy()
    reopening.wait = waited
    reopening.stages = reopening.server()
    reopening.stages.runner.recover()
    assert reopening.stages.runner.wait(20)
    assert reopening.stages.state().posture == "normal"
    twin.cut()
    assert twin.stages.state().posture == "isolated"
    assert twin.status(LIFT).state == "suspended"
    assert not any(machine.opened for machine in twin.hospital.machines.values())


def test_surveillance_does_not_end_while_care_fails_or_an_indicator_is_open() -> None:
    reopening = approved()
    heals = reopening.clock.now()

    class CareFails(SimulatedProbes):
        """From the lift on, for 25 minutes."""

        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            results = super().run(probes, deadline_s=deadline_s)
            lifted = reopening.stages.journal.state().posture == "surveillance"
            if not lifted or (reopening.clock.now() - heals).total_seconds() > 1500:
                return results
            return tuple(item.model_copy(update={"passed": False}) if item.probe.purpose == "care" else item for item in results)

    reopening.probes = CareFails(reopening.hospital)
    reopening.stages = reopening.server()
    assert reopening.apply(LIFT).state == "open"
    assert (reopening.clock.now() - heals).total_seconds() > 1500
    asked = [event for event in reopening.log.read() if event.type is E.CHECK_RAN and event.body["when"] == "surveillance"]
    assert len(asked) > 3
    assert asked[-1].body["failed"] == 0


def test_a_lift_is_used_once_and_a_false_alarm_never_resumes_it() -> None:
    reopening = approved()
    reopening.apply(LIFT)
    with pytest.raises(Refused):
        reopening.stages.apply("commander", LIFT)
    reopening.cut()
    assert LIFT not in reopening.stages.state().interrupted


def swapped_keys(reopening: Reopening) -> None:
    reopening.allowed_signers = reopening.allowed_signers.replace("eng-2 ", "eng-4 ")
    reopening.ratify()


@pytest.mark.parametrize("verb", ["loosen", "lift"])
def test_other_keys_that_are_ratified_on_the_way_put_every_device_back(verb: str) -> None:
    reopening = approved()
    before = held(reopening)
    meddled(reopening, verb, "fw-ext", lambda _machine: swapped_keys(reopening))
    status = reopening.apply(LIFT)
    assert status.state == "reverted", status.detail
    assert "ratified since" in status.detail
    assert held(reopening) == before
    assert {name for name, word in layers(reopening).items() if word == "laid"} == {device.device for device in planned(reopening).devices}
    assert not any(event.type is E.LAYER_LIFTED for event in reopening.log.read())


def test_what_is_ratified_during_surveillance_ends_no_lift() -> None:
    reopening = approved()

    def wait(seconds: float) -> None:
        reopening.clock.wait(seconds)
        if reopening.stages.journal.state().posture == "surveillance" and "eng-2 " in reopening.allowed_signers:
            swapped_keys(reopening)

    reopening.wait = wait
    reopening.stages = reopening.server()
    assert reopening.apply(LIFT).state == "open"
    assert "eng-4 " in reopening.allowed_signers


@pytest.mark.parametrize("verb", ["loosen", "lift"])
def test_what_nobody_foresaw_puts_every_device_back_at_once(verb: str) -> None:
    reopening = approved()
    before = held(reopening)
    meddled(reopening, verb, "fw-ext", lambda _machine: 1 // 0)
    reopening.stages.apply("commander", LIFT)
    assert reopening.stages.runner.wait(60)
    assert [type(failure) for failure in reopening.stages.runner.failures] == [ZeroDivisionError], "health says so"
    status = reopening.status(LIFT)
    assert status.state == "reverted", status.detail
    assert held(reopening) == before
    assert {name for name, word in layers(reopening).items() if word == "laid"} == {device.device for device in planned(reopening).devices}


@pytest.mark.parametrize("when", ["loosened", "surveillance"])
def test_a_server_that_does_not_act_any_more_sends_nothing_and_says_nothing_of_the_lift(when: str) -> None:
    """Another one takes the lease between two steps: while all is asked without the layer, or during surveillance."""
    reopening = approved()
    lease = reopening.lease = MemoryLease()
    sent = 0

    def taken_over() -> None:
        nonlocal sent
        if not sent:
            assert lease.acquire("beta", lease.seen()) is not None
            sent = len(reopening.hospital.sent)

    class Asked(SimulatedProbes):
        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            if when == "loosened" and "loosened" in layers(reopening).values():
                taken_over()
            return super().run(probes, deadline_s=deadline_s)

    def wait(seconds: float) -> None:
        reopening.clock.wait(seconds)
        if when == "surveillance" and reopening.stages.journal.state().posture == "surveillance":
            taken_over()

    reopening.probes, reopening.wait = Asked(reopening.hospital), wait
    reopening.stages = reopening.server("alpha")
    begins(reopening.stages)
    status = reopening.apply(LIFT)
    assert status.state == ("verifying" if when == "loosened" else "observing"), status.detail
    assert {verb for _, verb, _ in reopening.hospital.sent[sent:]} <= {"read_back"}
