"""The verbs of the reopening as people type them, each a process of its own, against a server process."""

from __future__ import annotations

import json
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.adapters.spool import ALLOCATED_BYTES, Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.cli.serve import listening, unix_socket
from orchestrator.domain.events import EventType, NewEvent
from orchestrator.domain.folding import fold
from orchestrator.domain.making import stamp
from orchestrator.errors import EnvironmentMissing, UsageError
from orchestrator.settings import StateDirectory
from tests.api.state_directory import cut_off_in
from tests.lab.small_device import eventually

OK, PARTIAL, BAD_INPUT, REFUSED, ENVIRONMENT = 0, 2, 3, 4, 5
STAGE = "P0-lifelines"


def test_a_stage_from_login_to_open(tmp_path: Path) -> None:
    people = ("eng-1", "eng-2", "commander", "rssi")
    state = cut_off_in(tmp_path, people)
    report = tmp_path / "report.pdf"
    report.write_bytes(b"verified from three zones")

    def run(person: str, *words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words, "--as", person)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "orchestrator serve" in run("eng-1", "login", "--key", str(state.keys / "eng-1"), expect=ENVIRONMENT)
    with state.serving():
        assert stat.S_IMODE(state.socket.stat().st_mode) == 0o660
        assert "not logged in" in run("eng-1", "stage", "list", expect=REFUSED)
        for person in people:
            run(person, "login", "--key", str(state.keys / person))
        assert "signed by eng-2" in run("eng-1", "login", "--key", str(state.keys / "eng-2"), expect=REFUSED)
        assert {stat.S_IMODE(token.stat().st_mode) for token in state.tokens.iterdir()} == {0o600}
        assert run("eng-1", "whoami") == "eng-1: network-engineer\n"
        assert "REHEARSAL" in run("eng-1", "stage", "list")
        run("eng-1", "stage", "plan", STAGE)
        assert "gate-missing:cut-verified" in run(
            "eng-2", "stage", "vote", STAGE, "--key", str(state.keys / "eng-2"), "--yes", expect=REFUSED
        )
        for kind in ("cut-verified", "configurations-archived", "owner-named"):
            run("rssi", "evidence", "add", kind, "--stage", STAGE, "--file", str(report))
        for partner in ("hub-sante", "efs", "national-services", "detection-provider", "anssi"):
            run("rssi", "partner", "ready", partner, "--note", "by telephone")
        assert "partner-ready" not in run("rssi", "stage", "show", STAGE)
        assert "gate-inconclusive:care" in run("rssi", "stage", "show", STAGE)
        assert "emergency-to-record          successful" in run("rssi", "care", "probe")
        until = json.loads(run("rssi", "attestation", "add", "sister", "--accepted", "--sha256", "ab" * 32, "--json"))["valid_until"]
        assert until.endswith("Z")
        assert "no terminal" in run("eng-2", "stage", "vote", STAGE, "--key", str(state.keys / "eng-2"), expect=BAD_INPUT)
        assert "proposer-cannot-vote" in run("eng-1", "stage", "vote", STAGE, "--key", str(state.keys / "eng-1"), "--yes", expect=REFUSED)
        shown = run("eng-2", "stage", "vote", STAGE, "--key", str(state.keys / "eng-2"), "--yes")
        assert "you approve P0-lifelines of chu-valmont" in shown
        assert "still needed: 1 incident-commander" in shown
        assert "votes-missing" in run("eng-1", "stage", "apply", STAGE, "--wait", expect=REFUSED)
        run("commander", "stage", "vote", STAGE, "--key", str(state.keys / "commander"), "--yes")
        assert run("eng-1", "stage", "apply", STAGE, "--wait").splitlines()[-1] == "P0-lifelines is open"
        run("commander", "logbook", "add", "lifelines are open again", "--stage", STAGE)
        assert "lifelines are open again" in run("commander", "logbook", "list")
        assert json.loads(run("rssi", "stage", "show", STAGE, "--json"))["plan"]["becomes_possible"]
        assert "is reverted" in run("rssi", "stage", "revert", STAGE, "--reason", "an indicator of compromise", "--wait")
    assert not state.socket.exists()


def test_a_server_takes_in_what_a_cut_off_could_only_spool_before_it_started_and_while_it_runs(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, [])
    files = StateDirectory(tmp_path)
    spool = Spool(files.spool, files.spool_fallback)

    def cut(epoch: int) -> None:
        order = {"epoch": epoch, "profile": "total", "devices": []}
        spool.append([NewEvent(EventType.CUTOFF_ORDERED, stamp(datetime.now(UTC)), "emergency", order)])

    def known() -> int:
        with SqliteLog(files.log, read_only=True) as log:
            return fold(log.read()).epoch

    cut(2_000_000_000)
    with state.serving():
        assert known() == 2_000_000_000
        assert files.spool.stat().st_size == ALLOCATED_BYTES
        cut(2_000_000_001)
        assert eventually(lambda: known() == 2_000_000_001, 20)


@pytest.mark.parametrize("text", ["127.0.0.1:8443", "[::1]:8443", "localhost:8443", "127.9.9.9:1"])
def test_loopback_needs_no_certificate(text: str) -> None:
    assert listening(text, tls=False)[1] == int(text.rpartition(":")[2])


@pytest.mark.parametrize("text", ["0.0.0.0:8443", "[::]:8443", "10.20.250.10:8443", "orchestrator.example:8443", ":8443"])
def test_beyond_loopback_it_refuses_without_a_certificate_and_says_why(text: str) -> None:
    with pytest.raises(UsageError, match="in clear"):
        listening(text, tls=False)
    assert listening(text, tls=True)


@pytest.mark.parametrize("text", ["8443", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"])
def test_what_is_no_address_and_port(text: str) -> None:
    with pytest.raises(UsageError):
        listening(text, tls=True)


def test_a_dead_servers_socket_is_replaced_and_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with unix_socket(path), pytest.raises(EnvironmentMissing, match="already"):
        unix_socket(path)
    with unix_socket(path) as again, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert again.getsockname() == str(path)
    (tmp_path / "file").write_text("something else", encoding="utf-8")
    with pytest.raises(UsageError):
        unix_socket(tmp_path / "file")
