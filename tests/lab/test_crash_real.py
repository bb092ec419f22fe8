"""Five deaths of `make crash` and three rounds of `make soak` on the rehearsal hospital."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator.lab.hospital import Hospital
from tests.crash.killed_process import AFTER, AMIDST, BEFORE
from tests.crash.real_deaths import Death, RealDeaths
from tests.crash.real_site import RealSite, real_site
from tests.crash.soak import soak

pytestmark = pytest.mark.lab

DEATHS = (
    Death("apply", "device fw-ext open", 1, AMIDST),
    Death("apply", "log StageVerifying", 1, AFTER),
    Death("apply", "device rtr-isp confirm", 1, AFTER),
    Death("revert", "device rtr-isp close", 1, BEFORE),
    Death("cut off", "device fw-ext cutoff", 1, AFTER),
)
ROUNDS = 3


@pytest.fixture(scope="module")
def cut_site(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSite]:
    """A hospital of its own, cut off. `hospital`: the machine can run one."""
    del hospital
    with real_site(f"k{os.getpid() % 100000}", tmp_path_factory.mktemp("site"), lambda _line: None) as made:
        yield made


def test_rounds_leave_nothing_behind(cut_site: RealSite) -> None:
    result = soak(cut_site, ROUNDS, {1, ROUNDS}, lambda _line: None)
    assert result.left_over(1) == {}


def test_whoever_is_killed_nothing_is_open_that_is_not_approved(cut_site: RealSite) -> None:
    deaths = RealDeaths(cut_site, lambda _line: None)
    try:
        verdicts = [deaths.die(death) for death in DEATHS]
    finally:
        deaths.stop()
    assert [line for verdict in verdicts for line in verdict.lines()] == []
    assert [verdict.survived for verdict in verdicts] == [True] * len(DEATHS)
