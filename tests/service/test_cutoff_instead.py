"""A device that does not take the layer: the cut-off closes what the ratified pack names instead, and proves or names the rest."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dialects.base import Composition
from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import fold
from orchestrator.domain.layer import TCP
from orchestrator.domain.profiles import layers_in_force
from orchestrator.ports import DeviceStep
from orchestrator.service.cutoff_report import Verdict
from orchestrator.service.pack_making import make_pack
from orchestrator.simulation.device import Fault
from orchestrator.simulation.dialect import SimulatedDialect
from tests.service.cutoff_case import Case, body, valmont

APPLIED = DeviceStep.APPLIED
PATH = "segment uplink → rtr-isp[up0 → edge0] → segment edge → fw-ext[wan0 → dmzin0] → sw-dmz[fwext-in]"
KEPT = {"samu-hub", "blood-supply-in", "blood-supply-out"}


class ClosingSwitch(SimulatedDialect):
    """A switch whose words close whole."""

    def __init__(self, platform: str) -> None:
        super().__init__(platform)
        if platform == "openvswitch":
            self.traits = replace(self.traits, composition=Composition.CLOSE_ONLY)


@cache
def instead(*, whole: bool) -> dict[str, Any]:
    site, policy = valmont()
    made = make_pack(
        site, policy, policy_digest="a" * 64, inventory_digest="b" * 64, made_at="2026-06-01T08:00:00.000Z", ratified=True, host_keys={},
        dialect_for=ClosingSwitch if whole else SimulatedDialect,
    )  # fmt: skip
    return {name: profile["instead"] for name, profile in made["profiles"].items() if "instead" in profile}


def prepared(case: Case, *, whole: bool = False) -> Case:
    content = body()
    for name, answers in instead(whole=whole).items():
        content["profiles"][name]["instead"] = answers
    case.write_pack(content)
    case.save_baseline()
    return case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return prepared(Case(tmp_path))


@pytest.fixture
def whole(tmp_path: Path) -> Case:
    return prepared(Case(tmp_path), whole=True)


def further(verdict: Verdict) -> dict[str, DeviceStep]:
    return {key: report.step for key, report in verdict.devices.items() if report.further}


def from_the_internet(case: Case) -> bool:
    """Whether the portal's published address answers from outside."""
    return case.hospital.reaches("internet-host", ip_address("203.0.113.20"), TCP, 443)[0]


@pytest.mark.parametrize("fault", [Fault.CONNECTION_REFUSED, Fault.HANG])
def test_a_firewall_dies_in_the_middle_and_the_ports_behind_it_are_closed(case: Case, fault: Fault) -> None:
    case.hospital.machines["fw-ext"].faults.add(fault)
    verdict = case.cut("internet")
    assert further(verdict) == {"sw-dmz[fwext-in]": APPLIED, "sw-dmz[fwext-out]": APPLIED}
    assert not from_the_internet(case)
    assert verdict.standing is not None
    assert (verdict.standing.separated, verdict.standing.path, verdict.standing.gives_up) == (True, "", ())
    assert not verdict.verified, "fw-ext itself is still unknown"
    assert "separated even if fw-ext lets everything through" in "\n".join(verdict.lines())


def test_a_transit_that_only_the_dead_firewall_stopped_is_told_as_open_and_left_to_a_person(case: Case) -> None:
    """ght is spared: closing it ends what it was spared for, so nothing does that by itself."""
    case.hospital.machines["fw-int"].faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("internet")
    assert verdict.standing is not None
    assert verdict.standing.separated is False
    assert "fw-int sends 198.51.100.99/32 to ght" in verdict.standing.path
    assert any(line.startswith("sw-dmz: unplug p-ght — only if somebody decides") for line in verdict.standing.by_hand)
    assert "separated even if" not in "\n".join(verdict.lines())


def test_without_a_word_of_it_in_the_pack_the_way_stays_open(tmp_path: Path) -> None:
    plain = Case(tmp_path)
    plain.write_pack()
    plain.save_baseline()
    plain.hospital.machines["fw-ext"].faults.add(Fault.CONNECTION_REFUSED)
    verdict = plain.cut("internet")
    assert from_the_internet(plain)
    assert verdict.standing is None


def test_where_the_switch_only_closes_whole_the_router_goes_down_and_what_ends_is_named(whole: Case) -> None:
    whole.hospital.machines["fw-ext"].faults.add(Fault.CONNECTION_REFUSED)
    verdict = whole.cut("internet")
    assert further(verdict) == {"rtr-isp[up0]": APPLIED}
    assert not from_the_internet(whole)
    assert verdict.standing is not None
    assert set(verdict.standing.gives_up) == KEPT
    text = "\n".join(verdict.lines())
    assert "closed rtr-isp[up0], for fw-ext" in text
    assert "given up  blood-supply-in, blood-supply-out, samu-hub" in text


def test_what_stands_in_may_die_as_well(whole: Case) -> None:
    for name in ("fw-ext", "rtr-isp"):
        whole.hospital.machines[name].faults.add(Fault.CONNECTION_REFUSED)
    verdict = whole.cut("internet")
    assert further(verdict)["rtr-isp[up0]"] is DeviceStep.REFUSED
    assert further(verdict)["sw-dmz[fwext-in]"] is further(verdict)["sw-dmz[fwext-out]"] is APPLIED
    assert not from_the_internet(whole)
    assert verdict.standing is not None
    assert verdict.standing.without == ("fw-ext", "rtr-isp")
    assert verdict.standing.separated


def test_a_guard_on_a_device_of_the_profile_is_one_more_line_and_one_more_slot(case: Case) -> None:
    case.hospital.machines["vpn"].faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("internet")
    assert further(verdict) == {"sw-core[vpn]": APPLIED}
    assert verdict.devices["sw-core"].step is APPLIED
    slots = case.hospital.machines["sw-core"].slots
    assert {guard for layer in slots.values() for guard in layer.guard} == {"p-backup", "vpn"}
    assert not any("an earlier layer stays" in warning for warning in verdict.warnings)
    recorded = sorted(event.body["guards"] for event in case.events(E.CUTOFF_APPLIED) if event.device == "sw-core")
    assert recorded == [["p-backup"], ["vpn"]]


def test_two_that_stand_in_for_each_other_fail_together_and_the_path_is_printed(case: Case) -> None:
    for name in ("rtr-backup", "sw-core"):
        case.hospital.machines[name].faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("internet")
    assert further(verdict) == {}
    path = "segment lte → rtr-backup[lte0 → offices0] → sw-core[p-backup]"
    assert f"the path that is left: {path}" in verdict.open_points
    assert "rtr-backup: unplug lte0" in verdict.by_hand
    assert case.events(E.CUTOFF_PARTIAL)[0].body["instead"]["path"] == path


def test_more_deaths_than_the_pack_thought_of_are_said_to_be_unproved(case: Case) -> None:
    for name in ("rtr-backup", "vpn", "fw-ext"):
        case.hospital.machines[name].faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("internet")
    assert set(further(verdict)) == {"sw-core[vpn]", "sw-dmz[fwext-in]", "sw-dmz[fwext-out]"}
    assert verdict.standing is not None
    assert verdict.standing.separated is None
    assert "cut prove --profile internet --dead fw-ext --dead rtr-backup --dead vpn" in "\n".join(verdict.lines())


def test_a_layer_that_lies_but_is_not_certain_ends_no_vital_flow(whole: Case) -> None:
    machine = whole.hospital.machines["fw-ext"]
    machine._do_persist = lambda **_: None  # type: ignore[method-assign]
    verdict = whole.cut("internet")
    assert verdict.devices["fw-ext"].laid
    assert further(verdict) == {}
    assert f"the path that is left: {PATH}" in verdict.open_points


def test_care_inside_is_never_ended_without_a_person(case: Case) -> None:
    case.hospital.machines["fw-int"].faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("compromised")
    assert further(verdict) == {}
    steps = [step for step in verdict.by_hand if "unplug fwint-lab" in step]
    assert len(steps) == 1
    assert "only if somebody decides to end" in steps[0]
    assert "lab-to-record" in steps[0]


def test_when_every_device_takes_it_nothing_more_is_closed(case: Case) -> None:
    verdict = case.cut("internet")
    assert verdict.verified, verdict.open_points
    assert further(verdict) == {}
    assert verdict.standing is None


def test_a_pack_with_nonsense_in_it_still_cuts(case: Case) -> None:
    content = body()
    content["profiles"]["internet"]["instead"] = {"guards": {"x": 3}, "dead": {"vpn": {"lay": ["x"], "gives_up": []}}}
    case.write_pack(content)
    case.hospital.machines["vpn"].faults.add(Fault.CONNECTION_REFUSED)
    verdict = case.cut("internet")
    assert verdict.devices["fw-ext"].step is APPLIED
    assert any("could not be read from the pack" in warning for warning in verdict.warnings)


def test_what_was_closed_instead_can_be_planned_with_later(whole: Case) -> None:
    whole.hospital.machines["fw-ext"].faults.add(Fault.CONNECTION_REFUSED)
    whole.cut("internet")
    site, policy = valmont()
    state = fold(whole.log.read())
    laid = layers_in_force(site, policy, {"rtr-isp": tuple(state.device("rtr-isp").slots)})["rtr-isp"]
    assert [(layer.profile, layer.guard, layer.coarse) for layer in laid] == [("internet", ("up0",), True)]
