"""The whole cut-off on the real rehearsal hospital: the verdict, a second run, a narrower one, and the way back.

The tests of this file share one cut and go through its life in order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.domain.layer import Observed
from orchestrator.lab.layout import ADMIN
from orchestrator.lab.streams import StreamResult, start_streams
from tests.lab.cut_hospital import ROOT, Cut, CutHospital, together
from tests.lab.reachability import Question, assert_answered, assert_silent

pytestmark = pytest.mark.lab

GHT: list[Question] = [("tcp", "10.20.22.10", 104), ("tcp", "2001:db8:20:22::10", 2762), ("udp", "10.20.22.10", 9000)]
FIBRE: list[Question] = [("tcp", "203.0.113.20", 443), ("tcp", "2001:db8:20:11::10", 443), ("tcp", "203.0.113.3", 443)]
OUTWARDS: list[Question] = [("tcp", "198.51.100.10", 443), ("tcp", "2001:db8:100::10", 443)]
RECORD: list[Question] = [("tcp", "10.20.21.10", 443), ("tcp", "2001:db8:20:21::10", 443)]


@dataclass(frozen=True)
class Total:
    """A cut-off with profile `total` under load, by the ratified pack, and the streams that it met (monotonic times)."""

    cut: Cut
    started_ns: int
    streams: list[StreamResult]
    snapshots: dict[str, str]


@pytest.fixture(scope="module")
def total(ratified: CutHospital) -> Iterator[Total]:
    snapshots = ratified.snapshots()
    try:
        with start_streams(ratified.hospital) as streams:
            started_ns = time.monotonic_ns()
            cut = ratified.cut("total")
            time.sleep(0.5)
            results = streams.stop()
        yield Total(cut, started_ns, results, snapshots)
    finally:
        ratified.lift()


def test_the_verdict_is_verified_and_confirmed(total: Total) -> None:
    verdict = total.cut.verdict
    assert total.cut.code == 0, verdict["open"]
    assert set(total.cut.steps.values()) == {"applied"}
    assert len(total.cut.steps) == 7
    assert verdict["verified"]
    assert verdict["verified_ms"] < verdict["confirmed_ms"]
    assert verdict["pack"]["source"] == "cut pack"
    assert verdict["rehearsal"]
    probes = verdict["probes"]
    assert probes["blocked"] == probes["negative"] > 200
    assert probes["counted"] > 200  # they passed before the cut


def test_every_stream_has_ended_before_the_cut_was_called_verified(total: Total) -> None:
    verified_ns = total.started_ns + total.cut.verdict["verified_ms"] * 1_000_000
    assert {result.exit for result in total.streams} == {"fibre", "backup-4g", "ght-mpls", "staff-vpn"}
    assert [result.name for result in total.streams if not result.received] == []
    assert [result.name for result in total.streams if result.last_ns > verified_ns] == []


def test_established_connections_are_found_recorded_and_gone(ratified: CutHospital, total: Total) -> None:
    verdict = total.cut.verdict
    assert verdict["established_flows_before"] > 0
    assert verdict["established_flows_left"] == 0
    for device in ("fw-ext", "vpn", "fw-int", "rtr-backup"):
        told = total.cut.device(device)
        assert told["outside_before"] > 0, device
        assert "198.51.100." in (ratified.state.sessions / f"{total.cut.epoch}-{device}.txt").read_text(encoding="utf-8")
        if device == "fw-int":
            continue  # the internet is not behind its guard: what it lets on dies at the next device
        assert "198.51.100." not in ratified.on(device, "conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null")


def test_care_goes_on_as_transactions_and_the_way_in_stays(ratified: CutHospital, total: Total) -> None:
    care = {probe["id"]: probe["passed"] for probe in total.cut.verdict["probes"]["results"] if probe["purpose"] == "care"}
    for transaction in ("offices-to-record", "record-to-pacs"):
        assert [passed for name, passed in care.items() if name.startswith(f"care:{transaction}:")] == [True, True]
    assert set(care.values()) == {True}
    together(lambda node: assert_answered(ratified.hospital, node, RECORD), ("ws-offices", "emergency"))
    for device in ratified.hospital.site.devices:
        shut = device.platform.value == "frr"
        assert ratified.hospital.ssh(device.name, "containment-router read" if shut else "true").returncode == 0


def test_a_second_run_finds_everything_as_it_is(ratified: CutHospital, total: Total) -> None:
    again = ratified.cut("total", pack=ratified.brief)
    assert again.code == 0, again.verdict["open"]
    assert again.epoch > total.cut.epoch
    for device in total.cut.steps:
        assert again.device(device)["fingerprint"] == total.cut.device(device)["fingerprint"]


def test_a_narrower_profile_afterwards_reopens_nothing(ratified: CutHospital, total: Total) -> None:
    for profile in ("vendors", "internet"):
        narrower = ratified.cut(profile, pack=ratified.brief)
        assert narrower.code == 0, narrower.verdict["open"]
    assert sorted(slot.rpartition("-")[0] for slot in ratified.observed("vpn").slots) == ["internet", "total", "vendors"]
    assert ratified.observed("sw-dmz").fingerprint == total.cut.device("sw-dmz")["fingerprint"]
    closed = {"sister": GHT, "internet-host": FIBRE, "proxy": OUTWARDS, "ws-backup": OUTWARDS}
    together(lambda node: assert_silent(ratified.hospital, node, closed[node]), closed)


def test_status_tells_of_the_last_cut_off(ratified: CutHospital, total: Total) -> None:
    found = ratified.status()
    assert found["posture"] == "isolated"
    assert found["last_cutoff"]["epoch"] > total.cut.epoch
    assert found["last_cutoff"]["verified"]


def test_after_lifting_everything_is_as_it_was(ratified: CutHospital, total: Total) -> None:
    ratified.lift()
    assert ratified.snapshots() == total.snapshots
    for device in total.cut.steps:
        assert not ratified.observed(device).present
        assert ratified.observed(device).boots_with == ()
        assert ratified.on(device, "ls -A /etc/containment") == ""
    answered = {"sister": GHT, "internet-host": FIBRE, "proxy": OUTWARDS, "ws-backup": OUTWARDS}
    together(lambda node: assert_answered(ratified.hospital, node, answered[node]), answered)


def test_the_playbook_lays_the_same_layer_on_all_devices(ratified: CutHospital, tmp_path: Path) -> None:
    words = ["-e", f"pack={ratified.state.cut_pack}", "-e", "profile=total", "-e", f"key={ratified.state.cut_key}"]
    words += ["-e", f"read_backs={tmp_path / 'held'}"]
    command = [*ratified.hospital.entering(ADMIN), str(Path(sys.executable).with_name("ansible-playbook"))]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "LANG": "C.UTF-8"}
    environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORKS": "20", "ANSIBLE_LOCALHOST_WARNING": "False"}
    try:
        done = subprocess.run(
            [*command, "-i", "inventory/valmont.yml", "playbooks/cutoff.yml", *words],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        expected = {entry["device"]: Observed.model_validate(entry["expected"]) for entry in ratified.body["profiles"]["total"]["devices"]}
        for device, observed in together(ratified.observed, expected).items():
            assert observed.slots == expected[device].slots, device
            assert observed.fingerprint == expected[device].fingerprint, device
            assert observed.boots_with == expected[device].boots_with, device
            assert f"{device}: laid, lasting, read back" in json.dumps(done.stdout)
        assert_silent(ratified.hospital, "sister", GHT)
        assert_silent(ratified.hospital, "internet-host", FIBRE)
    finally:
        ratified.lift()
