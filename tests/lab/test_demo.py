"""The main job, as a new user runs it: `orchestrator demo`, on the rehearsal hospital and on the simulated one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.cli.demo_hospital import INVENTORY
from orchestrator.lab.hospital import Hospital

ROOT = Path(__file__).parents[2]


def told(*options: str) -> tuple[str, dict[str, Any]]:
    """What the demo prints, and its last line."""
    command = [sys.executable, "-m", "orchestrator", "demo", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


def check(summary: dict[str, Any]) -> None:
    assert summary["cut_verified"] is True
    assert summary["internal_available"] is True
    assert summary["established_flows_before"] > 0
    assert summary["established_flows_left"] == 0
    assert summary["stage_open"] == "P4-images"
    assert summary["probes_total"] >= summary["negative_probes_blocked"] > 100
    assert summary["audit_events"] > 100
    assert summary["audit_verified"] is True
    assert summary["tampered_copy_refused"] is True
    assert summary["time_to_cut_s"] > 0


@pytest.mark.lab
def test_the_story_on_real_packets() -> None:
    name = f"d{os.getpid() % 100000}"
    try:
        printed, summary = told("--name", name)
    finally:  # a demo that was killed cannot clean up after itself
        Hospital(read_inventory(INVENTORY).site, name).down()
    assert summary["hospital"] == "namespaces"
    check(summary)
    assert "who proposes a plan does not vote on it [proposer-cannot-vote]" in printed
    assert "[votes-missing]" in printed
    assert "[predecessor-not-open]" in printed
    assert "REHEARSAL" in printed
    assert "nothing of it is left" in printed


def test_the_same_story_in_memory() -> None:
    _, summary = told("--simulation")
    assert summary["hospital"] == "simulation"
    check(summary)
