"""The containment layer of one device, as plain data: what it guards, what it keeps, what was opened in it.

A packet that enters or leaves by a guarded interface passes only if an element (kept or opened) matches it, in its
original direction or as the reply to it. Several slots (one per profile and ratified definition) may lie on one
device; a packet must pass every one of them, so a second, narrower cut-off never reopens anything (invariant 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from orchestrator.domain.address_text import KnownPrefix
from orchestrator.domain.canonical import digest
from orchestrator.domain.network import Address, Model, Name, PortName, PortNumber, Prefix

TCP, UDP, ICMP, ESP, ICMPV6 = 6, 17, 1, 50, 58
WITH_PORTS = frozenset({TCP, UDP})
ElementKey: TypeAlias = tuple[Literal[4, 6], int, int, int, int, int, int, int]


class Element(Model):
    """One box of packets, matched with direction as the enforcing device's forward hook sees it (after destination NAT,
    before source NAT): original direction source → destination.

    `ports` are destination ports, inclusive; None for protocols without ports. `protocol` is the IANA number.
    """

    source: KnownPrefix
    destination: KnownPrefix
    protocol: int = Field(ge=0, le=255)
    ports: tuple[PortNumber, PortNumber] | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Element:
        ports = self.ports
        if self.source.version != self.destination.version:
            raise ValueError("source and destination are of different families")
        if (ports is not None) != (self.protocol in WITH_PORTS):
            raise ValueError("tcp and udp have ports, other protocols have none")
        if ports is not None and ports[0] > ports[1]:
            raise ValueError("the port range is upside down")
        return self

    @property
    def family(self) -> Literal[4, 6]:
        return self.key[0]

    @cached_property
    def key(self) -> ElementKey:
        """All of it in numbers: (family, protocol, source and its prefix length, destination and its, lowest and highest
        port; 0 and 0 without ports)."""
        low, high = self.ports or (0, 0)
        return (
            4 if self.source.version == 4 else 6, self.protocol, int(self.source.network_address), self.source.prefixlen,
            int(self.destination.network_address), self.destination.prefixlen, low, high,
        )  # fmt: skip

    def sort_key(self) -> ElementKey:
        return self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def matches(self, source: Address, destination: Address, protocol: int, port: int | None) -> bool:
        """Whether a packet of the original direction lies in the box."""
        return (
            protocol == self.protocol
            and source.version == self.source.version
            and source in self.source
            and destination in self.destination
            and (self.ports is None or (port is not None and self.ports[0] <= port <= self.ports[1]))
        )


def ordered(elements: Iterable[Element]) -> tuple[Element, ...]:
    """Sorted and without repetition: the normal form that fingerprints compare."""
    found = {element.key: element for element in elements}  # the key says all: cheaper to hash than the element
    return tuple(found[key] for key in sorted(found))


def in_order(numbers: Iterable[tuple[Element, int]]) -> Numbers:
    """By element."""
    return tuple(sorted(numbers, key=lambda pair: pair[0].key))


def networks_in_order(networks: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """IPv4 before IPv6, disjoint, as few as possible: the normal form of a block list."""
    given = list(networks)
    four = collapse_addresses([one for one in given if isinstance(one, IPv4Network)])
    six = collapse_addresses([one for one in given if isinstance(one, IPv6Network)])
    return (*four, *six)


Numbers: TypeAlias = tuple[tuple[Element, int], ...]


class Layer(Model):
    """What one cut-off lays down on one device.

    `slot` names it on the device (`internet-3fa29b1c`: profile and the start of its definition's digest).
    `guard` are interfaces (flow and route grain) or switch ports (port grain).
    `scope`, when not empty, confines the drop to packets with one end in these prefixes (profile `vendors`).
    `behind` are the prefixes reached through the guard, `aside` all others the site knows: the longest match decides
    whether a tracked connection crosses the guard.
    `coarse`: the guard is closed whole (an interface shut down, a port parked): `keep` is then empty.
    """

    slot: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    profile: Name
    device: Name
    guard: tuple[PortName, ...] = Field(min_length=1)
    scope: tuple[KnownPrefix, ...] = ()
    keep: tuple[Element, ...] = ()
    behind: tuple[KnownPrefix, ...] = ()
    aside: tuple[KnownPrefix, ...] = ()
    coarse: bool = False

    def is_behind(self, address: Address) -> bool:
        """Whether the address is reached through the guard (longest prefix wins; unknown addresses are behind)."""
        best, found = -1, True
        for answer, prefixes in ((True, self.behind), (False, self.aside)):
            for prefix in prefixes:
                if prefix.version == address.version and address in prefix and prefix.prefixlen > best:
                    best, found = prefix.prefixlen, answer
        return found

    def permits(self, source: Address, destination: Address, protocol: int, port: int | None) -> bool:
        """Whether a tracked connection (original direction, untranslated ends) may live under this layer alone."""
        if self.is_behind(source) == self.is_behind(destination):
            return True
        if self.scope and not any(end in prefix for end in (source, destination) for prefix in self.scope if prefix.version == end.version):
            return True
        return not self.coarse and any(element.matches(source, destination, protocol, port) for element in self.keep)


class Opening(Model):
    """An element opened in the layer of a device, with what it serves."""

    flow: Name
    partner: Name
    element: Element


class DeviceChange(Model):
    """What a stage does on one device: pinholes to lay (flow grain) and guards to release whole (coarse grain).

    `shared` are elements that other stages hold open there and that this one needs as well: they are not laid again, and
    stay when the others are closed.
    """

    device: Name
    openings: tuple[Opening, ...] = ()
    releases: tuple[PortName, ...] = ()
    shared: tuple[Opening, ...] = ()

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        return ordered(opening.element for opening in self.openings)

    @property
    def is_empty(self) -> bool:
        """Nothing to be sent."""
        return not self.openings and not self.releases


class Observed(Model):
    """What a device was read back to hold of ours, in normal form (no counters, handles, comments, remaining times).

    `slots`: slot → SHA-256 of the normalised rules and kept elements. `temporary` are opened elements that still have
    a deadline on the device, with the seconds left. `counted`: the packets that went through each opened element since it was
    last laid, where the platform counts (`Traits.counts`). `closed`: coarse guards found closed *in operation* (interface
    down, port parked), whatever a configuration says. `foreign`: lines inside our own object that we do not model —
    never ignored: a device with any is not `applied`.
    """

    present: bool
    epoch: int | None = None
    slots: dict[str, str] = Field(default_factory=dict)
    opened: tuple[Element, ...] = ()
    temporary: Numbers = ()
    counted: Numbers = ()
    closed: tuple[str, ...] = ()
    boots_with: tuple[str, ...] = ()  # slots, or coarse guards, that the device would boot with
    blocked: tuple[KnownPrefix, ...] = ()  # the block list, in normal form (`networks_in_order`)
    loosened_s: int | None = None  # the layer is off, and the device lays it again in so many seconds
    foreign: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same: what was counted is no part of it."""
        if not isinstance(other, Observed):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Observed.model_fields if name != "counted")

    __hash__ = None  # type: ignore[assignment]  # it holds a mapping

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the canonical form; equal layers compare equal whatever their counters and timers."""
        content = {
            "present": self.present,
            "slots": self.slots,
            "opened": [element.model_dump(mode="json") for element in ordered(self.opened)],
            "closed": sorted(self.closed),
            "blocked": [str(network) for network in self.blocked],
            "foreign": list(self.foreign),
        }
        return digest(content)


class TrackedConnection(Model):
    """One entry of connection tracking: original source, untranslated destination, protocol, destination port.

    `raw` is the line of the tool as it was read (evidence); `original`/`reply` are kept by the dialect for deletion.
    """

    source: Address
    destination: Address
    protocol: int
    port: int | None = None
    source_port: int | None = None
    raw: str
