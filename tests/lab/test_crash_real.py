"""Five deaths of `make crash` on the rehearsal hospital: the server or the emergency command is killed as it talks to devices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.lab.hospital import Hospital
from tests.crash.killed_process import AFTER, AMIDST, BEFORE
from tests.crash.real_deaths import Death, RealDeaths
from tests.crash.real_site import real_site

pytestmark = pytest.mark.lab

DEATHS = (
    Death("apply", "device fw-ext open", 1, AMIDST),
    Death("apply", "log StageVerifying", 1, AFTER),
    Death("apply", "device rtr-isp confirm", 1, AFTER),
    Death("revert", "device rtr-isp close", 1, BEFORE),
    Death("cut off", "device fw-ext cutoff", 1, AFTER),
)


def test_whoever_is_killed_nothing_is_open_that_is_not_approved(hospital: Hospital, tmp_path: Path) -> None:
    """`hospital`: the machine can run one. This test cuts and ratifies, so it has one of its own."""
    del hospital
    with real_site(f"k{os.getpid() % 100000}", tmp_path, lambda _line: None) as site:
        deaths = RealDeaths(site, lambda _line: None)
        try:
            verdicts = [deaths.die(death) for death in DEATHS]
        finally:
            deaths.stop()
    assert [line for verdict in verdicts for line in verdict.lines()] == []
    assert [verdict.survived for verdict in verdicts] == [True] * len(DEATHS)
