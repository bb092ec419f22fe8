"""Reading an nftables device back, exactly: what is not modelled inside our table is named, never ignored.

Two listings are needed. Text (`nft -nnn -s -t`) gives the rules, line by line as `nftables_rules` wrote them, and what
JSON hides: `flags dormant` (a table that looks normal and lets everything through) and comments. JSON gives the
elements of the sets, with the seconds that they have left and the packets that they have counted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import ndiff
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range
from typing import Any

from pydantic import ValidationError

from orchestrator.dialects.base import Script
from orchestrator.dialects.nftables_blocks import read_blocks
from orchestrator.dialects.nftables_rules import (
    BLOCKED,
    LOOSENED,
    SHARED_CHAINS,
    SHARED_SETS,
    TABLE,
    Bodies,
    as_listed,
    complement,
    lay_slot,
    slot_chains,
    slot_digest,
    slot_name,
    slot_sets,
)
from orchestrator.domain.layer import Element, Layer, Numbers, Observed, in_order, networks_in_order, ordered
from orchestrator.domain.network import Prefix
from orchestrator.errors import DeviceUnknown

_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58}
_BLOCK = re.compile(r"^\t(\w+) (\S+) \{$")
_BOOT_LINE = re.compile(r"^(\S+) (\S+) # containment boot file, slot (\S+), layer (\S+), body (\S+)$")
_BLOCK_LINE = re.compile(r"^(\S+) (\S+) # containment boot file, blocked (\S.*), body (\S+)$")
_EPOCH_LINE = re.compile(r"^(\S+) (\S+) # containment boot file, epoch \d+, body (\S+)$")


@dataclass
class _Structure:
    """The table's text: what stands directly in it, and its sets, chains and other objects with their lines."""

    loose: list[str] = field(default_factory=list)
    objects: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


@dataclass
class _Entry:
    key: Any  # as JSON gives it
    expires_s: int | None
    packets: int = 0


@dataclass
class _Boot:
    """Slots that the device boots with, the digests of their layers and of their files, what it boots blocking, and what is wrong
    there."""

    digests: dict[str, str] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    blocked: list[Prefix] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read_back(directory: str) -> Script:
    """Prints five sections; the last line says that nothing was cut off."""
    text = f"""\
export LC_ALL=C
tables=$(nft list tables) || exit 1
if printf '%s\\n' "$tables" | grep -qx 'table {TABLE}'; then
  echo '=== structure'; nft -nnn -s -t list table {TABLE} || exit 1
  echo '=== elements'; nft -nnn -j list table {TABLE} || exit 1
  echo
fi
echo '=== fast paths'; nft list flowtables 2>/dev/null | grep -E '^(table|[[:space:]]+flowtable) '
echo '=== boot'
for file in {directory}/*.nft; do
  [ -e "$file" ] || continue
  sum=$(tail -n +2 "$file" | sha256sum)
  printf '%s %s %s\\n' "${{file##*/}}" "${{sum%% *}}" "$(head -n 1 "$file")"
done
echo '=== end'
"""
    return Script("sh", text)


def parse(output: str) -> Observed:
    """See `Dialect.parse`."""
    sections = _sections(output)
    if "end" not in sections or "boot" not in sections:
        raise DeviceUnknown("the read-back is incomplete: its last line is missing")
    foreign = _fast_paths(sections.get("fast paths", []))
    boot = _boot(sections["boot"])
    foreign += boot.wrong
    boots = tuple(sorted(boot.digests))
    if "structure" not in sections:
        return Observed(present=False, boots_with=boots, foreign=tuple(foreign))
    structure = _structure(sections["structure"])
    listed = _listed("\n".join(sections.get("elements", [])))
    elements = _elements(listed)
    foreign += [f"in the table itself: {line}" for line in structure.loose]

    slots: dict[str, str] = {}
    bodies: dict[str, str] = {}
    names = sorted({name.rpartition("_")[0] for kind, name in structure.objects if _of_a_slot(kind, name)})
    modelled = {("set", name) for name in SHARED_SETS} | {("chain", name) for name in (BLOCKED, *SHARED_CHAINS)}
    if names:
        foreign += _differences("set", SHARED_SETS, structure) + _differences("chain", SHARED_CHAINS, structure)
        foreign += [] if ("chain", BLOCKED) in structure.objects else [f"chain {BLOCKED} is missing"]
    for name in names:
        sets, chains = slot_sets(slot_name(name)), slot_chains(slot_name(name))
        modelled |= {("set", one) for one in sets} | {("chain", one) for one in chains}
        deviations = _differences("set", sets, structure) + _differences("chain", chains, structure)
        digest, body, unread = _slot(name, elements, deviations)
        foreign += deviations + unread
        slots[slot_name(name)], bodies[slot_name(name)] = digest, body
    foreign += [f"{kind} {name} is not ours" for kind, name in sorted(structure.objects) if (kind, name) not in modelled]

    epoch, bad_epoch = _epoch(elements)
    opened, temporary, counted, bad_openings = _openings(elements)
    blocked, bad_blocks = read_blocks(rule for rule in _all(listed, "rule") if rule.get("chain") == BLOCKED)
    foreign += bad_epoch + bad_openings + bad_blocks
    # The head of a file says what its body is, and somebody can write both: the body itself is what this layer is written as.
    foreign += [
        f"the boot file of {slot} differs from what runs"
        for slot, its in boot.digests.items()
        if slot in slots and (slots[slot], bodies[slot]) != (its, boot.sums[slot])
    ]
    if set(blocked) != set(networks_in_order(boot.blocked)):
        foreign.append("the device would boot with another block list than runs")
    loosened, left, endless = _loosened(elements)
    foreign += endless
    lying = {} if loosened else slots
    return Observed(
        present=bool(lying), epoch=epoch, slots=lying, opened=opened, temporary=temporary, counted=counted, boots_with=boots,
        blocked=blocked, loosened_s=left, foreign=tuple(foreign),
    )  # fmt: skip


def _loosened(elements: dict[str, list[_Entry]]) -> tuple[bool, int | None, list[str]]:
    """Whether packets go past the layer, the seconds that are left, and what is odd about it."""
    entries = elements.get(LOOSENED, [])
    if not entries:
        return False, None, []
    left = [entry.expires_s for entry in entries if entry.expires_s is not None]
    odd = [f"set {LOOSENED}: the layer is off without an end"] if len(left) != len(entries) else []
    if {entry.key for entry in entries} != {2, 10}:
        odd.append(f"set {LOOSENED}: not both families: {sorted(str(entry.key) for entry in entries)}")
    return True, max(left) if left and not odd else None, odd


def _sections(output: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith("=== "):
            current = sections.setdefault(line[4:].strip(), [])
        else:
            current.append(line)
    return sections


def _structure(lines: Iterable[str]) -> _Structure:
    found = _Structure()
    inside: tuple[str, str] | None = None
    body: list[str] = []
    for line in lines:
        if inside is not None:
            if line == "\t}":
                found.objects[inside] = tuple(body)
                inside = None
            elif line.strip():
                body.append(line.strip())
        elif block := _BLOCK.match(line):
            inside, body = (block[1], block[2]), []
        elif line.strip() and line not in (f"table {TABLE} {{", "}"):
            found.loose.append(line.strip())
    if inside is not None:
        raise DeviceUnknown(f"the read-back is cut off inside {inside[0]} {inside[1]}")
    return found


def _of_a_slot(kind: str, name: str) -> bool:
    slot = name.rpartition("_")[0]
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", slot):
        return False
    return name in (slot_chains(slot_name(slot)) if kind == "chain" else slot_sets(slot_name(slot)))


def _differences(kind: str, expected: Bodies, structure: _Structure) -> list[str]:
    """In words: what is missing from the expected objects, and what is there besides."""
    found = []
    for name, lines in expected.items():
        wanted = tuple(as_listed(line) for line in lines)
        body = structure.objects.get((kind, name))
        if body is None:
            found.append(f"{kind} {name} is missing")
        elif body != wanted:
            for line in ndiff(wanted, body):
                if line[0] in "+-":
                    found.append(f"{kind} {name}: {'unexpected' if line[0] == '+' else 'missing'}: {line[2:]}")
    return found


def _listed(text: str) -> list[dict[str, Any]]:
    try:
        return list(json.loads(text)["nftables"])
    except (ValueError, KeyError, TypeError) as failure:
        raise DeviceUnknown(f"the elements cannot be read: {failure}") from failure


def _all(listed: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item[kind] for item in listed if kind in item]


def _elements(listed: list[dict[str, Any]]) -> dict[str, list[_Entry]]:
    try:
        return {one["name"]: [_entry(raw) for raw in one.get("elem", [])] for one in _all(listed, "set")}
    except (ValueError, KeyError, TypeError) as failure:
        raise DeviceUnknown(f"the elements cannot be read: {failure}") from failure


def _entry(raw: Any) -> _Entry:
    if isinstance(raw, dict) and "elem" in raw:
        inner = raw["elem"]
        expires = inner.get("expires", inner.get("timeout"))
        counted = inner.get("counter") or {}
        return _Entry(inner["val"], None if expires is None else int(expires), int(counted.get("packets", 0)))
    return _Entry(raw, None)


def _slot(name: str, elements: dict[str, list[_Entry]], deviations: list[str]) -> tuple[str, str, list[str]]:
    """The digest of the slot as it is, the SHA-256 of a boot file of it, and the elements of it that we cannot model."""
    unread: list[str] = []
    guard = [str(entry.key) for entry in elements.get(f"{name}_ports", [])]
    unconcerned: list[Prefix] = []
    keep: list[Element] = []
    for family in ("4", "6"):
        for entry in elements.get(f"{name}_unconcerned{family}", []):
            prefix = _prefix(entry.key)
            if prefix is None:
                unread.append(_not_ours(f"{name}_unconcerned{family}", entry))
            else:
                unconcerned.append(prefix)
        for kind in ("", "p"):
            for entry in elements.get(f"{name}_keep{kind}{family}", []):
                element = _element(entry.key)
                if element is None:
                    unread.append(_not_ours(f"{name}_keep{kind}{family}", entry))
                else:
                    keep.append(element)
    scope = complement(unconcerned)
    made = slot_digest(guard, scope, ordered(keep), deviations + unread)
    if not guard:
        return made, "", unread  # it stops nothing: no file says that
    layer = Layer.model_construct(
        slot=slot_name(name), profile="as-read", device="as-read", guard=tuple(guard), scope=tuple(scope), keep=ordered(keep), coarse=False
    )
    return made, hashlib.sha256(("\n".join(lay_slot(layer)) + "\n").encode()).hexdigest(), unread


def _openings(elements: dict[str, list[_Entry]]) -> tuple[tuple[Element, ...], Numbers, Numbers, list[str]]:
    """Elements; those with a deadline and the seconds left; the packets that each has counted; what we cannot model."""
    opened: list[Element] = []
    temporary: list[tuple[Element, int]] = []
    counted: list[tuple[Element, int]] = []
    unread: list[str] = []
    for name in SHARED_SETS:
        for entry in elements.get(name, []) if name not in ("epoch", LOOSENED) else []:
            element = _element(entry.key)
            if element is None:
                unread.append(_not_ours(name, entry))
                continue
            opened.append(element)
            counted.append((element, entry.packets))
            if entry.expires_s is not None:
                temporary.append((element, entry.expires_s))
    return ordered(opened), in_order(temporary), in_order(counted), unread


def _epoch(elements: dict[str, list[_Entry]]) -> tuple[int | None, list[str]]:
    entries = elements.get("epoch", [])
    if len(entries) == 1 and isinstance(entries[0].key, int):
        return entries[0].key, []
    return None, [f"set epoch holds {len(entries)} generations"] if entries else []


def _not_ours(name: str, entry: _Entry) -> str:
    return f"set {name}: unexpected element: {json.dumps(entry.key)}"


def _element(key: Any) -> Element | None:
    """The box of a concatenation, or None when it is none of ours (an address range, a protocol without a model …)."""
    if not isinstance(key, dict) or len(key.get("concat", ())) not in (3, 4):
        return None
    source, destination, protocol, *ports = key["concat"]
    try:
        return Element.model_validate(
            {
                "source": _prefix(source), "destination": _prefix(destination), "protocol": _PROTOCOLS.get(protocol, protocol),
                "ports": _ports(ports[0]) if ports else None,
            }
        )  # fmt: skip
    except (ValidationError, ValueError, TypeError):
        return None


def _ports(raw: Any) -> tuple[int, int]:
    low, high = raw["range"] if isinstance(raw, dict) else (raw, raw)
    return int(low), int(high)


def _prefix(raw: Any) -> Prefix | None:
    if isinstance(raw, dict) and "range" in raw:
        first, last = (ip_network(end).network_address for end in raw["range"])
        if isinstance(first, IPv4Address) and isinstance(last, IPv4Address):
            whole: list[Prefix] = list(summarize_address_range(first, last))
        elif isinstance(first, IPv6Address) and isinstance(last, IPv6Address):
            whole = list(summarize_address_range(first, last))
        else:
            return None
        return whole[0] if len(whole) == 1 else None
    if isinstance(raw, dict) and "prefix" in raw:
        return ip_network(f"{raw['prefix']['addr']}/{raw['prefix']['len']}")
    return ip_network(raw) if isinstance(raw, str) else None


def _fast_paths(lines: list[str]) -> list[str]:
    """Flowtables carry packets past every forward chain, ours included."""
    return ["fast path past the layer: " + line.strip(" \t{") for line in lines if "flowtable" in line]


def _boot(lines: list[str]) -> _Boot:
    boot = _Boot()
    for line in lines:
        if slot := _BOOT_LINE.match(line):
            name, found, its, layer, body = slot.groups()
            if found == body and name == f"{its}.nft":
                boot.digests[its], boot.sums[its] = layer, body
                continue
        elif block := _BLOCK_LINE.match(line):
            name, found, networks, body = block.groups()
            if found == body:
                boot.blocked += [ip_network(network) for network in networks.split()]
                continue
        elif epoch := _EPOCH_LINE.match(line):
            name, found, body = epoch.groups()
            if found == body and name == EPOCH_FILE:
                continue
        if line.strip():
            boot.wrong.append(f"boot file {line.split()[0]} is not as we wrote it")
    return boot


EPOCH_FILE = "_epoch.nft"  # no slot begins with an underscore
