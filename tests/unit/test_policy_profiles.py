"""Profiles cut what they promise, and care goes on or is given up by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.dialects import dialect_for
from orchestrator.dialects.base import Composition
from orchestrator.domain.checks.exits import KEEPS_FLOWS
from orchestrator.domain.network import Platform
from orchestrator.service.pack_making import make_pack
from tests.unit.broken_files import Broken as B
from tests.unit.broken_files import assert_found, copy_files, edit

CASES = (
    B(
        "forgotten backup line",
        "profiles.yaml",
        "      sw-core: [p-backup]\n      rtr-backup: [lte0]\n",
        "",
        "cuts: [internet, isp, vendors]",
        "internet does not cut internet off; this path is left: segment lte → rtr-backup[lte0 → offices0] → sw-core[p-backup",
        "guard one more interface",
    ),
    B(
        "forgotten VPN",
        "profiles.yaml",
        "      vpn: [wan0]\n",
        "",
        "cuts: [internet, isp, vendors]",
        "vpn[wan0 → offices0]",
        "guard one more interface",
    ),
    B(
        "transit of the sister hospital",
        "profiles.yaml",
        "      fw-int: [ght0] # ght is spared: only what goes beyond it, through the sister hospitals' own exit, is stopped here\n"
        "    cuts: [internet, isp, vendors]\n    spares:\n      ght: The sister",
        "    cuts: [internet, isp, vendors]\n    keeps: {}\n    # The sister",
        "cuts: [internet, isp, vendors]",
        "ght-gw[net0 → mpls0] → segment mpls → sw-dmz[p-ght → fwint-ght]",
        "if ght is to stay connected, name it under `spares`",
    ),
    B(
        "total without GHT",
        "profiles.yaml",
        "      fw-int: [ght0]\n      sw-dmz: [p-ght]\n",
        "",
        "cuts: [internet, isp, vendors, ght]",
        "total does not cut ght off",
        "guard one more",
    ),
    B(
        "zone left open inside",
        "profiles.yaml",
        "fw-int: [lab0, cardiology0, dental0]",
        "fw-int: [lab0, cardiology0]",
        "cuts: [lab",
        "compromised does not cut dental off",
        "guard one more",
    ),
    B(
        "cut and spared",
        "profiles.yaml",
        "cuts: [internet, isp, vendors]",
        "cuts: [internet, isp, vendors, ght]",
        "ght: The sister",
        "ght is both cut and spared",
        "decide for one",
    ),
    B(
        "inside zone spared",
        "profiles.yaml",
        "      ght: The sister",
        "      offices: They work.\n      ght: The sister",
        "offices: They",
        "offices is not an external zone",
        "external zones only",
    ),
    B(
        "management zone cut",
        "profiles.yaml",
        "cuts: [lab, cardiology, dental]",
        "cuts: [lab, cardiology, dental, admin]",
        "cuts: [lab",
        "admin is a management zone",
        "never cut",
    ),
    B(
        "scope at a coarse device",
        "profiles.yaml",
        "      vpn: [wan0]\n    scope_zones",
        "      rtr-isp: [up0]\n    scope_zones",
        "rtr-isp: [up0]",
        "cannot confine the cut to vendors",
        "guard a firewall instead",
        after="  vendors:",
    ),
    B(
        "scope at a switch that closes ports",
        "profiles.yaml",
        "      vpn: [wan0]\n    scope_zones",
        "      sw-core: [p-backup]\n    scope_zones",
        "sw-core: [p-backup]",
        "sw-core closes p-backup whole: it cannot confine the cut to vendors",
        "guard a firewall instead",
        after="  vendors:",
    ),
    B(
        "kept flow through such a switch",
        "profiles.yaml",
        "      sw-core: [p-backup]\n",
        "      sw-core: [p-backup, fwint-samu]\n",
        "decisions:",
        "samu-hub is kept, but it crosses sw-core, which internet closes whole",
        "or decide `cut`",
        found_in="flows.yaml",
        found_after="  samu-hub:",
    ),
    B(
        "inside scope",
        "profiles.yaml",
        "scope_zones: [vendors]",
        "scope_zones: [offices]",
        "scope_zones: [offices]",
        "not an external zone",
        "name external zones",
    ),
    B(
        "switch closed by an interface",
        "profiles.yaml",
        "sw-dmz: [p-ght]",
        "sw-dmz: [mgmt0]",
        "sw-dmz: [mgmt0]",
        "an interface of the switch sw-dmz",
        "name the port",
    ),
    B(
        "interface twice",
        "profiles.yaml",
        "rtr-isp: [up0]",
        "rtr-isp: [up0, up0]",
        "rtr-isp: [up0, up0]",
        "up0 is named twice",
        "name each interface once",
    ),
    B(
        "vital flow undecided",
        "flows.yaml",
        "decisions: {internet: keep, total: cut}",
        "decisions: {internet: keep}",
        "decisions:",
        "samu-hub is vital and total cuts it",
        "decide in peacetime",
        after="  samu-hub:",
    ),
    B(
        "kept flow through a closed router",
        "flows.yaml",
        "decisions: {internet: keep, total: cut}",
        "decisions: {internet: keep, total: keep}",
        "decisions:",
        "samu-hub is kept, but it crosses rtr-isp, which total closes whole",
        "or decide `cut`",
        after="  samu-hub:",
    ),
    B(
        "keep-list through a closed router",
        "care.yaml",
        "    zone: telephony\n",
        "    flow: anssi-collection\n",
        "telephony-trunk:",
        "anssi-collection is kept, but it crosses rtr-isp",
        "guard a firewall",
    ),
    B(
        "kept and cut",
        "care.yaml",
        "    zone: telephony\n",
        "    flow: samu-hub\n",
        "decisions:",
        "on the keep-list (telephony-trunk) and cut by total",
        "decide for one",
        found_in="flows.yaml",
        found_after="  samu-hub:",
    ),
    B(
        "useless kept flow",
        "profiles.yaml",
        "source: 10.20.23.10/32",
        "source: 10.20.22.10/32",
        "lab-results-v4:",
        "crosses no guard of compromised",
        "correct its addresses",
    ),
    B(
        "kept flow of nobody",
        "profiles.yaml",
        "source: 10.20.23.10/32",
        "source: 10.20.23.11/32",
        "source: 10.20.23.11/32",
        "is no host of the inventory",
        "gateway to gateway",
    ),
    B(
        "silent conflict",
        "profiles.yaml",
        "      - care: record-to-cardiology\n",
        "      - care: lab-to-record\n",
        "compromised:",
        "silent conflict: compromised cuts the care assertion record-to-cardiology at fw-int",
        "give it up by name",
    ),
    B(
        "kept in one family only",
        "profiles.yaml",
        "service: tcp/2575",
        "service: tcp/2576",
        "compromised:",
        "compromised cuts the care assertion lab-to-record at fw-int (IPv6)",
        "keep it narrowly",
        after="      lab-results-v6:",
        found_after="",
    ),
    B(
        "care from a mute host",
        "care.yaml",
        "from_host: ws-offices",
        "from_host: bkp",
        "from_host: bkp",
        "bkp cannot probe",
        "name a vantage point",
    ),
    B(
        "care to a closed port",
        "care.yaml",
        "service: tcp/5060",
        "service: tcp/5061",
        "service: tcp/5061",
        "pbx declares no service tcp/5061",
        "correct the service",
    ),
    B(
        "guard within care",
        "profiles.yaml",
        "fw-int: [ght0]",
        "fw-int: [ght0, care0]",
        "total:",
        "total cuts the care assertion offices-to-record",
        "keep it narrowly",
        after="  total:",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_contradiction_is_located_and_explained(case: B, tmp_path: Path) -> None:
    assert_found(case, tmp_path)


def test_what_the_check_holds_of_a_platform_is_what_its_words_can() -> None:
    for platform in Platform:
        assert (platform in KEEPS_FLOWS) is (dialect_for(platform).traits.composition is not Composition.CLOSE_ONLY)


def test_a_switch_that_tells_flows_apart_keeps_them_and_confines_a_cut(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    edit(policy / "profiles.yaml", "      vpn: [wan0]\n    scope_zones", "      sw-dmz: [p-ght]\n    scope_zones", "  vendors:")
    edit(policy / "profiles.yaml", "      fw-ext: [wan0]\n", "      fw-ext: [wan0]\n      sw-dmz: [fwext-out]\n", "  internet:")
    body = make_pack(
        read_inventory(inventory).site, read_policy(policy).policy, policy_digest="a" * 64, inventory_digest="b" * 64,
        made_at="2026-06-23T21:00:00.000Z", ratified=False, host_keys={}, dialect_for=dialect_for,
    )  # fmt: skip
    for profile, port in (("vendors", "p-ght"), ("internet", "fwext-out")):
        (device,) = [entry for entry in body["profiles"][profile]["devices"] if entry["device"] == "sw-dmz"]
        assert device["layer"]["coarse"] is False
        assert bool(device["layer"]["scope"]) is (profile == "vendors")
        assert bool(device["layer"]["keep"]) is (profile == "internet")
        assert f"guard {port} " in device["lay"]["text"]
