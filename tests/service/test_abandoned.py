"""A run that ended without saying how: the log could not be written, or something happened that nobody foresaw."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import Head, NewEvent
from orchestrator.domain.making import stamp
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.errors import LogUnavailable
from orchestrator.service.abandoned import AFTER_S
from orchestrator.simulation.hospital import SimulatedProbes
from tests.service.reopening import Reopening, after_the_cut

LIFELINES = "P0-lifelines"


def open_somewhere(reopening: Reopening) -> list[str]:
    return [name for name, machine in reopening.hospital.machines.items() if machine.opened or machine.released]


def ill(reopening: Reopening) -> list[tuple[str, str]]:
    """What health says: since when, and what."""
    return [(one.at, one.what) for one in reopening.stages.runner.failed.standing(reopening.stages.journal.state())]


def full_from(reopening: Reopening, first: E) -> None:
    """The disk is full from the first event of this kind on."""
    append = reopening.log.append

    def until_then(events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        if any(event.type is first for event in events):
            reopening.log.unavailable = "no space left on device"
        return append(events, expected=expected)

    reopening.log.append = until_then  # type: ignore[method-assign]


def time_goes_on(reopening: Reopening, seconds: float) -> None:
    """The server does its chores, then and after that time."""
    for _ in range(2):
        reopening.stages.runner.chores.turn(reopening.clock.now().timestamp())
        assert reopening.stages.runner.wait(10)
        reopening.clock.wait(seconds)
    reopening.stages.runner.chores.turn(reopening.clock.now().timestamp())
    assert reopening.stages.runner.wait(10)


@pytest.mark.parametrize("full_at", [E.DEVICE_CHANGED, E.DEVICE_READ_BACK, E.STAGE_VERIFYING, E.CHECK_RAN, E.STAGE_OBSERVING])
def test_a_disk_that_fills_up_closes_at_once_and_the_stage_is_reverted_once_there_is_place(full_at: E) -> None:
    reopening = after_the_cut(approved=LIFELINES)
    full_from(reopening, full_at)
    reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.stages.runner.wait(10)
    assert isinstance(reopening.stages.runner.failures[0], LogUnavailable), "health says so"
    assert open_somewhere(reopening) == [], "closing waits for no log, and for no deadline"
    failed_at = stamp(reopening.clock.now())
    assert ill(reopening) == [(failed_at, LIFELINES)]
    time_goes_on(reopening, AFTER_S)
    assert reopening.status(LIFELINES).state in ("applying", "verifying"), "nothing can be said of it yet"
    assert LIFELINES in [what for _, what in ill(reopening)]
    del reopening.log.append
    reopening.log.unavailable = None
    time_goes_on(reopening, AFTER_S)
    assert reopening.status(LIFELINES).state == "reverted"
    assert LIFELINES not in [what for _, what in ill(reopening)], "it needs nobody any more, and no restart"
    assert open_somewhere(reopening) == []
    reopening.approve(LIFELINES)
    assert reopening.stages.apply("eng-1", LIFELINES), "and the way is free again"
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "open"


def test_what_is_verified_and_lasting_stays_and_is_observed_further_once_there_is_place() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    full_from(reopening, E.STAGE_OPENED)
    reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "observing"
    assert open_somewhere(reopening)
    del reopening.log.append
    reopening.log.unavailable = None
    time_goes_on(reopening, AFTER_S)
    assert reopening.status(LIFELINES).state == "open"


def test_what_nobody_foresaw_closes_and_reverts() -> None:
    reopening = after_the_cut(approved=LIFELINES)

    class Breaks(SimulatedProbes):
        """From the second round of questions on, when the openings lie."""

        rounds = 0

        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            self.rounds += 1
            if self.rounds > 1:
                raise ZeroDivisionError("an answer that nobody foresaw")
            return super().run(probes, deadline_s=deadline_s)

    reopening.probes = Breaks(reopening.hospital)
    reopening.stages = reopening.server()
    reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.stages.runner.wait(10)
    assert isinstance(reopening.stages.runner.failures[0], ZeroDivisionError)
    assert reopening.status(LIFELINES).state == "reverted"
    assert "nobody foresaw" in reopening.status(LIFELINES).detail
    assert ill(reopening) == []
    assert open_somewhere(reopening) == []


def test_what_is_run_or_waits_for_its_turn_is_nobody_elses_business() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    with reopening.stages.runner._turn:
        reopening.stages.apply("eng-1", LIFELINES)
        for _ in range(3):
            reopening.stages.runner.chores.turn(reopening.clock.now().timestamp())
            reopening.clock.wait(AFTER_S)
    assert reopening.stages.runner.wait(10)
    assert reopening.status(LIFELINES).state == "open"


def breaks() -> None:
    raise ZeroDivisionError


def test_other_work_that_failed_is_ill_until_the_same_work_ends_well() -> None:
    reopening = after_the_cut()
    runner = reopening.stages.runner
    runner.begin(breaks, "renew deadlines")
    assert runner.wait(10)
    assert ill(reopening) == [(stamp(reopening.clock.now()), "renew deadlines")]
    runner.look_for_drift()
    assert runner.wait(10)
    assert [what for _, what in ill(reopening)] == ["renew deadlines"], "another work went well, this one did not"
    runner.begin(lambda: None, "renew deadlines")
    assert runner.wait(10)
    assert ill(reopening) == []


def test_an_observation_that_is_taken_up_is_well_while_it_goes_on() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    full_from(reopening, E.STAGE_OPENED)
    reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.stages.runner.wait(10)
    assert [what for _, what in ill(reopening)] == [LIFELINES]
    del reopening.log.append
    reopening.log.unavailable = None
    seen: list[list[tuple[str, str]]] = []

    class Asked(SimulatedProbes):
        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            seen.append(ill(reopening))
            return super().run(probes, deadline_s=deadline_s)

    object.__setattr__(reopening.stages.collaborators, "probes", Asked(reopening.hospital))
    time_goes_on(reopening, AFTER_S)
    time_goes_on(reopening, AFTER_S)
    assert reopening.status(LIFELINES).state == "open"
    assert seen
    assert all(LIFELINES not in [what for _, what in found] for found in seen)
