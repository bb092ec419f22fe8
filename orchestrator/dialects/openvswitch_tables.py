"""The bridge of ours behind which a guarded port lies at flow grain, table by table.

A switch forwards with `NORMAL`, and where a frame will leave is known only after that: entries in the site's own tables
cannot stop what leaves by a guarded port (tried: frames to an address behind it, to an unknown MAC address and broadcasts
get out). So the guarded port moves into a bridge of ours, `containment`, and a patch port takes its place in the site's
bridge, with its OpenFlow number and its VLANs: the site's entries stay byte for byte as they are and mean what they
meant. The move is a row of the database and the bridge fails secure: after every restart of the daemon or of the
machine the port is closed, with or without a start-up script of ours (docs/decisions/0006).

  0  register 15 unset: on to 1. Set: to the other side of the port it came in by, where the site's entries decide
  1  ARP and neighbour discovery are spared; tcp, udp and ICMP go through connection tracking, then 2
  2  while the layer is loosened, on to 5; else the block list drops; then the learned answers (4), the openings of the
     generation in force (100 + epoch modulo 150), then 3
  3  opened: on to 5. Else the slots, one table after the other from 20 on: a packet must pass each
  4  learned: answers of protocols that are not tracked
  5  passed: the connection is tracked from here on, register 15 is set, back to 0
  6  the lock: no packet comes here. One entry that says the generation in force, in a match that overlaps that of every
     other generation: whoever adds the one of theirs with `check_overlap` is refused, with all that is in their bundle,
     unless theirs is in force (tried: a bundle is atomic, and an equal match is no overlap)

What no entry matches is dropped, in every table. Openings lie only in the table of their generation: those of an older
one are in a table that nothing leads to. What loosens the layer is one entry with a `hard_timeout`, and connections are
tracked meanwhile: what is kept lives on when it ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from orchestrator.dialects.openvswitch_flows import BLOCKED, LOOSENED, OURS, PERMIT, TRACKED, Entry, address_words, entries_of
from orchestrator.domain.canonical import digest
from orchestrator.domain.layer import Element, Layer, ordered
from orchestrator.domain.network import Prefix
from orchestrator.domain.packet_elements import disjoint

BRIDGE = "containment"
SKELETON = 2  # part of every slot's digest: another skeleton is another layer
ZONE = 49313  # of connection tracking: ours alone
GENERATION, CHOICE, ANSWERS, PASSED, LOCK, FIRST_SLOT, MOST_SLOTS, FIRST_EPOCH, EPOCHS = 2, 3, 4, 5, 6, 20, 60, 100, 150
LEARN_S = 600  # an answer without a packet of the original direction in this time is dropped again
MARK, AGAIN = "set_field:0x1->reg15", "resubmit(,0)"
OPEN, ASKED = MARK, "load:0x1->NXM_NX_REG14[]"  # what an opening does; what a learned entry does
THIS, NEXT, EPOCH_TABLE, PORT, OWN = "@THIS@", "@NEXT@", "@EPOCH@", "@PORT@", "@OWN@"  # the device's shell fills these in
_COOKIE = OURS << 40
_COPIED = {
    "ip": "NXM_OF_IP_SRC[]=NXM_OF_IP_DST[],NXM_OF_IP_DST[]=NXM_OF_IP_SRC[]",
    "ipv6": "NXM_NX_IPV6_SRC[]=NXM_NX_IPV6_DST[],NXM_NX_IPV6_DST[]=NXM_NX_IPV6_SRC[]",
}
_TYPES = {"ip": "0x800", "ipv6": "0x86dd"}
LEARNED_COOKIE = 0xC047A3 << 40
_FAMILIES = {4: "ip", 6: "ipv6"}


def epoch_table(epoch: int) -> int:
    return FIRST_EPOCH + epoch % EPOCHS


def stand_in(port: str) -> str:
    """The patch port that takes the guarded port's place in the site's bridge; its other end is `own_end`."""
    return f"out-{hashlib.sha256(port.encode()).hexdigest()[:8]}"


def own_end(standing_in: str) -> str:
    return f"own-{standing_in.removeprefix('out-')}"


def fixed_entries() -> tuple[Entry, ...]:
    """What is the same on every device."""
    found = [_entry(1, 40, ("arp",), f"{MARK},{AGAIN}")]
    for hops, types in ((255, (133, 134, 135, 136)), (1, (130, 131, 132, 143))):
        found += [_entry(1, 40, ("icmp6", f"icmp_type={number}", f"nw_ttl={hops}"), f"{MARK},{AGAIN}") for number in types]
    tracked = [word for words in TRACKED.values() for word in words.values()]
    found += [_entry(1, 30, (word,), f"ct(table={GENERATION},zone={ZONE})") for word in tracked]
    found += [_entry(1, 10, (), f"resubmit(,{GENERATION})"), _entry(CHOICE, 30, ("reg15=0x1",), f"resubmit(,{PASSED})")]
    for family in ("ip", "ipv6"):
        learn = (
            f"learn(table={ANSWERS},idle_timeout={LEARN_S},priority={PERMIT},cookie=0x{LEARNED_COOKIE:x},eth_type={_TYPES[family]},"
            f"NXM_OF_IP_PROTO[],{_COPIED[family]},{ASKED})"
        )
        found.append(_entry(PASSED, 30, ("ct_state=+new+trk", family), f"ct(commit,zone={ZONE}),{MARK},{AGAIN}"))
        found.append(_entry(PASSED, 30, ("ct_state=-trk", "reg14=0", family), f"{learn},{MARK},{AGAIN}"))
    found.append(_entry(PASSED, 10, (), f"{MARK},{AGAIN}"))
    return tuple(found)


def generation_entry(table: int) -> Entry:
    return _entry(GENERATION, 10, (), f"resubmit(,{ANSWERS}),resubmit(,{table}),resubmit(,{CHOICE})")


def lock_entry(epoch: int) -> Entry:
    """Says the generation in force. Any two of them overlap: a packet with all bits set would match both."""
    return _entry(LOCK, 10, (f"reg0=0x{epoch:x}/0x{epoch:x}",) if epoch else (), "drop")


def block_entries(networks: Iterable[Prefix]) -> tuple[Entry, ...]:
    """Drops what has an end in one of these networks, whatever is kept or opened."""
    ends = {(_FAMILIES[one.version], *address_words(one, end)) for one in networks for end in ("src", "dst")}
    return tuple(Entry(BLOCKED << 40, GENERATION, 50, frozenset(match), "drop") for match in sorted(ends))


def loosened_entry() -> Entry:
    """Takes the layer off; laid with a `hard_timeout` only."""
    return Entry(LOOSENED << 40, GENERATION, 60, frozenset(), f"resubmit(,{PASSED})")


def slots_entry() -> Entry:
    """Laid once there is a slot: without one nothing but openings passes."""
    return _entry(CHOICE, 20, ("reg15=0",), f"resubmit(,{FIRST_SLOT})")


def port_entries(port: str, own: str) -> tuple[Entry, ...]:
    found = []
    for enters, leaves in ((port, own), (own, port)):
        found.append(_entry(0, 30, ("reg15=0", f"in_port={enters}"), "resubmit(,1)"))
        found.append(_entry(0, 30, ("reg15=0x1", f"in_port={enters}"), f"output:{leaves}"))
    return tuple(found)


def slot_entries(table: int, following: int) -> tuple[Entry, ...]:
    """What is not on a port of this slot goes on."""
    return (_entry(table, 10, (), f"resubmit(,{following})"),)


def guard_entries(port: str, own: str, scope: Iterable[Prefix], table: int) -> tuple[Entry, ...]:
    """Drops on one guarded port, both directions: everything, or what has one end in the scope."""
    matches: set[tuple[str, ...]] = {()}
    if prefixes := tuple(scope):
        matches = {(_FAMILIES[prefix.version], *address_words(prefix, end)) for prefix in prefixes for end in ("src", "dst")}
    return tuple(_entry(table, 20, (f"in_port={side}", *match), "drop") for side in (port, own) for match in sorted(matches))


def keep_entries(keep: Iterable[Element], table: int, following: int) -> tuple[Entry, ...]:
    return tuple(entry for element in keep for entry in entries_of(element, OURS, table, f"resubmit(,{following})"))


def scope_of(layer: Layer) -> tuple[Prefix, ...]:
    """The prefixes that the slot is confined to, collapsed; none: everything, also what is not IP."""
    four = collapse_addresses(prefix for prefix in layer.scope if isinstance(prefix, IPv4Network))
    six = collapse_addresses(prefix for prefix in layer.scope if isinstance(prefix, IPv6Network))
    return (*four, *six)


def slot_file(guard: Mapping[str, str], scope: Iterable[Prefix], keep: Iterable[Element]) -> str:
    """A slot as the device keeps it: `guard` is port → own end. Its tables are filled in when the layer is put together;
    the lines `PORT port entry` count only for a port that lies behind our bridge."""
    scope = tuple(scope)
    lines = [entry.text(THIS) for entry in (*_with_next(slot_entries(0, 0)), *_with_next(keep_entries(keep, 0, 0)))]
    for port, own in sorted(guard.items()):
        lines += [f"PORT {port} {entry.text(THIS)}" for entry in guard_entries(port, own, scope, 0)]
    return "".join(f"{line}\n" for line in lines)


def layer_file(layer: Layer) -> str:
    return slot_file({port: own_end(stand_in(port)) for port in set(layer.guard)}, scope_of(layer), disjoint(layer.keep))


def slot_digest(guard: Iterable[str], scope: Iterable[Prefix], keep: Iterable[Element], deviations: Iterable[str] = ()) -> str:
    """SHA-256 of a slot's normalised model; equal for what is rendered and what is read back."""
    content: dict[str, object] = {
        "skeleton": SKELETON,
        "guard": sorted(set(guard)),
        "scope": sorted(str(prefix) for prefix in scope),
        "keep": [element.model_dump(mode="json") for element in ordered(keep)],
    }
    if found := list(deviations):
        content["deviations"] = found
    return digest(content)


def layer_digest(layer: Layer) -> str:
    return slot_digest(layer.guard, scope_of(layer), disjoint(layer.keep))


def _with_next(entries: Iterable[Entry]) -> list[Entry]:
    return [Entry(entry.cookie, entry.table, entry.priority, entry.match, f"resubmit(,{NEXT})") for entry in entries]


def _entry(table: int, priority: int, match: Iterable[str], actions: str) -> Entry:
    return Entry(_COOKIE, table, priority, frozenset(match), actions)
