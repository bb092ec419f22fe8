"""Packets as a plan tells them (`becomes_possible`), read back into exact sets: the other direction of `Box.describe`.

A lift and a resumption change nothing by openings of their own: what their voters saw is these lines, and so it is these
lines that two of their plans are compared by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from orchestrator.domain.packets import (
    ANY_PROTOCOL,
    ANY_SELECTOR,
    BOTH_WAYS,
    NUMBERS,
    WITH_TYPES,
    Box,
    Direction,
    Family,
    span,
    whole,
)
from orchestrator.domain.plan import Plan, Reachability
from orchestrator.domain.rule_lists import Difference, difference_of_boxes

_SERVICE = re.compile(
    r"(?P<any>any)|(protocols (?P<low>\d+)-(?P<high>\d+)|protocol (?P<number>\d+)|(?P<name>[a-z]+[a-z0-9]*))"
    r"(/(?P<first>\d+)(-(?P<last>\d+))?| type (?P<type>\d+)(-(?P<types>\d+))?( code (?P<code>\d+)-(?P<codes>\d+))?)?"
)
_WAY = re.compile(r" \((in|out) by [^)]+\)$")


def between_told(before: Plan, after: Plan) -> dict[str, Difference]:
    """Per device on the way: what only one of the two plans says that becomes possible. Raises ValueError for a line that no
    plan of ours has."""
    one, other = _by_device(before.becomes_possible), _by_device(after.becomes_possible)
    found = {name: difference_of_boxes(one.get(name, ()), other.get(name, ())) for name in sorted({*one, *other})}
    return {name: difference for name, difference in found.items() if difference}


def box_of_line(line: Reachability) -> Box:
    """The packets of one line. Raises ValueError."""
    family, source = _addresses(line.source)
    _, destination = _addresses(line.destination)
    way = _WAY.search(line.service)
    direction = BOTH_WAYS if way is None else (Direction[way[1].upper()],) * 2
    protocol, selector = _service(_WAY.sub("", line.service))
    return Box(family, source, destination, protocol, selector, direction)


def _by_device(lines: Iterable[Reachability]) -> dict[str, list[Box]]:
    found: dict[str, list[Box]] = {}
    for line in lines:
        box = box_of_line(line)
        for device in line.through:
            found.setdefault(device, []).append(box)
    return found


def _addresses(text: str) -> tuple[Family, tuple[int, int]]:
    if text in ("any IPv4", "any IPv6"):
        family: Family = 4 if text.endswith("4") else 6
        return family, whole(family)
    if "/" in text:
        network = ip_network(text)
        return 4 if network.version == 4 else 6, span(network)
    low, high = (ip_address(end) for end in text.split("-"))
    return 4 if low.version == 4 else 6, (int(low), int(high))


def _service(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    said = _SERVICE.fullmatch(text)
    if said is None:
        raise ValueError(f"{text!r} is no service as a plan says it")
    if said["any"]:
        return ANY_PROTOCOL, ANY_SELECTOR
    if said["low"]:
        protocol = (int(said["low"]), int(said["high"]))
    else:
        number = int(said["number"]) if said["number"] else NUMBERS.get(said["name"], -1)
        protocol = (number, number)
    if said["type"] and protocol[0] in WITH_TYPES:
        first, last = int(said["type"]), int(said["types"] or said["type"])
        return protocol, (first * 256 + int(said["code"] or 0), last * 256 + int(said["codes"] or 255))
    if said["first"]:
        return protocol, (int(said["first"]), int(said["last"] or said["first"]))
    return protocol, ANY_SELECTOR
