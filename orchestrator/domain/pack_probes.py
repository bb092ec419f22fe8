"""What a cut-off asks afterwards, per profile: what must be stopped now, what is kept, and whether care goes on.

Every exit, both directions, both families: from one vantage point of every inside zone (and of every way out of it) to
hosts outside by TCP, UDP and ICMP; from outside to everything that is published and to what ends on a device itself;
across the guards inside the site; through every spared zone that has an internet exit of its own, to what lies beyond it.
Only what a guard of the profile stops is asked as negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.domain.compile import prefix_of
from orchestrator.domain.layer import Layer
from orchestrator.domain.network import Address, Host, Node, Prefix, Site
from orchestrator.domain.plan_probes import care_probes, positive, published_services
from orchestrator.domain.policy import Policy, Profile
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.profiles import kept_flows
from orchestrator.domain.questions import ICMP, Containment, Question, Way, addresses_in, inside_way, probe_of, service_of, way_of
from orchestrator.domain.services import FlowService

HOSTS_PER_ZONE = 2


def profile_probes(site: Site, policy: Policy, profile: Profile, layers: Sequence[Layer]) -> tuple[Probe, ...]:
    """Each question once, negative ones first. `layers` are those of the profile."""
    cut = Containment({layer.device: (layer,) for layer in layers})
    probes: dict[str, Probe] = {}
    for zone in profile.spares:
        for through in transit_probes(site, profile, zone, cut):
            probes.setdefault(through.id, through)
    for question in (*_outwards(site), *_inwards(site), *_to_devices(site)):
        way = way_of(site, question)
        if way is not None and cut.stops(way) is not None:
            side = "outwards" if question.direction == "out" else "inwards"
            probe = probe_of(site, Purpose.NEGATIVE, question, way, about=f"{profile.name}: {side}")
            if probe is not None:
                probes.setdefault(probe.id, probe)
    for probe in _across(site, profile, cut):
        probes.setdefault(probe.id, probe)
    for flow in kept_flows(policy, profile.name):
        for name in flow.partners:
            for question, kept, _ in positive(site, flow, policy.partner(name)):
                way = way_of(site, question)
                if kept is not None and way is not None and cut.stops(way) is None:
                    probes.setdefault(kept.id, kept)
    return (*probes.values(), *care_probes(site, policy, [sacrifice.care for sacrifice in profile.sacrifices]))


def transit_probes(site: Site, profile: Profile, zone: str, cut: Containment) -> Iterator[Probe]:
    """From the inside, through the spared zone, to what is not of that zone: what the guards of the profile stop of it."""
    for question, way in transit_questions(site, zone):
        probe = probe_of(site, Purpose.NEGATIVE, question, way, about=f"{profile.name}: transit of {zone}")
        if probe is not None and cut.stops(way) is not None:
            yield probe


def transit_questions(site: Site, zone: str) -> Iterator[tuple[Question, Way]]:
    """What the site's own routes lead through a transit zone to somebody else, whether it is stopped or not."""
    prefixes = site.zone(zone).prefixes if site.zone(zone).transit else ()
    led = [route.to for node in (*site.devices, *site.hosts) for route in node.routes if _any_holds(prefixes, route.via)]
    beyond = [
        (where, address, host)
        for host in site.hosts
        for where, address in addresses_in(site, host, external=True)
        if where != zone and _any_holds(led, address)
    ]
    for asking in inside_vantage_points(site) if beyond else ():
        for _, own in addresses_in(site, asking, external=False):
            for where, address, host in beyond:
                for service in (*_one_of_each(host), ICMP) if address.version == own.version else ():
                    question = Question("out", own, address, where, service)
                    way = way_of(site, question)
                    if way is not None and way.exit is not None and way.exit.zone == zone:
                        yield question, way


def _outwards(site: Site) -> Iterator[Question]:
    targets = [
        (zone.name, address, service)
        for zone in site.zones
        if zone.is_external
        for host in outside_hosts(site, zone.name)[:HOSTS_PER_ZONE]
        for address in told_apart(site, host, zone.name)
        for service in (*_one_of_each(host), ICMP)
    ]
    for host in inside_vantage_points(site):
        for _, own in addresses_in(site, host, external=False):
            for zone, address, service in targets:
                if address.version == own.version:
                    yield Question("out", own, address, zone, service)


def _inwards(site: Site) -> Iterator[Question]:
    """To everything that is published; and, from zones with routes of their own, to the hosts that they lead to."""
    for host in site.hosts:
        for zone, address in addresses_in(site, host, external=True) if host.is_vantage_point else ():
            if host not in outside_hosts(site, zone)[:1] or address not in told_apart(site, host, zone)[:2]:
                continue
            for inside, service in published_services(site, address.version):
                yield Question("in", inside, address, zone, service)
            for far in site.hosts:
                for _, inside in addresses_in(site, far, external=False):
                    if any(inside in route.to for route in host.routes if route.to.version == inside.version == address.version):
                        for service in (*_one_of_each(far), ICMP):
                            yield Question("in", inside, address, zone, service)


def _to_devices(site: Site) -> Iterator[Question]:
    """To the services that end on a device, at its outer addresses."""
    for device in site.devices:
        for _, own in addresses_in(site, device, external=True) if device.services else ():
            for zone in (zone.name for zone in site.zones if zone.is_external):
                for host in outside_hosts(site, zone)[:1]:
                    for address in told_apart(site, host, zone)[:2] if host.is_vantage_point else ():
                        for service in device.services if address.version == own.version else ():
                            yield Question("in", own, address, zone, service_of(service.transport, service.port), device.name)


def _across(site: Site, profile: Profile, cut: Containment) -> Iterator[Probe]:
    """Between the inside zones that the profile separates and the rest of the inside, both ways."""
    external = {zone.name for zone in site.zones if zone.is_external}
    separated = set(profile.cuts) - external
    for start in site.hosts:
        for end in site.hosts:
            ends = [next((zone for zone, _ in addresses_in(site, host, external=False)), None) for host in (start, end)]
            if not start.is_vantage_point or None in ends or (ends[0] in separated) == (ends[1] in separated):
                continue
            for _, address in addresses_in(site, end, external=False):
                for service in _one_of_each(end):
                    way = inside_way(site, start, end, service, address.version)
                    if way is None or cut.stops(way) is None:
                        continue
                    own = next(own for _, own in addresses_in(site, start, external=False) if own.version == address.version)
                    asked = Question("out", own, address, str(ends[1]), service)
                    probe = probe_of(site, Purpose.NEGATIVE, asked, way, about=f"{profile.name}: across")
                    if probe is not None:
                        yield probe


def inside_vantage_points(site: Site) -> tuple[Host, ...]:
    """One per inside zone and way out of it: a second default route is a second way out."""
    found: dict[tuple[str, tuple[Address, ...]], Host] = {}
    for host in site.hosts:
        for zone, _ in addresses_in(site, host, external=False) if host.is_vantage_point else ():
            found.setdefault((zone, host.gateway), host)
    return tuple(found.values())


def outside_hosts(site: Site, zone: str) -> list[Host]:
    """The hosts of an external zone: first those that live in no other, and answer something."""
    hosts = [host for host in site.hosts if any(where == zone for where, _ in addresses_in(site, host, external=True))]
    return sorted(hosts, key=lambda host: (len({where for where, _ in addresses_in(site, host, external=True)}), not host.services))


def told_apart(site: Site, host: Host, zone: str) -> tuple[Address, ...]:
    """Its first address of each family, then those that a device has a route of its own to (a transit)."""
    addresses = [address for where, address in addresses_in(site, host, external=True) if where == zone]
    first = {address.version: address for address in reversed(addresses)}
    special = {route.to for device in site.devices for route in device.routes}
    return (*(first[version] for version in sorted(first)), *(a for a in addresses if a not in first.values() and prefix_of(a) in special))


def _any_holds(prefixes: Iterable[Prefix], address: Address) -> bool:
    return any(prefix.version == address.version and address in prefix for prefix in prefixes)


def _one_of_each(node: Node) -> tuple[FlowService, ...]:
    """Its first TCP and its first UDP service."""
    first: dict[str, FlowService] = {}
    for service in node.services:
        first.setdefault(service.transport, service_of(service.transport, service.port))
    return tuple(first.values())
