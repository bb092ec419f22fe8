"""Composition `intersection` in the words of Cisco IOS: a named extended access list, per interface, direction and family.

IOS asks one list per interface and direction, so ours cannot lie in front of the site's: the list that is put there is
the site's own, line by line, with every permit narrowed to the layer (`composition_programs.narrowed`). It is made from
the site's list as it was read back, and proved with it before it is sent (`prove_list`).

This is a renderer, not a platform: no `Dialect` is registered, `platform: ios` cannot be written in an inventory, and
no device of this kind is ever driven. What is missing, and why it is not pretended:
  - a plan is voted on as text, and this text follows from what the device held at that moment: it belongs into the plan;
  - such a list is stateless: the replies of a conversation need a permit of their own (`reflect`), which would admit
    packets of no conversation; the layer promises direction, so a firewall that tracks must stand beside it;
  - no generation, no deadline and no boot form were tried on a device. The words were tested by reading them only.

What IOS does by itself is modelled: what no line matches is denied; a list that is named and has no line lets everything
through, so ours always ends with a deny; in IPv6 neighbour discovery passes before the implied deny, and is spared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TypeVar

from orchestrator.domain.composition_programs import EVERYTHING, Program, narrowed, own_lines
from orchestrator.domain.composition_proof import prove
from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.packets import ANY_PROTOCOL, ANY_SELECTOR, WITH_PORTS, WITH_TYPES, Box, Family, PacketSet, prefixes_of, span, whole
from orchestrator.domain.rule_lists import Rule, accepted
from orchestrator.errors import DeviceUnknown

# The words that `show running-config` prints for numbers.
_PORTS = {
    "ftp-data": 20, "ftp": 21, "telnet": 23, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "www": 80,
    "pop3": 110, "ntp": 123, "snmp": 161, "snmptrap": 162, "bgp": 179, "isakmp": 500, "syslog": 514, "non500-isakmp": 4500,
}  # fmt: skip
_PROTOCOLS: dict[Family, dict[str, int]] = {
    4: {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ahp": 51, "eigrp": 88, "ospf": 89, "pim": 103},
    6: {"icmp": 58, "tcp": 6, "udp": 17, "esp": 50, "ahp": 51},
}
_TYPES: dict[Family, dict[str, int]] = {
    4: {"echo-reply": 0, "unreachable": 3, "echo": 8, "time-exceeded": 11},
    6: {"unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "echo-request": 128, "echo-reply": 129, "nd-ns": 135, "nd-na": 136},
}
_ALL: dict[Family, str] = {4: "ip", 6: "ipv6"}
_HEADER: dict[Family, str] = {4: "ip access-list extended", 6: "ipv6 access-list"}
_DISCOVERY = tuple(
    Box(6, whole(6), whole(6), (58, 58), (kind * 256, kind * 256 + 255)) for kind in (_TYPES[6]["nd-na"], _TYPES[6]["nd-ns"])
)

_ANY = -1  # stands for every protocol
_T = TypeVar("_T")


@dataclass(frozen=True)
class AclLine:
    """One line of a list; `log` says nothing about packets and is carried along."""

    rule: Rule
    log: bool = False


def read(text: str, family: Family) -> tuple[AclLine, ...]:
    """The lines of one list as `show running-config` prints them, with what IOS adds; remarks are left out.

    No text: no list lies on the interface. Raises DeviceUnknown with the number and words of a line that is not modelled.
    """
    found = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line == "!" or line.startswith(_HEADER[family] + " ") or _is_remark(line):
            continue
        try:
            found.append(_Words(line, family).line())
        except ValueError as failure:
            raise DeviceUnknown(
                f"line {number} of the access list is not modelled: {line!r} ({failure})",
                advice="nothing was rendered; put a firewall of another kind in front, or take the line out of the list",
            ) from failure
    if not found:
        return (AclLine(Rule(EVERYTHING[0 if family == 4 else 1])),)
    return (*found, *(AclLine(Rule(box)) for box in (_DISCOVERY if family == 6 else ())))


def compose(name: str, family: Family, layer: Iterable[Element], site: str) -> str:
    """The list to put in the place of the site's: layer ∩ site. Raises DeviceUnknown for a list that is not modelled."""
    permitted = spared(layer, family)
    lines = [AclLine(piece, line.log) for line in read(site, family) for piece in narrowed(line.rule, permitted)]
    text = [f"{_HEADER[family]} {name}"]
    text += [words for line in lines for words in _written(line)]
    return "\n".join([*text, f" deny {_ALL[family]} any any", ""])


def prove_list(rendered: str, family: Family, layer: Iterable[Element], site: str, *, device: str) -> PacketSet:
    """What the rendered (or read back) list lets through; raises Refused (`composition`) unless it is exactly layer ∩ site."""
    ours, theirs = (tuple(line.rule for line in read(text, family)) for text in (rendered, site))
    return prove(Program((own_lines(ours),)), spared(layer, family), accepted(theirs), device=device)


def spared(layer: Iterable[Element], family: Family) -> PacketSet:
    """The layer in this family, with the device's own neighbour discovery."""
    return packets_of(element for element in layer if element.family == family) | PacketSet(_DISCOVERY if family == 6 else ())


def _is_remark(line: str) -> bool:
    return re.match(r"(\d+ |sequence \d+ )?remark\b", line) is not None


class _Words:
    """One line, word by word. Raises ValueError for what is not modelled."""

    def __init__(self, line: str, family: Family) -> None:
        self._family = family
        self._left = re.sub(r"^(\d+|sequence \d+) (?=permit|deny)", "", re.sub(r" sequence \d+$", "", line)).split()

    def line(self) -> AclLine:
        accept = self._known({"permit": True, "deny": False})
        number = self._number({**_PROTOCOLS[self._family], _ALL[self._family]: _ANY})
        protocol = ANY_PROTOCOL if number == _ANY else (number, number)
        source, destination = self._address(), self._address()
        selector = self._selector(protocol[0]) if protocol != ANY_PROTOCOL else ANY_SELECTOR
        log = self._left == ["log"]
        if self._left and not log:
            raise ValueError(f"nothing is known of {' '.join(self._left)!r}")
        return AclLine(Rule(Box(self._family, source, destination, protocol, selector), accept), log)

    def _next(self) -> str:
        if not self._left:
            raise ValueError("it ends too early")
        return self._left.pop(0)

    def _known(self, words: Mapping[str, _T]) -> _T:
        word = self._next()
        if word not in words:
            raise ValueError(f"nothing is known of {word!r}")
        return words[word]

    def _number(self, words: Mapping[str, int]) -> int:
        return int(self._next()) if self._left[:1] and self._left[0].isdigit() else self._known(words)

    def _address(self) -> tuple[int, int]:
        word = self._next()
        if word == "any":
            return whole(self._family)
        if word == "host":
            value = int(IPv4Address(self._next()) if self._family == 4 else IPv6Address(self._next()))
            return value, value
        if self._family == 6:
            return span(ip_network(word))
        wildcard = int(IPv4Address(self._next()))
        if wildcard & (wildcard + 1):
            raise ValueError("a wildcard with holes")
        low = int(IPv4Address(word)) & ~wildcard
        return low, low | wildcard

    def _selector(self, protocol: int) -> tuple[int, int]:
        if not self._left or self._left[0] == "log":
            return ANY_SELECTOR
        if protocol in WITH_PORTS:
            kind = self._known({"eq": "eq", "range": "range", "gt": "gt", "lt": "lt"})
            first = self._number(_PORTS)
            last = self._number(_PORTS) if kind == "range" else first
            return {"eq": (first, first), "range": (first, last), "gt": (first + 1, 65535), "lt": (0, first - 1)}[kind]
        if protocol in WITH_TYPES:
            value = self._number(_TYPES[self._family])
            if self._left and self._left[0].isdigit():
                code = value * 256 + int(self._next())
                return code, code
            return value * 256, value * 256 + 255
        return ANY_SELECTOR


def _written(line: AclLine) -> Iterator[str]:
    """A rule as lines: IOS has no ranges of addresses or protocols."""
    box, verb = line.rule.box, "permit" if line.rule.accept else "deny"
    protocols = [None] if box.protocol == ANY_PROTOCOL else list(range(box.protocol[0], box.protocol[1] + 1))
    for protocol in protocols:
        for source in prefixes_of(box.family, box.source):
            for destination in prefixes_of(box.family, box.destination):
                ends = f"{_end(source.with_prefixlen)} {_end(destination.with_prefixlen)}"
                for selected in _selected(box, protocol):
                    yield f" {verb} {_named(box.family, protocol)} {ends}{selected}{' log' if line.log else ''}"


def _named(family: Family, protocol: int | None) -> str:
    if protocol is None:
        return _ALL[family]
    return next((name for name, number in _PROTOCOLS[family].items() if number == protocol), str(protocol))


def _end(text: str) -> str:
    prefix = ip_network(text)
    if prefix.prefixlen == 0:
        return "any"
    if prefix.num_addresses == 1:
        return f"host {prefix.network_address}"
    return f"{prefix.network_address} {prefix.hostmask}" if prefix.version == 4 else str(prefix)


def _selected(box: Box, protocol: int | None) -> Iterator[str]:
    """Ports are ranges; types and codes of ICMP are written one by one."""
    low, high = box.selector
    if box.selector == ANY_SELECTOR:
        yield ""
    elif protocol in WITH_PORTS:
        yield f" eq {low}" if low == high else f" range {low} {high}"
    elif protocol in WITH_TYPES:
        while low <= high:
            whole_type = low % 256 == 0 and low + 255 <= high
            yield f" {low // 256}" if whole_type else f" {low // 256} {low % 256}"
            low += 256 if whole_type else 1
    else:
        raise ValueError(f"no access list says {box.describe()}")
