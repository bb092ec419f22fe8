"""Reading an iptables device back, exactly: every rule of our chains is modelled or named.

Our jumps must stand first in FORWARD, INPUT and OUTPUT, in both families: a rule of the site before them would decide
without us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network

from pydantic import ValidationError

from orchestrator.dialects.iptables_rules import (
    BLOCKED,
    DISPATCH,
    EPOCH,
    FAMILIES,
    HOOKS,
    LOOSENED,
    OPEN,
    STOP,
    STOPPED,
    block_rules,
    keep_head,
    opening_id,
    shared_chains,
    slot_chain,
    slot_digest,
)
from orchestrator.dialects.iptables_shell import BOOT_SCRIPT, summed
from orchestrator.domain.layer import Element, Observed, networks_in_order, ordered
from orchestrator.domain.network import Prefix
from orchestrator.errors import DeviceUnknown

_JUMP = re.compile(r'^-([io]) ([a-z0-9-]+) -m comment --comment "slot ([a-z0-9-]+)" -j (\S+)$')
_PINHOLE = re.compile(
    r"^-m conntrack --ctproto (?P<protocol>\d+)(?: --ctorigsrc (?P<source>\S+))?(?: --ctreplsrc (?P<destination>\S+))?"
    r"(?: --ctreplsrcport (?P<low>\d+)(?::(?P<high>\d+))?)?"
    r"(?: -m time --datestop (?P<stop>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d))?(?: -m comment --comment (?P<id>\S+))? -j RETURN$"
)
_BOOT = re.compile(r"^(\S+) (\S+) # containment boot file, (\S+), layer (\S+), body (\S+)$")
_BLOCK = re.compile(r"^(\S+) (\S+) # containment boot file, (_b-\S+\.v[46]), blocked (.*), body (\S+)$")
_BLOCKING = re.compile(rf"^(?:-([sd]) (\S+) )?-g {STOPPED}$")
_LOOSENING = re.compile(rf"^-m time --datestop (\S+) -m comment --comment {LOOSENED} -j RETURN$")
_GENERATION = re.compile(EPOCH + r"\d+$")
_PROTOCOLS = {"112": "vrrp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}  # as the device's own /etc/protocols has them


@dataclass
class _Slot:
    guard: set[str] = field(default_factory=set)
    scope: list[Prefix] = field(default_factory=list)
    keep: list[Element] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)


def pinhole_element(rule: str, family: int) -> Element | None:
    """The element that a pinhole's rule matches; None when it is none of ours."""
    found = _PINHOLE.match(rule)
    if found is None:
        return None
    everything = "0.0.0.0/0" if family == 4 else "::/0"
    ports = (int(found["low"]), int(found["high"] or found["low"])) if found["low"] else None
    try:
        element = Element(
            source=ip_network(found["source"] or everything), destination=ip_network(found["destination"] or everything),
            protocol=int(found["protocol"]), ports=ports,
        )  # fmt: skip
    except (ValidationError, ValueError):
        return None
    return element if element.family == family else None


def parse(output: str) -> Observed:
    """See `Dialect.parse`."""
    sections = _sections(output)
    if "end" not in sections or "boot" not in sections or "now" not in sections:
        raise DeviceUnknown("the read-back is incomplete: its last line is missing")
    now = int(sections["now"][0])
    foreign: list[str] = [f"fast path past the layer: {line.strip()}" for line in sections.get("fast paths", [])]
    slots: dict[str, _Slot] = {}
    opened: list[Element] = []
    temporary: list[tuple[Element, int]] = []
    epochs: list[int] = []
    present = []
    blocked: list[Prefix] = []
    loosened: list[int] = []
    for family in FAMILIES:
        reading = _Family(family, sections.get(f"rules {family}", []))
        present.append(reading.present)
        found, odd = reading.blocks()
        blocked += found
        foreign += odd
        if reading.present or reading.chains.keys() - {BLOCKED, STOPPED}:
            loosened.append(reading.loosened(now))
            foreign += reading.shared()
            reading.slots(slots, foreign)
            foreign += reading.openings(now, opened, temporary)
            epochs += reading.epochs()
    if any(present) and not all(present):
        foreign.append("the layer lies in one family only")
    boots, boots_blocking, wrong = _boot(sections["boot"])
    if networks_in_order(blocked) != networks_in_order(boots_blocking):
        wrong.append("the device would boot with another block list than runs")
    off = any(loosened)
    if off and not all(loosened):
        foreign.append("the layer is off in one family only")
    epoch = epochs[0] if len(epochs) == 2 and len(set(epochs)) == 1 else None
    if any(present) and epoch is None:
        foreign.append(f"the generations are {', '.join(map(str, epochs)) or 'none'}: one per family, and equal, is right")
    digests = {}
    for name, slot in sorted(slots.items()):
        digests[name] = slot_digest(slot.guard, slot.scope, ordered(slot.keep), slot.deviations)
        foreign += slot.deviations
        if boots.get(name, digests[name]) != digests[name]:
            wrong.append(f"the boot file of {name} differs from what runs")
    temporary.sort(key=lambda pair: pair[0].sort_key())
    return Observed(
        present=any(present) and not off, epoch=epoch, slots={} if off else digests, opened=ordered(opened),
        temporary=tuple(temporary), boots_with=tuple(sorted(boots)), blocked=networks_in_order(blocked),
        loosened_s=max(loosened) if off else None, foreign=tuple(foreign + wrong),
    )  # fmt: skip


class _Family:
    """One family's rules: our chains, and what leads into them."""

    def __init__(self, family: int, lines: Iterable[str]) -> None:
        self.family = family
        self.chains: dict[str, list[str]] = {}
        self.first: list[str] = []
        self.into: list[str] = []
        for line in lines:
            words = line.split(" ", 2)
            if words[0] == "-N":
                self.chains.setdefault(words[1], [])
            elif words[0] == "-A" and words[1].startswith(DISPATCH):
                self.chains.setdefault(words[1], []).append(_plain(words[2]))
            elif words[0] == "first":
                self.first.append(line.removeprefix("first "))
            elif words[0] == "-A":
                self.into.append(line)
        self.present = DISPATCH in self.chains
        self._seen = {DISPATCH, OPEN, BLOCKED}

    def loosened(self, now: int) -> int:
        """Seconds for which the layer is off; 0 when it is not. Takes the rule out of what is modelled as slots."""
        rules = self.chains.get(DISPATCH, [])
        dates = [found[1] for rule in rules[:1] if (found := _LOOSENING.match(rule))]
        if not dates:
            return 0
        self.chains[DISPATCH] = rules[1:]
        return max(0, _left(dates[0], now))

    def blocks(self) -> tuple[list[Prefix], list[str]]:
        """The networks stopped in both directions, and the rules that are not ours or stop one direction only."""
        rules = self.chains.get(BLOCKED, [])
        if self.present and BLOCKED not in self.chains:
            return [], [self._word(f"chain {BLOCKED} is missing")]
        ends: dict[str, set[Prefix]] = {"s": set(), "d": set()}
        odd = []
        for rule in rules:
            found = _BLOCKING.match(rule)
            network = _network(found[2] or ("0.0.0.0/0" if self.family == 4 else "::/0")) if found else None
            if found is None or network is None:
                odd.append(self._word(f"chain {BLOCKED}: unexpected: {rule}"))
                continue
            for end in found[1] or "sd":
                ends[end].add(network)
        both = sorted(ends["s"] & ends["d"])
        half = [rule for network in ends["s"] ^ ends["d"] for rule in block_rules([network], self.family) if rule in rules]
        return both, odd + [self._word(f"chain {BLOCKED}: one direction only: {rule}") for rule in half]

    def shared(self) -> list[str]:
        """What deviates in the chains that are the same everywhere, and where they hang."""
        hooks = [f"-A {hook} -j {chain}" for hook, chain in HOOKS.items()]
        found = [self._word(f"{line!r} is not the first rule") for line in hooks if line not in self.first]
        found += [self._word(f"leads into our chains: {line}") for line in self.into if line not in hooks or self.into.count(line) > 1]
        for name, rules in shared_chains(self.family).items():
            self._seen.add(name)
            found += self._compare(name, [_plain(rule) for rule in rules], self.chains.get(name))
        return found

    def slots(self, slots: dict[str, _Slot], foreign: list[str]) -> None:
        guards: dict[str, dict[str, set[str]]] = {}
        for rule in self.chains.get(DISPATCH, []):
            jump = _JUMP.match(rule)
            if jump is None or jump[4] != slot_chain(jump[3]):
                foreign.append(self._word(f"chain {DISPATCH}: unexpected: {rule}"))
                continue
            guards.setdefault(jump[3], {"i": set(), "o": set()})[jump[1]].add(jump[2])
        for name, ways in guards.items():
            slot = slots.setdefault(name, _Slot())
            if ways["i"] != ways["o"] or (slot.guard and slot.guard != ways["i"]):
                slot.deviations.append(self._word(f"slot {name}: not the same guards both ways and in both families"))
            slot.guard |= ways["i"] & ways["o"]
            self._slot(name, slot)
        for name in sorted(self.chains.keys() - self._seen):
            if self.chains[name] or not _GENERATION.match(name):
                foreign.append(self._word(f"chain {name} is not ours"))

    def _slot(self, name: str, slot: _Slot) -> None:
        first = slot_chain(name)
        kept = f"{first}-k"
        self._seen |= {first, kept}
        entry = self.chains.get(first, [])
        if entry[:1] != [f"-j {BLOCKED}"]:
            slot.deviations.append(self._word(f"chain {first} of slot {name}: does not ask the block list first"))
        entry = [rule for rule in entry if rule != f"-j {BLOCKED}"]
        if entry != [f"-g {kept}"]:
            scope = [found for rule in entry[::2] if (found := _prefix(rule, kept)) is not None]
            if [f"{end} {prefix} -g {kept}" for prefix in scope for end in ("-s", "-d")] != entry:
                slot.deviations.append(self._word(f"chain {first} of slot {name}: not a scope of ours: {entry}"))
            slot.scope += scope
        rules = self.chains.get(kept, [])
        head, tail = list(keep_head(self.family)), [f"-g {OPEN}"]
        if rules[: len(head)] != head or rules[len(head) :][-1:] != tail:
            slot.deviations.append(self._word(f"chain {kept} of slot {name}: does not begin and end as ours do"))
        for rule in rules[len(head) : -1]:
            element = pinhole_element(rule, self.family)
            if element is None:
                slot.deviations.append(self._word(f"chain {kept} of slot {name}: unexpected: {rule}"))
            else:
                slot.keep.append(element)

    def openings(self, now: int, opened: list[Element], temporary: list[tuple[Element, int]]) -> list[str]:
        rules = self.chains.get(OPEN, [])
        if rules[-len(STOP) :] != list(STOP):
            return [self._word(f"chain {OPEN} does not end by stopping the rest: {rules}")]
        unread = []
        for rule in rules[: -len(STOP)]:
            element, words = pinhole_element(rule, self.family), _PINHOLE.match(rule)
            if element is None or words is None or words["id"] != opening_id(element):
                unread.append(self._word(f"chain {OPEN}: unexpected: {rule}"))
                continue
            left = None
            if words["stop"]:
                left = _left(words["stop"], now)
            if left is None or left > 0:  # an over one matches nothing any more
                opened.append(element)
            if left is not None and left > 0:
                temporary.append((element, left))
        return unread

    def epochs(self) -> list[int]:
        return [int(name.removeprefix(EPOCH)) for name in self.chains if _GENERATION.match(name)]

    def _compare(self, name: str, wanted: list[str], found: list[str] | None) -> list[str]:
        if found is None:
            return [self._word(f"chain {name} is missing")]
        odd = [f"unexpected: {rule}" for rule in found if rule not in wanted] + [f"missing: {rule}" for rule in wanted if rule not in found]
        if not odd and found != wanted:
            odd = ["in another order"]
        return [self._word(f"chain {name}: {one}") for one in odd]

    def _word(self, text: str) -> str:
        return f"IPv{self.family}: {text}"


def _plain(rule: str) -> str:
    """With protocols named as we name them."""
    return re.sub(r"-p (\S+)", lambda found: f"-p {_PROTOCOLS.get(found[1], found[1])}", rule)


def _left(stop: str, now: int) -> int:
    """Seconds until a date in a rule has passed."""
    return int(datetime.fromisoformat(stop).replace(tzinfo=UTC).timestamp()) + 1 - now


def _network(text: str) -> Prefix | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _prefix(rule: str, kept: str) -> Prefix | None:
    words = rule.split()
    if len(words) != 4 or words[0] != "-s" or words[2:] != ["-g", kept]:
        return None
    return _network(words[1])


def _sections(output: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith("=== "):
            current = sections.setdefault(line[4:].strip(), [])
        elif line.strip():
            current.append(line.rstrip())
    return sections


def _boot(lines: list[str]) -> tuple[dict[str, str], list[Prefix], list[str]]:
    """Slot → digest of its layer, where both families boot with it; the networks blocked then; what is wrong in the directory."""
    whole: dict[str, str] = {}
    blocked: list[Prefix] = []
    wrong = []
    for line in lines:
        name, sum_, *_ = line.split(" ", 2)
        found, block = _BOOT.match(line), _BLOCK.match(line)
        if name == "boot" and sum_ == summed(BOOT_SCRIPT.split("\n", 1)[1]):
            whole[name] = ""
        elif found and found[3] == name and found[5] == sum_:
            whole[name] = found[4]
        elif block and block[3] == name and block[5] == sum_:
            blocked += [ip_network(network) for network in block[4].split()]
        else:
            wrong.append(f"boot file {name} is not as we wrote it")
    parts = {"boot", *(f"0-base.v{family}" for family in FAMILIES)}
    if whole and not parts <= whole.keys():
        wrong.append(f"the device cannot boot with the layer: {', '.join(sorted(parts - whole.keys()))} is missing or changed")
        return {}, blocked, wrong
    slots = {name[: -len(".v4")] for name in whole.keys() - parts}
    both = {slot for slot in slots if all(f"{slot}.v{family}" in whole for family in FAMILIES)}
    return {slot: whole[f"{slot}.v4"] for slot in both}, blocked, wrong
