"""The plan of a stage: what is opened where, what is refused, and what is asked to verify it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.layer import DeviceChange, Element, Layer
from orchestrator.domain.network import Device, Site
from orchestrator.domain.pack_probes import profile_probes
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.plan import Plan, RenderedScript
from orchestrator.domain.planning import canary_of, plan_stage
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.probes import Purpose
from orchestrator.domain.profiles import layers_of
from orchestrator.errors import Refused, UnknownName
from tests.unit.hand_made import SITE, flow, laid, policy, stage, words

ROOT = Path(__file__).parents[2]
Rendered = tuple[RenderedScript, RenderedScript, RenderedScript]


def render(device: Device, change: DeviceChange, until: bool) -> Rendered:
    """Words of no platform: what would be sent is the change itself."""
    text = f"{device.name} {change.model_dump_json()}"
    opening, closing = (RenderedScript(kind="shell", command=word, text=text) for word in ("open", "close"))
    return opening, RenderedScript(kind="shell", command="until" if until else "confirm", text=text), closing


def planned(chosen: Policy, layers: Mapping[str, tuple[Layer, ...]], which: Stage | None = None, site: Site = SITE, **more: Any) -> Plan:
    digests = {"policy_digest": "p", "inventory_digest": "i", "render": render}
    return plan_stage(site, chosen, which or chosen.stages[0], layers_in_force=layers, **{"already_open": {}, **digests, **more})


def opened(plan: Plan, device: str) -> list[str]:
    return next(words(item.change.elements) for item in plan.devices if item.device == device)


def test_flow_devices_come_first_and_the_closed_router_on_the_way_last() -> None:
    chosen = policy(flow(), stages=(stage("flow"),))
    plan = planned(chosen, laid(chosen, "all"))
    assert [(item.device, item.order, item.change.releases) for item in plan.devices] == [
        ("outer", 0, ()),
        ("inner", 0, ()),
        ("rtr", 1, ("up0",)),
    ]
    assert opened(plan, "outer")[0] == "198.51.100.50/32 > 203.0.113.34/32 6/8443-8443"
    assert [(line.source, line.destination, line.service, line.through) for line in plan.becomes_possible] == [
        ("198.51.100.50/32", "10.1.0.10/32", "tcp/443", ("outer", "inner")),
        ("2001:db8:100::50/128", "2001:db8:10::10/128", "tcp/443", ("outer", "inner")),
    ]


def test_the_same_state_gives_the_same_digest_and_any_change_another() -> None:
    chosen = policy(flow(), stages=(stage("flow"),))
    layers = laid(chosen, "all")
    plan = planned(chosen, layers)
    assert plan.digest == planned(chosen, layers).digest
    assert plan.digest != planned(chosen, layers, policy_digest="q").digest
    assert plan.digest != planned(chosen, layers, already_released={"rtr": ("up0",)}).digest


def test_what_is_open_already_is_not_opened_again_and_the_rest_is_disjoint_from_it() -> None:
    chosen = policy(flow(), flow("wide", partners=["all"]), stages=(stage("wide"),))
    layers = laid(chosen, "all")
    first = planned(chosen, layers, stage("flow"))
    before = {item.device: item.change.elements for item in first.devices}
    plan = planned(chosen, layers, already_open=before, already_released={"rtr": ("up0",)})
    for item in plan.devices:
        assert not packets_of(item.change.elements) & packets_of(before[item.device])
    whole = {item.device: item.change.elements for item in planned(chosen, layers).devices}
    for item in plan.devices:
        assert packets_of(whole[item.device]) == packets_of(item.change.elements) | packets_of(before[item.device])
    again = planned(chosen, layers, stage("flow"), already_open=before, already_released={"rtr": ("up0",)})
    assert all(item.change.is_empty and item.change.shared for item in again.devices)
    assert again.becomes_possible == ()


def test_two_flows_of_one_stage_never_overlap_on_a_device() -> None:
    chosen = policy(flow(partners=["all"]), flow("again"), stages=(stage("flow", "again"),))
    plan = planned(chosen, laid(chosen, "all"))
    elements = next(item.change.elements for item in plan.devices if item.device == "inner")
    for index, one in enumerate(elements):
        for other in elements[index + 1 :]:
            assert not packets_of([one]) & packets_of([other])


def test_what_every_layer_keeps_needs_no_opening_but_what_only_one_keeps_does() -> None:
    kept = flow(decisions={"narrow": "keep"})
    both = {"narrow": {"layers": {"inner": ["mid0"]}}, "all": {"layers": {"inner": ["mid0"]}}}
    chosen = policy(kept, stages=(stage("flow"),), profiles=both)
    assert planned(chosen, laid(chosen, "narrow")).devices == ()
    assert opened(planned(chosen, laid(chosen, "narrow", "all")), "inner")


def test_a_stage_can_be_planned_for_its_canary_alone() -> None:
    two = policy(flow(partners=["far", "nobody"]), stages=(stage("flow", canary={"partner": "far"}),))
    only = canary_of(two.stages[0])
    assert only == "far"
    plan = planned(two, laid(two, "all"), partners=[only])
    assert plan.partners == ("far",)
    assert not any("198.51.100.200" in line for line in opened(plan, "inner"))
    with pytest.raises(UnknownName, match="nosuch"):
        planned(two, laid(two, "all"), partners=["nosuch"])


# --- refusals -------------------------------------------------------------------------------------------------------


def refused(*given: Any, **more: Any) -> str:
    with pytest.raises(Refused) as refusal:
        planned(*given, **more)
    return refusal.value.rule


def test_a_coarse_guard_is_released_only_when_a_flow_device_stands_behind_it() -> None:
    only_router = {"all": {"layers": {"rtr": ["up0"]}}}
    chosen = policy(flow(), stages=(stage("flow"),), profiles=only_router)
    assert refused(chosen, laid(chosen, "all")) == "coarse-behind-flow"


def test_a_flow_device_that_is_not_trusted_proves_nothing() -> None:
    chosen = policy(flow(), stages=(stage("flow"),))
    assert refused(chosen, laid(chosen, "all"), untrusted=["inner"]) == "untrusted-device"
    behind = policy(flow(), stages=(stage("flow"),), profiles={"all": {"layers": {"rtr": ["up0"], "inner": ["mid0"]}}})
    layers = laid(behind, "all")
    assert planned(behind, layers).devices
    opened_already = {"inner": next(item.change.elements for item in planned(behind, layers).devices if item.device == "inner")}
    assert refused(behind, layers, already_open=opened_already, untrusted=["inner"]) == "coarse-behind-flow"


def test_a_layer_with_a_scope_does_not_stand_behind_a_coarse_guard() -> None:
    profiles: dict[str, dict[str, Any]] = {
        "all": {"layers": {"rtr": ["up0"]}},
        "part": {"layers": {"inner": ["mid0"]}, "scope_zones": ["edge"]},
    }
    chosen = policy(flow(), stages=(stage("flow"),), profiles=profiles)
    assert refused(chosen, laid(chosen, "all", "part")) == "coarse-behind-flow"


def test_nothing_is_planned_where_nothing_is_cut_and_flows_that_end_differently_do_not_mix() -> None:
    closing = flow("closing", on_expiry="close")
    chosen = policy(flow(), closing, stages=(stage("flow", "closing"), stage("closing")))
    assert refused(chosen, {}) == "nothing-is-cut"
    assert refused(chosen, laid(chosen, "all")) == "mixed-expiry"
    assert planned(chosen, laid(chosen, "all"), chosen.stages[1]).devices[0].confirm.command == "until"


# --- probes ---------------------------------------------------------------------------------------------------------


def test_what_must_pass_is_asked_from_the_partner_by_the_published_address_and_port() -> None:
    chosen = policy(flow(), stages=(stage("flow"),))
    positive = [probe for probe in planned(chosen, laid(chosen, "all")).probes if probe.purpose is Purpose.POSITIVE]
    assert [(probe.vantage, str(probe.destination), probe.port, probe.kind) for probe in positive] == [
        ("far", "203.0.113.34", 8443, "http"),
        ("far", "2001:db8:10::10", 443, "http"),
    ]


def test_what_must_not_pass_is_asked_of_strangers_and_neighbours() -> None:
    chosen = policy(flow(), stages=(stage("flow"),))
    negative = {
        (probe.vantage, str(probe.destination), probe.port)
        for probe in planned(chosen, laid(chosen, "all")).probes
        if probe.purpose is Purpose.NEGATIVE
    }
    assert ("stranger", "203.0.113.34", 8443) in negative  # somebody else to the same service
    assert ("stranger", "2001:db8:10::10", 443) in negative
    assert ("far", "2001:db8:10::10", 22) in negative  # the partner to another service of the application
    assert ("desk", "198.51.100.50", 22) in negative  # from the inside to the outside
    assert not any(port == 443 and vantage == "far" for vantage, _, port in negative)


def test_what_another_stage_opened_is_never_asked_as_blocked() -> None:
    chosen = policy(flow(), flow("wide", partners=["all"]), stages=(stage("flow"), stage("wide")))
    layers = laid(chosen, "all")
    wide = planned(chosen, layers, chosen.stages[1])
    plan = planned(
        chosen, layers, already_open={item.device: item.change.elements for item in wide.devices}, already_released={"rtr": ("up0",)}
    )
    asked = {(probe.vantage, probe.port) for probe in plan.probes if probe.purpose is Purpose.NEGATIVE}
    assert ("stranger", 8443) not in asked
    assert ("stranger", 443) not in asked


def test_what_no_probe_can_show_is_told() -> None:
    chosen = policy(flow(services=["tcp/443", "esp"], partners=["far", "nobody"]), stages=(stage("flow"),))
    assert planned(chosen, laid(chosen, "all")).unprobed == (
        "flow with far, IPv4, esp",
        "flow with far, IPv6, esp",
        "flow with nobody, IPv4, tcp/443",
        "flow with nobody, IPv4, esp",
        "flow with nobody, IPv6, tcp/443",
        "flow with nobody, IPv6, esp",
    )


# --- Valmont --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Site:
    return read_inventory(ROOT / "inventory/valmont.yml").site


@pytest.fixture(scope="module")
def valmont() -> Policy:
    return read_policy(ROOT / "policies/valmont", rehearsal=True).policy


def lie(site: Site, chosen: Policy, *profiles: str) -> dict[str, tuple[Layer, ...]]:
    found: dict[str, tuple[Layer, ...]] = {}
    for profile in profiles:
        for layer in layers_of(site, chosen, profile):
            found[layer.device] = (*found.get(layer.device, ()), layer)
    return found


@pytest.fixture(scope="module")
def history(site: Site, valmont: Policy) -> tuple[Plan, ...]:
    """Every stage of Valmont but the last, one after the other, after a total cut-off."""
    layers, open_, released, plans = lie(site, valmont, "total"), dict[str, tuple[Element, ...]](), dict[str, set[str]](), list[Plan]()
    for one in valmont.stages:
        if one.lifts:
            continue
        plan = planned(valmont, layers, one, site, already_open=open_, already_released=released)
        for item in plan.devices:
            open_[item.device] = (*open_.get(item.device, ()), *item.change.elements)
            released.setdefault(item.device, set()).update(item.change.releases)
        plans.append(plan)
    return tuple(plans)


def test_each_stage_of_valmont_opens_its_own_flows_and_nothing_else(history: tuple[Plan, ...], valmont: Policy) -> None:
    for plan in history:
        flows = {item.flow for device in plan.devices for item in device.change.openings}
        assert flows == set(valmont.stage(plan.stage).flows) == {line.flow for line in plan.becomes_possible}
        assert plan.rehearsal


def test_the_order_of_releases_in_valmont(history: tuple[Plan, ...]) -> None:
    released = {plan.stage: [(item.device, item.change.releases) for item in plan.devices if item.change.releases] for plan in history}
    assert {stage: what for stage, what in released.items() if what} == {
        "P0-lifelines": [("rtr-isp", ("up0",))],
        "P2-care-exchange": [("sw-dmz", ("p-ght",))],
    }


def test_elements_of_all_stages_of_valmont_never_overlap_on_a_device(history: tuple[Plan, ...]) -> None:
    per_device: dict[str, list[Element]] = {}
    for plan in history:
        for item in plan.devices:
            new = packets_of(item.change.elements)
            assert not new & packets_of(per_device.get(item.device, [])), (plan.stage, item.device)
            per_device.setdefault(item.device, []).extend(item.change.elements)


def test_the_imaging_portal_is_asked_for_by_its_published_address(history: tuple[Plan, ...]) -> None:
    plan = next(item for item in history if item.stage == "P4-images")
    positive = {(probe.vantage, str(probe.destination)) for probe in plan.probes if probe.purpose is Purpose.POSITIVE}
    assert {("sister", "203.0.113.20"), ("sister", "2001:db8:20:11::10"), ("gp", "203.0.113.20"), ("ght-2", "203.0.113.20")} <= positive
    negative = {(probe.vantage, str(probe.destination), probe.port) for probe in plan.probes if probe.purpose is Purpose.NEGATIVE}
    assert ("internet-host", "203.0.113.20", 443) in negative
    assert ("sister", "203.0.113.26", 9000) in negative  # the forgotten publication
    assert ("ws-backup", "198.51.100.10", 80) in negative  # the backup line
    assert not {(vantage, target) for vantage, target, _ in negative} & {("sister", "203.0.113.20")}


def test_before_its_canary_is_verified_the_other_hospital_must_stay_out(site: Site, valmont: Policy) -> None:
    plan = planned(valmont, lie(site, valmont, "total"), valmont.stage("P4-images"), site, partners=["sister-public"])
    asked = {(probe.vantage, str(probe.destination)) for probe in plan.probes if probe.purpose is Purpose.NEGATIVE}
    assert {("ght-2", "203.0.113.20"), ("gp", "203.0.113.20"), ("internet-host", "203.0.113.20")} <= asked


def test_care_is_asked_in_every_plan_except_what_the_profile_in_force_gave_up(
    site: Site, valmont: Policy, history: tuple[Plan, ...]
) -> None:
    for plan in history:
        assert {probe.about for probe in plan.probes if probe.purpose is Purpose.CARE} == {care.name for care in valmont.care}
    plan = planned(valmont, lie(site, valmont, "total", "compromised"), valmont.stage("P0-lifelines"), site)
    assert "record-to-cardiology" not in {probe.about for probe in plan.probes}


def test_only_biomedical_devices_are_never_asked_anything(history: tuple[Plan, ...]) -> None:
    assert not [probe for plan in history for probe in plan.probes if str(probe.destination) in ("10.20.27.10", "2001:db8:20:27::10")]


def test_every_exit_is_probed_both_ways_after_a_total_cut(site: Site, valmont: Policy) -> None:
    probes = profile_probes(site, valmont, valmont.profile("total"), layers_of(site, valmont, "total"))
    negative = [probe for probe in probes if probe.purpose is Purpose.NEGATIVE]
    assert {probe.exit for probe in negative} == {"fibre", "backup-4g", "ght-mpls", "staff-vpn"}
    inside = {host.name for host in site.hosts if not any(site.zone(item.zone).is_external for item in host.interfaces)}
    sides = Counter((probe.exit, probe.vantage in inside) for probe in negative)
    for name in ("fibre", "backup-4g", "ght-mpls"):
        assert sides[name, True], name
        assert sides[name, False], name
    assert sides["staff-vpn", False]
    transit = {str(probe.destination) for probe in negative if probe.exit == "ght-mpls"}
    assert {"198.51.100.99", "2001:db8:100::99"} <= transit  # through the sister hospitals' own internet exit
    assert {probe.kind for probe in negative} >= {"tcp", "udp", "icmp"}


def test_a_spared_zone_is_not_asked_as_blocked_and_kept_flows_must_pass(site: Site, valmont: Policy) -> None:
    probes = profile_probes(site, valmont, valmont.profile("internet"), layers_of(site, valmont, "internet"))
    assert not [probe for probe in probes if probe.purpose is Purpose.NEGATIVE and site.zone_of(probe.destination).name == "ght"]
    assert not [
        probe for probe in probes if probe.purpose is Purpose.NEGATIVE and probe.source and site.zone_of(probe.source).name == "ght"
    ]
    assert {probe.about for probe in probes if probe.purpose is Purpose.POSITIVE} == {"samu-hub", "blood-supply-out", "blood-supply-in"}


def test_a_cut_inside_the_site_is_asked_across_its_guards(site: Site, valmont: Policy) -> None:
    probes = profile_probes(site, valmont, valmont.profile("compromised"), layers_of(site, valmont, "compromised"))
    asked = pairs(probe.id for probe in probes if probe.purpose is Purpose.NEGATIVE)
    assert ("ws-offices", "10.20.23.10:tcp/2575") in asked
    assert ("record", "10.20.23.10:tcp/2575") not in asked  # kept, gateway to gateway
    assert ("lis", "10.20.21.10:tcp/443") in asked


def pairs(ids: Iterable[str]) -> set[tuple[str, str]]:
    return {(name.split(":", 1)[1].split("/")[0], name.split(">")[1]) for name in ids}
