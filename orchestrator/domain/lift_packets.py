"""What a lift makes possible at each guard: the packets that the layer stops there now, without those that the flow matrix
(every flow that the policy declares, to every partner) would let through.

What is left is decided by the site's own rules alone. It is an exact set; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.domain.compile import elements_along
from orchestrator.domain.diagram import Interval
from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Prefix, Site
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.packets import ANY_PROTOCOL, ANY_SELECTOR, BOTH_WAYS, Box, Direction, Family, PacketSet, span, whole
from orchestrator.domain.policy import Policy
from orchestrator.domain.questions import Containment
from orchestrator.domain.sides import sides
from orchestrator.domain.topology import crossings

FAMILIES: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True)
class AtGuard:
    """One guard of one device. `beyond` is empty where the lift adds nothing to the matrix."""

    device: str
    guard: str
    coarse: bool
    beyond: PacketSet


@dataclass(frozen=True)
class Matrix:
    """The flow matrix as the devices see it: every flow of the policy, per device that holds a layer (coarse ones as well),
    and the coarse guards on the ways of these flows."""

    elements: dict[str, tuple[Element, ...]]
    guards: dict[str, frozenset[str]]

    def laid_on(self, now: Containment) -> Containment:
        """The present layers with all of the matrix open in them."""
        opened = {device: (*now.opened.get(device, ()), *self.elements.get(device, ())) for device in now.layers}
        released = {device: frozenset(now.released.get(device, ())) | self.guards.get(device, frozenset()) for device in now.layers}
        return Containment(now.layers, opened, released)


def flow_matrix(site: Site, policy: Policy, now: Containment) -> Matrix:
    """Of the devices that hold a layer now. Raises KeyError without an exit, which `policy check` refuses."""
    guards = {device: {name for layer in layers for name in layer.guard} for device, layers in now.layers.items()}
    elements: dict[str, list[Element]] = {}
    crossed: dict[str, set[str]] = {}
    for flow in policy.flows:
        for partner in (policy.partner(name) for name in flow.partners):
            ways = crossings(site, flow, partner)
            for device, seen in elements_along(site, flow, ways, guards, coarse=True).items():
                elements.setdefault(device, []).extend(seen)
            for hop in (hop for hops in ways.values() for hop in hops):
                crossed.setdefault(hop.device, set()).update(guards.get(hop.device, set()) & {str(hop.enters), str(hop.leaves)})
    return Matrix(
        {device: tuple(seen) for device, seen in elements.items()}, {device: frozenset(names) for device, names in crossed.items()}
    )


def beyond_the_matrix(site: Site, matrix: Matrix, now: Containment) -> Iterator[AtGuard]:
    """Guard by guard, in the order of the inventory. Raises Refused (`packet-set-too-complex`)."""
    for device in (item for item in site.devices if now.layers.get(item.name)):
        layers = now.layers[device.name]
        for guard in dict.fromkeys(name for layer in layers for name in layer.guard):
            behind, aside = sides(site, device, (guard,))
            crossing = _crossing(behind, aside)
            stopped = PacketSet()
            for layer in (layer for layer in layers if guard in layer.guard):
                stopped = stopped | _stopped(layer, guard, crossing, now)
            coarse = all(layer.coarse for layer in layers if guard in layer.guard)
            yield AtGuard(device.name, guard, coarse, stopped - packets_of(matrix.elements.get(device.name, ())))


def _stopped(layer: Layer, guard: str, crossing: PacketSet, now: Containment) -> PacketSet:
    if layer.coarse:
        return PacketSet() if guard in now.released.get(layer.device, ()) else crossing
    concerned = crossing & _scope(layer.scope) if layer.scope else crossing
    return concerned - packets_of((*layer.keep, *now.opened.get(layer.device, ())))


def _crossing(behind: Sequence[Prefix], aside: Sequence[Prefix]) -> PacketSet:
    """Every packet with one end on either side of the guard."""
    boxes = []
    for family in FAMILIES:
        outer, inner = _sides_as_ranges(family, behind, aside)
        boxes += [_box(family, far, near, Direction.IN) for far in outer for near in inner]
        boxes += [_box(family, near, far, Direction.OUT) for far in outer for near in inner]
    return PacketSet(boxes)


def _box(family: Family, source: Interval, destination: Interval, direction: Direction) -> Box:
    return Box(family, source, destination, ANY_PROTOCOL, ANY_SELECTOR, (direction, direction))


def _sides_as_ranges(family: Family, behind: Sequence[Prefix], aside: Sequence[Prefix]) -> tuple[list[Interval], list[Interval]]:
    """All addresses of a family, as ranges behind the guard and ranges beside it: the longest prefix decides, and an address
    that nobody knows is behind."""
    known = [
        (span(prefix), prefix.prefixlen, side) for side, given in ((0, behind), (1, aside)) for prefix in given if prefix.version == family
    ]
    last = whole(family)[1]
    starts = sorted({0, *(low for (low, _), _, _ in known), *(high + 1 for (_, high), _, _ in known if high < last)})
    found: tuple[list[Interval], list[Interval]] = ([], [])
    for start, end in zip(starts, [*(start - 1 for start in starts[1:]), last], strict=True):
        covering = [(length, side) for (low, high), length, side in known if low <= start <= high]
        side = max(covering, key=lambda item: (item[0], -item[1]))[1] if covering else 0
        ranges = found[side]
        if ranges and ranges[-1][1] == start - 1:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return found


def _scope(prefixes: Sequence[Prefix]) -> PacketSet:
    """Packets with one end in these prefixes."""
    boxes = []
    for prefix in prefixes:
        family: Family = 4 if prefix.version == 4 else 6
        boxes.append(Box(family, span(prefix), whole(family), ANY_PROTOCOL, ANY_SELECTOR, BOTH_WAYS))
        boxes.append(Box(family, whole(family), span(prefix), ANY_PROTOCOL, ANY_SELECTOR, BOTH_WAYS))
    return PacketSet(boxes)
