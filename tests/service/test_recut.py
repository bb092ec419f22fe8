"""Planned re-cuts: scheduled by one person, started at their date by a process of its own, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from orchestrator.domain.commands import CancelRecut, ScheduleRecut
from orchestrator.domain.events import Event, NewEvent
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp
from orchestrator.errors import IllegalTransition, LogUnavailable, NotAllowed, Refused, UnknownName, UsageError
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_windows import turn

HOUR = timedelta(hours=1)


def scheduled(in_: timedelta = HOUR, profile: str = "total") -> Reopening:
    reopening = after_the_cut("P0-lifelines", profile="internet")
    reopening.stages.do(ScheduleRecut("rssi", stamp(reopening.clock.now() + in_), profile, "eviction day"))
    return reopening


def ends(reopening: Reopening) -> list[str]:
    return [event.type.value for event in reopening.log.read() if event.type in (E.RECUT_STARTED, E.RECUT_CANCELLED)]


def test_it_is_started_at_its_date_as_a_person_would() -> None:
    reopening = scheduled()
    turn(reopening)
    assert reopening.started == []
    reopening.clock.wait(3600)
    turn(reopening)
    turn(reopening)
    turn(reopening, reopening.server())
    assert reopening.started == [("total", "planned re-cut C1: eviction day", "rssi")]
    assert ends(reopening) == ["RecutStarted"]
    assert reopening.stages.state().recuts["C1"].state == "started"


@pytest.mark.parametrize("person", ["eng-1", "auditor", "director-duty"])
def test_others_do_not_schedule_it(person: str) -> None:
    reopening = after_the_cut()
    with pytest.raises(NotAllowed) as refused:
        reopening.stages.do(ScheduleRecut(person, stamp(reopening.clock.now() + HOUR), "total", "because"))
    assert refused.value.rule == "role"


def test_what_cannot_be_scheduled() -> None:
    reopening = after_the_cut()
    later = stamp(reopening.clock.now() + HOUR)
    with pytest.raises(UnknownName):
        reopening.stages.do(ScheduleRecut("rssi", later, "everything", "because"))
    with pytest.raises(UsageError):
        reopening.stages.do(ScheduleRecut("rssi", later, "total", " "))
    with pytest.raises(Refused) as refused:
        reopening.stages.do(ScheduleRecut("rssi", stamp(reopening.clock.now()), "total", "because"))
    assert refused.value.rule == "recut-time"


def test_it_is_cancelled_with_a_reason_and_then_not_started() -> None:
    reopening = scheduled()
    with pytest.raises(UsageError):
        reopening.stages.do(CancelRecut("commander", "C1", ""))
    reopening.stages.do(CancelRecut("commander", "C1", "the attacker was evicted yesterday"))
    reopening.clock.wait(3600)
    turn(reopening)
    assert (reopening.started, ends(reopening)) == ([], ["RecutCancelled"])
    with pytest.raises(IllegalTransition):
        reopening.stages.do(CancelRecut("commander", "C1", "again"))


def test_a_server_that_comes_back_within_the_hour_starts_it_and_says_how_late() -> None:
    reopening = scheduled()
    reopening.clock.wait(3600 + 1800)
    turn(reopening, reopening.server())
    assert len(reopening.started) == 1
    assert next(event for event in reopening.log.read() if event.type is E.RECUT_STARTED).body["late_ms"] == 1_800_000


def test_after_more_than_an_hour_it_asks() -> None:
    reopening = scheduled()
    reopening.clock.wait(2 * 3600 + 1)
    turn(reopening, reopening.server())
    assert (reopening.started, ends(reopening)) == ([], [])
    assert reopening.stages.state().recuts["C1"].asks(reopening.clock.now())
    reopening.cut("total")
    turn(reopening)
    assert ends(reopening) == ["RecutStarted"], "somebody cut off by hand"
    assert reopening.started == []


def test_a_cut_off_with_another_profile_does_not_stand_for_it() -> None:
    reopening = scheduled()
    reopening.clock.wait(3600)
    reopening.cut("vendors")
    turn(reopening)
    assert len(reopening.started) == 1


def test_a_log_that_cannot_be_read_at_the_date_hinders_nothing() -> None:
    reopening = scheduled()
    turn(reopening)
    broken = reopening.stages.journal

    class Broken:
        def read(self, _start: int = 0) -> Iterator[Event]:
            raise LogUnavailable("the disk is full")

        def append(self, _events: object, **_more: object) -> tuple[NewEvent, ...]:
            raise LogUnavailable("the disk is full")

    held = broken._log
    broken._log = Broken()  # type: ignore[assignment]
    reopening.clock.wait(3600)
    recuts = next(chore for chore in reopening.stages.runner.chores.all if chore.name == "start planned re-cuts")
    recuts.do()
    recuts.do()
    assert len(reopening.started) == 1
    broken._log = held
    recuts.do()
    assert (len(reopening.started), ends(reopening)) == (1, ["RecutStarted"])


def test_a_command_that_cannot_be_started_is_tried_again() -> None:
    reopening = scheduled()
    tries = []

    def start(*order: str) -> None:
        tries.append(order)
        if len(tries) == 1:
            raise OSError("no more processes")

    object.__setattr__(reopening.stages.collaborators, "start_cutoff", start)
    reopening.clock.wait(3600)
    chore = next(chore for chore in reopening.stages.runner.chores.all if chore.name == "start planned re-cuts")
    assert chore.turn(1.0)
    assert "no more processes" in chore.failure
    assert chore.turn(10.0)
    assert (len(tries), ends(reopening)) == (2, ["RecutStarted"])
