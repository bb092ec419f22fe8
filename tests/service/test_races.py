"""Votes, stages, cut-offs, faults, restarts and time at random, interleaved between any two calls of a port."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.crash.race_machine import Races

RUNS, STEPS = 100, 50


def test_whatever_races_nothing_is_open_that_is_not_approved() -> None:
    """The thousand runs, each of all its steps, are `make races`; here many end sooner."""
    run_state_machine_as_test(
        Races,
        settings=settings(
            max_examples=RUNS, stateful_step_count=STEPS, derandomize=True, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
        ),
    )  # fmt: skip
