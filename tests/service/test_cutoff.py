"""The cut-off on the simulated hospital: it cuts whatever else is broken, and says what it knows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.dialects.base import Script
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import TCP
from orchestrator.errors import EnvironmentMissing, InputError, UnknownName
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from orchestrator.service import cutoff_blocks
from orchestrator.service.cutoff_lay import Laying
from orchestrator.service.cutoff_pack import cuts_of
from orchestrator.service.cutoff_report import shortened
from orchestrator.simulation.device import Fault
from orchestrator.simulation.dialect import SimulatedDialect
from tests.service.cutoff_case import Case, body, failing_log, names

APPLIED, REFUSED, UNKNOWN = DeviceStep.APPLIED, DeviceStep.REFUSED, DeviceStep.UNKNOWN


@pytest.fixture
def case(tmp_path: Path) -> Case:
    case = Case(tmp_path)
    case.write_pack()
    case.save_baseline()
    case.establish()
    return case


def steps(verdict: Any) -> dict[str, DeviceStep]:
    return {name: report.step for name, report in verdict.devices.items()}


# --- the ordinary cut-off


def test_a_total_cut_off_is_verified_and_confirmed(case: Case) -> None:
    verdict = case.cut("total")
    assert set(steps(verdict).values()) == {APPLIED}
    assert verdict.verified, verdict.open_points
    assert verdict.verified_s is not None
    assert verdict.confirmed_s is not None
    for start, end, port in (("internet-host", "203.0.113.20", 443), ("sister", "10.20.22.10", 104), ("ws-backup", "198.51.100.10", 9000)):
        assert not case.hospital.reaches(start, ip_address(end), TCP, port)[0]
    assert case.hospital.reaches("ws-offices", ip_address("10.20.21.10"), TCP, 443)[0]


def test_the_default_profile_is_the_pack_s(case: Case) -> None:
    verdict = case.cut()
    assert verdict.profile == "internet"
    assert case.hospital.reaches("sister", ip_address("10.20.22.10"), TCP, 104)[0], "GHT is kept by `internet`"


def test_it_is_idempotent_and_a_narrower_profile_opens_nothing(case: Case) -> None:
    first, second = case.cut("total"), case.cut("total")
    assert second.epoch > first.epoch
    assert second.verified
    third = case.cut("internet")
    assert third.epoch > second.epoch
    assert not case.hospital.reaches("sister", ip_address("10.20.22.10"), TCP, 104)[0]


def test_sessions_outside_the_permitted_set_die_and_care_stays(case: Case) -> None:
    before = {name: list(machine.tracked) for name, machine in case.hospital.machines.items()}
    verdict = case.cut("total")
    assert verdict.established_before == 4  # the portal's on fw-ext and rtr-isp, GHT's on fw-int, the one over the backup line
    assert verdict.established_left == 0
    care = [entry for entry in before["fw-int"] if str(entry.destination) == "10.20.21.10"]
    assert len(care) == 1
    assert case.hospital.machines["fw-int"].tracked == care


def test_evidence_is_recorded_before_it_is_erased(case: Case) -> None:
    verdict = case.cut("total")
    recorded = {event.device: event.body for event in case.events(E.SESSIONS_RECORDED)}
    assert recorded["fw-int"]["outside_permitted"] == 1
    listing = Path(recorded["fw-int"]["file"])
    assert "10.20.22.10" in listing.read_text()
    assert recorded["fw-int"]["sha256"] == verdict.devices["fw-int"].sessions_sha256


def test_the_log_tells_intent_before_outcome(case: Case) -> None:
    case.cut("total")
    told = names(case.events())
    assert told[0] == "CutoffOrdered"
    assert told[-1] == "CutoffVerified"
    assert told.count("CutoffApplied") == 7
    ordered = case.events(E.CUTOFF_ORDERED)[0]
    assert ordered.actor == "emergency"
    assert (ordered.body["by"], ordered.body["reason"], ordered.body["profile"]) == ("camille", "drill", "total")
    assert len(ordered.body["devices"]) == 7


def test_the_device_boots_with_the_layer(case: Case) -> None:
    case.cut("total")
    for name in ("fw-ext", "rtr-isp", "sw-dmz"):
        case.hospital.machines[name].reboot()
    assert not case.hospital.reaches("internet-host", ip_address("203.0.113.20"), TCP, 443)[0]


def test_the_epoch_is_monotone_even_if_the_clock_went_back(case: Case) -> None:
    first = case.cut()
    case.now = case.now.replace(year=2020)
    assert case.cut().epoch == first.epoch + 1


# --- nothing written in a file can refuse it


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        ("{ broken", "it is not JSON"),
        ('{"body": {}, "signature": ""}', "'schema' is missing"),
        (json.dumps({"body": body(schema=2), "signature": "signed by the site"}), "its schema is 2"),
        (json.dumps({"body": body(default_profile="none"), "signature": "signed by the site"}), "its default profile"),
        (json.dumps({"body": body(), "signature": "another"}), "the signature is refused"),
        (None, "it is missing"),
    ],
)
def test_a_bad_pack_warns_and_the_previous_one_cuts(case: Case, content: str | None, warning: str) -> None:
    case.write_pack(name="cut-pack.previous.json")
    if content is None:
        (case.root / "cut-pack.json").unlink()
    else:
        (case.root / "cut-pack.json").write_text(content)
    verdict = case.cut()
    assert verdict.verified
    assert verdict.pack["source"] == "previous cut pack"
    assert any(warning in line for line in verdict.warnings), verdict.warnings


def test_without_a_pack_the_files_on_disk_serve(case: Case) -> None:
    (case.root / "cut-pack.json").unlink()
    verdict = case.cut(render=lambda _: body(ratified=False))
    assert set(steps(verdict).values()) == {APPLIED}
    assert verdict.pack["source"] == "files on disk"
    assert sum("nobody ratified" in line or "files on disk serve" in line for line in verdict.warnings) == 2


def test_a_signature_that_cannot_be_checked_here_warns(case: Case) -> None:
    def no_key(_body: Mapping[str, Any], _signature: str) -> None:
        raise FileNotFoundError("site_key.pub")

    verdict = case.cut(verify=no_key)
    assert verdict.verified
    assert any("could not be checked" in line for line in verdict.warnings)


def test_only_when_nothing_at_all_can_be_used_it_stops_and_says_what_is_left(case: Case) -> None:
    (case.root / "cut-pack.json").unlink()
    with pytest.raises(InputError, match="paper sheet"):
        case.cut()


def test_an_unknown_profile_is_refused_with_the_list(case: Case) -> None:
    with pytest.raises(UnknownName, match="compromised, internet, total, vendors"):
        case.cut("everything")


# --- it goes on without its record


def test_with_a_full_disk_it_cuts_and_spools(case: Case) -> None:
    verdict = case.cut("total", log=failing_log())
    assert verdict.verified
    assert verdict.recorded == "spool"
    told = names(case.spooled)
    assert told[0] == "CutoffOrdered"
    assert told[-1] == "CutoffVerified"
    assert any("the disk is full" in line for line in verdict.warnings)


def test_a_log_that_hangs_delays_nothing(case: Case) -> None:
    def hangs() -> Any:
        time.sleep(60)

    started = time.monotonic()
    verdict = case.cut("internet", log=hangs)
    assert set(steps(verdict).values()) == {APPLIED}
    assert verdict.recorded == "spool"
    assert time.monotonic() - started < 15
    assert names(case.spooled).count("CutoffOrdered") == 1


def test_with_neither_log_nor_spool_the_verdict_says_so(case: Case) -> None:
    def no_room(_events: object) -> None:
        raise OSError("no space left on device")

    verdict = case.cut("internet", log=failing_log(), spool=no_room)
    assert set(steps(verdict).values()) == {APPLIED}
    assert verdict.recorded == "nowhere"
    assert any("copy this verdict by hand" in line for line in verdict.warnings)


def test_where_no_file_can_be_written_it_cuts(case: Case) -> None:
    verdict = case.cut("total", files=CutoffFiles(Path("/proc/1/nowhere")))
    assert verdict.verified
    assert verdict.established_left == 0
    assert any("sessions of fw-int could not be kept" in line for line in verdict.warnings)
    assert any("`orchestrator status` will not find this cut-off" in line for line in verdict.warnings)
    assert case.events(E.SESSIONS_RECORDED)[0].body["file"] == ""


# --- devices that do not do what they are told


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        (Fault.CONNECTION_REFUSED, REFUSED), (Fault.WRONG_HOST_KEY, REFUSED), (Fault.AUTHENTICATION_REFUSED, REFUSED),
        (Fault.COMMAND_FAILS, REFUSED), (Fault.HANG, UNKNOWN), (Fault.LOST_OUTCOME, UNKNOWN),
        (Fault.GARBAGE, UNKNOWN), (Fault.DROP_MIDWAY, UNKNOWN),
    ],
)  # fmt: skip
def test_one_bad_device_is_named_and_the_rest_proceed(case: Case, fault: Fault, step: DeviceStep) -> None:
    case.hospital.machines["rtr-backup"].faults.add(fault)
    verdict = case.cut("total")
    assert steps(verdict)["rtr-backup"] is step
    assert {s for name, s in steps(verdict).items() if name != "rtr-backup"} == {APPLIED}
    assert not verdict.verified
    assert any("rtr-backup" in point for point in verdict.open_points)
    assert names(case.events())[-1] == "CutoffPartial"


def test_what_is_not_in_the_start_up_configuration_is_not_applied(case: Case) -> None:
    machine = case.hospital.machines["fw-ext"]
    machine._do_persist = lambda **_: None  # type: ignore[method-assign]
    verdict = case.cut("total")
    assert steps(verdict)["fw-ext"] is REFUSED
    assert "would not boot with it" in verdict.devices["fw-ext"].detail


def test_a_lost_key_leaves_every_device_with_an_outcome(case: Case) -> None:
    def no_key() -> Any:
        raise EnvironmentMissing("the cut key cannot be read")

    verdict = case.cut("total", devices=no_key)
    assert set(steps(verdict).values()) == {UNKNOWN}
    assert len(case.events(E.CUTOFF_APPLIED)) == 7


class Waves:
    """Devices that answer after a given time; remembers when each was asked."""

    def __init__(self, delays: Mapping[str, float]) -> None:
        self.delays, self.asked = delays, dict[str, float]()
        self.started = time.monotonic()

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        assert (credential, verb) == (Credential.CUT, "cutoff")
        for target in scripts:
            self.asked[target.device] = time.monotonic() - self.started
        for target in sorted(scripts, key=lambda target: self.delays.get(target.device, 0)):
            time.sleep(min(self.delays.get(target.device, 0), deadline_s))
            yield (Outcome(target.device, APPLIED, "", 0.0),)


def test_far_waves_go_first_and_a_dead_device_holds_a_wave_up_for_its_time_only() -> None:
    content = body()
    for number, entry in enumerate(content["profiles"]["internet"]["devices"]):
        entry["wave"] = 0 if number < 2 else 1
    cuts = cuts_of(content, "internet", 7)
    devices, answered = Waves({cuts[0].device: 1.0}), list[str]()
    laying = Laying(lambda: devices, cuts, lambda cut, _: answered.append(cut.device), wave_waits_s=0.3)
    laying.run()
    near = [devices.asked[cut.device] for cut in cuts if cut.wave == 1]
    assert all(0.25 < at < 0.9 for at in near), devices.asked
    assert cuts[0].device not in answered
    laying.wait()
    assert sorted(answered) == sorted(cut.device for cut in cuts)


# --- what the probes say


def test_a_leak_makes_it_partial_and_is_named(case: Case) -> None:
    content = body()
    content["profiles"]["total"]["devices"] = [
        e for e in content["profiles"]["total"]["devices"] if e["device"] not in ("sw-core", "rtr-backup")
    ]
    case.write_pack(content)
    verdict = case.cut("total")
    assert not verdict.verified
    assert len(verdict.probes.leaking) == 1
    assert "backup-4g" in verdict.probes.leaking[0]


def test_a_negative_probe_counts_only_if_it_passed_before(case: Case) -> None:
    assert case.cut("total").probes.counted == 3
    (case.root / "baseline.json").unlink()
    verdict = case.cut("total")
    assert (verdict.probes.blocked, verdict.probes.counted) == (3, 0)
    assert any("no baseline" in line for line in verdict.warnings)


def test_a_dark_vantage_point_cannot_verify(case: Case) -> None:
    case.hospital.dark.add("ws-backup")
    verdict = case.cut("total")
    assert not verdict.verified
    assert len(verdict.probes.inconclusive) == 1


def test_broken_care_is_named(case: Case) -> None:
    content = body()
    care = next(probe for probe in content["profiles"]["total"]["probes"] if probe["purpose"] == "care")
    care["port"] = 444
    case.write_pack(content)
    assert "ws-offices" in case.cut("total").probes.care_failed[0]


# --- what it leaves behind


def test_progress_is_there_for_status_while_it_runs(case: Case) -> None:
    seen: list[dict[str, Any]] = []

    def look(_seconds: float) -> None:
        seen.append(CutoffFiles(case.root).last_progress() or {})

    verdict = case.cut("total", wait=look)
    assert seen[0]["outcome"] == "running"
    assert {device["step"] for device in seen[0]["devices"]} == {"applied"}
    last = CutoffFiles(case.root).last_progress()
    assert last is not None
    assert (last["outcome"], last["epoch"]) == ("verified", verdict.epoch)


def test_every_device_has_one_line_and_the_verdict_says_what_is_open(case: Case) -> None:
    case.hospital.machines["vpn"].faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("total")
    told = [line for line in case.lines if line.startswith("fw-ext ") and "applied" in line]
    assert len(told) == 1
    assert told[0].endswith("s — wan0")
    text = "\n".join(verdict.lines())
    assert "CUT OFF, IN PART" in text
    assert "vpn: wan0 — refused: connection refused" in text
    assert "unplug the fibre" in text


def test_the_name_given_afterwards_is_recorded(case: Case) -> None:
    case.cut("internet", ask_name=lambda: "dominique")
    assert case.events(E.CUTOFF_VERIFIED)[0].body["by"] == "dominique"


# --- the block list of the log

BLOCKED = (ip_network("198.51.100.66/32"),)


def keeping(case: Case) -> set[str]:
    return {device.name for device in case.hospital.site.devices if SimulatedDialect(device.platform.value).traits.blocks}


def test_what_was_blocked_before_is_blocked_on_every_device_that_the_cut_reaches(case: Case) -> None:
    verdict = case.cut("total", blocklist=lambda: BLOCKED)
    assert verdict.verified
    assert verdict.warnings == []
    told = {event.device: event.body for event in case.events(E.BLOCKLIST_DEVICE_APPLIED)}
    assert set(told) == keeping(case) & set(verdict.devices)
    assert {(body["step"], tuple(body["networks"]), body["as_expected"]) for body in told.values()} == {
        ("applied", ("198.51.100.66/32",), True)
    }
    assert all(tuple(case.hospital.machines[str(name)].blocked) == BLOCKED for name in told)
    assert names(case.events())[-1] == "CutoffVerified", "it is in the log before the verdict"


def test_a_device_that_does_not_take_the_list_warns_and_the_cut_is_no_less_verified(case: Case) -> None:
    machine = case.hospital.machines["fw-ext"]
    honest = machine.execute

    def deaf(text: str, *, may_open: bool) -> str:
        if json.loads(text)["verb"] == "block":
            machine.faults.add(Fault.LOST_OUTCOME)
            return ""
        return honest(text, may_open=may_open)

    machine.execute = deaf  # type: ignore[method-assign]
    verdict = case.cut("total", blocklist=lambda: BLOCKED)
    assert verdict.verified
    (warning,) = verdict.warnings
    assert warning.startswith("fw-ext: the block list of the log is not on it: ")
    (body,) = [event.body for event in case.events(E.BLOCKLIST_DEVICE_APPLIED) if event.device == "fw-ext"]
    assert (body["step"], body["as_expected"]) == ("unknown", False)


def test_a_block_list_that_cannot_be_read_or_hangs_delays_nothing_and_warns(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("the disk is gone")

    verdict = case.cut("total", blocklist=broken)
    assert verdict.verified
    assert any("the block list could not be read from the log (the disk is gone)" in warning for warning in verdict.warnings)
    monkeypatch.setattr(cutoff_blocks, "READING_WAITS_S", 0.1)
    release = threading.Event()

    def hangs() -> Any:
        release.wait(60)
        return ()

    try:
        verdict = case.cut("total", blocklist=hangs)
    finally:
        release.set()
    assert verdict.verified
    assert "the block list is not laid yet where the layer lies: orchestrator block list" in verdict.warnings


def test_what_the_log_did_not_take_in_time_is_merged_at_the_end(case: Case) -> None:
    merged: list[int] = []
    verdict = case.cut("internet", log=failing_log("the log did not answer"), merge=lambda: merged.append(len(case.spooled)))
    assert merged == [len(case.spooled)], "after the last event"
    assert verdict.recorded == "log"


def test_a_merge_that_fails_leaves_it_in_the_spool(case: Case) -> None:
    verdict = case.cut("internet", log=failing_log(), merge=failing_log())
    assert verdict.recorded == "spool"
    assert case.spooled


def test_a_cut_off_that_no_device_took_is_called_what_it_is(case: Case) -> None:
    for machine in case.hospital.machines.values():
        machine.faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("total")
    text = "\n".join(verdict.lines())
    assert "NOT CUT OFF: no device took the layer" in text
    assert not verdict.verified


def test_a_hundred_probes_without_an_answer_do_not_bury_the_device_that_is_open() -> None:
    points = ["fw-ext: wan0 — unknown", *(f"cannot be told: probe {number}" for number in range(100)), "open: the portal"]
    told = shortened(points)
    assert len(told) == 8
    assert {"fw-ext: wan0 — unknown", "open: the portal", "cannot be told: 95 more (--json has all of them)"} < set(told)
