"""The cut proof: the smallest cuts of Valmont as the scenario states them, and the laws on random sites."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.cabling import separated, site_graph, told
from orchestrator.domain.cut_ground import Guard, Promise, ground, promises
from orchestrator.domain.cut_proof import Proof, Smallest, prove
from orchestrator.domain.cut_units import Kept, units
from orchestrator.domain.max_flow import FlowNetwork
from orchestrator.domain.network import Site
from orchestrator.domain.next_guards import next_guards, remedy
from orchestrator.domain.policy import Policy
from orchestrator.domain.smallest_cuts import Cut, smallest_cut, smallest_cuts
from orchestrator.domain.taking_apart import parting_cores
from tests.unit import hand_made
from tests.unit.random_sites import is_open, policy_with, sites

ROOT = Path(__file__).parents[2]
NOTHING_KEPT = Kept({}, {})
SWITCHES = ("sw-core", "sw-dmz")
KEPT = {"samu-hub", "blood-supply-in", "blood-supply-out"}
laws = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def valmont() -> tuple[Site, Policy]:
    return read_inventory(ROOT / "inventory/valmont.yml").site, read_policy(ROOT / "policies/valmont").policy


def proof(profile: str, **more: Any) -> Proof:
    return prove(*valmont(), profile, **more)


def words(cuts: Iterable[Cut]) -> list[set[str]]:
    return [{str(guard) for guard in (*cut.guards, *cut.by_hand)} for cut in cuts]


def at(found: Proof, grain: str) -> Smallest:
    return next(item for item in found.smallest if item.grain == grain)


# --- Valmont, as the scenario states it


def test_the_smallest_cut_of_internet_is_the_two_routers() -> None:
    smallest = at(proof("internet"), "device")
    assert words(smallest.best) == [{"rtr-isp[up0]", "rtr-backup[lte0]"}]
    assert words(smallest.others) == [{"rtr-isp[up0]", "sw-core[p-backup]"}]
    assert set(smallest.gives_up[0]) == KEPT, "which is why the profile lies at flow grain"
    assert not smallest.bounded


def test_at_flow_grain_it_is_the_two_firewalls_and_the_port_towards_the_backup_router() -> None:
    smallest = at(proof("internet"), "flow")
    assert words(smallest.best) == [{"fw-ext[wan0]", "vpn[wan0]", "sw-core[p-backup]"}]
    assert words(smallest.others) == [{"fw-ext[wan0]", "sw-core[vpn]", "sw-core[p-backup]"}]
    assert smallest.gives_up == ((), ())


def test_total_adds_the_ght_port_or_the_ght_leg() -> None:
    device, flow = (at(proof("total"), grain) for grain in ("device", "flow"))
    routers, walls = {"rtr-isp[up0]", "rtr-backup[lte0]"}, {"fw-ext[wan0]", "vpn[wan0]", "sw-core[p-backup]"}
    assert words(device.best) == [routers | {"sw-dmz[p-ght]"}, routers | {"fw-int[ght0]"}]
    assert words(flow.best) == [walls | {"sw-dmz[p-ght]"}, walls | {"fw-int[ght0]"}]


def test_with_the_backup_router_dead_its_port_does_it() -> None:
    found = proof("internet", dead=["rtr-backup"])
    assert found.holds, "the profile guards the port as well"
    assert Guard("sw-core", "p-backup") in found.separations[0].needed
    assert words(at(found, "device").best) == [{"rtr-isp[up0]", "sw-core[p-backup]"}]


def test_the_profile_s_own_guards_separate_and_the_certificate_says_how() -> None:
    found = proof("internet")
    (separation,) = found.separations
    assert found.holds
    assert set(map(str, separation.first)) == {"fw-ext[wan0]", "vpn[wan0]", "rtr-backup[lte0]"}
    assert list(map(str, separation.second)) == ["sw-core[p-backup]"]
    assert set(map(str, separation.needed)) == {"fw-ext[wan0]", "vpn[wan0]"}, "the backup line is closed twice"
    assert "rtr-isp" in separation.reached
    assert "fw-int" not in separation.reached
    assert set(found.kept) == KEPT


def test_every_exit_names_what_stands_behind_it() -> None:
    exits = {item.exit.name: item for item in proof("internet").exits}
    assert set(map(str, exits["fibre"].guards)) == {"fw-ext[wan0]", "vpn[wan0]"}
    assert list(map(str, exits["backup-4g"].guards)) == ["rtr-backup[lte0]"]
    assert exits["ght-mpls"].spared
    assert not [item for item in exits.values() if item.path is not None and not item.spared]


def test_a_spared_zone_with_an_exit_of_its_own_is_told() -> None:
    told = "fw-int sends 198.51.100.99/32 to ght, which has an internet exit of its own: "
    assert f"{told}stopped there by fw-int[ght0]" in map(str, proof("internet").transit)
    assert f"{told}NO GUARD STOPS IT THERE" in map(str, proof("internet", dead=["fw-int"]).transit)
    assert proof("total").transit == ()


def test_the_zones_inside_are_proved_one_by_one_and_keep_their_gateway() -> None:
    found = proof("compromised")
    assert found.holds
    assert [item.promise.zones for item in found.separations] == [("lab",), ("cardiology",), ("dental",)]
    lab = next(item for item in found.smallest if item.grain == "flow" and item.promise.zones == ("lab",))
    assert words(lab.best) == [{"fw-int[lab0]"}], "the port of the switch would end the results of the laboratory"


def test_a_profile_that_promises_nothing_proves_nothing() -> None:
    found = proof("vendors")
    assert not found.holds
    assert found.separations == ()
    assert not remedy(*valmont(), "vendors", ["vpn"]).promised


# --- dead and distrusted


@pytest.mark.parametrize("name", ["rtr-isp", "rtr-backup", "sw-core", "sw-dmz", "fw-int"])
def test_internet_survives_the_loss_of_any_of_these(name: str) -> None:
    assert proof("internet", dead=[name]).holds
    assert next_guards(*valmont(), "internet", [name]) == ()


@pytest.mark.parametrize("name", ["rtr-isp", "rtr-backup", "sw-core", "sw-dmz", "fw-int", "fw-ext", "vpn"])
def test_total_survives_the_loss_of_any_device(name: str) -> None:
    assert proof("total", dead=[name]).holds


def test_with_fw_ext_dead_the_path_is_told_hop_by_hop() -> None:
    found = proof("internet", dead=["fw-ext"])
    assert not found.holds
    path = found.separations[0].path
    assert path is not None
    assert told(path) == "segment uplink → rtr-isp[up0 → edge0] → segment edge → fw-ext[wan0 → dmzin0] → sw-dmz[fwext-in]"


def test_what_keeps_the_vital_flows_is_closed_before_what_ends_them() -> None:
    fine = remedy(*valmont(), "internet", ["fw-ext"])
    assert set(map(str, fine.guards)) == {"sw-dmz[fwext-in]", "sw-dmz[fwext-out]"}
    assert (fine.gives_up, fine.separates) == ((), True)
    whole = remedy(*valmont(), "internet", ["fw-ext"], close_only=SWITCHES)
    assert list(map(str, whole.guards)) == ["rtr-isp[up0]"]
    assert set(whole.gives_up) == KEPT
    assert list(map(str, remedy(*valmont(), "internet", ["vpn"], close_only=SWITCHES).guards)) == ["sw-core[vpn]"]


def test_where_no_device_can_do_it_the_cable_is_named() -> None:
    found = remedy(*valmont(), "internet", ["rtr-backup", "sw-core"])
    assert (found.guards, list(map(str, found.by_hand)), found.separates) == ((), ["rtr-backup[lte0]"], False)
    assert found.left is not None
    assert told(found.left) == "segment lte → rtr-backup[lte0 → offices0] → sw-core[p-backup]"
    (hole,) = proof("internet", dead=["rtr-backup", "sw-core"]).holes
    assert str(hole.unplug) == "rtr-backup[lte0]"


def test_a_distrusted_switch_may_join_its_vlans_and_a_dead_one_does_not() -> None:
    assert proof("total", dead=["sw-dmz"]).holds, "the GHT leg of fw-int holds"
    found = proof("total", distrusted=["sw-dmz"])
    assert not found.holds
    assert str(found.holes[0].unplug) == "sw-dmz[p-ght]"


def test_with_everything_dead_every_exit_is_a_hole() -> None:
    site, _ = valmont()
    found = proof("total", dead=[device.name for device in site.devices])
    assert {str(hole.unplug) for hole in found.holes} == {"rtr-isp[up0]", "rtr-backup[lte0]", "sw-dmz[p-ght]"}


# --- by hand


def test_a_device_of_grain_manual_guards_nothing_and_is_a_hole() -> None:
    changed = hand_made.SITE.model_dump(mode="json")
    next(device for device in changed["devices"] if device["name"] == "back")["grain"] = ["manual"]
    found = prove(Site.model_validate(changed), hand_made.policy(), "all")
    assert not found.holds
    assert [str(hole.unplug) for hole in found.holes] == ["back[lte0]"]
    assert told(found.holes[0].path) == "segment net → back[lte0 → lan0] → segment lan"


def test_a_layer_with_a_scope_proves_nothing_beyond_its_scope() -> None:
    layers = {"outer": ["wan0"], "back": ["lte0"]}
    narrow = hand_made.policy(profiles={"p": {"layers": layers, "cuts": ["internet"], "scope_zones": ["mid"]}})
    exact = hand_made.policy(profiles={"p": {"layers": layers, "cuts": ["internet"], "scope_zones": ["internet"]}})
    assert not prove(hand_made.SITE, narrow, "p").holds
    assert prove(hand_made.SITE, exact, "p").holds


def test_what_carries_the_management_is_never_chosen() -> None:
    changed = hand_made.SITE.model_dump(mode="json")
    for device in changed["devices"]:
        if device["name"] == "outer":  # the way to `inner` leads over its outside leg: in band
            device["interfaces"] += [{"name": "mgmt0", "zone": "admin", "link": "oob", "addresses": ["10.9.0.2/24"]}]
        if device["name"] == "inner":
            device["management"] = "203.0.113.34"
    site = Site.model_validate(changed)
    chosen = hand_made.policy(profiles={"p": {"layers": {"back": ["lte0"]}, "cuts": ["internet"]}})
    for dead in ([], ["rtr"]):
        guards = remedy(site, chosen, "p", dead).guards
        assert guards
        assert not {Guard("outer", "mid0"), Guard("inner", "mid0"), Guard("outer", "mgmt0")} & set(guards)


def test_an_endless_edge_is_no_cut() -> None:
    network = FlowNetwork(3)
    first, _ = network.edge(0, 1, 5), network.edge(1, 2)
    assert network.near_side(0, 2, {}) == {0}
    assert network.near_side(0, 2, {first: 10**18}) is None
    assert network.near_side(0, 2, {first: 0}) == {0}


@settings(max_examples=100, deadline=None)
@example([(0, 1, 5), (1, 2, 5), (2, 6, 5), (0, 5, 5), (5, 2, 5), (1, 3, 1), (3, 4, 1), (4, 6, 1)])  # takes back what it pushed
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 9)), min_size=4, max_size=20))
def test_the_flow_network_finds_a_minimum_cut(edges: list[tuple[int, int, int]]) -> None:
    network = FlowNetwork(7)
    peer: nx.DiGraph[int] = nx.DiGraph()
    peer.add_nodes_from(range(7))
    for start, end, capacity in edges:
        network.edge(start, end, capacity)
        known = peer.get_edge_data(start, end, {"capacity": 0})["capacity"]
        peer.add_edge(start, end, capacity=known + capacity)
    near = network.near_side(0, 6, {})
    assert near is not None
    assert 0 in near
    assert 6 not in near
    assert sum(capacity for start, end, capacity in edges if start in near and end not in near) == nx.minimum_cut_value(peer, 0, 6)


# --- laws, on random sites


def closed_units(chosen: Iterable[Any]) -> set[tuple[str, str]]:
    return {(point.owner, point.name) for unit in chosen for point in unit.points if point.kind != "core"}


def only_promise(site: Site) -> Promise:
    return promises(site, policy_with({}).profile("p"))[0]


@laws
@given(sites())
def test_a_smallest_cut_separates_and_none_is_smaller(site: Site) -> None:
    on = ground(site, only_promise(site))
    choices = units(site, on, NOTHING_KEPT)
    cut = smallest_cut(on, choices)
    assert cut is not None, "a cable can always be pulled"
    assert not is_open(site, {*cut.guards, *cut.by_hand})
    if not cut.by_hand:
        driven = [unit for unit in choices if not unit.by_hand]
        for size in range(cut.size):
            for fewer in combinations(driven, size):
                assert is_open(site, closed_units(fewer)), fewer
    else:
        assert is_open(site, closed_units(unit for unit in choices if not unit.by_hand)), "somebody had to walk for nothing"


@laws
@given(sites())
def test_taking_any_element_away_reopens_a_path(site: Site) -> None:
    on = ground(site, only_promise(site))
    cuts, _ = smallest_cuts(on, units(site, on, NOTHING_KEPT))
    for cut in cuts:
        assert cut.size == cuts[0].size
        assert not is_open(site, {*cut.guards, *cut.by_hand})
        for element in (*cut.guards, *cut.by_hand):
            assert is_open(site, {*cut.guards, *cut.by_hand} - {element}), f"{element} of {cut}"


@laws
@given(sites())
def test_every_smallest_set_of_devices_is_found(site: Site) -> None:
    on = ground(site, only_promise(site))
    choices = units(site, on, NOTHING_KEPT)
    cuts, bounded = smallest_cuts(on, choices)
    driven = [unit for unit in choices if not unit.by_hand]
    if cuts[0].by_hand or bounded:
        return
    expected = {
        tuple(sorted({unit.device for unit in chosen}))
        for chosen in combinations(driven, cuts[0].size)
        if not is_open(site, closed_units(chosen))
    }
    assert {cut.devices for cut in cuts} == expected


@laws
@given(sites(), st.data())
def test_the_proof_agrees_with_the_search_whatever_is_guarded(site: Site, data: st.DataObject) -> None:
    places = sorted({(device.name, item.name) for device in site.devices for item in device.attachments})
    chosen = data.draw(st.lists(st.sampled_from(places), max_size=6, unique=True)) if places else []
    layers: dict[str, list[str]] = {}
    for device, name in chosen:
        layers.setdefault(device, []).append(name)
    dead = data.draw(st.sets(st.sampled_from([device.name for device in site.devices])))
    policy = policy_with(layers)
    alive = {place for place in chosen if place[0] not in dead}
    found = prove(site, policy, "p", dead=dead)
    assert found.holds is not is_open(site, alive)
    assert found.holds is (separated(site, {d: n for d, n in layers.items() if d not in dead}, {"net", "mid"}, {"lan", "ward"}) is None)
    for guard in found.separations[0].needed:
        assert is_open(site, alive - {guard})
    further = remedy(site, policy, "p", dead)
    assert (further.path is None) is found.holds
    assert not {guard.device for guard in further.guards} & dead
    assert further.separates is not is_open(site, {*alive, *further.guards})
    assert not is_open(site, {*alive, *further.guards, *further.by_hand})
    for guard in further.guards:
        assert is_open(site, {*alive, *further.guards, *further.by_hand} - {guard}), f"{guard} is one too many"


@laws
@given(sites())
def test_what_holds_the_inside_together_is_found(site: Site) -> None:
    graph = site_graph(site)
    inner = graph.subgraph([point for point, data in graph.nodes.items() if data.get("zone") not in ("net", "mid")])
    ends = {point for point, data in inner.nodes.items() if data.get("zone") and point.kind in ("segment", "vlan")}

    def groups(left: Any) -> int:
        return sum(not ends.isdisjoint(part) for part in nx.connected_components(left))

    cores = [point for point in inner if point.kind == "core"]
    expected = {core.owner for core in cores if groups(inner.subgraph(set(inner) - {core})) > groups(inner)}
    assert parting_cores(graph, frozenset({"net", "mid"}), frozenset({"lan", "ward"})) == expected
