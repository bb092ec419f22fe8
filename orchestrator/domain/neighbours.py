"""The neighbours of the conversations that a stage opens: questions that ought not to pass just because these do.

Somebody else to the same service, the same partner to other services, another host of the inside in the place of the
application. Whether they are open for another reason is asked later (`plan_probes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from orchestrator.domain.cabling import Same
from orchestrator.domain.network import Address, Node, Site
from orchestrator.domain.policy import Flow
from orchestrator.domain.questions import Question, addresses_in, answer_kind, service_of
from orchestrator.domain.services import FlowService
from orchestrator.domain.topology import owner_of


class Neighbours:
    """Of the questions of one stage: what does not depend on the question, only on who asks, is given once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known = _known(Same(site))
        self._asked_at_large: set[int] = set()
        self._asked_published: set[tuple[Address, str]] = set()

    def beside(self, flow: Flow, asked: Question) -> Iterator[Question]:
        version = asked.inside.version
        if flow.direction == "in":
            for zone, address in self._others(asked):  # somebody else to the same service
                yield asked._replace(outside=address, zone=zone)
            if asked.outside in self._known.askers:
                yield from self._by_the_same(asked)
        else:
            for zone, address in self._others(asked) if asked.inside in self._known.askers else ():  # the application to somebody else
                yield asked._replace(outside=address, zone=zone)
            if answer_kind(self._site, asked.outside, asked.service) is not None:  # else nobody can be asked in its place
                for other in self._known.in_its_place(asked.inside):
                    yield asked._replace(inside=other)
        if version not in self._asked_at_large:
            self._asked_at_large.add(version)
            yield from self._at_large(version)

    def _others(self, asked: Question) -> Iterator[tuple[str, Address]]:
        """Whoever else is outside and can ask."""
        version = asked.inside.version
        return ((zone, own) for zone, own in self._known.strangers if own.version == version and own != asked.outside)

    def _by_the_same(self, asked: Question) -> Iterator[Question]:
        """The same partner to anything else that is published, and to the other services of the same application."""
        if (asked.outside, asked.zone) not in self._asked_published:
            self._asked_published.add((asked.outside, asked.zone))
            for inside, service in self._known.published[asked.inside.version]:
                yield asked._replace(inside=inside, service=service, terminates_on=None)
        for service in _declared(self._site, asked.inside):
            yield asked._replace(service=service)

    def _at_large(self, version: int) -> Iterator[Question]:
        """From the inside to the outside: to the first stranger, once per family."""
        for _, own in self._known.inside:
            for zone, address in self._known.strangers[:2]:
                if address.version == own.version == version:
                    for service in _declared(self._site, address)[:1]:
                        yield Question("out", own, address, zone, service)


class _Known:
    """Who can ask, and what is published: the same for every stage of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        vantage_points = [host for host in site.hosts if host.is_vantage_point]
        self.strangers = [(zone, address) for host in vantage_points for zone, address in _first_outside(site, host)]
        self.inside = [(zone, own) for host in vantage_points for zone, own in addresses_in(site, host, external=False)]
        self.askers = {own.ip for host in vantage_points for interface in host.interfaces for own in interface.addresses}
        self.published = {version: published_services(site, version) for version in (4, 6)}
        self._places: dict[Address, tuple[Address, ...]] = {}
        self._by_zone: dict[int, dict[str, list[Address]]] = {4: {}, 6: {}}
        for zone, own in self.inside:
            self._by_zone[own.version].setdefault(zone, []).append(own)

    def in_its_place(self, inside: Address) -> tuple[Address, ...]:
        """Another vantage point of the same zone, and the first one of another zone."""
        found = self._places.get(inside)
        if found is None:
            zone, by_zone = self._site.zone_of(inside).name, self._by_zone[inside.version]
            near = (own for own in by_zone.get(zone, ()) if own != inside)
            far = (own for where, listed in by_zone.items() if where != zone for own in listed if own != inside)
            found = self._places[inside] = tuple(own for own in (next(near, None), next(far, None)) if own is not None)
        return found


@lru_cache(maxsize=8)
def _known(same: Same) -> _Known:
    return _Known(same.site)


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


def _declared(site: Site, address: Address) -> tuple[FlowService, ...]:
    owner = owner_of(site, address)
    return tuple(service_of(item.transport, item.port) for item in owner[0].services) if owner is not None else ()
