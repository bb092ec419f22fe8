"""One conversation between one inside and one outside address: which way it takes, and whether the layers stop it.

Plans and cut packs ask live traffic only what this module can answer beforehand: a negative probe is made when a guard
on the way stops it, never on the guess that it should be blocked.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from orchestrator.domain.address_text import address_text
from orchestrator.domain.compile import element_between, elements_along, prefix_of, publications
from orchestrator.domain.element_index import ElementIndex
from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Address, Exit, Host, Node, Published, Service, Site, ZoneKind
from orchestrator.domain.packet_elements import elements_in, packets_of
from orchestrator.domain.policy import Flow, Partner
from orchestrator.domain.policy_words import Text
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.responders import is_never_probed, may_be_pinged
from orchestrator.domain.services import FlowService
from orchestrator.domain.topology import MOST_HOPS, Hop, crossings, host_path, owner_of, route

ICMP = FlowService(protocol=1)
_TITLE = Text(en="question", fr="question")
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 50: "esp", 58: "icmpv6"}


class Question(NamedTuple):
    """`direction` is who opens: `in` from `outside` (in the external zone `zone`) to `inside`, `out` the other way."""

    direction: Literal["in", "out"]
    inside: Address
    outside: Address
    zone: str
    service: FlowService
    terminates_on: str | None = None


class Way(NamedTuple):
    """`hops` from outside to inside; `sights` is how each device of flow grain sees the packet. `exit`: None inside the site."""

    exit: Exit | None
    hops: tuple[Hop, ...]
    sights: Mapping[str, tuple[Element, ...]]


@dataclass(frozen=True)
class Containment:
    """What lies on the devices: layers, elements opened in them, coarse guards released."""

    layers: Mapping[str, Sequence[Layer]]
    opened: Mapping[str, Collection[Element]] = field(default_factory=dict)
    released: Mapping[str, Collection[str]] = field(default_factory=dict)
    passing: Mapping[str, ElementIndex] = field(default_factory=dict, compare=False, repr=False)  # per device, where it is known already
    _allowed: dict[tuple[str, str], ElementIndex] = field(default_factory=dict, compare=False, repr=False)

    def passes(self, device: str) -> ElementIndex:
        """What gets through all flow-grain layers of the device: opened, or kept by each of them."""
        kept = [layer.keep for layer in self.layers.get(device, ()) if not layer.coarse]
        return ElementIndex((*self.opened.get(device, ()), *_in_each(kept)))

    def concerned(self, device: str, elements: Iterable[Element]) -> tuple[Element, ...]:
        """Those that some flow-grain layer of the device would drop if nothing were kept or opened: a layer with a scope
        lets everything else go on."""
        layers = [layer for layer in self.layers.get(device, ()) if not layer.coarse]
        if not all(layer.scope for layer in layers):
            return tuple(elements)
        return tuple(item for item in elements if any(not layer.scope or _overlaps(item, layer) for layer in layers))

    def stops(self, way: Way) -> str | None:
        """The first device, from outside, that stops the conversation; None when no guard on the way does."""
        return next((hop.device for hop in way.hops if self._stops_at(hop, way.sights.get(hop.device, ()))), None)

    def _stops_at(self, hop: Hop, sights: Sequence[Element]) -> bool:
        for layer in self.layers.get(hop.device, ()):
            names = set(layer.guard) & {hop.enters, hop.leaves}
            if not names:
                continue
            if layer.coarse:
                if names - set(self.released.get(hop.device, ())):
                    return True
                continue
            concerned = [sight for sight in sights if not layer.scope or _within(sight, layer)]
            if not all(self._through(layer).holds(sight) for sight in concerned):
                return True
        return False

    def _through(self, layer: Layer) -> ElementIndex:
        """What one layer of flow grain lets through: kept by it, or opened in it."""
        if layer.device in self.passing and sum(not other.coarse for other in self.layers[layer.device]) == 1:
            return self.passing[layer.device]  # what passes the only layer passes the device
        key = (layer.device, layer.slot)
        if key not in self._allowed:
            self._allowed[key] = ElementIndex((*layer.keep, *self.opened.get(layer.device, ())))
        return self._allowed[key]


def _overlaps(element: Element, layer: Layer) -> bool:
    return any(
        end.overlaps(prefix) for end in (element.source, element.destination) for prefix in layer.scope if prefix.version == end.version
    )


def _in_each(lists: Sequence[tuple[Element, ...]]) -> tuple[Element, ...]:
    """What is in every one of the lists. Of one list, or where one is empty, it takes no set of packets to say so."""
    if len(lists) == 1 or not all(lists):
        return lists[0] if len(lists) == 1 else ()
    return elements_in(functools.reduce(operator.and_, map(packets_of, lists))) if lists else ()


def _within(sight: Element, layer: Layer) -> bool:
    ends = (sight.source, sight.destination)
    return any(end.version == prefix.version and end.network_address in prefix for end in ends for prefix in layer.scope)


@lru_cache(maxsize=20_000)
def way_of(site: Site, question: Question) -> Way | None:
    """Through the exit that the inside host's own routes lead to; None when they lead to none.

    Exits that are meant for the zone are tried first. The others count when the routers of others carry it on from there:
    a vendor with a way in of their own reaches the web site as everybody does. Remembered: every profile and stage asks
    the same questions of the same site.
    """
    meant = {exit_.name: _leads_to(site, exit_, question.zone) for exit_ in site.exits}
    for exit_ in sorted(site.exits, key=lambda item: not meant[item.name]):
        flow, partner = _as_flow(question, exit_)
        ways = crossings(site, flow, partner)
        hops = next(iter(ways.values()), ())
        if hops and (meant[exit_.name] or _carried_on(site, hops[0].device, question.outside)):
            return Way(_innermost(site, hops), hops, elements_along(site, flow, ways))
    return None


def inside_way(site: Site, start: Host, end: Host, service: FlowService, version: int) -> Way | None:
    """Between two hosts of the site, where nothing is translated; None when the routes do not lead there."""
    hops = host_path(site, start, end, version=version)
    ends = [next((own for _, own in addresses_in(site, host, external=False) if own.version == version), None) for host in (start, end)]
    if hops is None or ends[0] is None or ends[1] is None:
        return None
    sight = element_between(ends[0], ends[1], service)
    return Way(None, hops, {hop.device: (sight,) for hop in hops})


def probe_of(site: Site, purpose: Purpose, question: Question, way: Way, *, about: str, timeout_s: float = 1.0) -> Probe | None:
    """The question as a probe; None when no vantage point has the asking address or nobody declares an answer.

    Coming in, IPv4 goes to the published address where a device on the way translates it.
    """
    asking, asked = (question.outside, question.inside) if question.direction == "in" else (question.inside, question.outside)
    vantage, kind = owner_of(site, asking), answer_kind(site, asked, question.service)
    if vantage is None or kind is None or not can_be_asked(site, question):
        return None
    declared = _declared(site, asked, question.service)  # of a range of ports, the one that somebody answers on
    target, port = asked, declared.port if declared is not None else None
    published = publication(site, question, way)
    if published is not None:
        target, port = published.public, published.port
    elif question.direction == "in" and asked.version == 4 and question.terminates_on is None and is_translating(site, way):
        return None  # behind a translation that does not publish it: nobody outside can even address it
    service = f"{_NAMES[question.service.protocol]}{f'/{port}' if port else ''}"
    return Probe(
        id=f"{purpose.value}:{vantage[0].name}/{address_text(asking)}>{address_text(target)}:{service}",
        purpose=purpose, vantage=vantage[0].name, destination=target, kind=kind, port=port, source=asking,
        timeout_s=timeout_s, about=about, exit=way.exit.name if way.exit is not None else None,
        name=answer_name(site, asked, question.service),
    )  # fmt: skip


def can_be_asked(site: Site, question: Question) -> bool:
    """Whether a vantage point has the asking address, and somebody declares an answer."""
    asking, asked = (question.outside, question.inside) if question.direction == "in" else (question.inside, question.outside)
    vantage = owner_of(site, asking)
    if vantage is None or not isinstance(vantage[0], Host) or not vantage[0].is_vantage_point:
        return False
    return answer_kind(site, asked, question.service) is not None


def publication(site: Site, question: Question, way: Way) -> Published | None:
    """The translation that leads to the question's service, if any."""
    if question.direction == "out" or question.terminates_on is not None:
        return None
    return next((item for _, item in publications(site, way.hops, question.inside, question.service)), None)


def answer_kind(site: Site, address: Address, service: FlowService) -> Literal["tcp", "udp", "icmp", "http", "tls", "dns"] | None:
    """How the owner of the address declares that it answers; None when it declares nothing for this service."""
    owner = owner_of(site, address)
    if owner is None:
        return None
    if is_never_probed(site, address):
        return None
    if service.protocol in (1, 58):
        return "icmp" if may_be_pinged(owner[0]) else None
    item = _declared(site, address, service)
    return item.kind if item is not None else None


def answer_name(site: Site, address: Address, service: FlowService) -> str:
    """What a declared tls or dns service answers for; empty for others."""
    item = _declared(site, address, service)
    return item.name if item is not None else ""


def _declared(site: Site, address: Address, service: FlowService) -> Service | None:
    owner, transport = owner_of(site, address), {6: "tcp", 17: "udp"}.get(service.protocol)
    if owner is None or service.ports is None:
        return None
    low, high = service.ports
    return next((item for item in owner[0].services if item.transport == transport and low <= item.port <= high), None)


def single(protocol: int, port: int) -> FlowService:
    return FlowService(protocol=protocol, ports=(port, port))


def service_of(transport: str, port: int) -> FlowService:
    return single(6 if transport == "tcp" else 17, port)


def addresses_in(site: Site, node: Node, *, external: bool) -> tuple[tuple[str, Address], ...]:
    """(zone, address) of the node outside (or inside) the site, the management network never."""
    wanted = (ZoneKind.EXTERNAL,) if external else (ZoneKind.INTERNAL, ZoneKind.DMZ)
    return tuple(
        (interface.zone, own.ip) for interface in node.interfaces if site.zone(interface.zone).kind in wanted for own in interface.addresses
    )


def _as_flow(question: Question, exit_: Exit) -> tuple[Flow, Partner]:
    flow = Flow.model_construct(  # not validated: made by us, thousands of times per plan
        name="question", application="question", partners=("question",), direction=question.direction,
        services=(question.service,), addresses=(question.inside,), exit=exit_.name, terminates_on=question.terminates_on,
        decisions={},
    )  # fmt: skip
    return flow, Partner.model_construct(
        kind="public", name="question", title=_TITLE, zone=question.zone, networks=(prefix_of(question.outside),)
    )


def _leads_to(site: Site, exit_: Exit, zone: str) -> bool:
    """An exit leads to its own zone, to those it is the primary one for, and anywhere when a transit zone is behind it."""
    dedicated = any(other.zone == zone or zone in other.primary_for for other in site.exits)
    return exit_.zone == zone or zone in exit_.primary_for or site.zone(exit_.zone).transit or not dedicated


def _carried_on(site: Site, outermost: str, target: Address) -> bool:
    """Whether the routers beyond this device of ours, as far as the inventory knows them, lead to the host that has the address."""
    node: Node = site.device(outermost)
    for _ in range(MOST_HOPS):
        out = route(site, node, target)
        end = owner_of(site, (out[1] if out is not None else None) or target)
        if out is None or end is None or end[1].link != out[0].link:
            return False
        if out[1] is None:
            return True
        node = end[0]
    return False


def _innermost(site: Site, hops: Sequence[Hop]) -> Exit:
    """Of the exits on the way, the one nearest to the inside."""
    places = {(exit_.device, exit_.interface): exit_ for exit_ in site.exits}
    crossed = [places[hop.device, hop.enters] for hop in hops if hop.enters is not None and (hop.device, hop.enters) in places]
    return crossed[-1]


def is_translating(site: Site, way: Way) -> bool:
    return any(hop.enters in site.device(hop.device).nat.masquerade for hop in way.hops)
