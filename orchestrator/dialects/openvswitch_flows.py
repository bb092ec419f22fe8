"""Elements as OpenFlow entries, and back: the words and the shapes of flow grain on Open vSwitch.

An entry is written exactly as `ovs-ofctl dump-flows` prints it, so that what is read back is compared with what would
be laid. One element becomes, for each piece of its ports (OpenFlow knows ranges only as masks):
  tcp, udp, ICMP of the own family   a new connection by its headers, and everything else of a tracked connection (both
                                     directions, ICMP errors) by the connection's original tuple: no reverse rule
  any other protocol (ESP)           the original direction by its headers; the reversed headers only with register 14,
                                     which a learned entry sets once a packet of the original direction has passed
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network

from pydantic import ValidationError

from orchestrator.domain.layer import ICMP, ICMPV6, TCP, UDP, Element
from orchestrator.domain.network import Prefix

# The first 24 bits of a cookie; of an element its digest is the rest.
OURS, OPENED, LEARNED, BLOCKED, LOOSENED = KINDS = 0xC047A1, 0xC047A2, 0xC047A3, 0xC047A4, 0xC047A5
_REST = 40
TRACKED = {4: {TCP: "tcp", UDP: "udp", ICMP: "icmp"}, 6: {TCP: "tcp6", UDP: "udp6", ICMPV6: "icmp6"}}
_OTHERS = {4: {132: "sctp"}, 6: {132: "sctp6"}}  # what dump-flows has a word for, besides
_NEW, _GOING_ON = "ct_state=+new+trk", "ct_state=-new-inv+trk"
ANSWER = "reg14=0x1"
PERMIT, PERMIT_ANSWER = 30, 29  # priorities: an answer may overlap its own original direction
_ADDRESSES = frozenset({"nw_src", "nw_dst", "ipv6_src", "ipv6_dst", "ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst"})
_ANY_PORT, _ALL_BITS = (0, 0), 0xFFFF


@dataclass(frozen=True)
class Entry:
    """One OpenFlow entry. `match` and `actions` in the words of `dump-flows`; `left_s` until it ends; `packets` are no part of it."""

    cookie: int
    table: int
    priority: int
    match: frozenset[str]
    actions: str
    left_s: int | None = None
    packets: int = field(default=0, compare=False)

    def text(self, table: str | None = None) -> str:
        """As `ovs-ofctl` takes it. `table`: a word that the device's shell replaces."""
        words = (f"cookie=0x{self.cookie:x}", f"table={self.table if table is None else table}", f"priority={self.priority}")
        match = sorted(self.match, key=lambda word: ("=" in word, word))  # the protocol before its fields
        return ",".join((*words, *match, f"actions={self.actions}"))


def cookie_of(kind: int, element: Element) -> int:
    """All entries of one element share it: it is closed by it, and its pieces are found again."""
    text = f"{element.source} {element.destination} {element.protocol} {element.ports}"
    return kind << _REST | int(hashlib.sha256(text.encode()).hexdigest()[: _REST // 4], 16)


def is_kind(kind: int, cookie: int) -> bool:
    return cookie >> _REST == kind


def entries_of(element: Element, kind: int, table: int, actions: str) -> tuple[Entry, ...]:
    """The entries by which a packet of the element, either direction, gets these actions."""
    cookie = cookie_of(kind, element)
    if element.protocol not in TRACKED[element.family]:
        there, back = _untracked(element), _untracked(element, back=True)
        return Entry(cookie, table, PERMIT, there, actions), Entry(cookie, table, PERMIT_ANSWER, back, actions)
    found = []
    for piece in port_pieces(element.ports):
        found.append(Entry(cookie, table, PERMIT, _new(element, piece), actions))
        found.append(Entry(cookie, table, PERMIT, _going_on(element, piece), actions))
    return tuple(found)


def element_of(entries: Collection[Entry]) -> Element | None:
    """The element that these entries of one cookie are exactly, or None when they are anything else."""
    original = [_original(entry.match) for entry in entries if entry.priority == PERMIT]
    boxes = {(source, destination, protocol) for source, destination, protocol, _ in filter(None, original)}
    if None in original or len(boxes) != 1:
        return None
    ((source, destination, protocol),) = boxes
    try:
        ports = _joined({piece for _, _, _, piece in filter(None, original)}) if protocol in (TCP, UDP) else None
        element = Element(source=source, destination=destination, protocol=protocol, ports=ports)
    except (ValidationError, ValueError):
        return None
    one = next(iter(entries))
    kind = one.cookie >> _REST
    wanted = {(entry.cookie, entry.priority, entry.match) for entry in entries_of(element, kind, one.table, one.actions)}
    return element if wanted == {(entry.cookie, entry.priority, entry.match) for entry in entries} else None


def port_pieces(ports: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
    """The range as (value, mask), the fewest; one that matches all where there are no ports."""
    if ports is None:
        yield _ANY_PORT
        return
    low, high = ports
    while low <= high:
        size = low & -low or 1 << 16
        while size > high - low + 1:
            size >>= 1
        yield low, _ALL_BITS & ~(size - 1)
        low += size


def read_match(words: Iterable[str]) -> frozenset[str]:
    """A match as we write it: addresses in one spelling only."""
    return frozenset(_spelled(word) for word in words)


def address_words(prefix: Prefix, direction: str, *, tracked: bool = False) -> tuple[str, ...]:
    """`direction` is `src` or `dst`. Nothing for the prefix that holds all addresses."""
    if prefix.prefixlen == 0:
        return ()
    word = f"nw_{direction}" if prefix.version == 4 else f"ipv6_{direction}"
    return (f"{'ct_' if tracked else ''}{word}={_spell(prefix)}",)


def _new(element: Element, piece: tuple[int, int]) -> frozenset[str]:
    ends = (*address_words(element.source, "src"), *address_words(element.destination, "dst"))
    return frozenset((_NEW, TRACKED[element.family][element.protocol], *ends, *_port_words("tp_dst", piece)))


def _going_on(element: Element, piece: tuple[int, int]) -> frozenset[str]:
    ends = (*address_words(element.source, "src", tracked=True), *address_words(element.destination, "dst", tracked=True))
    family = "ip" if element.family == 4 else "ipv6"
    return frozenset((_GOING_ON, family, f"ct_nw_proto={element.protocol}", *ends, *_port_words("ct_tp_dst", piece)))


def _untracked(element: Element, *, back: bool = False) -> frozenset[str]:
    one, other = ("dst", "src") if back else ("src", "dst")
    ends = (*address_words(element.source, one), *address_words(element.destination, other))
    named = _OTHERS[element.family].get(element.protocol)
    words = (named,) if named else ("ip" if element.family == 4 else "ipv6", f"nw_proto={element.protocol}")
    return frozenset((*words, *ends, *((ANSWER,) if back else ())))


def _original(match: frozenset[str]) -> tuple[Prefix, Prefix, int, tuple[int, int]] | None:
    """Source, destination, protocol and piece of the ports, of an entry of ours that names the original direction."""
    fields = dict(word.partition("=")[::2] for word in match)
    family = 6 if any(word in fields for word in ("ipv6", *TRACKED[6].values(), *_OTHERS[6].values())) else 4
    numbers = {name: number for table in (TRACKED, _OTHERS) for number, name in table[family].items()}
    named = [numbers[word] for word in fields if word in numbers]
    try:
        protocol = named[0] if named else int(fields["ct_nw_proto"] if "ct_nw_proto" in fields else fields["nw_proto"])
        ends = [_end(fields, direction, family) for direction in ("src", "dst")]
        port = next((fields[word] for word in ("tp_dst", "ct_tp_dst") if word in fields), None)
        return ends[0], ends[1], protocol, _ANY_PORT if port is None else _piece(port)
    except (KeyError, ValueError):
        return None


def _end(fields: dict[str, str], direction: str, family: int) -> Prefix:
    word = f"nw_{direction}" if family == 4 else f"ipv6_{direction}"
    text = fields.get(word) or fields.get(f"ct_{word}") or ("0.0.0.0/0" if family == 4 else "::/0")
    return ip_network(text)


def _joined(pieces: set[tuple[int, int]]) -> tuple[int, int]:
    """The one range that these pieces are. Raises ValueError when they are not one."""
    spans = sorted((value, value + (_ALL_BITS & ~mask)) for value, mask in pieces)
    for (_, high), (low, _) in itertools.pairwise(spans):
        if low != high + 1:
            raise ValueError("the pieces leave a gap")
    return spans[0][0], spans[-1][1]


def _port_words(name: str, piece: tuple[int, int]) -> tuple[str, ...]:
    value, mask = piece
    if mask == 0:
        return ()
    return (f"{name}={value}",) if mask == _ALL_BITS else (f"{name}=0x{value:x}/0x{mask:x}",)


def _piece(text: str) -> tuple[int, int]:
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if mask else _ALL_BITS


def _spelled(word: str) -> str:
    name, _, value = word.partition("=")
    if name in _ADDRESSES:
        try:
            return f"{name}={_spell(ip_network(value))}"
        except ValueError:
            return word  # a mask with holes: no word of ours
    return word


def _spell(prefix: Prefix) -> str:
    whole = 32 if isinstance(prefix, IPv4Network) else 128
    return str(prefix.network_address) if prefix.prefixlen == whole else str(prefix)
