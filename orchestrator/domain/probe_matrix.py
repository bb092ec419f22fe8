"""The matrix: who can reach which service, zone by zone, computed and asked on live traffic.

Every vantage point (one per zone and way out of it) asks every host for every service that it declares, in both
families: from the inside outwards, from outside inwards (directly, and by the published address), from the inside to the
inside, from outside to the devices themselves; and every flow of the policy is asked by its own partner.

What a layer lets through is computed (`Containment.stops`). What the site's own rules let through is measured: the same
matrix is asked before the cut. A layer only subtracts, so the answer expected under it is exact: *it passed before, and no
guard on its way stops it*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from orchestrator.domain.network import Address, Host, Node, Site
from orchestrator.domain.pack_probes import inside_vantage_points, outside_hosts, told_apart
from orchestrator.domain.plan_probes import positive
from orchestrator.domain.policy import Policy
from orchestrator.domain.probes import Kind, Probe, Purpose
from orchestrator.domain.questions import (
    ICMP,
    Containment,
    Question,
    Way,
    addresses_in,
    answer_kind,
    answer_name,
    inside_way,
    is_translating,
    publication,
    service_of,
    way_of,
)
from orchestrator.domain.services import FlowService

Side = Literal["out", "in", "inside", "device"]
ASKING_PER_ZONE = 2  # of an external zone: one is a partner of ours more often than not


class Cell(NamedTuple):
    """One question. `way` is None where the routes of the inventory lead nowhere: then nothing may pass, cut or not.

    The probe's purpose says nothing here (what is expected changes from stage to stage); its id is the cell's.
    """

    probe: Probe
    way: Way | None
    side: Side
    from_zone: str
    to_zone: str


class Disagreement(NamedTuple):
    """A cell whose answer on live traffic is not the computed one; `why` is what the computation says."""

    cell: Cell
    expected: bool
    answered: bool | None
    why: str

    def __str__(self) -> str:
        probe = self.cell.probe
        words = {True: "passes", False: "is blocked", None: "has no answer"}
        port = f"/{probe.port}" if probe.port else ""
        asked = f"{probe.vantage} ({self.cell.from_zone}) → {probe.destination} ({self.cell.to_zone}) {probe.kind}{port}"
        return f"{asked}: {words[self.answered]}, computed: {words[self.expected]} ({self.why})"


def matrix(site: Site, policy: Policy) -> tuple[Cell, ...]:
    """Each question once, in the order of the inventory."""
    cells: dict[str, Cell] = {}
    for cell in (*_outwards(site), *_inwards(site), *_within(site), *_to_devices(site), *_of_flows(site, policy)):
        cells.setdefault(cell.probe.id, cell)
    return tuple(cells.values())


def computed(cell: Cell, containment: Containment) -> tuple[bool, str]:
    """Whether the layers let it pass, and why."""
    if cell.way is None:
        return False, "the routes of the inventory lead nowhere"
    stopped_at = containment.stops(cell.way)
    if stopped_at is not None:
        return False, f"{stopped_at} stops it"
    through = ", ".join(dict.fromkeys(hop.device for hop in cell.way.hops)) or "no device"
    return True, f"no guard on its way stops it: {through}"


def expected(cell: Cell, containment: Containment, before: bool | None) -> tuple[bool, str]:
    """What live traffic must answer, `before` being its answer before the cut."""
    passes, why = computed(cell, containment)
    if passes and not before:
        return False, "it did not pass before the cut: the site's own rules, or nobody answers"
    return passes, why


def disagreements(
    cells: Sequence[Cell], containment: Containment, before: Mapping[str, bool | None], now: Mapping[str, bool | None]
) -> tuple[Disagreement, ...]:
    """`before` and `now`: id of the probe → whether it passed (None: nothing can be said, which is a disagreement).

    With an empty containment and `now` the same as `before` it says what passes uncut although no way is known for it.
    """
    found = []
    for cell in cells:
        wanted, why = expected(cell, containment, before[cell.probe.id])
        if now[cell.probe.id] is not wanted:
            found.append(Disagreement(cell, wanted, now[cell.probe.id], why))
    return tuple(found)


def _outwards(site: Site) -> Iterator[Cell]:
    targets = [
        (zone.name, host, address) for zone in site.zones if zone.is_external
        for host in outside_hosts(site, zone.name) for address in told_apart(site, host, zone.name)
    ]  # fmt: skip
    first = _pinged(targets)
    for asking in inside_vantage_points(site):
        for own_zone, own in addresses_in(site, asking, external=False):
            for zone, host, address in targets:
                for service in _services(host, ping=address in first) if address.version == own.version else ():
                    question = Question("out", own, address, zone, service)
                    yield from _cell(site, asking, own, address, service, way_of(site, question), "out", own_zone, zone)


def _inwards(site: Site) -> Iterator[Cell]:
    inside = [(zone, host, address) for host in site.hosts for zone, address in addresses_in(site, host, external=False)]
    first = _pinged(inside)
    for zone, asking, own in _asking_outside(site):
        for own_zone, host, address in inside:
            for service in _services(host, ping=address in first) if address.version == own.version else ():
                question = Question("in", address, own, zone, service)
                way = way_of(site, question)
                published = publication(site, question, way) if way is not None else None
                if published is not None:
                    port = published.port
                    yield from _cell(site, asking, own, published.public, service, way, "in", zone, own_zone, port=port, answers=address)
                if published is not None or (way is not None and own.version == 4 and is_translating(site, way)):
                    way = None  # asked directly: nobody outside can address what is behind a translation
                yield from _cell(site, asking, own, address, service, way, "in", zone, own_zone)


def _within(site: Site) -> Iterator[Cell]:
    inside = [(zone, host, address) for host in site.hosts for zone, address in addresses_in(site, host, external=False)]
    first = _pinged(inside)
    for asking in inside_vantage_points(site):
        for own_zone, own in addresses_in(site, asking, external=False):
            for zone, host, address in inside:
                if host.name == asking.name or address.version != own.version:
                    continue
                for service in _services(host, ping=address in first):
                    way = inside_way(site, asking, host, service, address.version)
                    yield from _cell(site, asking, own, address, service, way, "inside", own_zone, zone)


def _to_devices(site: Site) -> Iterator[Cell]:
    for zone, asking, own in _asking_outside(site):
        for device in site.devices:
            for device_zone, address in addresses_in(site, device, external=True) if device.services else ():
                for service in _services(device, ping=False) if address.version == own.version else ():
                    way = way_of(site, Question("in", address, own, zone, service, device.name))
                    yield from _cell(site, asking, own, address, service, way, "device", zone, device_zone)


def _of_flows(site: Site, policy: Policy) -> Iterator[Cell]:
    """Every flow as its own partner, or its own application, uses it."""
    for flow in policy.flows:
        for partner in (policy.partner(name) for name in flow.partners):
            for question, probe, _ in positive(site, flow, partner):
                if probe is None or probe.source is None:
                    continue
                ends = site.zone_of(question.inside).name, partner.zone
                from_zone, to_zone = ends if question.direction == "out" else ends[::-1]
                asked = _probe(probe.vantage, probe.source, probe.destination, probe.kind, probe.port, probe.name)
                yield Cell(asked, way_of(site, question), question.direction, from_zone, to_zone)


def _asking_outside(site: Site) -> Iterator[tuple[str, Host, Address]]:
    for zone in site.zones:
        vantage_points = [host for host in outside_hosts(site, zone.name) if host.is_vantage_point] if zone.is_external else []
        for host in vantage_points[:ASKING_PER_ZONE]:
            yield from ((zone.name, host, address) for address in told_apart(site, host, zone.name))


def _services(node: Node, *, ping: bool) -> tuple[FlowService, ...]:
    """Everything that it declares; `ping` asks for an echo as well."""
    declared = tuple(dict.fromkeys(service_of(item.transport, item.port) for item in node.services))
    return (*declared, ICMP) if ping else declared


def _pinged(targets: Iterable[tuple[str, Host, Address]]) -> frozenset[Address]:
    """One per zone and family: to ping every host would tell nothing more. A host that declares nothing (a biomedical
    device) is never asked anything."""
    first: dict[tuple[str, int], Address] = {}
    for zone, host, address in targets:
        if host.services or host.is_vantage_point:
            first.setdefault((zone, address.version), address)
    return frozenset(first.values())


def _cell(
    site: Site, asking: Host, own: Address, target: Address, service: FlowService, way: Way | None, side: Side,
    from_zone: str, to_zone: str, *, port: int | None = None, answers: Address | None = None,
) -> Iterator[Cell]:  # fmt: skip
    """`answers`: the address behind the target, when that is a published one."""
    kind = answer_kind(site, answers or target, service)
    if kind is not None:
        asked = port or (service.ports[0] if service.ports else None)
        name = answer_name(site, answers or target, service)
        yield Cell(_probe(asking.name, own, target, kind, asked, name), way, side, from_zone, to_zone)


def _probe(vantage: str, source: Address, destination: Address, kind: Kind, port: int | None, name: str) -> Probe:
    return Probe(
        id=f"{vantage}/{source}>{destination}:{kind}{f'/{port}' if port else ''}", purpose=Purpose.POSITIVE,
        vantage=vantage, source=source, destination=destination, kind=kind, port=port, about="matrix", name=name,
    )  # fmt: skip
