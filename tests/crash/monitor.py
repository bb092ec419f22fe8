"""Holds every simulated device, at every change and whenever a deadline passes, against what the log says is approved.

It looks at the devices themselves, and at packets; it never asks the product what it thinks is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

from orchestrator.domain.layer import ICMP, ICMPV6, TCP, UDP
from orchestrator.domain.network import Prefix
from orchestrator.domain.probes import Probe
from orchestrator.simulation.device import SimulatedDevice
from orchestrator.simulation.hospital import SimulatedHospital
from tests.crash.approved import Approved, Asked, Box, Cover, asked, box, over


@dataclass(frozen=True)
class _Seen:
    """What one device let through when it was last looked at."""

    boxes: Mapping[Box, float | None] = field(default_factory=dict)
    guards: Mapping[str, float | None] = field(default_factory=dict)
    slots: frozenset[str] = frozenset()
    blocked: tuple[Prefix, ...] = ()
    epoch: int | None = None
    loosened: bool = False


class Monitor:
    """`open_uncovered` are openings that no vote covers; `wrong` is everything else that must never be."""

    def __init__(self, hospital: SimulatedHospital, approved: Approved, *, kept: frozenset[Asked], questions: Iterable[Probe]) -> None:
        self.hospital, self.approved = hospital, approved
        self._kept, self._questions = kept, tuple(questions)
        self.open_uncovered: list[str] = []
        self.wrong: list[str] = []
        self._seen: dict[str, _Seen] = {}
        self._by_hand: dict[str, set[Box]] = {}  # what a colleague had opened before, until it is closed
        for name, machine in hospital.machines.items():
            covered = {one for cover in approved.on(name) for one in cover.boxes}
            self._by_hand[name] = {box(element) for element in machine.opened} - covered
        self.look("at the start")
        self.open_uncovered.clear()
        self.wrong.clear()

    def memory(self) -> dict[str, _Seen]:
        """What was seen last; `recall` takes it as seen again."""
        return dict(self._seen)

    def recall(self, seen: Mapping[str, _Seen]) -> None:
        self._seen = dict(seen)

    def look(self, when: str, now: datetime | None = None) -> None:
        """At every device."""
        for name in self.hospital.machines:
            self.look_at(name, when, now)

    def look_at(self, name: str, when: str, now: datetime | None = None) -> None:
        machine = self.hospital.machines[name]
        machine.observed()  # lets its deadlines pass
        before, seen = self._seen.get(name, _Seen()), _see(machine)
        covers = [cover for cover in self.approved.on(name) if now is None or not over(cover, now)]
        self._openings(name, when, before, seen, covers)
        lifting = [cover for cover in covers if cover.lifts]
        if seen.loosened and not any(cover.loosened for cover in lifting):
            self.open_uncovered.append(f"{when}: {name} has its layer off, and no vote lifts it")
        if before.slots - seen.slots and not any(cover.lifted for cover in lifting):
            self.open_uncovered.append(f"{when}: {name} has lost the layer {sorted(before.slots - seen.slots)}")
        free = [one for one in before.blocked if not _within(one, (*seen.blocked, *self.approved.unblocked))]
        if free and not lifting:
            self.open_uncovered.append(f"{when}: {name} blocks {', '.join(map(str, free))} no longer")
        if (before.epoch or 0) > (seen.epoch or 0) and not any(cover.lifted for cover in lifting):
            self.wrong.append(f"{when}: the epoch of {name} fell from {before.epoch} to {seen.epoch}")
        if extra := machine.boots_released - {guard for cover in covers for guard in cover.guards}:
            self.open_uncovered.append(f"{when}: {name} would boot with {sorted(extra)} released")
        self._seen[name] = seen

    def _openings(self, name: str, when: str, before: _Seen, seen: _Seen, covers: list[Cover]) -> None:
        self._by_hand[name] &= set(seen.boxes)
        for found, deadline in seen.boxes.items():
            if found in self._by_hand[name]:
                continue
            over_it = [cover for cover in covers if found in cover.boxes]
            if not over_it:
                self.open_uncovered.append(f"{when}: {name} holds {_text(found)} open, which nothing approves")
            elif found not in before.boxes and not any(found in cover.intended for cover in over_it):
                self.open_uncovered.append(f"{when}: {name} opened {_text(found)} without a present intent in the log")
            elif deadline is None and before.boxes.get(found, 0.0) is not None and not any(found in cover.lasting for cover in over_it):
                self.open_uncovered.append(f"{when}: {name} made {_text(found)} lasting without an intent in the log")
        for guard in seen.guards:
            over_it = [cover for cover in covers if guard in cover.guards]
            if not over_it:
                self.open_uncovered.append(f"{when}: {name} has released {guard}, which nothing approves")
            elif guard not in before.guards and not any(guard in cover.intended_guards for cover in over_it):
                self.open_uncovered.append(f"{when}: {name} released {guard} without a present intent in the log")

    def laid(self, name: str) -> None:
        """A cut-off has just laid its layer there."""
        self.approved.cut(name)

    def next_deadline(self, after: float) -> float | None:
        """Of any device, in seconds since the epoch."""
        deadlines = [
            deadline
            for machine in self.hospital.machines.values()
            for deadline in (*machine.opened.values(), *machine.released.values(), machine.loosened_until)
            if deadline is not None and deadline > after
        ]
        return min(deadlines, default=None)

    def temporary(self) -> list[str]:
        """What has a deadline, anywhere, and is not open until an approved end."""
        found = []
        for name, machine in self.hospital.machines.items():
            until = {one for cover in self.approved.on(name) if cover.ends for one in cover.boxes}
            found += [f"{name}: {what}" for what, deadline in machine.opened.items() if deadline is not None and box(what) not in until]
            found += [f"{name}: {guard}" for guard, deadline in machine.released.items() if deadline is not None]
            found += [f"{name}: the layer is off"] if machine.loosened_until is not None else []
        return found

    def packets(self, when: str) -> int:
        """Asks the hospital for a packet of every flow of every stage; those of no covered stage must not pass. How many passed."""
        stages = self.approved.covered_stages()
        if any(cover.lifts and cover.loosened for covers in self.approved.covers.values() for cover in covers.values()):
            return 0
        allowed = self._kept.union(*(self.approved.may_pass.get(stage, set()) for stage in stages))
        passed = [asked(probe) for probe in self._questions if reaches(self.hospital, probe)]
        self.open_uncovered += [f"{when}: a packet passes that nothing approves: {one}" for one in passed if one not in allowed]
        return len(passed)


def reaches(hospital: SimulatedHospital, probe: Probe) -> bool:
    protocol = {"udp": UDP, "icmp": ICMP if probe.destination.version == 4 else ICMPV6}.get(probe.kind, TCP)
    return hospital.reaches(probe.vantage, probe.destination, protocol, probe.port, probe.source)[0]


def moment_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _see(machine: SimulatedDevice) -> _Seen:
    return _Seen(
        {box(element): deadline for element, deadline in machine.opened.items()},
        dict(machine.released),
        frozenset(machine.slots),
        machine.blocked,
        machine.epoch,
        machine.loosened_until is not None,
    )


def _within(one: Prefix, networks: Iterable[Prefix]) -> bool:
    """By parts, too: what was blocked as a whole may have been taken off in halves."""
    left = [one]
    for network in networks:
        left = [part for piece in left for part in _without(piece, network)]
    return not left


def _without(piece: Prefix, network: Prefix) -> list[Prefix]:
    if isinstance(piece, IPv4Network) and isinstance(network, IPv4Network) and piece.overlaps(network):
        return [] if piece.subnet_of(network) else list(piece.address_exclude(network))
    if isinstance(piece, IPv6Network) and isinstance(network, IPv6Network) and piece.overlaps(network):
        return [] if piece.subnet_of(network) else list(piece.address_exclude(network))
    return [piece]


def _text(found: Box) -> str:
    ports = "" if found[3] is None else f" {found[3][0]}-{found[3][1]}"
    return f"{found[0]} → {found[1]} protocol {found[2]}{ports}"
