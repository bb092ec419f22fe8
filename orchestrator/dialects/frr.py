"""The FRR dialect: routers at route grain. An interface is shut, both families and directions at once.

Laying is configuration lines for vtysh and needs nothing of ours on the router. A shutdown carries no mark, so an
empty prefix list beside it says whose it is: `CONTAINMENT-E<epoch>-<slot>-<interface>`. A new generation adds marks
and takes none away: a cut that comes late cannot bring an older generation back into force.

Everything else goes through `containment-router` (playbooks/files): it compares the generation, keeps the timers of
openings, and puts our lines — only ours — into the start-up file. Fencing without laying leaves an empty file,
`/etc/containment/epoch.N`: the highest of marks and files is the generation.

What stands against a late `no shutdown` (FRR itself compares nothing, declared as `Fence.WRAPPER`): the wrapper looks at the
generation before it opens and again afterwards; `fence`, and the `persist` that follows a cut, end a wrapper that was
stopped in between, with its vtysh. A vtysh that is not the wrapper's, with `no shutdown` typed, opens the interface until
drift reads the operational state; behind it stands the flow device that every release of a coarse guard presupposes.
"""

from __future__ import annotations

import json
import re

from orchestrator.dialects import nftables_sessions
from orchestrator.dialects.base import Composition, Fence, Script, Traits
from orchestrator.domain.canonical import digest
from orchestrator.domain.layer import DeviceChange, Layer, Observed, TrackedConnection
from orchestrator.domain.network import Prefix
from orchestrator.errors import DeviceUnknown

WRAPPER = "containment-router"
_NO_LIST = "a router of this kind shuts interfaces and keeps no block list: block on the flow device behind it"
_MARK = re.compile(
    r"^ip prefix-list CONTAINMENT-\S+ description containment slot (?P<slot>\S+) interface (?P<interface>\S+) epoch (?P<epoch>\d+)$"
)
_OURS = re.compile(r"^(ip|ipv6) prefix-list CONTAINMENT-")


class FrrDialect:
    """Implements `dialects.base.Dialect`."""

    traits = Traits(
        platform="frr",
        composition=Composition.CLOSE_ONLY,
        fence=Fence.WRAPPER,
        longest_deadline_s=365 * 24 * 3600,
        boot="our lines in /etc/frr/frr.conf, written without the rest of the running configuration; routing starts before forwarding",
        uncovered=(
            "a `no shutdown` or `ip link set up` by hand (drift notices it at its next reading: the operational state is read); a routing "
            "daemon that reads another file than /etc/frr/frr.conf (persist refuses); an interface shut by the site and never saved is "
            "opened by lifting"
        ),
        notes=(
            "laying shuts the interfaces of its own slot; what was released of other slots is shut by the persist that follows it, and "
            "can no longer be confirmed in between",
            "deadlines are timers of the router, in whole seconds of its monotonic clock; a release that was not made lasting, or that has "
            "an end, does not survive a reboot. Where FRR does not answer at the end, the kernel's link is set down and FRR is told later",
            "FRR itself compares no generation: the wrapper does, before it opens and after; `fence`, and the persist that follows a cut, "
            "end a wrapper that was stopped in between, with its vtysh. A vtysh of somebody else with `no shutdown` typed opens the "
            "interface until drift reads it; the flow device behind it goes on enforcing",
            "keeps no block list: what is blocked is blocked on the flow devices",
            "loosened by a timer of the router; a restart of FRR or of the machine lays the layer again",
            "BGP over a released interface is back after some 3 s; IPv6 addresses first pass duplicate detection (1-2 s)",
        ),
    )

    def lay(self, layer: Layer) -> Script:
        _check(layer)
        lines: list[str] = []
        for interface in sorted(layer.guard):
            lines += [f"interface {interface}", " shutdown", "exit"]
        for interface in sorted(layer.guard):
            mark = f"CONTAINMENT-E{{epoch}}-{layer.slot}-{interface}"
            lines.append(f"ip prefix-list {mark} description containment slot {layer.slot} interface {interface} epoch {{epoch}}")
        return Script("", "\n".join(lines) + "\n", "cli")

    def persist(self, layer: Layer) -> Script:
        """Prints a note where running and start-up differ in more than the layer; that difference is not written."""
        _check(layer)
        return Script(f"{WRAPPER} persist {' '.join(sorted(layer.guard))}")

    def read_back(self) -> Script:
        return Script(f"{WRAPPER} read")

    def parse(self, output: str) -> Observed:
        """Closed is what is down *in operation*; what would boot closed is shut in the start-up file."""
        sections = _sections(output)
        try:
            up = {link["ifname"] for link in json.loads("\n".join(sections["links"])) if "UP" in link["flags"]}
            existing = {link["ifname"] for link in json.loads("\n".join(sections["links"]))}
        except (KeyError, ValueError, TypeError) as failure:
            raise DeviceUnknown(f"the links of the router cannot be read: {failure!r}") from failure
        running, start_up = _Configuration(sections["running"]), _Configuration(sections["start-up"])
        held = {name for names in running.slots.values() for name in names}
        try:
            raised, loosened = (_number(sections[name]) for name in ("generation", "loosened"))
        except ValueError as failure:
            raise DeviceUnknown(f"the generation of the router cannot be read: {failure}") from failure
        slots = {} if loosened is not None else running.slots
        return Observed(
            present=bool(slots),
            epoch=None if running.epoch is None else max(running.epoch, raised or 0),
            slots={slot: _slot_digest(names) for slot, names in sorted(slots.items())},
            closed=() if loosened is not None else tuple(sorted(held & existing - up)),
            loosened_s=loosened,
            boots_with=tuple(sorted([*start_up.slots, *start_up.shut & held])),
            foreign=tuple(running.foreign),
        )

    def expected(self, layers: tuple[Layer, ...]) -> Observed:
        slots = {layer.slot: _slot_digest(set(layer.guard)) for layer in layers}
        closed = tuple(sorted({name for layer in layers for name in layer.guard}))
        return Observed(present=bool(slots), slots=slots, closed=closed, boots_with=tuple(sorted([*slots, *closed])))

    def sessions(self) -> Script:
        """A router that translates addresses tracks connections."""
        return Script(f"{WRAPPER} sessions")

    def parse_sessions(self, output: str) -> tuple[TrackedConnection, ...]:
        return nftables_sessions.parse_sessions(output)

    def kill(self, connections: tuple[TrackedConnection, ...]) -> Script:
        return Script(f"{WRAPPER} kill", "".join(_original(connection) + "\n" for connection in connections))

    def open(self, change: DeviceChange) -> Script:
        return Script(f"{WRAPPER} release {{epoch}} {{confirm}} {_interfaces(change)}")

    def confirm(self, change: DeviceChange, *, until: bool = False) -> Script:
        return Script(f"{WRAPPER} confirm {{epoch}} {'--until {until} ' if until else ''}{_interfaces(change)}")

    def close(self, change: DeviceChange) -> Script:
        return Script(f"{WRAPPER} close {_interfaces(change)}")

    def fence(self) -> Script:
        return Script(f"{WRAPPER} fence {{epoch}}")

    def block(self, networks: tuple[Prefix, ...]) -> Script:  # noqa: ARG002
        raise ValueError(_NO_LIST)

    def unblock(self, remaining: tuple[Prefix, ...]) -> Script:  # noqa: ARG002
        raise ValueError(_NO_LIST)

    def loosen(self) -> Script:
        return Script(f"{WRAPPER} loosen {{epoch}} {{confirm}}")

    def tighten(self) -> Script:
        return Script(f"{WRAPPER} tighten")

    def lift(self) -> Script:
        return Script(f"{WRAPPER} lift {{epoch}}")

    def snapshot(self) -> Script:
        return Script(f"{WRAPPER} snapshot")


class _Configuration:
    """An FRR configuration as far as it is ours: marks by slot, the highest generation, interfaces held shut."""

    def __init__(self, lines: list[str]) -> None:
        self.slots: dict[str, set[str]] = {}
        self.epoch: int | None = None
        self.shut: set[str] = set()
        self.foreign: list[str] = []
        block = ""
        for line in lines:
            if line.startswith("interface "):
                block = line.split()[1]
            elif line[:1] not in (" ", "\t", "!", "#", ""):
                block = ""
            if block and line.split() == ["shutdown"]:
                self.shut.add(block)
            mark = _MARK.match(line)
            if mark:
                self.slots.setdefault(mark["slot"], set()).add(mark["interface"])
                self.epoch = max(self.epoch or 0, int(mark["epoch"]))
            elif _OURS.match(line):
                self.foreign.append(line)


def _slot_digest(interfaces: set[str]) -> str:
    """The fingerprint of a slot: which interfaces it shuts."""
    return digest({"coarse": True, "guard": sorted(interfaces)})


def _original(connection: TrackedConnection) -> str:
    """`family protocol source destination [source-port destination-port]` as the sender sent it, before translation."""
    fields: dict[str, str] = {}
    for word in connection.raw.split():
        key, equals, value = word.partition("=")
        if equals:
            fields.setdefault(key, value)  # the original direction comes first
    if "src" not in fields or "dst" not in fields:
        raise ValueError(f"not a connection tracking entry: {connection.raw!r}")
    ports = f" {fields['sport']} {fields['dport']}" if "sport" in fields else ""
    return f"{connection.source.version} {connection.protocol} {fields['src']} {fields['dst']}{ports}"


def _number(lines: list[str]) -> int | None:
    text = "".join(lines).strip()
    return int(text) if text else None


def _sections(output: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith("=== "):
            lines = sections.setdefault(line.removeprefix("=== "), [])
        else:
            lines.append(line.rstrip())
    if not {"links", "running", "generation", "loosened", "start-up", "end"} <= sections.keys():
        raise DeviceUnknown("the read-back of the router is not complete")
    return sections


def _check(layer: Layer) -> None:
    if not layer.coarse:
        raise ValueError(f"{layer.device}: a router closes interfaces whole; flow grain needs a firewall behind it")


def _interfaces(change: DeviceChange) -> str:
    if change.openings or not change.releases:
        raise ValueError(
            f"{change.device}: a router releases interfaces, and this change names {len(change.openings)} flows and no interface"
        )
    return " ".join(sorted(change.releases))
