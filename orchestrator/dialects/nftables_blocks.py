"""The block list of an nftables device: networks that nothing is let through for, whatever is kept or opened.

Every `block` adds rules of its own to the chain `blocked`, which every guard asks first. A rule says what is *not* blocked
and stops the rest: `ip saddr != { all but these networks } goto stopped`. While a transaction brings a set, a look-up in it
can find nothing for some microseconds, and then such a rule drops instead of passing. Adding needs nothing read before,
networks may overlap, and no old nft has to merge intervals.

The rules of one block carry a comment made of its networks, and so does its boot file: blocking the same again replaces
them. Nothing is matched but the ends of packets on guarded interfaces: the device's own protocols to its next hop and
everything on other interfaces stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range
from typing import Any

from orchestrator.dialects.nftables_rules import BLOCKED, STOPPED, TABLE, shared_chain_lines
from orchestrator.domain.layer import networks_in_order
from orchestrator.domain.network import Prefix

_LAST = {4: 2**32 - 1, 6: 2**128 - 1}
_IP = {4: "ip", 6: "ip6"}
_ENDS = ("saddr", "daddr")
Range = tuple[int, int]


def block_name(networks: Iterable[Prefix]) -> str:
    """Names the rules and the boot file of one block."""
    words = " ".join(str(network) for network in networks_in_order(networks))
    return "b-" + hashlib.sha256(words.encode()).hexdigest()[:16]


def block_lines(networks: tuple[Prefix, ...]) -> list[str]:
    """Commands that add the rules of one block; what they need is made where it is missing."""
    name = block_name(networks)
    lines = [f"add table {TABLE}", *shared_chain_lines()]
    for version, ip in _IP.items():
        taken = _ranges(networks, version)
        if not taken:
            continue
        if free := _left(taken, version):
            others = ", ".join(_words(version, one) for one in free)
            rules = [f"{ip} {end} != {{ {others} }}" for end in _ENDS]
        else:
            rules = [f"meta nfproto ipv{version}"]
        lines += [f'add rule {TABLE} {BLOCKED} {rule} goto {STOPPED} comment "{name}"' for rule in rules]
    return lines


def read_blocks(rules: Iterable[dict[str, Any]]) -> tuple[tuple[Prefix, ...], list[str]]:
    """The networks that the rules of the chain `blocked` (as JSON gives them) stop in both directions, in normal form;
    and what among them is not ours."""
    found: dict[tuple[int, str], list[Range]] = {(version, end): [] for version in _IP for end in _ENDS}
    odd: list[str] = []
    for rule in rules:
        read = _read_rule(rule)
        if read is None:
            odd.append(f"chain {BLOCKED}: unexpected rule: {rule.get('expr')}")
            continue
        version, ends, taken = read
        for end in ends:
            found[version, end] += taken
    networks: list[Prefix] = []
    for version in _IP:
        one, other = (_left(found[version, end], version) for end in _ENDS)  # what passes
        if one != other:
            odd.append(f"chain {BLOCKED}: IPv{version} is not blocked the same in both directions")
        networks += _networks(version, _left([*one, *other], version))
    return networks_in_order(networks), odd


def _read_rule(rule: dict[str, Any]) -> tuple[int, tuple[str, ...], list[Range]] | None:
    try:
        match, goto = rule["expr"]
        if goto != {"goto": {"target": STOPPED}} or not str(rule.get("comment", "")).startswith("b-"):
            return None
        match = match["match"]
        if match["left"] == {"meta": {"key": "nfproto"}} and match["op"] == "==":
            version = {2: 4, 10: 6}[match["right"]]
            return version, _ENDS, [(0, _LAST[version])]
        version = {"ip": 4, "ip6": 6}[match["left"]["payload"]["protocol"]]
        end = match["left"]["payload"]["field"]
        if match["op"] != "!=" or end not in _ENDS:
            return None
        right = match["right"]
        others = right["set"] if isinstance(right, dict) and "set" in right else [right]
        return version, (end,), _left([_range(one) for one in others], version)
    except (KeyError, TypeError, ValueError):
        return None


def _range(raw: Any) -> Range:
    if isinstance(raw, dict) and "range" in raw:
        first, last = (int(ip_address(end)) for end in raw["range"])
        return first, last
    network = ip_network(f"{raw['prefix']['addr']}/{raw['prefix']['len']}" if isinstance(raw, dict) else raw)
    return int(network.network_address), int(network.broadcast_address)


def _ranges(networks: Iterable[Prefix], version: int) -> list[Range]:
    return [(int(one.network_address), int(one.broadcast_address)) for one in networks if one.version == version]


def _left(taken: Iterable[Range], version: int) -> list[Range]:
    """The ranges that these leave out."""
    free, left = 0, []
    for first, last in sorted(taken):
        if first > free:
            left.append((free, first - 1))
        free = max(free, last + 1)
    return left + ([(free, _LAST[version])] if free <= _LAST[version] else [])


def _networks(version: int, ranges: Iterable[Range]) -> list[Prefix]:
    found: list[Prefix] = []
    for first, last in ranges:
        if version == 4:
            found += summarize_address_range(IPv4Address(first), IPv4Address(last))
        else:
            found += summarize_address_range(IPv6Address(first), IPv6Address(last))
    return found


def _words(version: int, one: Range) -> str:
    first, last = (IPv4Address(end) if version == 4 else IPv6Address(end) for end in one)
    return str(first) if first == last else f"{first}-{last}"
