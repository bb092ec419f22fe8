"""The matrix on live packets: two stages here, every stage that can be applied in `make prove` (job `live-matrix`)."""

from __future__ import annotations

import os

import pytest

from benchmarks.live_matrix import live_matrix
from orchestrator.errors import EnvironmentMissing
from orchestrator.lab.machine import require_machine

STAGES = ("P0-lifelines", "P1-inbound-mail")


@pytest.mark.lab
def test_every_probe_agrees_with_the_computation_before_the_cut_after_it_and_at_two_stages() -> None:
    try:
        require_machine()
    except EnvironmentMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    found = live_matrix(f"m{os.getpid() % 100000}", "internet", STAGES)
    assert [run["when"] for run in found["runs"]] == ["before the cut", "cut off: internet", *STAGES]
    assert [line for run in found["runs"] for line in run["disagreements"]] == []
    for run in found["runs"]:
        assert run["probes"] == run["pass"] + run["blocked"] >= 300
    before, cut, *stages = found["runs"]
    assert before["pass"] > cut["pass"]
    assert cut["changed"] >= 300  # what the cut-off turned is no small part of what is asked
    for stage in stages:
        assert stage["changed"] > 0
    assert found["control"]["exactly"], found["control"]  # a hole made by hand is named, and nothing else
