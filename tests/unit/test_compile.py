"""From flows to elements and from profiles to layers: by hand on a small site, and for every stage of Valmont."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.compile import elements_of, without_prefixes
from orchestrator.domain.layer import Element
from orchestrator.domain.network import Site
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.policy import Flow, Policy
from orchestrator.domain.profiles import layers_in_force, layers_of, waves
from orchestrator.errors import Refused, UnknownName
from tests.unit.hand_made import SITE, flow, partner, policy, words

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> Site:
    return read_inventory(ROOT / "inventory/valmont.yml").site


@pytest.fixture(scope="module")
def valmont() -> Policy:
    return read_policy(ROOT / "policies/valmont").policy


def test_coming_in_a_device_before_the_translation_sees_what_is_published_and_the_translating_one_what_is_inside() -> None:
    found = elements_of(SITE, flow(), partner())
    v6 = "2001:db8:100::50/128 > 2001:db8:10::10/128 6/443-443"
    assert words(found["outer"]) == ["198.51.100.50/32 > 203.0.113.34/32 6/8443-8443", v6]
    assert words(found["inner"]) == ["198.51.100.50/32 > 10.1.0.10/32 6/443-443", v6]
    assert set(found) == {"outer", "inner"}  # a router of route grain holds no elements


def test_going_out_a_device_after_the_masquerade_sees_its_address_in_ipv4_and_nothing_changes_in_ipv6() -> None:
    found = elements_of(SITE, flow(direction="out", services=["tcp/22"]), partner())
    v6 = "2001:db8:10::10/128 > 2001:db8:100::50/128 6/22-22"
    assert words(found["inner"]) == ["10.1.0.10/32 > 198.51.100.50/32 6/22-22", v6]
    assert words(found["outer"]) == ["203.0.113.34/32 > 198.51.100.50/32 6/22-22", v6]


def test_what_ends_on_a_device_goes_to_its_own_address_on_the_crossed_interface() -> None:
    ending = flow(services=["udp/4500", "esp"], addresses=["203.0.113.34", "2001:db8:f::2"], terminates_on="inner")
    assert words(elements_of(SITE, ending, partner())["inner"]) == [
        "198.51.100.50/32 > 203.0.113.34/32 17/4500-4500",
        "198.51.100.50/32 > 203.0.113.34/32 50",
        "2001:db8:100::50/128 > 2001:db8:f::2/128 17/4500-4500",
        "2001:db8:100::50/128 > 2001:db8:f::2/128 50",
    ]


def test_only_devices_that_are_crossed_at_a_guard_hold_elements() -> None:
    assert set(elements_of(SITE, flow(), partner(), {"inner": ["mid0"], "outer": ["nosuch0"]})) == {"inner"}
    assert set(elements_of(SITE, flow(), partner(), {"inner": ["lan0"]})) == {"inner"}
    assert elements_of(SITE, flow(), partner(), {}) == {}


def test_families_are_never_mixed() -> None:
    only_v6 = partner("six", "2001:db8:100::/64")
    assert words(elements_of(SITE, flow(), only_v6)["inner"]) == ["2001:db8:100::/64 > 2001:db8:10::10/128 6/443-443"]


def test_icmp_means_the_icmp_of_the_family() -> None:
    assert [element.protocol for element in elements_of(SITE, flow(services=["icmp"]), partner())["inner"]] == [1, 58]


def test_deny_from_is_taken_out_exactly() -> None:
    wide = partner("wide", "198.51.100.0/24")
    denied = flow(deny_from=["198.51.100.64/26", "198.51.100.7/32", "2001:db8::/32"])
    elements = elements_of(SITE, denied, wide)["inner"]
    for last in range(256):
        source = ip_address(f"198.51.100.{last}")
        allowed = not (64 <= last < 128 or last == 7)
        assert any(item.matches(source, ip_address("10.1.0.10"), 6, 443) for item in elements) == allowed


def test_what_is_left_of_a_network_is_prefixes() -> None:
    assert without_prefixes(ip_network("192.0.2.0/30"), [ip_network("192.0.2.1/32")]) == (
        ip_network("192.0.2.0/32"),
        ip_network("192.0.2.2/31"),
    )
    assert without_prefixes(ip_network("192.0.2.0/30"), [ip_network("192.0.2.0/24"), ip_network("::/0")]) == ()


def test_a_partner_whose_zone_no_exit_leads_to_is_an_error() -> None:
    lost = partner().model_copy(update={"zone": "edge"})
    with pytest.raises(KeyError, match="edge"):
        elements_of(SITE, flow(), lost)


# --- layers ---------------------------------------------------------------------------------------------------------


def test_routers_are_closed_whole_and_firewalls_at_flow_grain() -> None:
    layers = {layer.device: layer for layer in layers_of(SITE, policy(), "all")}
    assert {name for name, layer in layers.items() if layer.coarse} == {"rtr", "back"}
    assert len({layer.slot for layer in layers.values()}) == 1
    assert layers["inner"].slot.startswith("all-")


def test_the_slot_changes_with_what_the_layers_do_and_not_with_their_title() -> None:
    kept = flow("kept", decisions={"all": "keep"})
    plain, keeping = layers_of(SITE, policy(), "all"), layers_of(SITE, policy(kept), "all")
    renamed = policy().model_copy(update={"profiles": tuple(p.model_copy(update={"cuts": ()}) for p in policy().profiles)})
    assert plain[0].slot != keeping[0].slot
    assert plain[0].slot == layers_of(SITE, renamed, "all")[0].slot


def test_a_vital_flow_is_kept_as_its_decision_says_and_by_the_keep_list() -> None:
    keeping = {layer.device: layer.keep for layer in layers_of(SITE, policy(flow("kept", decisions={"all": "keep"})), "all")}
    assert words(keeping["inner"])[0] == "198.51.100.50/32 > 10.1.0.10/32 6/443-443"
    assert keeping["rtr"] == ()  # closed whole: it keeps nothing
    listed = [{"name": "entry", "flow": "kept", "reason": "vital"}]
    by_list = {layer.device: layer.keep for layer in layers_of(SITE, policy(flow("kept"), keep=listed), "all")}
    assert by_list["inner"] == keeping["inner"]
    cut = {layer.device: layer.keep for layer in layers_of(SITE, policy(flow("kept", decisions={"all": "cut"}), keep=listed), "all")}
    assert cut["inner"] == ()  # the decision made for this very profile counts


def test_the_longest_prefix_tells_which_side_an_address_is_on() -> None:
    layer = {layer.device: layer for layer in layers_of(SITE, policy(), "all")}["inner"]
    assert layer.is_behind(ip_address("198.51.100.50"))
    assert layer.is_behind(ip_address("203.0.113.33"))
    assert not layer.is_behind(ip_address("203.0.113.34"))  # the device's own: what comes to it crosses the guard
    assert not layer.is_behind(ip_address("10.1.0.10"))
    assert not layer.is_behind(ip_address("10.9.0.100"))  # management
    assert not layer.is_behind(ip_address("2001:db8:10::10"))
    assert layer.is_behind(ip_address("2001:db8:100::50"))
    assert not layer.permits(ip_address("198.51.100.50"), ip_address("10.1.0.10"), 6, 443)
    assert layer.permits(ip_address("10.9.0.100"), ip_address("10.9.0.3"), 6, 22)


def test_far_devices_are_cut_before_the_near_ones_that_their_management_crosses() -> None:
    assert waves(SITE, ["outer", "inner", "rtr"]) == {"inner": 0, "outer": 1, "rtr": 1}


def test_a_guard_that_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownName, match="nosuch0"):
        layers_of(SITE, policy(profiles={"bad": {"layers": {"inner": ["nosuch0"]}}}), "bad")
    with pytest.raises(UnknownName, match="gone"):
        layers_of(SITE, policy(profiles={"bad": {"layers": {"gone": ["lan0"]}}}), "bad")
    with pytest.raises(UnknownName, match="no isolation profile"):
        layers_of(SITE, policy(), "nosuch")


def test_a_slot_of_another_policy_is_not_guessed_at() -> None:
    own = layers_of(SITE, policy(), "all")[0]
    assert layers_in_force(SITE, policy(), {own.device: [own.slot]}) == {own.device: (own,)}
    with pytest.raises(Refused) as refusal:
        layers_in_force(SITE, policy(), {own.device: ["all-00000000"]})
    assert refusal.value.rule == "unknown-slot"


# --- Valmont --------------------------------------------------------------------------------------------------------


def written_out(policy: Policy, flow: Flow) -> set[Element]:
    """The elements of a flow by the simplest reading: inside addresses, partners' networks, services, family by family."""
    found = set()
    for name in flow.partners:
        for network in policy.partner(name).networks:
            for address in flow.addresses:
                if address.version == network.version:
                    ends = (network, ip_network(address)) if flow.direction == "in" else (ip_network(address), network)
                    for service in flow.services:
                        found.add(Element(source=ends[0], destination=ends[1], protocol=service.protocol, ports=service.ports))
    return found


def test_every_stage_of_valmont_opens_exactly_the_packets_of_its_flows(site: Site, valmont: Policy) -> None:
    """On the firewalls of `total`, which translate themselves, elements are the flows written out by hand."""
    guards = {layer.device: layer.guard for layer in layers_of(site, valmont, "total") if not layer.coarse}
    seen = set()
    for stage in valmont.stages:
        for name in stage.flows:
            flow = valmont.flow(name)
            by_device = [elements_of(site, flow, valmont.partner(partner), guards) for partner in flow.partners]
            device = {name for found in by_device for name in found}
            assert len(device) == 1, f"{name} must cross exactly one firewall of the profile"
            elements = [element for found in by_device for element in found[min(device)]]
            assert packets_of(elements) == packets_of(written_out(valmont, flow)), name
            seen.add(min(device))
    assert seen == {"fw-ext", "fw-int", "vpn"}


def test_valmont_internet_keeps_the_two_vital_flows_and_total_keeps_nothing(site: Site, valmont: Policy) -> None:
    internet = {layer.device: layer for layer in layers_of(site, valmont, "internet")}
    vital = written_out(valmont, valmont.flow("samu-hub"))
    vital |= written_out(valmont, valmont.flow("blood-supply-in")) | written_out(valmont, valmont.flow("blood-supply-out"))
    assert packets_of(internet["fw-ext"].keep) == packets_of(vital)
    assert not internet["vpn"].keep
    assert all(not layer.keep for layer in layers_of(site, valmont, "total"))


def test_valmont_closes_whole_what_no_kept_flow_crosses(site: Site, valmont: Policy) -> None:
    coarse = {layer.device for layer in layers_of(site, valmont, "total") if layer.coarse}
    assert coarse == {"rtr-isp", "rtr-backup", "sw-core", "sw-dmz"}
    vendors = layers_of(site, valmont, "vendors")
    assert [layer.device for layer in vendors] == ["vpn"]
    assert ip_network("198.51.100.192/26") in vendors[0].scope


def test_valmont_compromised_keeps_the_gateways_of_the_laboratory_only(site: Site, valmont: Policy) -> None:
    (layer,) = layers_of(site, valmont, "compromised")
    record, lis, desk = ip_address("10.20.21.10"), ip_address("10.20.23.10"), ip_address("10.20.28.50")
    assert layer.permits(record, lis, 6, 2575)
    assert layer.permits(lis, record, 6, 2575)
    assert not layer.permits(record, lis, 6, 443)
    assert not layer.permits(desk, lis, 6, 2575)
    assert layer.permits(desk, record, 6, 443)  # does not cross the guard
