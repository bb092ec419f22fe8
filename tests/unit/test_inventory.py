"""The inventory: one file that Ansible and we read alike, and every mistake in its form located and explained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.domain.network import Device, Node
from tests.unit.broken_files import INVENTORY, assert_found
from tests.unit.broken_files import INVENTORY_NAME as INV
from tests.unit.broken_files import Broken as B


@pytest.fixture(scope="module")
def as_ansible_reads_it() -> dict[str, dict[str, Any]]:
    """`ansible-inventory --list`: the variables of each host, as Ansible merges them."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(INVENTORY), "--list"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")} | {"LC_ALL": "C.UTF-8"}
    answer = subprocess.run(command, capture_output=True, check=True, text=True, env=environment, cwd="/")
    variables: dict[str, dict[str, Any]] = json.loads(answer.stdout)["_meta"]["hostvars"]
    return variables


def test_ansible_reads_the_same_hosts(as_ansible_reads_it: dict[str, dict[str, Any]]) -> None:
    site = read_inventory(INVENTORY).site
    assert {node.name for node in (*site.devices, *site.hosts, *site.outside)} == set(as_ansible_reads_it)


def test_ansible_reads_the_same_devices_addresses_and_interfaces(as_ansible_reads_it: dict[str, dict[str, Any]]) -> None:
    site = read_inventory(INVENTORY).site
    nodes: tuple[Node, ...] = (*site.devices, *site.hosts, *site.outside)
    for node in nodes:
        theirs = as_ansible_reads_it[node.name]
        assert theirs.get("ansible_host") == (str(node.management) if node.management is not None else None)
        assert theirs["ansible_user"] == node.user
        ours = {
            item.name: {"zone": item.zone, "link": item.link, "addresses": [str(address) for address in item.addresses]}
            for item in node.interfaces
        }
        assert theirs["interfaces"] == ours
        if isinstance(node, Device):
            assert theirs["platform"] == node.platform.value
            assert theirs["grain"] == [grain.value for grain in node.grain]
            assert set(theirs.get("ports", {})) == {port.name for port in node.ports}
            assert [str(item["to"]) for item in theirs.get("routes", [])] == [str(route.to) for route in node.routes]


CASES = (
    B(
        "duplicate device",
        INV,
        "        fw-int:\n",
        "        fw-ext:\n",
        "fw-ext:",
        "duplicate key",
        "remove one of the two",
        after="to_port: 9000}",
    ),
    B("no all", INV, "\nall:\n", "\nevery:\n", "# CHU", "`all:` is missing", "starts with `all:`"),
    B("unknown group", INV, "    gateways:\n", "    gates:\n", "    gates:", "unknown group 'gates'", "use one of firewalls"),
    B(
        "device in two groups",
        INV,
        "        vpn:\n          ansible_host",
        "        fw-ext:\n          ansible_host",
        "fw-ext:",
        "fw-ext is in two groups: firewalls and gateways",
        "keep one",
        after="gateways:",
        found_after="gateways:",
    ),
    B("unknown platform", INV, "platform: frr", "platform: ios", "rtr-isp:", "'ios'", "use one of those listed", found_after="routers:"),
    B(
        "bad management address",
        INV,
        "ansible_host: 10.20.250.12",
        "ansible_host: fw-ext.example",
        "ansible_host: fw-ext.example",
        "is not an IPv4 or IPv6 address",
        "write it like",
    ),
    B(
        "interface without zone",
        INV,
        "wan0: {zone: isp, link: edge",
        "wan0: {link: edge",
        "wan0: {link: edge",
        "fw-ext.interfaces.wan0.zone: Field required",
        "add this key",
    ),
    B("address without length", INV, "[203.0.113.2/28,", "[nowhere,", "[nowhere,", "with its prefix length", "write it like"),
    B(
        "long interface name",
        INV,
        "dmzout0: {zone: dmz-out, link: sw-dmz/fwext-out",
        "demilitarised-outside: {zone: dmz-out, link: sw-dmz/fwext-out",
        "demilitarised-outside",
        "'demilitarised-outside'",
        "small letters",
    ),
    B(
        "unknown key on a device",
        INV,
        "          grain: [port]\n",
        "          grain: [port]\n          rack: 4\n",
        "rack: 4",
        "sw-core.rack: Extra inputs",
        "remove this key",
    ),
    B(
        "hosts is a list",
        INV,
        "        bkp:\n          interfaces:\n            eth0:",
        "        bkp:\n          interfaces:\n            - eth0:",
        "interfaces:",
        "bkp.interfaces: a mapping is expected",
        "write `name: value` lines",
        found_after="        bkp:",
    ),
    B(
        "interface is a text",
        INV,
        "p-backup: {zone: offices}",
        "p-backup: offices",
        "p-backup: offices",
        "sw-core.ports.p-backup: a mapping is expected",
        "write `name: value` lines",
    ),
    B("services is a text", INV, "services: [tcp/873]", "services: rsync", "services: rsync", "bkp.services", "write a list"),
    B("VLAN out of range", INV, "vlan: 31", "vlan: 4095", "vlan: 4095", "less than or equal to 4093", "docs/inventory.md"),
    B("zone of no kind", INV, "dental: {kind: internal, ", "dental: {", "dental: {vlan", "dental.kind: Field required", "add this key"),
    B(
        "no exits",
        INV,
        "    exits:\n      fibre: {device: rtr-isp, interface: up0, zone: isp, primary_for: [internet, isp]}\n",
        "    exist:\n      fibre: {}\n",
        "  vars:",
        "`exits:` is missing",
        "docs/inventory.md",
    ),
    B(
        "orchestrator without a leg",
        INV,
        "    orchestrator: {interface:",
        "    orchestrator: {interfaces:",
        "    orchestrator:",
        "the orchestrator has no management interface",
        "write `orchestrator: {interface",
    ),
    B("site is a number", INV, "    site: chu-valmont", "    site: 12", "site: 12", "`site:` must be a name", "write `site: chu-valmont`"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_mistake_is_located_and_explained(case: B, tmp_path: Path) -> None:
    assert_found(case, tmp_path)
