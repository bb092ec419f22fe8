"""Drift and two servers as people type them, each command and each server a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import EventType
from orchestrator.settings import StateDirectory
from orchestrator.simulation.store import StoredHospital
from tests.api.state_directory import ROOT, StateOnDisk, cut_off_in
from tests.lab.small_device import eventually
from tests.service.reopening import valmont
from tests.service.test_drift import BY_HAND, TOLD

OK, PARTIAL, BAD_INPUT, REFUSED = 0, 2, 3, 4


@contextmanager
def serving(state: StateOnDisk, name: str) -> Iterator[subprocess.Popen[str]]:
    """A server of this name on the same log, on a socket of its own."""
    socket = state.directory / f"{name}.sock"
    command = [sys.executable, "-m", "orchestrator", "serve", "--name", name, "--socket", str(socket)]
    process = subprocess.Popen(command, cwd=ROOT, env=state.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert eventually(lambda: socket.exists() or process.poll() is not None, 30)
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        process.kill()  # a stopped one too
        process.communicate(timeout=20)


def health(state: StateOnDisk, name: str) -> dict[str, object]:
    transport = httpx.HTTPTransport(uds=str(state.directory / f"{name}.sock"))
    with httpx.Client(base_url="http://orchestrator", transport=transport, timeout=20) as http:
        found: dict[str, object] = http.get("/v1/health").json()
        return found


def test_drift_found_repaired_and_accepted(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ["eng-1"])

    def run(*words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    with state.serving():
        run("login", "--as", "eng-1", "--key", str(state.keys / "eng-1"))
        assert "devices hold what the log says" in run("drift")
        with StoredHospital(valmont()[0], tmp_path / "hospital.json").opened() as hospital:
            hospital.machines["fw-ext"].opened[BY_HAND] = None
            hospital.machines["vpn"].site_rules = "a new leased line"
        told = run("drift", expect=PARTIAL)
        assert "fw-ext: MORE than approved" in told
        assert f"  + {TOLD}" in told
        assert "vpn: changed: beside the layer, rules changed" in told
        assert json.loads(run("drift", "--device", "fw-ext", "--json", expect=PARTIAL))["devices"][0]["found"][0]["kind"] == "open"
        assert "drift     fw-ext since" in run("status")
        assert "fw-ext: closed 1 openings" in run("drift", "--repair")
        run("drift", "accept", "vpn", "rules", expect=BAD_INPUT)
        assert "accepted" in run("drift", "accept", "vpn", "rules", "--reason", "the leased line")
        assert "devices hold what the log says" in run("drift")
        assert "there is nothing to repair" in run("drift", "--repair")
        assert "nosuch" in run("drift", "--device", "nosuch", expect=BAD_INPUT)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_two_servers_and_the_second_takes_over_when_the_first_dies_or_hangs(tmp_path: Path, how: signal.Signals) -> None:
    state = cut_off_in(tmp_path, ["eng-1"])
    with serving(state, "alpha") as first, serving(state, "beta"):
        assert eventually(lambda: health(state, "alpha")["acts"] is True, 20)
        assert health(state, "beta")["acts"] is False
        assert health(state, "beta")["acting"] == "alpha"
        login = ("login", "--as", "eng-1", "--key", str(state.keys / "eng-1"))
        beta = ("--socket", str(tmp_path / "beta.sock"))
        assert state.orchestrator(*login, *beta).returncode == OK
        refused = state.orchestrator("drift", "--repair", *beta)
        assert refused.returncode == REFUSED
        assert "alpha acts on this log now, and beta does not [another-server-acts]" in refused.stderr
        first.send_signal(how)
        assert eventually(lambda: health(state, "beta")["acts"] is True, 60)
        assert "there is nothing to repair" in state.orchestrator("drift", "--repair", *beta).stdout
        with SqliteLog(StateDirectory(tmp_path).log, read_only=True) as log:
            events = list(log.read())
        acts = [event.body["server"] for event in events if event.type is EventType.SERVER_ACTS]
        assert acts == ["alpha", "beta"]
        fenced = {event.device for event in events if event.type is EventType.DEVICE_FENCED and event.body["step"] == "applied"}
        assert fenced == {event.device for event in events if event.type is EventType.CUTOFF_APPLIED}
        assert "server    beta acts" in state.orchestrator("status").stdout
