"""A spared zone with an internet exit of its own: what goes beyond it is stopped and probed, what is of it stays."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.layer import TCP, Layer
from orchestrator.domain.network import Site
from orchestrator.domain.pack_probes import profile_probes
from orchestrator.domain.planning import conversations
from orchestrator.domain.policy import Policy
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.profiles import further_layer, layers_of
from orchestrator.domain.questions import Containment, Question, single, way_of
from tests.unit.broken_files import INVENTORY, POLICY, copy_files, edit, findings_of, line_of
from tests.unit.test_planning import planned

GUARD = "      fw-int: [ght0] # ght is spared: only what goes beyond it, through the sister hospitals' own exit, is stopped here\n"
BEYOND = {"198.51.100.99", "2001:db8:100::99"}


@cache
def valmont() -> tuple[Site, Policy]:
    return read_inventory(INVENTORY).site, read_policy(POLICY, rehearsal=True).policy


def at_fw_int() -> Layer:
    return next(layer for layer in layers_of(*valmont(), "internet") if layer.device == "fw-int")


def transit() -> list[Probe]:
    site, policy = valmont()
    probes = profile_probes(site, policy, policy.profile("internet"), layers_of(site, policy, "internet"))
    return [probe for probe in probes if probe.about == "internet: transit of ght"]


def test_the_cut_pack_asks_from_every_inside_zone_whether_the_internet_answers_through_the_sister_hospitals() -> None:
    site, _ = valmont()
    probes = transit()
    assert {str(probe.destination) for probe in probes} == BEYOND
    assert {probe.purpose for probe in probes} == {Purpose.NEGATIVE}
    assert {probe.exit for probe in probes} == {"ght-mpls"}
    assert {probe.kind for probe in probes} == {"tcp", "udp", "icmp"}
    routed_by_fw_int = {"care", "imaging", "lab", "samu", "offices", "core"}
    assert {site.zone_of(probe.source).name for probe in probes if probe.source} == routed_by_fw_int


@pytest.mark.parametrize(("inside", "outside", "beyond"), [
    ("10.20.22.10", "192.0.2.140", False),
    ("2001:db8:20:22::10", "2001:db8:60::140", False),
    ("10.20.22.10", "198.51.100.99", True),
    ("2001:db8:20:22::10", "2001:db8:100::99", True),
])  # fmt: skip
def test_the_layer_stops_what_goes_beyond_the_spared_zone_and_nothing_of_it(inside: str, outside: str, beyond: bool) -> None:
    site, policy = valmont()
    cut = Containment({layer.device: (layer,) for layer in layers_of(site, policy, "internet")})
    zone = "internet" if beyond else "ght"
    way = way_of(site, Question("out", ip_address(inside), ip_address(outside), zone, single(TCP, 9000)))
    assert way is not None
    assert way.exit is not None
    assert way.exit.name == "ght-mpls"
    assert cut.stops(way) == ("fw-int" if beyond else None)
    for one, other in ((inside, outside), (outside, inside)):  # a session that is open already
        assert at_fw_int().permits(ip_address(one), ip_address(other), TCP, 9000) is not beyond


def test_nothing_has_to_be_opened_for_the_spared_zone() -> None:
    site, policy = valmont()
    layers = {layer.device: (layer,) for layer in layers_of(site, policy, "internet")}
    plan = planned(policy, layers, policy.stage("P2-care-exchange"), site)
    assert {flow.name for flow, _ in conversations(policy, policy.stage("P2-care-exchange"))} >= {"dicom-in", "dicom-out"}
    assert "fw-int" not in {device.device for device in plan.devices}
    assert {line.flow for line in plan.becomes_possible} == {"mssante-in", "mssante-out", "dictation"}


def test_what_stands_in_for_a_lost_device_is_confined_alike() -> None:
    site, policy = valmont()
    assert further_layer(site, policy, "internet", "fw-int", "ght0").scope == at_fw_int().scope
    assert further_layer(site, policy, "internet", "fw-int", "dmzout0").scope == ()
    assert further_layer(site, policy, "total", "fw-int", "ght0").scope == ()


GUARD_IT = "guard the interface of a firewall into ght"
REFUSED = [
    ("profiles.yaml", GUARD, "", "      ght: The sister", "goes through it (IPv4)", GUARD_IT),
    ("profiles.yaml", GUARD, "", "      ght: The sister", "goes through it (IPv6)", GUARD_IT),
    ("profiles.yaml", GUARD, "      sw-dmz: [p-ght]\n", "sw-dmz: [p-ght]", "closes p-ght whole, although", "only what goes beyond"),
    ("profiles.yaml", "[ght0] # ght", "[ght0, lab0] # ght", "fw-int: [ght0, lab0]", "with others in one layer", "on the next device"),
    ("valmont.yml", '            - {to: "2001:db8:100::99/128", via: "2001:db8:60::190"}\n', "", "      ght: The sister",
     "goes through it (IPv6)", "the route of ours that leads to it"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "at", "says", "advises"), REFUSED)
def test_a_profile_whose_spared_zone_cannot_be_probed_is_refused(
    file: str, old: str, new: str, at: str, says: str, advises: str, tmp_path: Path
) -> None:
    inventory, policy = copy_files(tmp_path)
    edit(inventory if file == "valmont.yml" else policy / file, old, new)
    findings = [item for item in findings_of(inventory, policy) if says in item.message]
    assert [(item.file, item.line) for item in findings] == [(str(policy / "profiles.yaml"), line_of(policy / "profiles.yaml", at))]
    assert advises in findings[0].advice


def test_a_zone_without_an_exit_of_its_own_needs_no_such_probe(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    edit(policy / "profiles.yaml", GUARD, "")
    edit(inventory, "ght: {kind: external, transit: true,", "ght: {kind: external,")
    assert not [item for item in findings_of(inventory, policy) if "internet exit of its own, and no probe" in item.message]
