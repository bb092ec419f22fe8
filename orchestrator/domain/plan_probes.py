"""What is asked on live traffic to verify a stage: what must pass, what must not, and whether care goes on.

Positive: every flow, partner, family and service, from a vantage point that has the partner's address (or from the
application's own host). Negative: other vantage points to the same service, other services from the same vantage point,
and from the inside to the internet; only where a guard on the way stops them, so that a pass is a hole and not an error
of ours. What can be asked of nobody is told to people instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from orchestrator.domain.cabling import Same
from orchestrator.domain.compile import without_prefixes
from orchestrator.domain.network import Address, Node, Prefix, Site
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.questions import (
    Containment,
    Question,
    addresses_in,
    answer_kind,
    can_be_asked,
    probe_of,
    service_of,
    single,
    way_of,
)
from orchestrator.domain.services import FlowService
from orchestrator.domain.topology import owner_of

TRANSACTIONS = {"record": "/record/42", "image": "/image/probe"}  # paths of a transaction probe
_NAMES = {1: "icmp", 50: "esp", 58: "icmpv6"}


def stage_probes(
    site: Site, policy: Policy, pairs: Sequence[tuple[Flow, Partner]], after: Containment, *, sacrificed: Iterable[str] = ()
) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """The probes of a stage, and what no probe can show. `after` is what will lie on the devices once it is open;
    `sacrificed` are the care assertions that the profiles in force have given up by name."""
    probes: dict[str, Probe] = {}
    unprobed: list[str] = []
    seen: set[Question] = set()
    around = _Around(site)
    for flow, partner in pairs:
        for question, probe, about in positive(site, flow, partner):
            if probe is None:
                unprobed.append(about)
            else:
                probes.setdefault(_key(probe), probe)
            neighbours = [item for item in dict.fromkeys(around.beside(flow, question)) if item not in seen]
            seen.update(neighbours)
            for negative in _stopped(site, neighbours, after, about=flow.name):
                probes.setdefault(_key(negative), negative)
    care = care_probes(site, policy, sacrificed)
    return (*probes.values(), *care), tuple(dict.fromkeys(unprobed))


def positive(site: Site, flow: Flow, partner: Partner) -> Iterator[tuple[Question, Probe | None, str]]:
    """Per family and service of the conversation: the question, its probe, and what to tell people when there is none."""
    for inside, service in ((address, service) for address in _inside(site, flow) for service in flow.services):
        about = f"{flow.name} with {partner.name}, IPv{inside.version}, {_said(service)}"
        best: tuple[Question, Probe | None] | None = None
        for outside in _far_ends(site, flow, partner, inside.version, service):
            question = Question(flow.direction, inside, outside, partner.zone, service, flow.terminates_on)
            way = way_of(site, question)
            probe = probe_of(site, Purpose.POSITIVE, question, way, about=flow.name) if way is not None else None
            if best is None or (probe is not None and best[1] is None):
                best = (question, probe)
            if probe is not None:
                break
        if best is None:
            outside = next((network[0] for network in partner.networks if network.version == inside.version), inside)
            best = (Question(flow.direction, inside, outside, partner.zone, service, flow.terminates_on), None)
        yield *best, about


def care_probes(site: Site, policy: Policy, sacrificed: Iterable[str]) -> tuple[Probe, ...]:
    """The care assertions that hold, in both families where both ends have them."""
    given_up = set(sacrificed)
    probes = []
    for care in policy.care:
        if care.name in given_up:
            continue
        start, end = site.host(care.from_host), site.host(care.to_host)
        for _, address in addresses_in(site, end, external=False):
            kind = answer_kind(site, address, care.service)
            if not start.is_vantage_point or kind is None:
                continue
            transaction = "transaction" if care.transaction is not None else kind
            probes.append(
                Probe(
                    id=f"care:{care.name}:{address}",
                    purpose=Purpose.CARE,
                    vantage=start.name,
                    destination=address,
                    kind=transaction,
                    port=care.service.ports[0] if care.service.ports else None,
                    path=TRANSACTIONS[care.transaction] if care.transaction else "/",
                    timeout_s=3.0,
                    about=care.name,
                )
            )
    return tuple(probes)


def _stopped(site: Site, questions: Iterable[Question], after: Containment, *, about: str) -> Iterator[Probe]:
    for question in questions:
        way = way_of(site, question) if can_be_asked(site, question) else None
        if way is not None and after.stops(way) is not None:
            probe = probe_of(site, Purpose.NEGATIVE, question, way, about=about)
            if probe is not None:
                yield probe


class _Around:
    """The neighbours of the questions that a stage opens; those that are open for another reason are left out later."""

    def __init__(self, site: Site) -> None:
        self._site = site
        vantage_points = [host for host in site.hosts if host.is_vantage_point]
        self._strangers = [(zone, address) for host in vantage_points for zone, address in _first_outside(site, host)]
        self._inside = [(zone, own) for host in vantage_points for zone, own in addresses_in(site, host, external=False)]
        self._askers = {own.ip for host in vantage_points for interface in host.interfaces for own in interface.addresses}
        self._published = {version: published_services(site, version) for version in (4, 6)}
        self._asked_at_large: set[int] = set()
        self._asked_published: set[tuple[Address, str]] = set()

    def beside(self, flow: Flow, asked: Question) -> Iterator[Question]:
        """What does not depend on the question, only on who asks, is given once."""
        version = asked.inside.version
        others = [(zone, address) for zone, address in self._strangers if address.version == version and address != asked.outside]
        if flow.direction == "in":
            for zone, address in others:  # somebody else to the same service
                yield asked._replace(outside=address, zone=zone)
            if asked.outside in self._askers:
                yield from self._by_the_same(asked)
        else:
            for zone, address in others if asked.inside in self._askers else ():  # the application to somebody else
                yield asked._replace(outside=address, zone=zone)
            for other in self._in_its_place(asked.inside):
                yield asked._replace(inside=other)
        if version not in self._asked_at_large:
            self._asked_at_large.add(version)
            yield from self._at_large(version)

    def _by_the_same(self, asked: Question) -> Iterator[Question]:
        """The same partner to anything else that is published, and to the other services of the same application."""
        if (asked.outside, asked.zone) not in self._asked_published:
            self._asked_published.add((asked.outside, asked.zone))
            for inside, service in self._published[asked.inside.version]:
                yield asked._replace(inside=inside, service=service, terminates_on=None)
        for service in _declared(self._site, asked.inside):
            yield asked._replace(service=service)

    def _at_large(self, version: int) -> Iterator[Question]:
        """From the inside to the outside: to the first stranger, once per family."""
        for _, own in self._inside:
            for zone, address in self._strangers[:2]:
                if address.version == own.version == version:
                    for service in _declared(self._site, address)[:1]:
                        yield Question("out", own, address, zone, service)

    def _in_its_place(self, inside: Address) -> tuple[Address, ...]:
        """Another vantage point of the same zone, and the first one of another zone."""
        zone = self._site.zone_of(inside).name
        others = ((where, own) for where, own in self._inside if own.version == inside.version)
        near = far = None
        for where, own in others:
            if where == zone and near is None and own != inside:
                near = own
            elif where != zone and far is None and own != inside:
                far = own
            if near is not None and far is not None:
                break
        return tuple(own for own in (near, far) if own is not None)


def published_services(site: Site, version: int) -> tuple[tuple[Address, FlowService], ...]:
    """Everything that a device publishes: the inside address (in the family asked for) and service behind it."""
    found: dict[tuple[Address, FlowService], None] = {}
    for device in site.devices:
        for item in device.nat.published:
            owner = owner_of(site, item.to)
            for _, address in addresses_in(site, owner[0], external=False) if owner is not None else ():
                if address.version == version:
                    found.setdefault((address, service_of(item.protocol, item.to_port)))
    return tuple(found)


def _first_outside(site: Site, host: Node) -> tuple[tuple[str, Address], ...]:
    """The first address of each external interface and family."""
    found: dict[tuple[str, int], Address] = {}
    for zone, address in addresses_in(site, host, external=True):
        found.setdefault((zone, address.version), address)
    return tuple((zone, address) for (zone, _), address in found.items())


def _inside(site: Site, flow: Flow) -> tuple[Address, ...]:
    return flow.addresses if flow.terminates_on is None else tuple(address for address in flow.addresses if owner_of(site, address))


def _far_ends(site: Site, flow: Flow, partner: Partner, version: int, service: FlowService) -> Iterator[Address]:
    """Addresses of hosts of the inventory within the partner's networks: vantage points, or those that declare the service."""
    networks: list[Prefix] = [
        rest for network in partner.networks if network.version == version for rest in without_prefixes(network, flow.deny_from)
    ]
    for address in _outside(Same(site)).get((partner.zone, version), ()):
        if any(address in network for network in networks) and (flow.direction == "in" or answer_kind(site, address, service) is not None):
            yield address


@lru_cache(maxsize=8)
def _outside(same: Same) -> dict[tuple[str, int], list[Address]]:
    """The addresses of hosts outside, per zone and family."""
    found: dict[tuple[str, int], list[Address]] = {}
    for host in same.site.hosts:
        for zone, address in addresses_in(same.site, host, external=True):
            found.setdefault((zone, address.version), []).append(address)
    return found


def _declared(site: Site, address: Address) -> tuple[FlowService, ...]:
    owner = owner_of(site, address)
    return tuple(service_of(item.transport, item.port) for item in owner[0].services) if owner is not None else ()


def _said(service: FlowService) -> str:
    if service.ports is None:
        return _NAMES.get(service.protocol, f"protocol {service.protocol}")
    return f"{'tcp' if service.protocol == 6 else 'udp'}/{service.ports[0]}"


def _key(probe: Probe) -> str:
    return f"{probe.vantage}|{probe.source}|{probe.destination}|{probe.kind}|{probe.port}"


__all__ = ["care_probes", "positive", "published_services", "single", "stage_probes"]
