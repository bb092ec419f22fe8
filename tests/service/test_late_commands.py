"""A command that hung in a session arrives after all: after its stage was reverted, after the next one, or after a restart.

Devices that never answered are fenced at a new epoch before they count as closed; until that is read back they stay unknown.
"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.events import EventType as E
from orchestrator.ports import Credential, DeviceStep, Outcome
from orchestrator.simulation.device import Rejected
from orchestrator.simulation.hospital import SimulatedHospital
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_blocklist import block, listed, on_devices, unblock
from tests.service.test_execution import LIFELINES, MAIL, held
from tests.service.test_lift import LIFT
from tests.service.test_lift import approved as approved_lift


class Hangs(SimulatedHospital):
    """A hospital in which one verb hangs on its way to one device; `arrives` lets it go on. `deaf`: verbs that the device refuses."""

    def __init__(self, reopening: Reopening, device: str, verb: str, *, deaf: frozenset[str] = frozenset()) -> None:
        self.__dict__.update(reopening.hospital.__dict__)
        self._device, self._verb, self.deaf = device, verb, deaf
        self.on_their_way: list[str] = []
        reopening.hospital = self
        reopening.stages = reopening.server()

    def _execute(self, machine: Any, script: Script, credential: Credential, deadline_s: float, number: int) -> Outcome:
        verb = script.text.partition('"verb": "')[2].partition('"')[0]
        if machine.declared.name == self._device and verb == self._verb:
            self.on_their_way.append(script.text)
            return Outcome(self._device, DeviceStep.UNKNOWN, "", deadline_s, "no answer")
        if machine.declared.name == self._device and verb in self.deaf:
            return Outcome(self._device, DeviceStep.REFUSED, "", 0.0, "no such command")
        return super()._execute(machine, script, credential, deadline_s, number)

    def arrives(self) -> list[str]:
        """What the device says to it; the session holds the open key still."""
        said = []
        for text in self.on_their_way:
            try:
                said.append(self.machines[self._device].execute(text, may_open=True))
            except Rejected as refusal:
                said.append(str(refusal))
        self.on_their_way, self._verb = [], "never"
        return said


@pytest.mark.parametrize("verb", ["open", "confirm"])
@pytest.mark.parametrize("device", ["fw-ext", "rtr-isp"])
def test_it_opens_nothing_after_the_stage_was_reverted(device: str, verb: str) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)
    hospital = Hangs(reopening, device, verb)
    status = reopening.apply(LIFELINES)
    assert status.state == "reverted", status.detail
    assert hospital.on_their_way
    (refusal,) = hospital.arrives()
    assert "epoch" in refusal
    assert held(reopening) == before
    assert reopening.stages.state().device(device).hanging == frozenset()


def test_the_new_epoch_is_in_the_log_before_the_fence_and_the_fence_before_it_counts_as_closed() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    Hangs(reopening, "fw-ext", "open")
    reopening.apply(LIFELINES)
    events = list(reopening.log.read())
    raised = next(event for event in events if event.type is E.EPOCH_RAISED)
    fenced = next(event for event in events if event.type is E.DEVICE_FENCED)
    settled = next(event for event in events if event.type is E.DEVICE_READ_BACK and event.body["settles"] == "close")
    assert (raised.body["why"], raised.body["devices"]) == ("unknown", ["fw-ext"])
    assert (fenced.device, fenced.body["step"], fenced.body["epoch"]) == ("fw-ext", "applied", raised.body["epoch"])
    assert raised.seq < fenced.seq < settled.seq


def test_a_stage_whose_devices_all_answered_raises_no_epoch() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.open(LIFELINES)
    reopening.stages.revert("eng-1", LIFELINES, "an alert")
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "reverted"
    assert E.EPOCH_RAISED not in {event.type for event in reopening.log.read()}


def test_a_device_that_closes_and_is_not_fenced_keeps_its_stage_until_it_is() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)
    hospital = Hangs(reopening, "fw-ext", "open", deaf=frozenset({"fence"}))
    status = reopening.apply(LIFELINES)
    assert status.state == "failed"
    assert "may still arrive" in status.detail
    device = reopening.stages.state().device("fw-ext")
    assert device.step is DeviceStepState.UNKNOWN
    assert device.hanging == {LIFELINES}
    hospital.deaf = frozenset()
    reopening.clock.wait(601)
    reopening.stages.runner.unknown.turn()
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "reverted", reopening.status(LIFELINES).detail
    hospital.arrives()
    assert held(reopening) == before


def test_without_a_log_it_is_closed_and_stays_unknown_until_the_log_is_there() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)
    hospital = Hangs(reopening, "fw-ext", "confirm")
    append = reopening.log.append

    def full_at_the_epoch(events: Any, **known: Any) -> Any:
        reopening.log.unavailable = "the disk is full" if events[0].type is E.EPOCH_RAISED else None
        return append(events, **known)

    reopening.log.append = full_at_the_epoch  # type: ignore[method-assign]
    assert reopening.apply(LIFELINES).state == "failed"
    assert held(reopening) == before, "closed, without a log"
    reopening.log.append = append  # type: ignore[method-assign]
    reopening.log.unavailable = None
    reopening.clock.wait(601)
    reopening.stages.runner.unknown.turn()
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "reverted", reopening.status(LIFELINES).detail
    hospital.arrives()
    assert held(reopening) == before


def test_the_next_stage_on_the_device_does_not_make_what_hangs_forgotten() -> None:
    """The device was read for another stage since, and is known again; what was sent for the first one still hangs."""
    reopening = after_the_cut(LIFELINES, approved=MAIL)
    hospital = Hangs(reopening, "fw-ext", "open", deaf=frozenset({"fence"}))
    before = held(reopening)
    assert reopening.apply(MAIL).state == "failed"
    reopening.append(E.DEVICE_READ_BACK, {"action": "check", "step": "applied", "as_expected": True, "settles": None}, device="fw-ext")
    assert reopening.stages.state().device("fw-ext").step == "applied"
    hospital.deaf = frozenset()
    reopening.stages.revert("eng-1", MAIL, "the firewall answers again")
    assert reopening.stages.runner.wait(10)
    assert reopening.status(MAIL).state == "reverted"
    hospital.arrives()
    assert held(reopening) == before


def test_it_opens_nothing_after_a_restart_in_the_middle_of_the_closing() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)
    hospital = Hangs(reopening, "fw-ext", "open", deaf=frozenset({"fence", "close"}))
    assert reopening.apply(LIFELINES).state in ("failed", "stale")
    hospital.deaf = frozenset()
    reopening.clock.wait(601)
    reopening.stages = reopening.server()
    reopening.stages.runner.unknown.turn()
    assert reopening.stages.runner.wait(10)
    hospital.arrives()
    assert held(reopening) == before


@pytest.mark.parametrize("verb", ["loosen", "lift"])
def test_a_lift_that_hung_takes_no_layer_off_once_it_was_put_back(verb: str) -> None:
    reopening = approved_lift()
    hospital = Hangs(reopening, "fw-ext", verb)
    status = reopening.apply(LIFT)
    assert status.state == "reverted", status.detail
    slots = dict(hospital.machines["fw-ext"].slots)
    assert slots
    hospital.arrives()
    assert hospital.machines["fw-ext"].slots == slots
    assert hospital.machines["fw-ext"].loosened_until is None


OLD, NEW = "198.51.100.20", "198.51.100.10"


def test_a_taking_off_that_hung_takes_nothing_off_a_list_that_has_grown_since() -> None:
    """Its session is frozen with the list as it was to become; by the time it goes on, somebody has blocked another address."""
    reopening = after_the_cut(LIFELINES, MAIL)
    block(reopening, OLD)
    hospital = Hangs(reopening, "fw-ext", "unblock")
    unblock(reopening, OLD)
    assert hospital.on_their_way
    block(reopening, NEW)
    assert f"{NEW}/32" in on_devices(reopening)["fw-ext"]
    assert "epoch" in hospital.arrives()[0], "the one that was sent before; those after it say the list as it is now"
    assert f"{NEW}/32" in on_devices(reopening)["fw-ext"]
    assert not reopening.reaches("internet-host", "203.0.113.22", 25)
    assert listed(reopening) == [f"{NEW}/32"]


def test_every_block_raises_the_epoch_in_the_same_breath_and_every_device_is_read_back_under_it() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    before, seq = reopening.stages.state().epoch, reopening.log.head().size
    block(reopening, NEW)
    types = [event.type for event in reopening.log.read(seq)]
    assert types[:2] == [E.BLOCKLIST_APPLIED, E.EPOCH_RAISED]
    state = reopening.stages.state()
    assert state.epoch > before
    assert {device.epoch for device in state.devices.values() if device.slots} == {state.epoch}
