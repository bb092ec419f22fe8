"""`policy check` as a whole: the good files, the management paths of other devices, the command and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.cli import main
from orchestrator.domain.digests import inventory_digest, policy_digest
from tests.unit.broken_files import INVENTORY, POLICY, copy_files, edit, findings_of, line_of


def test_the_files_of_the_hospital_have_no_findings() -> None:
    assert findings_of(INVENTORY, POLICY) == ()


def _managed_through_sw_core(inventory: Path) -> None:
    """The management network of sw-dmz runs through two ports of sw-core."""
    edit(
        inventory,
        "            h-bkp: {zone: backup}\n",
        "            h-bkp: {zone: backup}\n            p-oob: {zone: admin, link: oob}\n            h-mgmt: {zone: admin}\n",
    )
    edit(
        inventory,
        "mgmt0: {zone: admin, link: oob, addresses: [10.20.250.16/24",
        "mgmt0: {zone: admin, link: sw-core/h-mgmt, addresses: [10.20.250.16/24",
    )


def test_a_port_on_the_management_path_of_another_device_is_not_cut(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    _managed_through_sw_core(inventory)
    assert findings_of(inventory, policy) == ()
    edit(policy / "profiles.yaml", "sw-core: [p-backup]", "sw-core: [p-backup, p-oob]")
    (finding,) = findings_of(inventory, policy)
    assert finding.line == line_of(policy / "profiles.yaml", "sw-core: [p-backup, p-oob]")
    assert (
        "guarding p-oob of sw-core would cut the management path of sw-dmz (orchestrator[mgmt0] → segment oob → sw-core[p-oob → h-mgmt]"
        in finding.message
    )


def test_an_interface_that_another_device_is_managed_through_is_not_cut(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    edit(
        inventory,
        "            h-bkp: {zone: backup}\n",
        "            h-bkp: {zone: backup}\n            h-mgmt: {zone: admin}\n            fwint-adm: {zone: admin}\n",
    )
    edit(
        inventory,
        "mgmt0: {zone: admin, link: oob, addresses: [10.20.250.16/24",
        "mgmt0: {zone: admin, link: sw-core/h-mgmt, addresses: [10.20.250.16/24",
    )
    edit(
        inventory,
        "            backup0: {zone: backup, link",
        "            adm0: {zone: admin, link: sw-core/fwint-adm, addresses: [10.20.250.77/24]}\n            backup0: {zone: backup, link",
    )
    (unreachable,) = findings_of(inventory, policy)
    assert unreachable.line == line_of(inventory, "ansible_host: 10.20.250.16")
    assert "no path leads from the orchestrator to the management address of sw-dmz" in unreachable.message
    assert "`management_via`" in unreachable.advice
    edit(inventory, "          grain: [port, flow]\n", "          grain: [port, flow]\n          management_via: fw-int\n")
    assert findings_of(inventory, policy) == ()
    edit(policy / "profiles.yaml", "fw-int: [ght0]", "fw-int: [ght0, adm0]", after="  total:")
    (finding,) = findings_of(inventory, policy)
    assert "guarding adm0 of fw-int would cut the management path of sw-dmz" in finding.message
    assert finding.line == line_of(policy / "profiles.yaml", "fw-int: [ght0, adm0]")


def test_the_command_prints_findings_and_answers_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory, policy = copy_files(tmp_path)
    options = ["policy", "check", "--inventory", str(inventory), "--policy", str(policy)]
    assert main(options) == 0
    assert "no findings" in capsys.readouterr().out
    edit(policy / "flows.yaml", "application: card-payment", "application: cards")
    assert main(options) == 3
    line = line_of(policy / "flows.yaml", "application: cards")
    out = capsys.readouterr().out
    assert f"{policy / 'flows.yaml'}:{line}: unknown application 'cards'\n  → " in out
    assert main([*options, "--json"]) == 3
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["file"] == str(policy / "flows.yaml")
    assert finding["line"] == line
    assert set(finding) == {"file", "line", "message", "advice"}


def test_the_command_reads_the_usual_places_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory, policy = copy_files(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_INVENTORY", str(inventory))
    monkeypatch.setenv("ORCHESTRATOR_POLICY", str(policy))
    assert main(["policy", "check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["policy_digest"] == policy_digest(read_policy(POLICY).policy)
    assert told["inventory_digest"] == inventory_digest(read_inventory(INVENTORY).site)


def test_the_rehearsal_overlay_is_read_only_when_asked_for() -> None:
    assert read_policy(POLICY).policy.rehearsal is None
    rehearsed = read_policy(POLICY, rehearsal=True).policy
    assert rehearsed.rehearsal is not None
    assert rehearsed.rehearsal.observation.total_seconds() == 2
    assert policy_digest(rehearsed) != policy_digest(read_policy(POLICY).policy)


def test_the_digest_hashes_what_the_files_say_not_how(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    before = policy_digest(read_policy(policy).policy)
    edit(policy / "flows.yaml", "flows:\n", "# a comment\n\nflows:\n")
    whole = (policy / "care.yaml").read_text(encoding="utf-8")
    (policy / "care.yaml").write_text(whole[: whole.index("\ncare:")], encoding="utf-8")
    (policy / "assertions.yaml").write_text(whole[whole.index("care:\n  offices") :], encoding="utf-8")
    assert policy_digest(read_policy(policy).policy) == before
    edit(policy / "flows.yaml", "services: [tcp/8443]", "services: [tcp/8444]")
    assert policy_digest(read_policy(policy).policy) != before
    assert inventory_digest(read_inventory(inventory).site) == inventory_digest(read_inventory(INVENTORY).site)
