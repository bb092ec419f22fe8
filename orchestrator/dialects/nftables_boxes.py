"""Making boxes disjoint: the kernel refuses two elements of one interval set that overlap ("File exists").

Prefixes are nested or disjoint, so two boxes overlap when they do in every dimension, and what is left of one
beside the other is again a few boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from orchestrator.domain.element_index import ElementIndex
from orchestrator.domain.layer import Element, ordered
from orchestrator.domain.network import Prefix


def disjoint(elements: Iterable[Element]) -> tuple[Element, ...]:
    """Boxes that cover exactly the same packets and do not overlap, in normal form. Deterministic."""
    laid: list[Element] = []
    # Broad boxes first: what they hold already vanishes instead of splitting them.
    for element in sorted(ordered(elements), key=lambda box: -_size(box)):
        pieces = [element]
        for other in laid:
            pieces = [rest for piece in pieces for rest in _minus(piece, other)]
        laid += pieces
    return ordered(laid)


def refuse_overlap(elements: tuple[Element, ...]) -> tuple[Element, ...]:
    """The elements in normal form, those that lie inside another left out.

    Raises ValueError when two overlap in part: an opening is closed by the very element that opened it, so it is
    never split behind the back of the plan.
    """
    candidates = ordered(elements)
    if _are_apart(candidates):
        return candidates
    index = ElementIndex(candidates)
    kept: dict[Element, list[Element]] = {}
    for box in candidates:
        near = [other for other in index.overlapping(box) if other is not box]
        if all(_minus_any(box, other) for other in near):
            kept[box] = near
    for one, near in kept.items():
        for other in near:
            if other in kept:
                raise ValueError(f"openings overlap in part: {_words(one)} and {_words(other)}; make them disjoint in the plan")
    return tuple(kept)


def _are_apart(candidates: tuple[Element, ...]) -> bool:
    """Whether the order alone shows that no two overlap: all have prefixes of the same lengths, as hosts have, so two
    overlap only as neighbours between the same ends. False: perhaps they do."""
    lengths: dict[tuple[int, int], tuple[int, int]] = {}
    before = None
    for candidate in candidates:
        family, protocol, source, source_length, destination, destination_length, low, high = candidate.key
        if lengths.setdefault((family, protocol), (source_length, destination_length)) != (source_length, destination_length):
            return False
        ends = (family, protocol, source, destination)
        if before is not None and before[0] == ends and low <= before[1]:
            return False
        before = (ends, high)
    return True


def _size(box: Element) -> int:
    low, high = box.ports or (0, 65535)
    return box.source.num_addresses * box.destination.num_addresses * (high - low + 1)


def _overlap(one: Element, other: Element) -> bool:
    if one.protocol != other.protocol or one.family != other.family:
        return False
    if one.ports is not None and other.ports is not None and (one.ports[0] > other.ports[1] or other.ports[0] > one.ports[1]):
        return False
    return one.source.overlaps(other.source) and one.destination.overlaps(other.destination)


def _minus_any(box: Element, other: Element) -> bool:
    return any(True for _ in _minus(box, other))


def _minus(box: Element, other: Element) -> Iterator[Element]:
    """The parts of `box` outside `other`."""
    if not _overlap(box, other):
        yield box
        return
    for source in _outside(box.source, other.source):
        yield box.model_copy(update={"source": source})
    inner = box.model_copy(update={"source": _narrower(box.source, other.source)})
    for destination in _outside(box.destination, other.destination):
        yield inner.model_copy(update={"destination": destination})
    if box.ports is None or other.ports is None:
        return
    inner = inner.model_copy(update={"destination": _narrower(box.destination, other.destination)})
    (low, high), (first, last) = box.ports, other.ports
    if low < first:
        yield inner.model_copy(update={"ports": (low, first - 1)})
    if high > last:
        yield inner.model_copy(update={"ports": (last + 1, high)})


def _narrower(one: Prefix, other: Prefix) -> Prefix:
    return one if one.prefixlen >= other.prefixlen else other


def _outside(prefix: Prefix, other: Prefix) -> Iterator[Prefix]:
    if prefix.prefixlen >= other.prefixlen:
        return  # it lies inside
    if isinstance(prefix, IPv4Network):
        yield from prefix.address_exclude(IPv4Network(other))
    else:
        yield from prefix.address_exclude(IPv6Network(other))


def _words(box: Element) -> str:
    ports = "" if box.ports is None else f" ports {box.ports[0]}-{box.ports[1]}"
    return f"{box.source} → {box.destination} protocol {box.protocol}{ports}"
