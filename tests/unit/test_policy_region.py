"""Policies split by team into sub-folders, and a region of several sites."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.cli import main
from orchestrator.domain.digests import policy_digest
from tests.unit.broken_files import INVENTORY, POLICY, copy_files, edit, findings_of, line_of


def _split_by_team(policy: Path) -> None:
    """The network team keeps flows and partners, the laboratory its own flow."""
    network, laboratory = policy / "teams" / "network", policy / "teams" / "laboratory"
    network.mkdir(parents=True)
    laboratory.mkdir()
    for name in ("flows.yaml", "partners.yaml"):
        (policy / name).rename(network / name)
    text = (network / "flows.yaml").read_text(encoding="utf-8")
    start, end = text.index("  outside-labs:"), text.index("  # To the bastion only")
    (network / "flows.yaml").write_text(text[:start] + text[end:], encoding="utf-8")
    (laboratory / "flows.yaml").write_text("flows:\n" + text[start:end], encoding="utf-8")


def test_teams_keep_their_parts_in_folders_of_their_own(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    _split_by_team(policy)
    assert findings_of(inventory, policy) == ()
    whole, split = read_policy(POLICY).policy, read_policy(policy).policy
    assert {flow.name: flow for flow in split.flows} == {flow.name: flow for flow in whole.flows}
    laboratory, network = policy / "teams" / "laboratory" / "flows.yaml", policy / "teams" / "network" / "flows.yaml"
    edit(laboratory, "application: outside-laboratories", "application: outside-labs")
    (finding,) = findings_of(inventory, policy)
    assert (finding.file, finding.line) == (str(laboratory), line_of(laboratory, "application: outside-labs"))
    edit(laboratory, "application: outside-labs", "application: outside-laboratories")
    edit(network, "  payment:", "  outside-labs:")
    (twice,) = findings_of(inventory, policy)
    assert twice.file == str(network)
    assert f"flows.outside-labs is defined twice: the first is at {laboratory}:" in twice.message


def test_the_split_into_folders_is_not_hashed_where_the_order_stays(tmp_path: Path) -> None:
    _, policy = copy_files(tmp_path)
    (policy / "teams").mkdir()
    (policy / "care.yaml").rename(policy / "teams" / "care.yaml")
    assert policy_digest(read_policy(policy).policy) == policy_digest(read_policy(POLICY).policy)


def test_other_endings_and_the_overlay_are_the_same_in_a_sub_folder(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    (policy / "teams").mkdir()
    (policy / "rehearsal.yaml").rename(policy / "teams" / "rehearsal.yaml")
    assert read_policy(policy).policy.rehearsal is None
    assert read_policy(policy, rehearsal=True).policy.rehearsal is not None
    (policy / "teams" / "more.yml").write_text("flows: {}\n", encoding="utf-8")
    (policy / "teams" / ".git").mkdir()
    (policy / "teams" / ".git" / "x.yaml").write_text("nonsense: {}\n", encoding="utf-8")
    (policy / "loop").symlink_to(policy, target_is_directory=True)
    found = {(Path(item.file).name, item.message) for item in findings_of(inventory, policy)}
    assert found == {("more.yml", "is not read: policy files end in .yaml"), ("loop", "is not read: it is a link to a folder")}


def _region(folder: Path) -> tuple[Path, Path]:
    """Two sites: the CHU de Valmont, and its twin under another name."""
    policies, inventories = folder / "policies", folder / "inventory"
    inventories.mkdir()
    for name in ("valmont", "orbec"):
        shutil.copytree(POLICY, policies / name)
        shutil.copy(INVENTORY, inventories / f"{name}.yml")
    (policies / "policy.schema.json").write_text("{}", encoding="utf-8")  # a file beside the sites is nobody's policy
    edit(policies / "orbec" / "site.yaml", "site: chu-valmont", "site: ch-orbec")
    edit(inventories / "orbec.yml", "site: chu-valmont", "site: ch-orbec")
    return policies, inventories


def _check_all(policies: Path, inventories: Path, *options: str) -> int:
    return main(["policy", "check", "--all", "--policy", str(policies), "--inventory", str(inventories), *options])


def test_every_site_of_a_region_is_checked_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policies, inventories = _region(tmp_path)
    assert _check_all(policies, inventories) == 0
    out = capsys.readouterr().out
    assert "chu-valmont: no findings" in out
    assert "ch-orbec: no findings" in out
    assert out.rstrip().endswith("2 sites, 2 of them without findings")
    edit(policies / "orbec" / "flows.yaml", "application: card-payment", "application: cards")
    assert _check_all(policies, inventories, "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert [site["ok"] for site in told["sites"]] == [False, True]
    assert told["sites"][0]["findings"][0]["file"] == str(policies / "orbec" / "flows.yaml")
    assert told["ok"] is False


def test_two_sites_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policies, inventories = _region(tmp_path)
    edit(policies / "orbec" / "site.yaml", "site: ch-orbec", "site: chu-valmont")
    edit(inventories / "orbec.yml", "site: ch-orbec", "site: chu-valmont")
    assert _check_all(policies, inventories, "--json") == 3
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    where = policies / "valmont" / "site.yaml"
    assert (finding["file"], finding["line"]) == (str(where), line_of(where, "site: chu-valmont"))
    assert finding["message"] == f"the site chu-valmont is described twice: the first is in {policies / 'orbec'}"


def test_half_a_site_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policies, inventories = _region(tmp_path)
    (inventories / "orbec.yml").rename(inventories / "orbek.yml")
    assert _check_all(policies, inventories) == 3
    out = capsys.readouterr().out
    assert f"{policies / 'orbec'}:1: has no inventory: {inventories / 'orbec.yml'} is missing" in out
    assert f"{inventories / 'orbek.yml'}:1: has no policy: {policies / 'orbek'} is missing" in out


def test_a_region_that_is_not_there_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check_all(tmp_path / "none", tmp_path / "nothing") == 3
    assert "cannot be read: No such file or directory" in capsys.readouterr().out
