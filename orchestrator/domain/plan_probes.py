"""What is asked on live traffic to verify a stage: what must pass, what must not, and whether care goes on.

Positive: every flow, partner, family and service, from a vantage point that has the partner's address (or from the
application's own host); of a resolver also what it must refuse. Negative: other vantage points to the same service, other
services from the same vantage point, and from the inside to the internet; only where a guard on the way stops them, so
that a pass is a hole and not an error of ours. What can be asked of nobody is told to people instead.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from orchestrator.domain.cabling import Same
from orchestrator.domain.compile import without_prefixes
from orchestrator.domain.neighbours import Neighbours, published_services
from orchestrator.domain.network import Address, Prefix, Site
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.questions import (
    Containment,
    Question,
    addresses_in,
    answer_kind,
    answer_name,
    can_be_asked,
    probe_of,
    single,
    way_of,
)
from orchestrator.domain.resolver_probes import with_refusals
from orchestrator.domain.responders import require_responder
from orchestrator.domain.services import FlowService
from orchestrator.domain.topology import owner_of

TRANSACTIONS = {"record": "/record/42", "image": "/image/probe"}  # paths of a transaction probe
_NAMES = {1: "icmp", 50: "esp", 58: "icmpv6"}


def stage_probes(
    site: Site,
    policy: Policy,
    pairs: Sequence[tuple[Flow, Partner]],
    after: Containment,
    *,
    sacrificed: Iterable[str] = (),
    blocked: Sequence[Prefix] = (),
) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """The probes of a stage, and what no probe can show. `after` is what will lie on the devices once it is open;
    `sacrificed` are the care assertions that the profiles in force have given up by name, `blocked` the networks that no
    device lets anything through for. Raises Refused (`not-a-responder`) rather than ask somebody who declares no answer."""
    probes: dict[tuple[object, ...], Probe] = {}
    unprobed: list[str] = []
    seen: set[Question] = set()
    around = Neighbours(site)
    for flow, partner in pairs:
        for question, probe, about in positive(site, flow, partner, blocked):
            if probe is None:
                unprobed.append(about)
            else:
                for one in with_refusals(site, probe):
                    probes.setdefault(_key(one), one)
            neighbours = list(_new(around.beside(flow, question), seen))
            for negative in _stopped(site, neighbours, after, about=flow.name):
                probes.setdefault(_key(negative), negative)
    asked = (*probes.values(), *care_probes(site, policy, sacrificed))
    for probe in asked:
        require_responder(site, probe)
    return asked, tuple(dict.fromkeys(unprobed))


def _new(questions: Iterable[Question], seen: set[Question]) -> Iterator[Question]:
    """Those that nobody has asked yet, each once."""
    for question in questions:
        known = len(seen)
        seen.add(question)
        if len(seen) > known:
            yield question


def positive(site: Site, flow: Flow, partner: Partner, blocked: Sequence[Prefix] = ()) -> Iterator[tuple[Question, Probe | None, str]]:
    """Per family and service of the conversation: the question, its probe, and what to tell people when there is none."""
    far_ends: dict[int, tuple[Address, ...]] = {}
    for inside, service in ((address, service) for address in _inside(site, flow) for service in flow.services):
        about = f"{flow.name} with {partner.name}, IPv{inside.version}, {_said(service)}"
        best: tuple[Question, Probe | None] | None = None
        if inside.version not in far_ends:
            far_ends[inside.version] = _far_ends(site, flow, partner, inside.version, blocked)
        for outside in far_ends[inside.version]:  # vantage points, or those that declare the service
            if flow.direction == "out" and answer_kind(site, outside, service) is None:
                continue
            question = Question(flow.direction, inside, outside, partner.zone, service, flow.terminates_on)
            way = way_of(site, question)
            probe = probe_of(site, Purpose.POSITIVE, question, way, about=flow.name) if way is not None else None
            if best is None or (probe is not None and best[1] is None):
                best = (question, probe)
            if probe is not None:
                break
        if best is None:
            outside = next((network.network_address for network in partner.networks if network.version == inside.version), inside)
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
                    name=answer_name(site, address, care.service),
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


def _inside(site: Site, flow: Flow) -> tuple[Address, ...]:
    return flow.addresses if flow.terminates_on is None else tuple(address for address in flow.addresses if owner_of(site, address))


def _far_ends(site: Site, flow: Flow, partner: Partner, version: int, blocked: Sequence[Prefix]) -> tuple[Address, ...]:
    """Addresses of hosts of the inventory within the partner's networks."""
    outside = _outside(Same(site)).get((partner.zone, version))
    if outside is None:
        return ()
    return outside.within(
        rest
        for network in partner.networks
        if network.version == version
        for rest in without_prefixes(network, (*flow.deny_from, *blocked))
    )


class _Outside:
    """Addresses of one zone and family in the order of the inventory, and in their own order to find those of a network."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._listed = addresses
        self._sorted = sorted((int(address), place) for place, address in enumerate(addresses))
        self._found: dict[Prefix, tuple[int, ...]] = {}

    def within(self, networks: Iterable[Prefix]) -> tuple[Address, ...]:
        """In the order of the inventory."""
        places = {place for network in networks for place in self._places(network)}
        return tuple(self._listed[place] for place in sorted(places))

    def _places(self, network: Prefix) -> tuple[int, ...]:
        found = self._found.get(network)
        if found is None:
            first = bisect_left(self._sorted, (int(network.network_address), 0))
            after = bisect_left(self._sorted, (int(network.broadcast_address) + 1, 0))
            found = self._found[network] = tuple(place for _, place in self._sorted[first:after])
        return found


@lru_cache(maxsize=8)
def _outside(same: Same) -> dict[tuple[str, int], _Outside]:
    """The addresses of hosts outside, per zone and family."""
    found: dict[tuple[str, int], list[Address]] = {}
    for host in same.site.hosts:
        for zone, address in addresses_in(same.site, host, external=True):
            found.setdefault((zone, address.version), []).append(address)
    return {key: _Outside(addresses) for key, addresses in found.items()}


def _said(service: FlowService) -> str:
    if service.ports is None:
        return _NAMES.get(service.protocol, f"protocol {service.protocol}")
    return f"{'tcp' if service.protocol == 6 else 'udp'}/{service.ports[0]}"


def _key(probe: Probe) -> tuple[str, Address | None, Address, str, int | None, str]:
    return probe.vantage, probe.source, probe.destination, probe.kind, probe.port, probe.dns


__all__ = ["care_probes", "positive", "published_services", "single", "stage_probes"]
