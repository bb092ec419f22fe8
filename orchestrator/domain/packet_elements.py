"""Between elements, as devices hold them, and exact sets of packets.

What goes to a device is disjoint and aligned to prefixes: an interval set refuses, as a whole transaction, a narrow
element inside a broad one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.domain.layer import Element, ordered
from orchestrator.domain.packets import ANY_PROTOCOL, ANY_SELECTOR, WITH_PORTS, Box, PacketSet, prefixes_of


def box_of(element: Element) -> Box:
    """The element as a box, in either direction across the edge: its source and destination say which."""
    family, protocol, source, source_length, destination, destination_length, _, _ = element.key
    bits = 32 if family == 4 else 128
    return Box(
        family=family,
        source=(source, source | (1 << bits - source_length) - 1),
        destination=(destination, destination | (1 << bits - destination_length) - 1),
        protocol=(protocol, protocol),
        selector=element.ports or ANY_SELECTOR,
    )


def packets_of(elements: Iterable[Element]) -> PacketSet:
    return PacketSet(box_of(element) for element in elements)


def elements_in(packets: PacketSet) -> tuple[Element, ...]:
    """Disjoint elements that make up the set. Raises ValueError for what no element can say (part of ICMP, any protocol)."""
    return ordered(element for box in packets.readable() for element in _elements_of(box))


def disjoint(elements: Iterable[Element]) -> tuple[Element, ...]:
    """The same packets, without overlap, in normal order; fewer elements where neighbours join."""
    listed = tuple(elements)
    if len({(element.family, element.protocol) for element in listed}) == len(listed):
        return listed if len(listed) == 1 else ordered(listed)  # the usual flow: one element per family, and nothing to overlap with
    return elements_in(packets_of(listed))


def without(elements: Iterable[Element], taken: PacketSet) -> tuple[Element, ...]:
    """What is left of the elements outside a set, disjoint."""
    return elements_in(packets_of(elements) - taken)


def _elements_of(box: Box) -> Iterator[Element]:
    if box.protocol == ANY_PROTOCOL:
        raise ValueError(f"{box.describe()}: an element names its protocol")
    sources, destinations = tuple(prefixes_of(box.family, box.source)), tuple(prefixes_of(box.family, box.destination))
    for protocol in range(box.protocol[0], box.protocol[1] + 1):
        ports = None
        if protocol in WITH_PORTS:
            ports = (max(box.selector[0], 1), box.selector[1])  # port 0 is no port: `ports` starts at 1
        elif box.selector != ANY_SELECTOR:
            raise ValueError(f"{box.describe()}: an element has no selector for a protocol without ports")
        for source in sources:
            for destination in destinations:
                yield Element(source=source, destination=destination, protocol=protocol, ports=ports)
