"""A device that cannot be read keeps its stage out of `open`, is tried until it can be, and is then closed: never guessed."""

from __future__ import annotations

import pytest

from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.retrying import LONGEST_S, is_recorded, wait_after
from orchestrator.service.unknown import away, concerned
from orchestrator.simulation.device import Fault
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_execution import LIFELINES, MAIL, held, with_fault


def test_the_waits_double_up_to_five_minutes_and_the_log_is_told_ever_more_rarely() -> None:
    waits = [wait_after(tries) for tries in range(1, 12)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_S == 300
    assert [tries for tries in range(40) if is_recorded(tries)] == [1, 2, 4, 8, 16, 32]


def failed(fault: Fault, verb: str = "open") -> Reopening:
    """A stage whose router went away when it was told to open: the answer to that, and to all that followed, is missing."""
    reopening = after_the_cut(approved=LIFELINES)
    with_fault(reopening, "rtr-isp", verb, fault, heals=None)
    reopening.stages = reopening.server()
    assert reopening.apply(LIFELINES).state == "failed"
    return reopening


def turn(reopening: Reopening) -> None:
    reopening.stages.runner.unknown.turn()
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.runner.failures == []


def heal(reopening: Reopening) -> None:
    reopening.hospital._verb = "never"  # type: ignore[attr-defined]
    reopening.hospital.machines["rtr-isp"].faults.clear()


def tried(reopening: Reopening) -> list[Event]:
    return [event for event in reopening.log.read() if event.type is E.DEVICE_STILL_UNKNOWN]


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.GARBAGE, Fault.LOST_OUTCOME, Fault.CONNECTION_REFUSED])
def test_it_is_tried_until_it_answers_then_closed_and_reverted(fault: Fault) -> None:
    reopening = failed(fault)
    before = held(after_the_cut())
    reopening.hospital.sent.clear()
    for _ in range(3):
        turn(reopening)
        turn(reopening)  # not due yet: nothing
        reopening.clock.wait(60)
    assert [verb for device, verb, _ in reopening.hospital.sent if device == "rtr-isp"] == ["read_back"] * 3, "a try only reads"
    assert reopening.status(LIFELINES).state == "failed"
    heal(reopening)
    reopening.clock.wait(60)
    turn(reopening)
    status = reopening.status(LIFELINES)
    assert status.state == "reverted", status.detail
    assert held(reopening) == before
    assert reopening.stages.runner.unknown.tries == {}
    assert reopening.stages.runner.unknown.turn() == ()


def test_what_the_device_did_while_its_answer_was_lost_is_found_and_closed() -> None:
    """It opened, and the answer was lost; nobody guesses that it had not."""
    reopening = failed(Fault.LOST_OUTCOME)
    router = reopening.hospital.machines["rtr-isp"]
    heal(reopening)
    (layer,) = router.slots.values()
    router.released[layer.guard[0]] = None
    turn(reopening)
    assert reopening.status(LIFELINES).state == "reverted"
    assert router.released == {}


def test_people_see_since_when_and_how_often() -> None:
    reopening = failed(Fault.HANG)
    since = reopening.stages.state().device("rtr-isp").since
    for _ in range(9):
        turn(reopening)
        reopening.clock.wait(301)
    state = reopening.stages.state()
    (told,) = away(state, reopening.stages.runner.unknown.tries.values(), concerned(state, LIFELINES))
    assert (told["device"], told["since"], told["tries"], told["why"]) == ("rtr-isp", since, 9, "unknown: no answer")
    assert [event.body["tries"] for event in tried(reopening)] == [1, 2, 4, 8]
    assert {event.body["since"] for event in tried(reopening)} == {since}
    restarted = reopening.server()
    (told,) = away(state, restarted.runner.unknown.tries.values(), concerned(state, LIFELINES))
    assert (told["since"], told["tries"]) == (since, 8), "as far as the log knows"
    reopening.stages = restarted
    turn(reopening)
    (told,) = away(state, restarted.runner.unknown.tries.values(), concerned(state, LIFELINES))
    assert told["tries"] == 9, "it counts on from there"


def test_between_the_tries_it_waits_as_the_table_says() -> None:
    reopening = failed(Fault.HANG)
    moments = []
    start = reopening.clock.time
    while (reopening.clock.time - start).total_seconds() < 700:
        seen = len(reopening.hospital.sent)
        turn(reopening)
        if len(reopening.hospital.sent) > seen:
            moments.append(round((reopening.clock.time - start).total_seconds()))
        reopening.clock.wait(5)
    assert moments == [0, 5, 15, 35, 75, 155, 315, 615]


def test_devices_that_answer_are_closed_while_another_one_is_away() -> None:
    reopening = after_the_cut(LIFELINES)
    reopening.hospital.machines["rtr-isp"].faults.add(Fault.HANG)
    reopening.stages.revert("eng-1", LIFELINES, "an indicator of compromise")
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "failed"
    assert held(reopening)["fw-ext"] == held(after_the_cut())["fw-ext"]
    turn(reopening)
    assert concerned(reopening.stages.state(), LIFELINES) == ("rtr-isp",)
    assert reopening.status(LIFELINES).state == "failed", "not before all of it is read back"
    reopening.hospital.machines["rtr-isp"].faults.clear()
    reopening.clock.wait(10)
    turn(reopening)
    assert reopening.status(LIFELINES).state == "reverted"


def test_a_cut_off_comes_first_and_settles_it() -> None:
    reopening = failed(Fault.HANG)
    reopening.append(E.CUTOFF_ORDERED, {"epoch": 99, "profile": "total", "devices": ["fw-ext"]})
    assert reopening.stages.runner.unknown.turn() == (), "a cut-off is under way"
    heal(reopening)
    reopening.cut()
    assert reopening.status(LIFELINES).state == "suspended"
    assert reopening.stages.runner.unknown.turn() == ()


def test_a_device_that_answers_and_does_not_close_is_not_asked_every_two_seconds() -> None:
    reopening = after_the_cut(LIFELINES)
    fault = Fault.COMMAND_FAILS
    with_fault(reopening, "rtr-isp", "close", fault, heals="read_back")
    reopening.stages = reopening.server()
    reopening.stages.revert("eng-1", LIFELINES, "over")
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "failed"
    turn(reopening)
    size = reopening.log.head().size
    for _ in range(5):
        reopening.clock.wait(60)
        turn(reopening)
    assert reopening.log.head().size == size
    reopening.hospital._verb = "never"  # type: ignore[attr-defined]
    reopening.clock.wait(600)
    turn(reopening)
    assert reopening.status(LIFELINES).state == "reverted"


def test_two_stages_that_wait_for_one_device() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    reopening.hospital.machines["rtr-isp"].faults.add(Fault.HANG)
    for stage in (MAIL, LIFELINES):
        reopening.stages.revert("eng-1", stage, "over")
        assert reopening.stages.runner.wait(10)
    turn(reopening)
    assert reopening.stages.runner.unknown.tries["rtr-isp"].count >= 1
    reopening.hospital.machines["rtr-isp"].faults.clear()
    reopening.clock.wait(60)
    turn(reopening)
    assert {reopening.status(stage).state for stage in (MAIL, LIFELINES)} == {"reverted"}
