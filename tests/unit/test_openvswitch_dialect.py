"""Words and readings of the Open vSwitch dialect, without a switch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.dialects.openvswitch import OpenvswitchDialect
from orchestrator.domain.layer import DeviceChange, Layer
from orchestrator.errors import DeviceUnknown

DIALECT = OpenvswitchDialect()
LAYER = Layer(slot="internet-1", profile="internet", device="sw", guard=("p-ght", "p-lab"), coarse=True)
PARKED = {"vlan_mode": "dot1q-tunnel", "tag": 4094, "trunks": ["set", []], "cvlans": 4094, "protected": True}
ORDINARY = {"vlan_mode": ["set", []], "tag": 60, "trunks": ["set", []], "cvlans": ["set", []], "protected": False}


def printed(
    ports: dict[str, dict[str, Any]], *, entries: str = "", epoch: str | None = "3", taken_over: bool = True, loosened: str | None = None
) -> str:
    """What the read-back prints of a switch with these ports."""
    headings = ["name", "vlan_mode", "tag", "trunks", "cvlans", "protected", "external_ids"]
    rows = [[name, *(port[key] for key in headings[1:])] for name, port in ports.items()]
    ids = [["containment-epoch", epoch]] if epoch is not None else []
    ids += [["containment-loosened", loosened]] if loosened is not None else []
    switch = {
        "headings": ["external_ids", "other_config", "cur_cfg", "next_cfg"],
        "data": [[["map", ids], ["map", []], 7, 7 if taken_over else 8]],
    }
    table = json.dumps({"headings": headings, "data": rows})
    none = json.dumps({"headings": ["name"], "data": []})
    lines = ["ovs-vswitchd (Open vSwitch) 3.1.0", "=== switch", json.dumps(switch), "=== ports", table]
    lines += ["=== interfaces", none, "=== bridges", none, "=== layer", "uptime 1000"]
    return "\n".join([*lines, "=== entries", "bridge br0", entries, "=== end"])


def claimed(settings: dict[str, Any], *slots: str) -> dict[str, Any]:
    return {
        **settings,
        "external_ids": ["map", [["containment-saved", "[];60;[];[];false;"], *([f"containment-slot-{slot}", "3"] for slot in slots)]],
    }


def site(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "external_ids": ["map", [["site", "mpls"]]]}


def test_a_switch_that_holds_the_layer_reads_back_as_expected() -> None:
    output = printed({"p-ght": claimed(PARKED, "internet-1"), "p-lab": claimed(PARKED, "internet-1"), "h-web": site(ORDINARY)})
    observed = DIALECT.parse(output)
    assert observed.fingerprint == DIALECT.expected((LAYER,)).fingerprint
    assert observed.epoch == 3
    assert observed.boots_with == ("internet-1", "p-ght", "p-lab")


def test_loosened_ports_are_not_closed_and_say_for_how_long() -> None:
    lasting = claimed(ORDINARY, "internet-1")
    lasting["external_ids"][1].append(["containment-release", "lasting:3"])
    ports = {"p-ght": claimed(ORDINARY, "internet-1"), "p-lab": lasting}
    observed = DIALECT.parse(printed(ports, loosened="3:1060:an-id"))
    assert (observed.present, observed.slots, observed.closed, observed.loosened_s) == (False, {}, (), 60)
    assert observed.boots_with == ("internet-1", "p-ght")
    assert DIALECT.parse(printed(ports, loosened="3:900:an-id")).loosened_s == 0
    with pytest.raises(DeviceUnknown, match="keys of the switch"):
        DIALECT.parse(printed(ports, loosened="tomorrow"))


def test_an_untouched_switch_reads_back_as_empty() -> None:
    assert DIALECT.parse(printed({"h-web": site(ORDINARY)}, epoch=None)) == DIALECT.expected(())


@pytest.mark.parametrize(
    "changed",
    [{"tag": 60}, {"protected": False}, {"vlan_mode": "access"}, {"cvlans": ["set", []]}, {"trunks": ["set", [10, 20]]}],
    ids=lambda change: next(iter(change)),
)
def test_a_port_that_is_parked_by_half_is_not_closed(changed: dict[str, Any]) -> None:
    output = printed({"p-ght": claimed(PARKED, "internet-1"), "p-lab": claimed({**PARKED, **changed}, "internet-1")})
    assert DIALECT.parse(output).closed == ("p-ght",)


def test_a_port_whose_claim_is_gone_changes_the_slot() -> None:
    output = printed({"p-ght": claimed(PARKED, "internet-1"), "p-lab": claimed(PARKED)})
    assert DIALECT.parse(output).fingerprint != DIALECT.expected((LAYER,)).fingerprint


@pytest.mark.parametrize(
    ("entry", "goes_past"),
    [
        (" cookie=0x0, priority=0 actions=NORMAL", False),
        (" cookie=0x0, priority=5,in_port=h-a actions=output:h-b", False),
        (" cookie=0x0, priority=5,in_port=h-a actions=output:h-b,output:p-ght", True),
        (' cookie=0x0, priority=5,in_port="p-ght" actions=output:h-b', True),
        (" cookie=0x0, priority=5,tcp actions=output:h-b", True),
        (" cookie=0x0, priority=5,in_port=h-a actions=FLOOD", True),
        (" cookie=0x0, priority=5,in_port=h-a actions=drop", False),
    ],
)
def test_entries_of_the_site_that_ask_no_vlan_are_named(entry: str, goes_past: bool) -> None:
    output = printed({"p-ght": claimed(PARKED, "internet-1")}, entries=entry)
    assert bool(DIALECT.parse(output).foreign) is goes_past


@pytest.mark.parametrize(
    "output", ["", "=== switch\n=== end", printed({}).replace("=== end", ""), printed({}).replace("headings", "lines")]
)
def test_what_cannot_be_read_is_unknown(output: str) -> None:
    with pytest.raises(DeviceUnknown):
        DIALECT.parse(output)


def test_a_daemon_that_lags_behind_its_database_is_unknown() -> None:
    with pytest.raises(DeviceUnknown, match="not taken over"):
        DIALECT.parse(printed({}, taken_over=False))


def test_the_words_depend_on_nothing_but_the_layer() -> None:
    assert DIALECT.lay(LAYER) == DIALECT.lay(LAYER.model_copy(update={"guard": ("p-lab", "p-ght")}))
    assert "{epoch}" in DIALECT.lay(LAYER).text
    assert DIALECT.open(DeviceChange(device="sw", releases=("b", "a"))).command.endswith("release {epoch} {confirm} a b")


def test_a_change_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no flow and no port"):
        DIALECT.open(DeviceChange(device="sw"))


@pytest.mark.parametrize("cookie", ["0xc047a1", "0xc047a10000000000", "0xc047a2cebbea896a"])
def test_an_entry_under_our_cookie_in_a_bridge_of_the_site_is_named(cookie: str) -> None:
    assert DIALECT.parse(printed({}, entries=f" cookie={cookie}, priority=9 actions=NORMAL")).foreign
    assert not DIALECT.parse(printed({}, entries=" cookie=0xc0, priority=9 actions=NORMAL")).foreign
