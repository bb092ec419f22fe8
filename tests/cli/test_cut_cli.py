"""`orchestrator cut prove` as people and programs read it, on the files of Valmont."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _valmont(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_INVENTORY", str(ROOT / "inventory/valmont.yml"))
    monkeypatch.setenv("ORCHESTRATOR_POLICY", str(ROOT / "policies/valmont"))
    monkeypatch.delenv("ORCHESTRATOR_SIMULATION", raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["cut", "prove", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = run(capsys, *arguments, "--json")
    assert err == ""
    return code, json.loads(out)


def names(cut: dict[str, Any]) -> set[str]:
    return {f"{guard['device']}[{guard['guard']}]" for guard in (*cut["guards"], *cut["by_hand"])}


def smallest(answer: dict[str, Any], grain: str) -> list[set[str]]:
    return [names(cut) for item in answer["smallest"] if item["grain"] == grain for cut in item["smallest"]]


def test_the_default_profile_is_proved_and_its_smallest_cuts_are_the_scenario_s(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = as_json(capsys)
    assert code == 0
    assert (answer["profile"], answer["separated"], answer["without"]) == ("internet", True, [])
    assert smallest(answer, "device") == [{"rtr-isp[up0]", "rtr-backup[lte0]"}]
    assert smallest(answer, "flow") == [{"fw-ext[wan0]", "vpn[wan0]", "sw-core[p-backup]"}]
    (promise,) = answer["promises"]
    first = {f"{guard['device']}[{guard['guard']}]": (guard["grain"], guard["needed"]) for guard in promise["first"]}
    assert first == {"fw-ext[wan0]": ("flow", True), "vpn[wan0]": ("flow", True), "rtr-backup[lte0]": ("route", False)}
    assert len(answer["policy_digest"]) == len(answer["inventory_digest"]) == 64


def test_total_has_two_forms_of_the_same_size(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = as_json(capsys, "--profile", "total")
    assert code == 0
    routers = {"rtr-isp[up0]", "rtr-backup[lte0]"}
    assert smallest(answer, "device") == [routers | {"sw-dmz[p-ght]"}, routers | {"fw-int[ght0]"}]


def test_what_if_is_told_for_every_device_of_the_profile(capsys: pytest.CaptureFixture[str]) -> None:
    _, answer = as_json(capsys, "--profile", "internet")
    lost = answer["if_lost"]
    assert set(lost) == {"fw-ext", "fw-int", "vpn", "sw-core", "rtr-backup"}
    assert (lost["rtr-backup"]["separated"], lost["rtr-backup"]["guards"]) == (True, [])
    assert lost["vpn"]["guards"] == [{"device": "sw-core", "guard": "vpn"}]
    assert lost["fw-ext"]["guards"] == [{"device": "sw-dmz", "guard": "fwext-in"}, {"device": "sw-dmz", "guard": "fwext-out"}]
    assert lost["fw-ext"]["gives_up"] == [], "the switch tells flows apart: what is kept goes on"


def test_a_dead_firewall_leaves_a_path_and_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--dead", "fw-ext")
    assert code == 2
    assert out.startswith("NOT SEPARATED — chu-valmont, profile internet without fw-ext\n")
    assert "segment uplink → rtr-isp[up0 → edge0] → segment edge → fw-ext[wan0 → dmzin0] → sw-dmz[fwext-in]" in out
    assert "next       close sw-dmz[fwext-in], sw-dmz[fwext-out]\n" in out


def test_two_dead_devices_leave_a_cable_to_pull(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = as_json(capsys, "--dead", "rtr-backup", "--dead", "sw-core")
    assert code == 2
    assert [hole["unplug"] for hole in answer["holes"]] == [{"device": "rtr-backup", "guard": "lte0"}]
    assert answer["next"]["by_hand"] == [{"device": "rtr-backup", "guard": "lte0"}]
    assert answer["next"]["left"].startswith("segment lte → rtr-backup")


def test_distrust_counts_for_more_than_death(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "--profile", "total", "--dead", "sw-dmz")[0] == 0
    code, answer = as_json(capsys, "--profile", "total", "--distrust", "sw-dmz")
    assert (code, answer["without"]) == (2, ["sw-dmz"])


def test_a_profile_without_a_promise_is_not_called_proved(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--profile", "vendors")
    assert code == 2
    assert "promises no separation" in out


@pytest.mark.parametrize(
    ("arguments", "known"),
    [(("--profile", "everything"), "compromised, internet, total, vendors"), (("--dead", "fw-exr"), "fw-ext, fw-int")],
)
def test_an_unknown_name_is_refused_with_the_list(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], known: str) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 3
    assert known in err
    assert "Traceback" not in err


def test_a_profile_that_the_policy_check_refuses_is_told_hop_by_hop(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(ROOT / "policies/valmont", folder)
    profiles = folder / "profiles.yaml"
    text = profiles.read_text(encoding="utf-8")
    profiles.write_text(text.replace("      sw-core: [p-backup]\n      rtr-backup: [lte0]\n", "", 1), encoding="utf-8")
    assert main(["policy", "check", "--policy", str(folder)]) == 3
    capsys.readouterr()
    code, answer = as_json(capsys, "--policy", str(folder), "--profile", "internet")
    assert code == 2
    assert answer["promises"][0]["path"] == "segment lte → rtr-backup[lte0 → offices0] → sw-core[p-backup]"
    assert [exit_["path"] is not None for exit_ in answer["exits"] if exit_["exit"] == "backup-4g"] == [True]
    assert answer["next"]["guards"] == [{"device": "rtr-backup", "guard": "lte0"}], "the backup router that everyone forgets"


def test_several_devices_are_named_after_one_option_or_several(capsys: pytest.CaptureFixture[str]) -> None:
    _, together = as_json(capsys, "--dead", "fw-ext", "vpn", "--distrust", "fw-int")
    _, apart = as_json(capsys, "--dead", "fw-ext", "--distrust", "fw-int", "--dead", "vpn")
    assert together == apart
    assert together["without"] == ["fw-ext", "fw-int", "vpn"]


def test_an_empty_profile_is_not_the_default_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--profile", "")
    assert (code, out) == (3, "")
    assert "there is no isolation profile ''" in err


def test_a_lost_firewall_leaves_the_transit_open_and_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys)
    assert "  if fw-int is lost: but nothing else stops what it sends through ght to the internet" in out.splitlines()
    assert out.count("stopped there by fw-int[ght0]") == 2
    code, out, _ = run(capsys, "--dead", "fw-int")
    assert code == 2
    assert out.startswith("SEPARATED, BUT FOR A TRANSIT")
    assert "a profile that cuts ght closes sw-dmz[p-ght]" in out
    assert out.count("NO GUARD STOPS IT THERE") == 2
