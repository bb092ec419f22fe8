"""Reading flow grain back, exactly: what is not modelled in our bridge, or in the database about it, is named.

The bridge is ours alone. So everything that we would have laid is made anew from what was read (ports, slots, generation,
elements), and whatever is there besides, or is missing, is a line of `foreign`. Learned answers and entries of older
generations are ours too: the ones come and go, the others lie in tables that nothing leads to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from orchestrator.dialects.openvswitch_compose import BRIDGE_KEY, FLOW_KEY, NUMBER_KEY, STANDS_KEY
from orchestrator.dialects.openvswitch_flows import (
    BLOCKED,
    LEARNED,
    LOOSENED,
    OPENED,
    OURS,
    Entry,
    element_of,
    entries_of,
    is_kind,
    read_match,
)
from orchestrator.dialects.openvswitch_tables import (
    ANSWERS,
    ASKED,
    BRIDGE,
    EPOCHS,
    FIRST_EPOCH,
    FIRST_SLOT,
    LEARN_S,
    OPEN,
    PASSED,
    block_entries,
    epoch_table,
    fixed_entries,
    generation_entry,
    guard_entries,
    lock_entry,
    loosened_entry,
    own_end,
    port_entries,
    slot_digest,
    slot_entries,
    slot_file,
    slots_entry,
    stand_in,
)
from orchestrator.domain.layer import Element, Numbers, in_order, ordered
from orchestrator.domain.network import Prefix

_IGNORED = frozenset({"duration", "n_bytes", "idle_age", "hard_age", "check_overlap"})
_VLANS = ("vlan_mode", "tag", "trunks", "cvlans", "protected")
_LEARNED_MATCH = re.compile(r"(ip|ipv6|nw_proto=\d+|sctp6?|(nw|ipv6)_(src|dst)=[0-9a-f.:]+)")
Row = dict[str, Any]


@dataclass(frozen=True)
class BridgeRead:
    """What was printed about our bridge. `bridge`: its row, or None where there is none; `ports` of it; `files`: slot →
    SHA-256 of the file that the device would put the layer back from."""

    bridge: Row | None
    ports: frozenset[str]
    interfaces: dict[str, Row]
    entries: tuple[Entry, ...]
    files: dict[str, str]


@dataclass
class FlowGrain:
    """The flow grain of a reading."""

    slots: dict[str, str] = field(default_factory=dict)
    boots_with: list[str] = field(default_factory=list)
    opened: tuple[Element, ...] = ()
    temporary: Numbers = ()
    counted: Numbers = ()
    blocked: tuple[Prefix, ...] = ()
    loosened_s: int | None = None
    foreign: list[str] = field(default_factory=list)


def read_entry(line: str) -> Entry:
    """One line of `dump-flows`. Raises ValueError on what is none."""
    words, separator, actions = line.replace('"', "").partition(" actions=")
    if not separator:
        raise ValueError(f"not an OpenFlow entry: {line!r}")
    cookie, table, priority, seconds, limit, packets = 0, 0, 32768, 0.0, None, 0
    match = []
    for word in re.split(r"[,\s]+", words.strip()):
        name, _, value = word.partition("=")
        if name == "cookie":
            cookie = int(value, 16)
        elif name == "table":
            table = int(value)
        elif name == "priority":
            priority = int(value)
        elif name == "duration":
            seconds = float(value.removesuffix("s"))
        elif name == "hard_timeout":
            limit = int(value)
        elif name == "n_packets":
            packets = int(value)
        elif word and name not in _IGNORED:
            match.append(word)
    left = None if limit is None else max(0, int(limit - seconds))
    return Entry(cookie, table, priority, read_match(match), actions.strip(), left, packets)


def parse_flows(read: BridgeRead, ports: dict[str, Row], epoch: int | None) -> FlowGrain:
    """`ports`: all rows of the table Port, by name."""
    found = FlowGrain()
    claims = _claims(ports)
    moved = {name: own_end(stand_in(name)) for name, row in ports.items() if STANDS_KEY in row["external_ids"]}
    if read.bridge is None:
        found.foreign += [f"{name} says that it lies behind our bridge, which is gone" for name in sorted(moved)]
        found.foreign += [f"slot {slot} is claimed, and our bridge is gone" for slot in sorted(claims)]
        return found
    found.foreign += _bridge_differs(read, ports, moved)
    rest = {(entry.table, entry.priority, entry.match): entry for entry in read.entries}
    guarded = {port for its in claims.values() for port in its if port in moved}
    table = epoch_table(epoch) if epoch is not None else FIRST_EPOCH
    wanted = [*fixed_entries(), generation_entry(table), lock_entry(epoch or 0), *([slots_entry()] if claims else [])]
    wanted += [entry for port in sorted(guarded) for entry in port_entries(port, moved[port])]
    found.foreign += _taken(rest, wanted)
    _blocked_or_loosened(found, rest)
    for position, slot in enumerate(sorted(claims)):
        following = FIRST_SLOT + position + 1 if position + 1 < len(claims) else PASSED
        _slot(found, rest, read, slot, {port: moved.get(port, "") for port in claims[slot]}, FIRST_SLOT + position, following)
    _openings(found, rest, table)
    found.foreign += [f"in our bridge: {entry.text()}" for entry in rest.values() if not _is_learned(entry)]
    return found


def _claims(ports: dict[str, Row]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, row in ports.items():
        for key in row["external_ids"]:
            if key.startswith(FLOW_KEY):
                found.setdefault(key.removeprefix(FLOW_KEY), []).append(name)
    return found


def _taken(rest: dict[Any, Entry], wanted: Iterable[Entry]) -> list[str]:
    """Takes what should be there out of the rest; says what is missing or does something else."""
    missing = []
    for entry in wanted:
        key = (entry.table, entry.priority, entry.match)
        there = rest.get(key)
        if there is not None and (there.cookie, there.actions, there.left_s) == (entry.cookie, entry.actions, None):
            del rest[key]
        else:
            missing.append(f"missing in our bridge: {entry.text()}")
    return missing


def _bridge_differs(read: BridgeRead, ports: dict[str, Row], moved: dict[str, str]) -> list[str]:
    """In words: where the database is not what we laid. Each of these lets frames past the layer, or could after a restart."""
    wrong = []
    bridge = read.bridge or {}
    for column, value in (("fail_mode", "secure"), ("controller", []), ("mirrors", [])):
        if bridge.get(column) != value:
            wrong.append(f"bridge {BRIDGE}: {column} is {bridge.get(column)}")
    ours = {*moved, *moved.values()}
    wrong += [f"bridge {BRIDGE} has a port that is not ours: {name}" for name in sorted(read.ports - ours)]
    for port, own in sorted(moved.items()):
        stands, row = stand_in(port), ports[port]
        if port not in read.ports:
            wrong.append(f"{port} was taken out of bridge {BRIDGE}")
        for name, peer in ((stands, own), (own, stands)):
            interface = read.interfaces.get(name, {})
            if (interface.get("type"), interface.get("options")) != ("patch", {"peer": peer}):
                wrong.append(f"{name} is no patch port to {peer}")
        if any(ports.get(stands, {}).get(column) != row[column] for column in _VLANS):
            wrong.append(f"the VLANs of {stands} are not those of {port}")
        wrong += [f"{port} does not say its {key}" for key in (BRIDGE_KEY, NUMBER_KEY) if key not in row["external_ids"]]
    return wrong


def _slot(found: FlowGrain, rest: dict[Any, Entry], read: BridgeRead, slot: str, guard: dict[str, str], table: int, following: int) -> None:
    """Takes the slot's table out of the rest; its digest, and what of it we cannot model."""
    lines = {key: entry for key, entry in rest.items() if entry.table == table}
    for key in lines:
        del rest[key]
    keep = []
    for cookie in sorted({entry.cookie for entry in lines.values() if entry.priority not in (10, 20)}):
        group = [entry for entry in lines.values() if entry.cookie == cookie and entry.priority not in (10, 20)]
        element = element_of(group) if is_kind(OURS, cookie) else None
        if element is not None:
            keep.append(element)
    scope = _scope(entry for entry in lines.values() if entry.priority == 20)
    wanted = [*slot_entries(table, following)]
    wanted += [entry for port, own in sorted(guard.items()) if own for entry in guard_entries(port, own, scope, table)]
    wanted += [entry for element in keep for entry in entries_of(element, OURS, table, f"resubmit(,{following})")]
    deviations = [f"slot {slot}: {text}" for text in _taken(lines, wanted)]
    deviations += [f"slot {slot}: not ours: {entry.text()}" for entry in lines.values()]
    deviations += [f"slot {slot}: {port} does not lie behind our bridge" for port, own in sorted(guard.items()) if not own]
    found.foreign += deviations
    found.slots[slot] = slot_digest(guard, scope, keep, deviations)
    ours = slot_file(guard, scope, ordered(keep))
    if slot in read.files and read.files[slot] != hashlib.sha256(ours.encode()).hexdigest():
        found.foreign.append(f"the boot file of slot {slot} differs from what runs")
    elif slot in read.files:
        found.boots_with.append(slot)


def _blocked_or_loosened(found: FlowGrain, rest: dict[Any, Entry]) -> None:
    """Takes the block list out of the rest, and what takes the layer off for a time."""
    found.blocked = _scope(entry for entry in rest.values() if is_kind(BLOCKED, entry.cookie))
    found.foreign += _taken(rest, block_entries(found.blocked))
    wanted = loosened_entry()
    there = rest.get((wanted.table, wanted.priority, wanted.match))
    if there is not None and is_kind(LOOSENED, there.cookie) and there.actions == wanted.actions and there.left_s is not None:
        del rest[there.table, there.priority, there.match]
        found.loosened_s = there.left_s


def _scope(drops: Iterable[Entry]) -> tuple[Prefix, ...]:
    """The prefixes that the drops name as a source; what else they say is compared afterwards."""
    found: set[Prefix] = set()
    for entry in drops:
        fields = dict(word.partition("=")[::2] for word in entry.match)
        with suppress(ValueError):  # a mask with holes
            if "ip" in fields and "nw_dst" not in fields:
                found.add(ip_network(fields.get("nw_src", "0.0.0.0/0")))
            elif "ipv6" in fields and "ipv6_dst" not in fields:
                found.add(ip_network(fields.get("ipv6_src", "::/0")))
    return tuple(sorted(found, key=lambda prefix: (prefix.version, prefix)))


def _openings(found: FlowGrain, rest: dict[Any, Entry], table: int) -> None:
    """Takes openings out of the rest: those of the generation in force count, older ones are inert."""
    groups: dict[tuple[int, int], list[Entry]] = {}
    for entry in rest.values():
        if is_kind(OPENED, entry.cookie) and FIRST_EPOCH <= entry.table < FIRST_EPOCH + EPOCHS and entry.actions == OPEN:
            groups.setdefault((entry.table, entry.cookie), []).append(entry)
    opened, temporary, counted = [], [], []
    for (lies_in, _), group in sorted(groups.items()):
        element = element_of(group)
        if element is None or len({entry.left_s is None for entry in group}) != 1:
            continue
        for entry in group:
            del rest[entry.table, entry.priority, entry.match]
        if lies_in == table:
            opened.append(element)
            counted.append((element, sum(entry.packets for entry in group)))
            left = [entry.left_s for entry in group if entry.left_s is not None]
            temporary += [(element, min(left))] if left else []
    found.opened = ordered(opened)
    found.temporary, found.counted = in_order(temporary), in_order(counted)


def _is_learned(entry: Entry) -> bool:
    """An answer that our own entry has learned: it only marks, in its own table."""
    known = all(word == f"idle_timeout={LEARN_S}" or _LEARNED_MATCH.fullmatch(word) for word in entry.match)
    return is_kind(LEARNED, entry.cookie) and entry.table == ANSWERS and known and entry.actions == ASKED
