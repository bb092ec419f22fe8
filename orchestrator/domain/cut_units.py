"""What may be chosen to close, at which grain, and what closing it costs beside the outside: kept flows and care."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import networkx as nx

from orchestrator.domain.cabling import ORCHESTRATOR, Graph, Point, management_path, site_graph
from orchestrator.domain.cut_ground import INSIDE, Ground, Guard, can_be_driven, guard_of
from orchestrator.domain.network import Device, Grain, Host, Site
from orchestrator.domain.policy import CareAssertion, Flow, Partner, Policy, Profile
from orchestrator.domain.profiles import kept_flows
from orchestrator.domain.smallest_cuts import BY_HAND, GIVES_UP, ONE, PART, Unit
from orchestrator.domain.taking_apart import parting_cores
from orchestrator.domain.topology import Hop, crossings, host_path, owner_of

GrainOfCut: TypeAlias = Literal["device", "flow"]
Names: TypeAlias = Mapping[Guard, frozenset[str]]


@dataclass(frozen=True)
class Kept:
    """What must go on under a profile, by the places that it crosses. `flows` can be kept by a layer of flow grain (care
    assertions with a gateway-to-gateway flow of their own among them); other care is in no layer: any guard ends it."""

    flows: Names
    care: Names

    def given_up(self, guards: Iterable[Guard], whole: Collection[str]) -> tuple[str, ...]:
        """What ends when these guards are closed; `whole` are the devices that cannot tell flows apart."""
        names: set[str] = set()
        for guard in guards:
            names |= self.care.get(guard, frozenset())
            names |= self.flows.get(guard, frozenset()) if guard.device in whole else frozenset()
        return tuple(sorted(names))


def closing_whole(site: Site, close_only: Collection[str] = ()) -> frozenset[str]:
    """The devices that cannot tell flows apart: by their grain, or because their dialect only closes (`close_only`)."""
    return frozenset(device.name for device in site.devices if Grain.FLOW not in device.grain) | frozenset(close_only)


def units(
    site: Site,
    on: Ground,
    kept: Kept,
    *,
    grain: GrainOfCut = "device",
    unable: Collection[str] = (),
    whole: Collection[str] = (),
    spare_kept: bool = False,
) -> tuple[Unit, ...]:
    """The units of a ground.

    `device`: a router or firewall as one, a port of a switch as one. `flow`: only what enforces flows, and ports that no
    kept flow crosses. `unable` devices can only be unplugged; so can the routers of others. With `spare_kept`, a unit
    that gives up kept flows or care costs more than any number of others (care is not counted for a device closed as
    one: only its outer legs are closed, and care is inside). What carries the management network is no unit.
    """
    carrying, parting = _carrying_management(site), _parting(site)
    found: list[Unit] = []
    for device in site.devices:
        points = {point for point in _attachments(device) if point in on.graph and point not in carrying}
        if device.name in unable or not can_be_driven(device):
            found += [Unit(device.name, point.name, BY_HAND, frozenset({point})) for point in sorted(points)]
        elif device.ports:
            for point in sorted(points):
                lost = _lost(kept, [guard_of(point)], device.name in whole) + len(kept.care.get(guard_of(point), ()))
                if grain == "device" or not lost:
                    found.append(Unit(device.name, point.name, ONE + PART + spare_kept * GIVES_UP * lost, frozenset({point})))
        elif points and (grain == "device" or device.name not in whole):
            part = PART * (device.name in parting)
            found += _of_device(kept, device, points, on.graph, ONE + part, device.name in whole, spare_kept)
    for node in site.outside:
        plugs = [Point("interface", node.name, interface.name) for interface in node.interfaces]
        found += [Unit(node.name, point.name, BY_HAND, frozenset({point})) for point in plugs if point in on.graph]
    return tuple(found)


def _of_device(kept: Kept, device: Device, points: set[Point], graph: Graph, cost: int, closes_whole: bool, spare_kept: bool) -> list[Unit]:
    """One unit; where a leg carries the management network, the other legs one by one."""
    lost = {point: _lost(kept, [guard_of(point)], closes_whole) + len(kept.care.get(guard_of(point), ())) for point in points}
    if any(point in graph and point not in points for point in _attachments(device)):
        return [Unit(device.name, point.name, cost + spare_kept * GIVES_UP * lost[point], frozenset({point})) for point in sorted(points)]
    all_lost = _lost(kept, map(guard_of, points), closes_whole)
    return [Unit(device.name, "", cost + spare_kept * GIVES_UP * all_lost, frozenset({*points, Point("core", device.name)}))]


def kept_by(site: Site, policy: Policy, profile: Profile) -> Kept:
    """Kept flows, gateway-to-gateway flows and care assertions that are not sacrificed, by what they cross."""
    flows: dict[Guard, set[str]] = {}
    care: dict[Guard, set[str]] = {}
    for flow in kept_flows(policy, profile.name):
        for name in flow.partners:
            for hops in _ways(site, flow, policy.partner(name)):
                _note(flows, hops, flow.name)
    hosts = {host.name: host for host in site.hosts}
    for entry in profile.keeps:
        ends = [owner_of(site, network.network_address) for network in (entry.source, entry.destination)]
        _note_between(site, flows, entry.name, [hosts.get(end[0].name) if end is not None else None for end in ends])
    given_up = {sacrifice.care for sacrifice in profile.sacrifices}
    for assertion in policy.care:
        if assertion.name not in given_up:
            found = flows if _has_a_gateway(site, profile, assertion) else care
            _note_between(site, found, assertion.name, [hosts.get(assertion.from_host), hosts.get(assertion.to_host)])
    return Kept(*({guard: frozenset(names) for guard, names in found.items()} for found in (flows, care)))


def _has_a_gateway(site: Site, profile: Profile, care: CareAssertion) -> bool:
    """Whether the profile keeps, from host to host, just the conversation that the assertion needs."""
    for entry in profile.keeps:
        ends = [owner_of(site, network.network_address) for network in (entry.source, entry.destination)]
        if [end[0].name if end is not None else None for end in ends] == [care.from_host, care.to_host] and entry.service == care.service:
            return True
    return False


def _ways(site: Site, flow: Flow, partner: Partner) -> Iterator[tuple[Hop, ...]]:
    try:
        yield from crossings(site, flow, partner).values()
    except KeyError:  # no exit leads there: `policy check` says so
        return


def _note_between(site: Site, found: dict[Guard, set[str]], name: str, ends: list[Host | None]) -> None:
    start, end = ends
    if start is not None and end is not None:
        for version in (4, 6):
            _note(found, host_path(site, start, end, version=version) or (), name)


def _note(found: dict[Guard, set[str]], hops: Iterable[Hop], name: str) -> None:
    for hop in hops:
        for side in (hop.enters, hop.leaves):
            if side is not None:
                found.setdefault(Guard(hop.device, side), set()).add(name)


def _lost(kept: Kept, guards: Iterable[Guard], closes_whole: bool) -> int:
    names = [kept.flows.get(guard, frozenset()) for guard in guards] if closes_whole else []
    return len(frozenset().union(*names))


def _attachments(device: Device) -> tuple[Point, ...]:
    """Where a guard can lie: the ports of a switch, the interfaces of everything else."""
    if device.ports:
        return tuple(Point("port", device.name, port.name) for port in device.ports)
    return tuple(Point("interface", device.name, interface.name) for interface in device.interfaces)


def _carrying_management(site: Site) -> frozenset[Point]:
    """The interfaces and ports by which the orchestrator reaches some device: never closed (invariant 3)."""
    graph = site_graph(site, management=True)
    direct = _layer2_ways(graph, Point("interface", ORCHESTRATOR, site.orchestrator.name))
    found: set[Point] = set()
    for device in site.devices:
        if device.management_via is not None:
            found |= {*(management_path(site, device) or ())}
            continue
        ends = (leg.name for leg in device.interfaces if any(address.ip == device.management for address in leg.addresses))
        for name in ends:
            found |= {*direct.get(Point("interface", device.name, name), ())}
    return frozenset(point for point in found if point.kind in ("interface", "port"))


@lru_cache(maxsize=16)
def _layer2_ways(graph: Graph, start: Point) -> dict[Point, list[Point]]:
    """To every point, from `start`, without a router in between: all at once, for one by one is slow on a large site."""
    view: Graph = graph.subgraph([point for point in graph if point.kind != "core"])
    ways: dict[Point, list[Point]] = nx.single_source_shortest_path(view, start) if start in view else {}
    return ways


def _parting(site: Site) -> frozenset[str]:
    """The devices whose whole closing would take the inside apart, and every switch: of these only a part is closed."""
    outer = frozenset(zone.name for zone in site.zones if zone.is_external)
    inside = frozenset(zone.name for zone in site.zones if zone.kind in INSIDE)
    return parting_cores(site_graph(site), outer, inside) | {device.name for device in site.devices if device.ports}
