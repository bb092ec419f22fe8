"""The emergency command as people run it: a process of its own, on the simulated hospital."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import sshsig
from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.site_key import load_or_create_site_key
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.canonical import canonical
from orchestrator.domain.layer import TCP
from orchestrator.domain.pack import NAMESPACE
from orchestrator.settings import StateDirectory
from orchestrator.simulation.store import StoredHospital
from tests.service.cutoff_case import ROOT, body

WAIT_S = 60.0


class Desk:
    """A state directory with a signed pack, and the command."""

    def __init__(self, root: Path) -> None:
        self.state = StateDirectory(root / "state")
        self.key = load_or_create_site_key(self.state.site_key)
        self.environment = {
            **os.environ, "ORCHESTRATOR_STATE": str(self.state.root), "ORCHESTRATOR_SIMULATION": str(root / "hospital.json"),
            "ORCHESTRATOR_INVENTORY": str(ROOT / "inventory/valmont.yml"), "ORCHESTRATOR_POLICY": str(root / "no-policy"),
            "XDG_RUNTIME_DIR": str(root),
        }  # fmt: skip
        self.write_pack(self.state.cut_pack)

    def write_pack(self, path: Path, *, failover_s: float = 0.1, **changes: Any) -> None:
        content = body(**changes)
        for profile in content["profiles"].values():
            profile["failover_s"] = failover_s if profile["probes"] else 0
        path.write_text(json.dumps({"body": content, "signature": sshsig.sign(self.key.private, NAMESPACE, canonical(content))}))

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=WAIT_S, check=False, **more
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *arguments]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def await_outcome(self) -> str:
        """The outcome of the cut-off that runs without a terminal."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            files = list(self.state.root.glob("cutoff-*.json"))
            outcome = json.loads(max(files).read_text())["outcome"] if files else "running"
            if outcome != "running":
                return str(outcome)
            time.sleep(0.1)
        raise AssertionError("the cut-off did not end")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "state").mkdir(mode=0o700)
    return Desk(tmp_path)


@pytest.fixture
def master() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_a_baseline_then_a_cut_off_then_status(desk: Desk) -> None:
    assert desk.run("probe", "--save-baseline").returncode == 0
    done = desk.run("cutoff", "--profile", "total", "--reason", "drill", "--by", "camille", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["outcome"], verdict["verified"], verdict["established_flows_left"]) == ("verified", True, 0)
    assert verdict["probes"]["counted"] == verdict["probes"]["negative"] == 3
    assert verdict["confirmed_ms"] > verdict["verified_ms"] > verdict["laid_ms"] > 0
    assert "fw-ext       applied" in done.stderr
    status = desk.status()
    assert (status["posture"], status["posture_from"]) == ("isolated", "log")
    assert {device["step"] for device in status["last_cutoff"]["devices"]} == {"applied"}


def test_people_read_one_line_a_device_and_the_verdict(desk: Desk) -> None:
    done = desk.run("cutoff", "--by", "camille")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CUT OFF AND VERIFIED — chu-valmont, profile internet" in done.stdout
    assert sum(" applied " in line for line in done.stdout.splitlines()) == 5
    assert "\x1b[" not in done.stdout


def test_partial_has_an_exit_code_of_its_own(desk: Desk) -> None:
    content = body()
    devices = content["profiles"]["total"]["devices"]
    content["profiles"]["total"]["devices"] = [entry for entry in devices if entry["device"] not in ("sw-core", "rtr-backup")]
    desk.write_pack(desk.state.cut_pack, profiles=content["profiles"])
    done = desk.run("cutoff", "--profile", "total")
    assert done.returncode == 2
    assert "open: " in done.stdout


def test_bad_input_has_a_third_one(desk: Desk) -> None:
    unknown = desk.run("cutoff", "--profile", "everything")
    assert unknown.returncode == 3
    assert "compromised, internet, total, vendors" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    assert desk.run("cutoff", "--bogus").returncode == 3


def test_a_pack_that_was_tampered_with_is_passed_over(desk: Desk) -> None:
    desk.write_pack(desk.state.previous_cut_pack)
    desk.state.cut_pack.write_text(desk.state.cut_pack.read_text().replace("fw-ext", "fw-int"))
    done = desk.run("cutoff", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["pack"]["source"] == "previous cut pack"


def test_without_any_pack_it_renders_the_files_and_says_that_nobody_ratified_them(desk: Desk) -> None:
    desk.state.cut_pack.unlink()
    desk.environment["ORCHESTRATOR_POLICY"] = str(ROOT / "policies/valmont")
    done = desk.run("cutoff", "--json")
    verdict = json.loads(done.stdout)
    assert {device["step"] for device in verdict["devices"]} == {"applied"}
    assert verdict["pack"]["source"] == "files on disk"
    assert any("nobody ratified" in warning for warning in verdict["warnings"])


def test_without_anything_it_says_what_is_left_to_do(desk: Desk) -> None:
    desk.state.cut_pack.unlink()
    done = desk.run("cutoff")
    assert done.returncode == 3
    assert "paper sheet" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_goes_on_when_its_terminal_dies(desk: Desk, master: tuple[int, int]) -> None:
    desk.write_pack(desk.state.cut_pack, failover_s=2.0)
    process = subprocess.Popen(
        desk.command("cutoff", "--profile", "total", "--by", "camille"), env=desk.environment, stdin=master[1], stdout=master[1],
        stderr=master[1], start_new_session=True,
    )  # fmt: skip
    os.close(master[1])
    assert b"cutting" in os.read(master[0], 64)
    os.close(master[0])  # the terminal is gone: what is written now fails
    os.killpg(process.pid, signal.SIGHUP)
    assert desk.await_outcome() == "verified"
    assert process.wait(timeout=WAIT_S) == 0
    assert desk.status()["last_cutoff"]["outcome"] == "verified"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_answered_and_stops_nothing(desk: Desk, number: signal.Signals) -> None:
    desk.write_pack(desk.state.cut_pack, failover_s=2.0)
    process = subprocess.Popen(
        desk.command("cutoff", "--by", "camille"), env=desk.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "cutting" in process.stdout.readline()
    process.send_signal(number)
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output + errors
    assert "the cut-off goes on" in errors


def test_it_goes_on_when_nobody_reads_its_output(desk: Desk) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        desk.command("cutoff", "--by", "camille"), env=desk.environment, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.close(read)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    assert desk.await_outcome() == "verified"


def test_a_log_that_cannot_be_written_is_spooled_and_merged_later(desk: Desk) -> None:
    desk.state.log.mkdir()  # where the log should be, there is something else
    done = desk.run("cutoff", "--json")
    verdict = json.loads(done.stdout)
    assert verdict["verified"]
    assert verdict["recorded"] == "spool"
    desk.state.log.rmdir()
    with SqliteLog(desk.state.log) as log:
        assert Spool(desk.state.spool, desk.state.spool_fallback).merge_into(log) >= 6
    assert desk.status()["posture"] == "isolated"


def test_a_dry_run_names_what_would_die_and_changes_nothing(desk: Desk) -> None:
    desk.environment["ORCHESTRATOR_POLICY"] = str(ROOT / "policies/valmont")
    hospital = StoredHospital(read_inventory(ROOT / "inventory/valmont.yml").site, Path(desk.environment["ORCHESTRATOR_SIMULATION"]))
    with hospital.opened() as opened:
        assert opened.establish("sister", ip_address("10.20.22.10"), TCP, 104)
    done = desk.run("cutoff", "--profile", "total", "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert found["sessions"] == [{"application": "image-exchange", "destination": "10.20.22.10 tcp/104", "sessions": 1}]
    with hospital.opened() as opened:
        assert opened.reaches("sister", ip_address("10.20.22.10"), TCP, 104)[0]
    assert desk.status()["last_cutoff"] is None


def test_the_paper_sheet_fits_its_page(desk: Desk) -> None:
    done = desk.run("cutoff", "--print-sheet")
    assert done.returncode == 0
    pages = done.stdout.split("\f")
    assert len(pages) == 4
    assert all(len(page.splitlines()) <= 60 for page in pages)
    assert all(len(line) <= 80 for page in pages for line in page.splitlines())
    assert "profile « internet »" in pages[0]
    assert "CUT OFF BY HAND" in pages[0]
    assert "COUPURE À LA MAIN" in pages[0]
    assert "fw-ext (nftables, 10.20.250.12)" in pages[0]


def test_nothing_heavy_is_loaded_before_the_layer_lies() -> None:
    code = (
        "import sys, orchestrator.cli.cutoff, orchestrator.wiring_cutoff, orchestrator.service.cutoff\n"
        "import orchestrator.adapters.netmiko_devices, orchestrator.adapters.netmiko_session, orchestrator.adapters.sshsig\n"
        "heavy = {'pydantic', 'fastapi', 'ruamel', 'ansible', 'sqlite3'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr


def test_a_lab_that_is_not_there_is_said(desk: Desk) -> None:
    done = desk.run("--lab", "nowhere", "cutoff")
    assert done.returncode == 5
    assert "orchestrator lab up" in done.stderr
