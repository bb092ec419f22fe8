"""`policy diff`: what two policies say differently. Each test changes one thing in the hospital's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.domain.policy_changes import PolicyDifference, between
from orchestrator.settings import StateDirectory
from orchestrator.wiring_policy import Read, read_files
from tests.unit.broken_files import copy_files, edit

PAYMENT = ("flows.yaml", "    services: [tcp/8443]\n", "    services: [tcp/8443, tcp/8080]\n")


def _changed(folder: Path, *edits: tuple[str, str, str], inventory: tuple[str, str] | None = None) -> PolicyDifference:
    state = StateDirectory(folder / "state")
    before, after = folder / "before", folder / "after"
    before.mkdir(parents=True)
    after.mkdir()
    old_inventory, old_policy = copy_files(before)
    new_inventory, new_policy = copy_files(after)
    for file, old, new in edits:
        edit(new_policy / file, old, new)
    if inventory is not None:
        edit(new_inventory, *inventory)
    one, other = read_files(state, old_inventory, old_policy, False), read_files(state, new_inventory, new_policy, False)
    return between((one.site, one.policy), (other.site, other.policy))


def _valmont(folder: Path) -> Read:
    inventory, policy = copy_files(folder)
    return read_files(StateDirectory(folder / "state"), inventory, policy, False)


def test_the_same_files_differ_in_nothing(tmp_path: Path) -> None:
    assert not _changed(tmp_path)


def test_one_port_more_is_exactly_two_boxes_one_per_family(tmp_path: Path) -> None:
    difference = _changed(tmp_path, PAYMENT)
    assert difference.widens
    assert difference.overall.describe() == (
        "+ 10.20.12.10/32 → 198.51.100.32/32 tcp/8080 (out)",
        "+ 2001:db8:20:12::10/128 → 2001:db8:100::32/128 tcp/8080 (out)",
    )
    assert list(difference.reachability) == ["P5-patients-and-payments"]
    assert not difference.cut


def test_a_flow_in_an_earlier_stage_widens_nothing_and_is_shown_in_both_stages(tmp_path: Path) -> None:
    difference = _changed(
        tmp_path,
        ("stages.yaml", "anssi-collection, update-mirror]", "anssi-collection]"),
        ("stages.yaml", "flows: [mail-in]", "flows: [mail-in, update-mirror]"),
    )
    assert not difference.widens
    assert not difference.overall
    assert {name: (bool(item.appears), bool(item.disappears)) for name, item in difference.reachability.items()} == {
        "P0-lifelines": (False, True),
        "P1-inbound-mail": (True, False),
    }


def test_a_vital_flow_that_is_cut_now_no_longer_passes_the_cut(tmp_path: Path) -> None:
    difference = _changed(
        tmp_path,
        (
            "flows.yaml",
            '    addresses: [10.20.26.10, "2001:db8:20:26::10"]\n    decisions: {internet: keep, total: cut}',
            '    addresses: [10.20.26.10, "2001:db8:20:26::10"]\n    decisions: {internet: cut, total: cut}',
        ),
    )
    assert not difference.widens
    places = {device for (profile, device) in difference.cut if profile == "internet"}
    assert "fw-ext" in places
    assert all(item.disappears and not item.appears for item in difference.cut.values())


def test_the_other_way_round_it_widens(tmp_path: Path) -> None:
    """A cut that lets more pass widens, although the stages open the same in the end."""
    difference = _changed(
        tmp_path,
        (
            "flows.yaml",
            "  dictation:\n    application: dictation\n",
            "  dictation:\n    decisions: {internet: keep, total: cut}\n    application: dictation\n",
        ),
    )
    assert not difference.overall
    assert difference.widens


def test_order_people_and_inventory_are_told_by_name(tmp_path: Path) -> None:
    difference = _changed(
        tmp_path,
        ("stages.yaml", "requires: [{stage: P3-outbound-mail}]", "requires: [{stage: P1-inbound-mail}]"),
        ("people.yaml", "roles: [director]", "roles: [director, incident-commander]"),
        inventory=("port: 9000, to: 10.20.12.20", "port: 9001, to: 10.20.12.20"),
    )
    assert not difference.widens
    assert [(item.name, item.key) for item in difference.order] == [("P5-patients-and-payments", "requires")]
    assert [(item.name, item.key, item.after) for item in difference.people] == [("director-duty", "roles", "[incident-commander]")]
    assert [(item.section, item.name, item.key) for item in difference.inventory] == [("devices", "fw-ext", "nat")]


def test_a_guard_that_is_taken_away_widens_and_is_not_told_as_packets_that_no_longer_pass(tmp_path: Path) -> None:
    difference = _changed(tmp_path, ("profiles.yaml", "      fw-int: [ght0]\n      sw-dmz: [p-ght]\n", "      sw-dmz: [p-ght]\n"))
    assert difference.widens
    assert not difference.cut
    assert [change.describe() for change in difference.looser] == ["~ profiles.total.layers.fw-int: ght0 → (nothing)"]


def test_a_guard_more_widens_nothing_although_it_keeps_something(tmp_path: Path) -> None:
    difference = _changed(
        tmp_path, ("profiles.yaml", "      vpn: [wan0]\n    scope_zones", "      vpn: [wan0]\n      fw-ext: [wan0]\n    scope_zones")
    )
    assert [change.name for change in difference.guards] == ["vendors"]
    assert not difference.looser
    assert not difference.widens


def test_a_scope_that_leaves_out_what_it_held_widens(tmp_path: Path) -> None:
    difference = _changed(tmp_path, ("profiles.yaml", "scope_zones: [vendors]", "scope_zones: [isp]"))
    assert difference.widens
    told = [change.describe() for change in difference.looser]
    assert len(told) == 1
    assert "vpn (what it stops): [198.51.100.192/26, 2001:db8:192::/64] → [203.0.113.0/28" in told[0]
    wider = _changed(tmp_path / "wider", ("profiles.yaml", "scope_zones: [vendors]", "scope_zones: [vendors, isp]"))
    assert wider.guards
    assert not wider.widens


def test_a_translation_nearer_to_the_hosts_widens_what_the_next_firewall_lets_through(tmp_path: Path) -> None:
    """Behind one address for all, the firewall outside can no longer tell who asks: its pinhole is for every host."""
    host = "          ansible_host: 10.20.250.13\n"
    difference = _changed(tmp_path, inventory=(host, f"{host}          nat: {{masquerade: [dmzout0]}}\n"))
    assert not difference.overall
    assert not difference.looser
    assert difference.widens
    assert any(line.startswith("+ 10.20.12.") for line in difference.devices["fw-ext"].describe())


def test_a_flow_by_another_exit_is_told_on_the_devices_that_it_no_longer_crosses(tmp_path: Path) -> None:
    """The backup line has no firewall: its packets are the same, and the firewall of the fibre sees none of them."""
    read = _valmont(tmp_path)
    flows = tuple(flow.model_copy(update={"exit": "backup-4g"}) if flow.name == "sms" else flow for flow in read.policy.flows)
    difference = between((read.site, read.policy), (read.site, read.policy.model_copy(update={"flows": flows})))
    assert not difference.overall
    assert {line[0] for line in difference.devices["fw-ext"].describe()} == {"-"}


def test_another_stage_that_lifts_the_layer_widens(tmp_path: Path) -> None:
    read = _valmont(tmp_path)
    lifting = read.policy.stage("P8-lift")
    stages = (*(stage for stage in read.policy.stages if stage != lifting), lifting.model_copy(update={"name": "P9-lift"}))
    difference = between((read.site, read.policy), (read.site, read.policy.model_copy(update={"stages": stages})))
    assert [change.place for change in difference.looser] == ["stages.P9-lift.lifts"]
    assert difference.widens


def test_a_network_more_within_a_tunnel_widens(tmp_path: Path) -> None:
    inner = ("flows.yaml", 'inner: [10.20.28.0/24, "', 'inner: [10.20.28.0/24, 10.20.21.0/24, "')
    difference = _changed(tmp_path, inner)
    assert [change.place for change in difference.looser] == ["flows.staff-vpn.ipsec"]
    assert difference.widens
    less = _changed(tmp_path / "less", ("flows.yaml", 'inner: [10.20.28.0/24, "', 'inner: [10.20.28.0/25, "'))
    assert not less.widens


def test_the_command_says_first_whether_it_widens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, policy = copy_files(tmp_path)
    edit(policy / PAYMENT[0], PAYMENT[1], PAYMENT[2])
    assert main(["policy", "diff", "policies/valmont", str(policy)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("IT WIDENS")
    assert "+ 10.20.12.10/32 → 198.51.100.32/32 tcp/8080 (out)" in told
    assert main(["policy", "diff", str(policy), "policies/valmont", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["same"], answer["widens"]) == (False, False)
    assert answer["overall"]["disappears"]
    assert main(["policy", "diff", str(policy), str(policy)]) == 0
    assert "no difference" in capsys.readouterr().out


def test_where_nothing_is_ratified_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    assert main(["policy", "diff"]) == 4
    assert "no policy is ratified" in capsys.readouterr().err
