"""Exact sets of packets, both families: union, intersection, difference, emptiness, equality. No sampling.

A packet here is the one that opens a conversation: its family, its direction across the site's edge, its IP protocol,
its selector, its destination and its source. Replies belong to the conversation and need no set of their own.

The selector is the destination port of TCP and UDP, `type * 256 + code` of ICMP and ICMPv6, and 0 of everything else.
Decision and limits: docs/decisions/0003-packet-sets.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import Literal

from orchestrator.domain import diagram
from orchestrator.domain.diagram import Budget, Interval, Node, Operation
from orchestrator.domain.diagram_cover import cover
from orchestrator.domain.network import Address, Prefix
from orchestrator.domain.suffixes import build

Family = Literal[4, 6]
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
WITH_PORTS, WITH_TYPES = frozenset({TCP, UDP}), frozenset({ICMP, ICMPV6})
ANY_SELECTOR: Interval = (0, 65535)
ANY_PROTOCOL: Interval = (0, 255)
_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", 50: "esp", ICMPV6: "icmpv6"}
NUMBERS = {name: number for number, name in _NAMES.items()}  # as `describe_service` says them
MOST_LISTED = 1_000_000  # boxes of one set: sets with more are compared, not listed
MOST_SHOWN = 100  # boxes in a `repr`
DIMENSIONS = 6  # family, direction, protocol, selector, destination, source


class Direction(IntEnum):
    """Who opens the conversation, seen from the site."""

    OUT = 0
    IN = 1


BOTH_WAYS: Interval = (Direction.OUT, Direction.IN)
_LAST = {4: 2**32 - 1, 6: 2**128 - 1}  # addresses


def whole(family: Family) -> Interval:
    """All addresses of a family."""
    return (0, _LAST[family])


def span(prefix: Prefix) -> Interval:
    """The addresses of a prefix."""
    return (int(prefix.network_address), int(prefix.broadcast_address))


@dataclass(frozen=True, order=True)
class Box:
    """A product of ranges (inclusive); whatever is not narrowed is whole. Raises ValueError for an empty or foreign range."""

    family: Family
    source: Interval
    destination: Interval
    protocol: Interval = ANY_PROTOCOL
    selector: Interval = ANY_SELECTOR
    direction: Interval = BOTH_WAYS

    def __post_init__(self) -> None:
        most = _LAST[self.family]
        if not (
            0 <= self.source[0] <= self.source[1] <= most
            and 0 <= self.destination[0] <= self.destination[1] <= most
            and 0 <= self.protocol[0] <= self.protocol[1] <= 255
            and 0 <= self.selector[0] <= self.selector[1] <= 65535
            and 0 <= self.direction[0] <= self.direction[1] <= 1
        ):
            self._refuse()

    def _refuse(self) -> None:
        limits = {
            "source": whole(self.family), "destination": whole(self.family), "protocol": ANY_PROTOCOL,
            "selector": ANY_SELECTOR, "direction": BOTH_WAYS,
        }  # fmt: skip
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} {low}-{high} is not within {least}-{most}, the lower end first")

    def ranges(self) -> tuple[Interval, ...]:
        return ((self.family, self.family), self.direction, self.protocol, self.selector, self.destination, self.source)

    @property
    def whole_from(self) -> int:
        """The dimension (of `ranges`) from which on nothing is narrowed; `DIMENSIONS` when the source is."""
        found = DIMENSIONS
        if self.source != whole(self.family):
            return found  # the usual box
        wholes = (None, BOTH_WAYS, ANY_PROTOCOL, ANY_SELECTOR, whole(self.family), whole(self.family))
        for interval, limits in zip(reversed(self.ranges()), reversed(wholes), strict=True):
            if interval != limits:
                break
            found -= 1
        return found

    @classmethod
    def from_ranges(cls, ranges: tuple[Interval, ...]) -> Box:
        (family, _), direction, protocol, selector, destination, source = ranges
        return cls(4 if family == 4 else 6, source, destination, protocol, selector, direction)

    def describe(self) -> str:
        """`198.51.100.14/32 → 10.20.11.10/32 tcp/443`."""
        text = f"{describe_range(self.family, self.source)} → {describe_range(self.family, self.destination)} {self.describe_service()}"
        if self.direction == BOTH_WAYS:
            return text
        return f"{text} ({Direction(self.direction[0]).name.lower()})"

    def describe_service(self) -> str:
        """`tcp/443`, `udp/500-4500`, `icmp type 8`, `esp`, `any`."""
        if self.protocol == ANY_PROTOCOL:
            return "any"
        low, high = self.protocol
        name = _NAMES.get(low, f"protocol {low}") if low == high else f"protocols {low}-{high}"
        if self.selector == ANY_SELECTOR:
            return name
        first, last = self.selector
        if low in WITH_TYPES:
            types = f"{first // 256}" if first // 256 == last // 256 else f"{first // 256}-{last // 256}"
            code = "" if first % 256 == 0 and last % 256 == 255 else f" code {first % 256}-{last % 256}"
            return f"{name} type {types}{code}"
        return f"{name}/{first}" if first == last else f"{name}/{first}-{last}"


def prefixes_of(family: Family, addresses: Interval) -> Iterator[Prefix]:
    """The fewest prefixes that make up a range, in order."""
    low, high = addresses
    if family == 4:
        yield from summarize_address_range(IPv4Address(low), IPv4Address(high))
    else:
        yield from summarize_address_range(IPv6Address(low), IPv6Address(high))


def address_of(family: Family, value: int) -> Address:
    return IPv4Address(value) if family == 4 else IPv6Address(value)


@lru_cache(maxsize=65536)
def describe_range(family: Family, addresses: Interval) -> str:
    """`any`, a prefix, or `first-last` when it is no prefix."""
    if addresses == whole(family):
        return "any IPv4" if family == 4 else "any IPv6"
    low, high = addresses
    size = high - low + 1
    if size & (size - 1) == 0 and low % size == 0:
        return f"{address_of(family, low)}/{(32 if family == 4 else 128) - size.bit_length() + 1}"
    return f"{address_of(family, low)}-{address_of(family, high)}"


class PacketSet:
    """An immutable, exact set of packets. Operators: `|`, `&`, `-`, `==`, `<=`, truth (not empty).

    Every operation is bounded: raises Refused (rule `packet-set-too-complex`) instead of running for minutes.
    """

    __slots__ = ("_node",)

    def __init__(self, boxes: Iterable[Box] = ()) -> None:
        self._node: Node = build((box.ranges() for box in boxes), Budget())

    @classmethod
    def of_node(cls, node: Node) -> PacketSet:
        """Of a diagram over `DIMENSIONS` (for siblings of this module that make diagrams)."""
        made = cls.__new__(cls)
        made._node = node
        return made

    def _with(self, operation: Operation, other: PacketSet) -> PacketSet:
        return PacketSet.of_node(diagram.apply(operation, self._node, other._node, Budget()))

    def __or__(self, other: PacketSet) -> PacketSet:
        return self._with(Operation.UNION, other)

    def __and__(self, other: PacketSet) -> PacketSet:
        return self._with(Operation.INTERSECTION, other)

    def __sub__(self, other: PacketSet) -> PacketSet:
        return self._with(Operation.DIFFERENCE, other)

    def __le__(self, other: PacketSet) -> bool:
        """Whether it lies within the other one."""
        return not self - other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PacketSet) and self._node == other._node

    def __hash__(self) -> int:
        return hash(self._node)

    def __bool__(self) -> bool:
        return bool(self._node)

    def __repr__(self) -> str:
        if (many := diagram.count(self._node)) > MOST_SHOWN:
            return f"PacketSet({many} boxes)"
        return f"PacketSet({'; '.join(box.describe() for box in self.summary())})"

    def contains(
        self, source: Address, destination: Address, protocol: int, selector: int = 0, direction: Direction = Direction.IN
    ) -> bool:
        """Whether this very packet is in the set. Raises ValueError when its ends are of different families."""
        if source.version != destination.version:
            raise ValueError(f"{source} and {destination} are of different families")
        return diagram.contains(self._node, (source.version, direction, protocol, selector, int(destination), int(source)))

    def boxes(self) -> tuple[Box, ...]:
        """Disjoint boxes that make up the set, in a stable order. Raises Refused when they are too many to list."""
        return tuple(Box.from_ranges(ranges) for ranges in self._listed())

    def readable(self) -> tuple[Box, ...]:
        """The shortest list of disjoint boxes that we find (not always the shortest there is), in a stable order."""
        return tuple(Box.from_ranges(ranges) for ranges in self._joined())

    def summary(self) -> tuple[Box, ...]:
        """For people: as short as `readable` or shorter, for its boxes may overlap; together they are exactly the set."""
        return tuple(Box.from_ranges(ranges) for ranges in cover(self._node, self._joined()))

    def _joined(self) -> list[tuple[Interval, ...]]:
        disjoint = self._listed()
        orders = (range(DIMENSIONS - 1, 0, -1), range(1, DIMENSIONS))
        return min((diagram.joined(disjoint, order) for order in orders), key=len)

    def _listed(self) -> list[tuple[Interval, ...]]:
        Budget(MOST_LISTED).spend(diagram.count(self._node))
        return list(diagram.boxes_of(self._node))
