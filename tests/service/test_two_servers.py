"""Two servers on one log: one acts, the other answers; when the first one dies or hangs the other takes over, and what the first
one had already sent fails on the devices."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

import pytest

from orchestrator.adapters.memory_lease import MemoryLease
from orchestrator.dialects.base import Script
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.errors import NotActing
from orchestrator.ports import Credential, Outcome, Target
from orchestrator.service.acting import LEASE_S
from orchestrator.service.stages import Stages
from orchestrator.simulation.device import Fault
from orchestrator.simulation.hospital import SimulatedHospital
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_execution import LIFELINES, held

STORES = ("memory", "sqlite", "postgres")


def of(reopening: Reopening, type_: E) -> list[Event]:
    return [event for event in reopening.log.read() if event.type is type_]


def begins(stages: Stages) -> None:
    """One turn of the lease, as its thread takes it; what follows from it is awaited."""
    stages.runner.acting.turn()
    stages.runner.acting.wait(10)
    assert stages.runner.wait(10)
    assert stages.runner.failures == []


def two(reopening: Reopening) -> tuple[Stages, Stages]:
    reopening.lease = MemoryLease()
    one, other = reopening.server("alpha"), reopening.server("beta")
    begins(one)
    begins(other)
    reopening.stages = one
    return one, other


def lease_of(reopening: Reopening) -> MemoryLease:
    assert reopening.lease is not None
    return reopening.lease


class Freezes(SimulatedHospital):
    """A hospital at which the session of the chosen verb stands still before its command arrives, until it is thawed."""

    def __init__(self, hospital: SimulatedHospital, verb: str) -> None:
        self.__dict__.update(hospital.__dict__)
        self._at = verb
        self.frozen, self.thawed = threading.Event(), threading.Event()

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        if verb == self._at and not self.frozen.is_set():
            self.frozen.set()
            assert self.thawed.wait(30)
        yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)


def test_one_acts_and_the_other_answers_and_says_who_acts() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    one, other = two(reopening)
    assert one.runner.acting.acts
    assert not other.runner.acting.acts
    assert other.runner.acting.who == "alpha"
    assert other.read("auditor").stage(LIFELINES).state == "approved"
    reopening.hospital.sent.clear()
    with pytest.raises(NotActing, match="alpha acts on this log now, and beta does not") as refusal:
        other.apply("eng-1", LIFELINES)
    assert refusal.value.rule == "another-server-acts"
    assert "ask alpha" in refusal.value.advice
    with pytest.raises(NotActing):
        other.revert("eng-1", LIFELINES, "")
    with pytest.raises(NotActing):
        other.runner.drift.look()
    assert other.runner.chores.turn(1e9) == ()
    assert reopening.hospital.sent == []
    assert reopening.status(LIFELINES).state == "approved", "nothing was begun"
    assert reopening.apply(LIFELINES).state == "open"


def test_as_long_as_it_beats_nobody_takes_over_whatever_any_wall_clock_says() -> None:
    reopening = after_the_cut()
    one, other = two(reopening)
    for _ in range(10):
        reopening.clock.wait(LEASE_S - 1)
        begins(one)
        begins(other)
    reopening.clock.wait(24 * 3600)  # a day at once: nobody was looked at in between, and it beats before the next look
    begins(one)
    begins(other)
    assert one.runner.acting.acts
    assert not other.runner.acting.acts
    assert len(of(reopening, E.SERVER_ACTS)) == 1


def test_a_server_that_died_is_followed_at_once_by_one_that_fences_every_device_and_recovers() -> None:
    reopening = after_the_cut(LIFELINES)
    _, other = two(reopening)
    epoch, before = reopening.stages.state().epoch, held(reopening)
    lease_of(reopening).end()
    begins(other)
    assert other.runner.acting.acts
    state = other.state()
    assert state.epoch > epoch
    for name, device in state.devices.items():
        assert device.epoch == state.epoch
        assert reopening.hospital.machines[name].epoch == state.epoch
    acts = of(reopening, E.SERVER_ACTS)[-1]
    assert (acts.body["server"], acts.body["instead_of"], acts.body["may_live"]) == ("beta", "alpha", False)
    raised, fenced = of(reopening, E.EPOCH_RAISED)[-1], of(reopening, E.DEVICE_FENCED)
    assert raised.seq < acts.seq < min(event.seq for event in fenced if event.seq > raised.seq)
    assert held(reopening) == before, "what was open and approved stays so"
    assert other.state().stage(LIFELINES).state == "open"


def test_a_server_that_hangs_is_followed_when_its_lease_runs_out_and_its_command_fails_on_the_device() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    frozen = Freezes(reopening.hospital, "open")
    reopening.hospital = frozen
    one, other = two(reopening)
    before = held(reopening)
    one.apply("eng-1", LIFELINES)
    assert frozen.frozen.wait(10)
    begins(other)
    reopening.clock.wait(LEASE_S - 1)
    begins(other)
    assert not other.runner.acting.acts, "it may only be slow"
    reopening.clock.wait(2)
    begins(other)
    assert other.runner.acting.acts
    assert of(reopening, E.SERVER_ACTS)[-1].body["may_live"] is True
    assert other.state().stage(LIFELINES).state == "reverted"
    size = reopening.log.head().size
    frozen.thawed.set()
    assert one.runner.wait(10)
    assert held(reopening) == before, "the fence stopped it"
    late = [event for event in reopening.log.read() if event.seq >= size]
    assert [(event.type, event.body["step"], event.body["after_takeover"]) for event in late] == [(E.DEVICE_CHANGED, "refused", True)]
    assert "stale epoch" in str(late[0].body["detail"])
    assert reopening.status(LIFELINES).state == "reverted"
    assert not one.runner.acting.acts
    assert one.runner.failures == []
    with pytest.raises(NotActing, match="beta acts"):
        one.apply("eng-1", LIFELINES)


@pytest.mark.parametrize("verb", ["read_back", "confirm"])
def test_wherever_it_was_frozen_it_opens_nothing_and_says_nothing_of_its_stage_afterwards(verb: str) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    before = held(reopening)
    frozen = Freezes(reopening.hospital, verb)
    reopening.hospital = frozen
    one, other = two(reopening)
    one.apply("eng-1", LIFELINES)
    assert frozen.frozen.wait(10)
    begins(other)
    reopening.clock.wait(LEASE_S + 1)
    begins(other)
    assert other.state().stage(LIFELINES).state in ("reverted", "stale")
    ended = [event.seq for event in reopening.log.read() if event.stage == LIFELINES][-1]
    frozen.thawed.set()
    assert one.runner.wait(10)
    assert held(reopening) == before
    moved = {E.STAGE_VERIFYING, E.STAGE_OBSERVING, E.STAGE_OPENED, E.STAGE_REVERTING, E.STAGE_FAILED, E.STAGE_STALE}
    assert [event.type for event in reopening.log.read() if event.seq > ended and event.type in moved] == []


def test_an_observation_goes_on_at_the_server_that_took_over() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    waits, goes_on = threading.Event(), threading.Event()

    def observing(_seconds: float) -> None:
        waits.set()
        assert goes_on.wait(30)

    reopening.lease, reopening.wait = MemoryLease(), observing
    one = reopening.server("alpha")
    reopening.wait = None
    other = reopening.server("beta")
    begins(one)
    one.apply("eng-1", LIFELINES)
    assert waits.wait(10)
    lease_of(reopening).end()
    other.runner.acting.turn()
    other.runner.acting.wait(10)
    assert other.runner.wait(10)
    goes_on.set()
    assert one.runner.wait(10)
    assert (one.runner.failures, other.runner.failures) == ([], [])
    assert other.state().stage(LIFELINES).state == "open"
    assert len(of(reopening, E.STAGE_OPENED)) == 1


def test_a_device_that_does_not_answer_holds_no_takeover_up_and_is_owed_its_fence() -> None:
    reopening = after_the_cut(LIFELINES)
    _, other = two(reopening)
    reopening.hospital.machines["vpn"].faults.add(Fault.HANG)
    lease_of(reopening).end()
    begins(other)
    assert other.runner.acting.acts
    state = other.state()
    assert (state.device("vpn").epoch or 0) < state.fence_epoch, "it is fenced as soon as it answers"
    assert state.device("fw-ext").epoch == state.fence_epoch


def test_a_server_that_stops_in_order_hands_over_at_once_and_itself_again_raises_nothing() -> None:
    reopening = after_the_cut(LIFELINES)
    one, other = two(reopening)
    one.runner.stop()
    epoch = reopening.stages.state().epoch
    again = reopening.server("alpha")
    size = reopening.log.head().size
    reopening.hospital.sent.clear()
    begins(again)
    assert again.runner.acting.acts
    assert (reopening.log.head().size, again.state().epoch, reopening.hospital.sent) == (size, epoch, []), "a restart changes nothing"
    again.runner.stop()
    begins(other)
    assert other.runner.acting.acts
    assert other.state().epoch > epoch, "another server: whatever the first one left in a session comes too late"


def test_its_own_death_is_no_takeover() -> None:
    reopening = after_the_cut(LIFELINES)
    one, _ = two(reopening)
    epoch, size = one.state().epoch, reopening.log.head().size
    lease_of(reopening).end()
    again = reopening.server("alpha")
    begins(again)
    assert again.runner.acting.acts
    assert (again.state().epoch, reopening.log.head().size) == (epoch, size)


def test_a_lease_that_cannot_be_read_lets_nothing_be_opened() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    one, _ = two(reopening)
    before = held(reopening)
    lease_of(reopening).unavailable = "disk full"
    with pytest.raises(Exception, match="disk full"):
        one.apply("eng-1", LIFELINES)
    assert held(reopening) == before
    lease_of(reopening).unavailable = ""
    assert reopening.apply(LIFELINES).state == "open"


def test_the_emergency_cut_off_needs_no_lease() -> None:
    reopening = after_the_cut(LIFELINES)
    two(reopening)
    lease_of(reopening).unavailable = "disk full"
    reopening.cut("total")
    assert reopening.stages.journal.state().stage(LIFELINES).state == "suspended"
    assert held(reopening)["fw-ext"] == (set(), set())
