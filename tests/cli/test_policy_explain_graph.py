"""`orchestrator policy explain` and `policy graph` as people and programs read them, on the files of Valmont."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from orchestrator.cli import main
from tests.unit.broken_files import copy_files, edit

ROOT = Path(__file__).parents[2]
PORTAL = ("--from", "sister-public", "--to", "imaging-portal", "--service", "tcp/443")


@pytest.fixture(autouse=True)
def _valmont(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_INVENTORY", str(ROOT / "inventory/valmont.yml"))
    monkeypatch.setenv("ORCHESTRATOR_POLICY", str(ROOT / "policies/valmont"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["policy", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = run(capsys, "explain", *arguments, "--json")
    assert (code, err) == (0, "")
    answer: dict[str, Any] = json.loads(out)
    return answer


# --- explain --------------------------------------------------------------------------------------------------------


def test_one_packet_is_told_with_its_way_its_translation_its_guard_and_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "explain", *PORTAL)
    assert (code, err) == (0, "")
    four, six = out.split("\n\n")
    assert "flow portal-hospitals (imaging-portal) with sister-public, opened by P4-images" in four
    assert "route      up0 → edge0          198.51.100.14 → 203.0.113.20 tcp/443" in four
    assert "flow       wan0 → dmzin0        198.51.100.14 → 10.20.11.10 tcp/443  (translated)" in four
    assert "(translated)" not in six
    verdicts = [line.split() for line in four.splitlines() if "passes" in line or "blocked" in line]
    assert [words[-3:] for words in verdicts[:5]] == [["blocked", "at", "fw-ext"]] * 5
    assert [words[-1] for words in verdicts[5:9]] == ["passes"] * 4
    assert "no layer of ours is left" in four.splitlines()[-1]


def test_the_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    answer = explained(capsys, *PORTAL)
    assert [packet["family"] for packet in answer["packets"]] == [4, 6]
    for packet in answer["packets"]:
        assert (packet["exit"], packet["opened_by"], packet["guarded"]) == ("fibre", "P4-images", True)
        assert [verdict["after"] for verdict in packet["verdicts"] if not verdict["passes"]][::4] == [None, "P3-outbound-mail"]
        (guard,) = packet["verdicts"][5]["guards"]
        assert guard["for"] == {"stage": "P4-images", "flow": "portal-hospitals", "partner": "sister-public"}
    assert len(answer["policy_digest"]) == len(answer["inventory_digest"]) == 64


def test_a_vital_flow_is_kept_by_one_profile_and_cut_by_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--from", "samu-hub", "--to", "hub-sante", "--service", "tcp/5671")
    for profile, passes in (("internet", True), ("total", False)):
        for packet in explained(capsys, *asked, "--profile", profile)["packets"]:
            assert packet["verdicts"][0]["passes"] is passes
            assert [one["kept"] for one in packet["declared"]] == [passes]


def test_only_the_stages_that_are_asked_for_are_open(capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, passes in (
        ("--stage", "P3-outbound-mail", False),
        ("--stage", "P4-images", True),
        ("--open", "P0-lifelines,P4-images", True),
        ("--open", "P7-public", False),
    ):
        for packet in explained(capsys, *PORTAL, option, value)["packets"]:
            assert [verdict["passes"] for verdict in packet["verdicts"]] == [passes]
    four = explained(capsys, *PORTAL, "--stage", "P4-images")["packets"][0]["verdicts"][0]
    assert four["open"][-1] == "P4-images"
    assert len(four["open"]) == 5


def test_asked_of_one_stage_only_it_says_the_same_of_the_packet(capsys: pytest.CaptureFixture[str]) -> None:
    """Which stage opens it, and that the cut guards its way, is no matter of which stage was asked for."""
    (packet,) = explained(capsys, "--from", "198.51.100.10", "--to", "203.0.113.22", "--service", "tcp/25", "--stage", "P7-public")[
        "packets"
    ]
    assert [verdict["after"] for verdict in packet["verdicts"]] == ["P7-public"]
    assert (packet["opened_by"], packet["guarded"]) == ("P1-inbound-mail", True)
    asked = ("--from", "10.20.22.10", "--to", "198.51.100.99", "--service", "tcp/9000", "--stage", "P8-lift")
    _, out, _ = run(capsys, "explain", *asked)
    assert "guards nothing on this way" not in out
    assert "no layer of ours is left" in out


def test_an_empty_profile_is_not_the_default_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "explain", *PORTAL, "--profile", "")
    assert code == 3
    assert "there is no isolation profile ''" in err


def test_a_conversation_that_no_device_can_tell_apart_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "--from", "ws-backup", "--to", "198.51.100.10", "--service", "tcp/443")
    assert code == 0
    assert "it crosses no device that can tell one flow from another" in out
    assert "sw-core p-backup" in out
    assert "closed whole" in out
    _, inside, _ = run(capsys, "explain", "--from", "emergency", "--to", "record", "--service", "tcp/443")
    assert "the profile internet guards nothing on this way" in inside
    assert "care assertion emergency-to-record: it must work whatever is cut" in inside


def test_inside_the_site_the_narrow_kept_flow_and_the_sacrifice_are_told_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    orders = ("explain", "--from", "record", "--to", "lis", "--service", "tcp/2575", "--profile", "compromised", "--stage", "P0-lifelines")
    _, kept, _ = run(capsys, *orders)
    assert "lab-orders-v4, kept by the profile compromised" in kept
    assert "lab-orders-v6, kept by the profile compromised" in kept
    assert kept.count("passes") == 2
    desks = ("explain", "--from", "lis", "--to", "record", "--service", "tcp/443", "--profile", "compromised", "--stage", "P0-lifelines")
    _, cut, _ = run(capsys, *desks)
    assert "care assertion lab-workstations-to-record: sacrificed by the profile compromised; instead: Results by paper" in cut
    assert cut.count("blocked at fw-int") == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "nobody", "--to", "imaging-portal", "--service", "tcp/443"), "nobody"),
        (("--from", "gps", "--to", "imaging-portal", "--service", "tcp/99999"), "1 to 65535"),
        (("--from", "gps", "--to", "imaging-portal", "--service", "http"), "no service"),
        (("--from", "gps", "--to", "patients", "--service", "tcp/443"), "inside the site"),
        (("--from", "gps", "--to", "203.0.113.20", "--service", "tcp/22"), "publishes 203.0.113.20 for tcp/443 only"),
        ((*PORTAL, "--stage", "P9-none"), "P9-none"),
        ((*PORTAL, "--profile", "nosuch"), "nosuch"),
        ((*PORTAL, "--open", "P0-lifelines,P9-none"), "P9-none"),
    ],
)
def test_what_cannot_be_explained_is_bad_input_with_advice(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    code, out, err = run(capsys, "explain", *arguments)
    assert (code, out) == (3, "")
    assert says in err
    assert "→" in err


# --- graph ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["stages", "flows", "topology"])
def test_a_picture_is_drawn_into_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, of: str) -> None:
    code, out, err = run(capsys, "graph", "--of", of, "--out", str(tmp_path / "p.svg"))
    assert (code, out, err) == (0, "", "")
    assert ElementTree.parse(tmp_path / "p.svg").getroot().tag.endswith("}svg")


def test_without_graphviz_mermaid_and_the_matrix_are_drawn_and_an_svg_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(capsys, "graph", "--format", "svg")
    assert code == 5
    assert "apt-get install graphviz" in err
    assert run(capsys, "graph")[1].startswith("flowchart TB")
    assert run(capsys, "graph", "--of", "flows", "--format", "svg")[0] == 0


def test_a_policy_whose_own_tests_fail_is_drawn_all_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    edit(policy / "tests.yaml", "expect: blocked", "expect: passes")
    code, out, err = run(capsys, "graph", "--policy", str(policy), "--inventory", str(inventory))
    assert (code, err) == (0, "")
    assert out.startswith("flowchart")


def test_the_json_holds_nodes_and_edges(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "graph", "--of", "stages", "--json")
    answer = json.loads(out)
    assert code == 0
    names = [node["id"] for node in answer["nodes"]]
    assert names == answer["order"]
    assert all({edge["from"], edge["to"]} <= set(names) for edge in answer["edges"])


def test_a_file_that_cannot_be_written_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "graph", "--out", str(tmp_path / "none" / "p.txt"))
    assert code == 3
    assert "cannot be written" in err


def test_a_standard_output_that_was_closed_beforehand_is_no_error_of_ours() -> None:
    """As a job runner may start us; the cut-off starts the same way."""
    command = f"{sys.executable} -m orchestrator policy graph --format mermaid >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
