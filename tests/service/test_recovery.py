"""After a start: what was under way is found, read back, closed where it is not confirmed, and said once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.dialects.base import Script
from orchestrator.domain.events import Event, NewEvent
from orchestrator.domain.events import EventType as E
from orchestrator.domain.left_over import left_over
from orchestrator.domain.making import stamp
from orchestrator.errors import LogBroken
from orchestrator.ports import Credential, Outcome, Target
from orchestrator.simulation.device import Fault
from orchestrator.simulation.hospital import SimulatedHospital
from tests.api.state_directory import cut_off_in
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_drift import BY_HAND
from tests.service.test_execution import LIFELINES, MAIL, held


class Dies(BaseException):
    """SIGKILL, as far as a test can."""


class DiesAt(SimulatedHospital):
    """The orchestrator dies at the n-th session of this verb: before anything is sent, or after, with the answer lost."""

    def __init__(self, hospital: SimulatedHospital, verb: str, *, after: bool, nth: int = 1) -> None:
        self.__dict__.update(hospital.__dict__)
        self._at, self._after, self._left = verb, after, nth

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        if verb == self._at:
            self._left -= 1
        if verb == self._at and self._left == 0:
            if self._after:
                list(super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb))
            raise Dies
        yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)


def dies_while(reopening: Reopening, verb: str, *, after: bool, nth: int = 1, stage: str = LIFELINES) -> None:
    """Applies the approved stage (or, for `close`, reverts the open one); nothing of this server is left afterwards."""
    alive = reopening.hospital
    reopening.hospital = DiesAt(alive, verb, after=after, nth=nth)
    reopening.stages = reopening.server()
    if verb == "close":
        reopening.stages.revert("rssi", stage, "an indicator of compromise")
    else:
        reopening.stages.apply("eng-1", stage)
    assert reopening.stages.runner.wait(10)
    assert isinstance(reopening.stages.runner.failures[0], Dies)
    reopening.hospital = alive
    reopening.stages = reopening.server()


def recovers(reopening: Reopening) -> tuple[str, ...]:
    found = reopening.stages.runner.recover()
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.runner.failures == []
    return found


def recovered(reopening: Reopening) -> list[Event]:
    return [event for event in reopening.log.read() if event.type is E.RECOVERED]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("verb", "nth"), [("open", 1), ("open", 2), ("confirm", 1), ("confirm", 2), ("close", 1), ("close", 2)])
def test_wherever_it_died_all_is_closed_read_back_and_said_once(verb: str, nth: int, after: bool) -> None:
    closed = held(after_the_cut())
    reopening = after_the_cut(LIFELINES) if verb == "close" else after_the_cut(approved=LIFELINES)
    dies_while(reopening, verb, after=after, nth=nth)
    assert not left_over(reopening.stages.state()).is_nothing
    epoch = reopening.stages.state().epoch
    recovers(reopening)
    state = reopening.stages.state()
    assert state.stage(LIFELINES).state == "reverted"
    assert held(reopening) == closed
    assert left_over(state).is_nothing
    assert state.epoch > epoch, "what was sent before and arrives later opens nothing"
    (event,) = recovered(reopening)
    assert any(LIFELINES in text and "it is reverted now" in text for text in event.body["did"])
    size = reopening.log.head().size
    reopening.hospital.sent.clear()
    reopening.stages = reopening.server()
    assert recovers(reopening) == ()
    assert (reopening.log.head().size, reopening.hospital.sent) == (size, []), "a second restart changes nothing, and asks nothing"


def test_a_command_of_before_the_death_that_arrives_after_the_recovery_is_refused() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    late: list[tuple[Mapping[Target, Sequence[Script]], Credential, float]] = []

    class Keeps(DiesAt):
        def run(
            self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
        ) -> Iterator[tuple[Outcome, ...]]:
            if verb == "open":
                late.append((scripts, credential, deadline_s))
            yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)

    alive = reopening.hospital
    reopening.hospital = Keeps(alive, "open", after=False)
    reopening.stages = reopening.server()
    reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.stages.runner.wait(10)
    reopening.hospital = alive
    reopening.stages = reopening.server()
    recovers(reopening)
    ((scripts, credential, deadline_s),) = late
    answers = [one for outcomes in alive.run(scripts, credential=credential, deadline_s=deadline_s, verb="open") for one in outcomes]
    assert {answer.step for answer in answers} == {"refused"}
    assert held(reopening) == held(after_the_cut())


def test_a_device_of_whose_last_command_nothing_is_known_is_read_and_what_is_not_confirmed_is_closed() -> None:
    """A repair, for example: no stage stands behind it."""
    reopening = after_the_cut(LIFELINES)
    before = held(reopening)
    intent = {"action": "repair", "change": None}
    at = stamp(reopening.clock.now())
    reopening.log.append([NewEvent(E.DEVICE_CHANGE_INTENDED, at, "orchestrator", intent, device="fw-ext")])
    reopening.hospital.machines["fw-ext"].opened[BY_HAND] = None
    recovers(reopening)
    assert held(reopening) == before
    assert reopening.stages.state().device("fw-ext").step == "applied"
    (event,) = recovered(reopening)
    assert event.body["did"][-1] == ("read fw-ext back, of whose last command nothing was known: it is as the log says (1 openings closed)")
    recovers(reopening)
    assert len(recovered(reopening)) == 1


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.GARBAGE])
def test_a_device_that_cannot_be_read_is_said_so_and_tried_further(fault: Fault) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    dies_while(reopening, "open", after=True)
    reopening.hospital.machines["fw-ext"].faults.add(fault)
    recovers(reopening)
    assert reopening.status(LIFELINES).state == "failed"
    (event,) = recovered(reopening)
    assert any("it is failed now" in text for text in event.body["did"])
    reopening.stages = reopening.server()
    assert recovers(reopening) == ()
    assert len(recovered(reopening)) == 1
    reopening.hospital.machines["fw-ext"].faults.clear()
    reopening.stages.runner.close_leftovers()
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "reverted"
    assert held(reopening) == held(after_the_cut())


def test_what_other_parts_take_up_is_written_down_with_the_rest() -> None:
    reopening = after_the_cut()
    owed = ["closed the window of the vendor, which was over"]
    reopening.stages.runner.recoveries.append(lambda: [owed.pop()] if owed else [])
    recovers(reopening)
    (event,) = recovered(reopening)
    assert event.body["did"] == ["closed the window of the vendor, which was over"]
    recovers(reopening)
    assert len(recovered(reopening)) == 1


def test_what_is_open_stays_open_through_a_restart() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    before, size = held(reopening), reopening.log.head().size
    reopening.stages = reopening.server()
    assert recovers(reopening) == ()
    assert (held(reopening), reopening.log.head().size) == (before, size)


def test_a_cut_off_that_came_meanwhile_has_settled_it() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    dies_while(reopening, "open", after=True)
    reopening.cut()
    recovers(reopening)
    assert reopening.status(LIFELINES).state == "suspended"
    assert held(reopening)["fw-ext"] == (set(), set())
    assert recovered(reopening) == []


def test_a_broken_log_is_acted_on_by_nobody_and_says_where(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, [])
    hospital = (tmp_path / "hospital.json").read_bytes()
    with sqlite3.connect(tmp_path / "log.sqlite") as database:
        database.execute("DROP TRIGGER events_no_update")
        database.execute("UPDATE events SET body = replace(body, 'total', 'vendors') WHERE seq = 1")
    database.close()
    done = state.orchestrator("serve")
    assert done.returncode != 0
    assert "event 1" in done.stderr
    assert "nothing is written to a broken log" in done.stderr
    assert (tmp_path / "hospital.json").read_bytes() == hospital, "no device was touched"
    status = state.orchestrator("status")
    assert status.returncode == 0
    assert "broken" in status.stdout
    with pytest.raises(LogBroken) as broken:
        SqliteLog(tmp_path / "log.sqlite", head_file=tmp_path / "log.head")
    assert broken.value.seq == 1
