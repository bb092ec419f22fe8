"""The topology of the CHU de Valmont: what flows cross, what a cut leaves connected, as the scenario says."""

from __future__ import annotations

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.cabling import bridging_hosts, site_graph
from orchestrator.domain.network import Site, ZoneKind
from orchestrator.domain.policy import Policy
from orchestrator.domain.topology import (
    Hop,
    Point,
    crossing,
    crossings,
    devices_on_path,
    host_path,
    management_path,
    paths,
    route,
    separated,
    told,
)
from tests.unit.broken_files import INVENTORY, POLICY


@pytest.fixture(scope="module")
def site() -> Site:
    return read_inventory(INVENTORY).site


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(POLICY).policy


def inside(site: Site) -> set[str]:
    return {zone.name for zone in site.zones if zone.kind in (ZoneKind.INTERNAL, ZoneKind.DMZ)}


FIBRE = ("rtr-isp", "up0", "edge0")
TO_THE_DMZ_OUT = (("fw-ext", "wan0", "dmzout0"), ("sw-dmz", "fwext-out", "fwint-out"))


@pytest.mark.parametrize(
    ("flow", "partner", "expected"),
    [
        ("portal-gps", "gps", (FIBRE, ("fw-ext", "wan0", "dmzin0"), ("sw-dmz", "fwext-in", "h-portal"))),
        ("sms", "sms-operator", (FIBRE, ("fw-ext", "wan0", "dmzout0"), ("sw-dmz", "fwext-out", "h-gateway"))),
        (
            "national-services",
            "national-services",
            (FIBRE, *TO_THE_DMZ_OUT, ("fw-int", "dmzout0", "care0"), ("sw-core", "fwint-care", "h-record")),
        ),
        ("samu-hub", "hub-sante", (FIBRE, *TO_THE_DMZ_OUT, ("fw-int", "dmzout0", "samu0"), ("sw-core", "fwint-samu", "h-samu"))),
        ("dicom-in", "sister", (("sw-dmz", "p-ght", "fwint-ght"), ("fw-int", "ght0", "imaging0"), ("sw-core", "fwint-imaging", "h-pacs"))),
        ("remote-maintenance", "vendor-1", (FIBRE, ("vpn", "wan0", "offices0"), ("sw-core", "vpn", "h-bastion"))),
        (
            "remote-maintenance",
            "vendor-3",
            (FIBRE, ("vpn", "wan0", "offices0"), ("sw-core", "vpn", "h-bastion")),
        ),  # no host of the inventory
        ("staff-vpn", "staff", (FIBRE, ("vpn", "wan0", None))),  # it ends on the gateway itself
    ],
)
def test_devices_that_a_flow_crosses(
    site: Site, policy: Policy, flow: str, partner: str, expected: tuple[tuple[str, str | None, str | None], ...]
) -> None:
    found = crossings(site, policy.flow(flow), policy.partner(partner))
    assert {address.version for address, _ in found} == {4, 6}
    assert set(found.values()) == {tuple(Hop(*hop) for hop in expected)}, "both families go the same way"
    assert crossing(site, policy.flow(flow), policy.partner(partner)) == expected


def test_every_flow_of_the_policy_has_a_way(site: Site, policy: Policy) -> None:
    for flow in policy.flows:
        for partner in flow.partners:
            assert all(crossings(site, flow, policy.partner(partner)).values()), (flow.name, partner)


def test_devices_between_zones_by_an_exit(site: Site) -> None:
    assert [hop.device for hop in devices_on_path(site, "ght", "imaging", "ght-mpls")] == ["sw-dmz", "fw-int", "sw-core"]
    assert [hop.device for hop in devices_on_path(site, "internet", "dmz-in", "fibre")] == ["rtr-isp", "fw-ext", "sw-dmz"]
    assert [hop.device for hop in devices_on_path(site, "internet", "offices", "backup-4g")] == ["rtr-backup", "sw-core"]
    assert devices_on_path(site, "internet", "dental", "backup-4g") == ()


def test_care_stays_inside(site: Site) -> None:
    expected = (("sw-core", "h-ws", "fwint-offices"), ("fw-int", "offices0", "care0"), ("sw-core", "fwint-care", "h-record"))
    for version in (4, 6):
        assert host_path(site, site.host("ws-offices"), site.host("record"), version=version) == expected
    assert host_path(site, site.host("emergency"), site.host("record")) == (("sw-core", "h-emergency", "h-record"),)


def test_the_longest_match_decides(site: Site) -> None:
    from ipaddress import ip_address

    fw_int = site.device("fw-int")
    default, transit = route(site, fw_int, ip_address("198.51.100.98")), route(site, fw_int, ip_address("198.51.100.99"))
    assert default is not None
    assert transit is not None
    assert (default[0].name, transit[0].name) == ("dmzout0", "ght0")


@pytest.mark.parametrize(
    ("cut", "zones", "spared", "left"),
    [
        ({"rtr-isp": ["up0"], "rtr-backup": ["lte0"]}, {"internet", "isp"}, {"ght"}, None),
        ({"fw-ext": ["wan0"], "vpn": ["wan0"], "sw-core": ["p-backup"]}, {"internet", "isp", "vendors"}, {"ght"}, None),
        ({"rtr-isp": ["up0"], "rtr-backup": ["lte0"], "sw-dmz": ["p-ght"]}, {"internet", "isp", "ght"}, set(), None),
        ({"rtr-isp": ["up0"], "rtr-backup": ["lte0"], "fw-int": ["ght0"]}, {"internet", "isp", "ght"}, set(), None),
        ({"rtr-isp": ["up0"], "sw-core": ["p-backup"]}, {"internet", "isp"}, {"ght"}, None),  # with rtr-backup dead
        ({"rtr-isp": ["up0"]}, {"internet"}, {"ght"}, "segment lte → rtr-backup[lte0 → offices0] → sw-core[p-backup]"),
        ({"rtr-backup": ["lte0"]}, {"internet"}, {"ght"}, "rtr-isp[up0 → edge0] → segment edge → fw-ext[wan0 → dmzin0] → sw-dmz[fwext-in]"),
        (
            {"rtr-isp": ["up0"], "rtr-backup": ["lte0"]},
            {"internet"},
            set(),
            "ght-gw[net0 → mpls0] → segment mpls → sw-dmz[p-ght → fwint-ght]",
        ),
        ({"fw-ext": ["wan0"], "sw-core": ["p-backup"]}, {"internet"}, {"ght"}, "segment edge → vpn[wan0 → offices0] → sw-core[vpn]"),
    ],
)
def test_what_a_cut_leaves_connected(site: Site, cut: dict[str, list[str]], zones: set[str], spared: set[str], left: str | None) -> None:
    path = separated(site, cut, zones, inside(site), spared=spared)
    if left is None:
        assert path is None
    else:
        assert path is not None
        assert left in told(path)


def test_no_single_exit_device_separates(site: Site) -> None:
    for device in site.devices:
        guard = [item.name for item in device.attachments]
        assert separated(site, {device.name: guard}, {"internet"}, inside(site)) is not None


def test_the_layers_of_each_profile_cut_what_they_promise_and_are_all_needed(site: Site, policy: Policy) -> None:
    """Without any one of the flow-grain guards of `internet` something is left."""
    profile = policy.profile("internet")
    for device in ("fw-ext", "vpn"):
        less = {name: guard for name, guard in profile.layers.items() if name != device}
        assert separated(site, less, set(profile.cuts), inside(site), spared=set(profile.spares)) is not None


def test_the_management_network_is_apart(site: Site) -> None:
    graph = site_graph(site)
    assert not [point for point in graph if graph.nodes[point].get("zone") == "admin"]
    for device in site.devices:
        path = management_path(site, device)
        assert path is not None
        assert told(path) == f"orchestrator[mgmt0] → segment oob → {device.name}[mgmt0]"


def test_hosts_do_not_forward(site: Site) -> None:
    """The sister hospital has a leg on the internet and one on the GHT network: only its gateway joins the two."""
    graph = site_graph(site)
    assert not graph.has_edge(Point("interface", "sister", "eth0"), Point("interface", "sister", "ght0"))
    assert bridging_hosts(site) == ()


def test_every_path_from_ght_to_imaging_crosses_fw_int_or_the_edge(site: Site) -> None:
    found = list(paths(site, "ght", "imaging", longest=14))
    assert found
    assert all(Point("core", "fw-int") in path for path in found)
