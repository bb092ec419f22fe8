"""One simulated device: its layer, its openings with their deadlines, its epoch, its start-up set and its sessions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network
from typing import Any

from orchestrator.domain.layer import DeviceChange, Element, Layer, Observed, TrackedConnection, networks_in_order, ordered
from orchestrator.domain.network import Device, Prefix
from orchestrator.simulation.dialect import slot_digest


class Fault(StrEnum):
    """What can be wrong with a simulated device, by name."""

    CONNECTION_REFUSED = "connection-refused"
    AUTHENTICATION_REFUSED = "authentication-refused"
    WRONG_HOST_KEY = "wrong-host-key"
    HANG = "hang"  # it never answers, and does nothing
    LOST_OUTCOME = "lost-outcome"  # it does all of it, and the answer is lost
    DROP_MIDWAY = "drop-midway"  # the session ends after the first script
    GARBAGE = "garbage"  # it answers something that cannot be read
    COMMAND_FAILS = "command-fails"


OPENING = frozenset({"open", "confirm", "unblock", "loosen", "lift"})  # not for the cut key


class Rejected(Exception):
    """The device answered no."""


@dataclass
class SimulatedDevice:
    """Mutable on purpose: it stands for a machine. `now` is a monotonic clock in seconds."""

    declared: Device
    now: Callable[[], float]
    slots: dict[str, Layer] = field(default_factory=dict)
    boots: dict[str, Layer] = field(default_factory=dict)
    opened: dict[Element, float | None] = field(default_factory=dict)
    released: dict[str, float | None] = field(default_factory=dict)
    boots_released: set[str] = field(default_factory=set)
    epoch: int | None = None
    blocked: tuple[Prefix, ...] = ()
    loosened_until: float | None = None  # the layer is off until then
    site_rules: str = ""  # what a colleague has configured beside the layer, as text
    tracked: list[TrackedConnection] = field(default_factory=list)
    faults: set[Fault] = field(default_factory=set)

    # --- what it does to packets -------------------------------------------------------------------------------

    def lets_through(self, inside: str | None, out: str | None, source: Any, destination: Any, protocol: int, port: int | None) -> bool:
        """Whether the layer lets a packet of the original direction cross (every slot must)."""
        self._expire()
        if self.loosened_until is not None:
            return True
        crosses = {inside, out} & {guard for layer in self.slots.values() for guard in layer.guard}
        if crosses and any(_within(end, self.blocked) for end in (source, destination)):
            return False
        return all(self._slot_lets(layer, inside, out, source, destination, protocol, port) for layer in self.slots.values())

    def _slot_lets(
        self, layer: Layer, inside: str | None, out: str | None, source: Any, destination: Any, protocol: int, port: int | None
    ) -> bool:
        crossed = {inside, out} & set(layer.guard)
        if layer.coarse:
            return all(guard in self.released for guard in crossed)
        if not crossed:
            return True
        ends = (source, destination)
        if layer.scope and not any(end in prefix for end in ends for prefix in layer.scope if prefix.version == end.version):
            return True
        elements = (*layer.keep, *self.opened)
        return any(element.matches(source, destination, protocol, port) for element in elements)

    # --- what it does when told --------------------------------------------------------------------------------

    def execute(self, text: str, *, may_open: bool) -> str:
        """Runs one script; returns what it prints. Raises Rejected; the cut key may only subtract."""
        order = json.loads(text)
        verb = order.pop("verb")
        if verb in OPENING and not may_open:
            raise Rejected(f"the cut key may not {verb}")
        self._expire()
        answer = getattr(self, f"_do_{verb}")(**order)
        return str(answer or "")

    def reboot(self) -> None:
        """Running state is lost; it starts with its start-up set, without any pinhole."""
        self.slots = dict(self.boots)
        self.loosened_until = None
        self.opened.clear()
        self.released = dict.fromkeys(self.boots_released)
        self.tracked.clear()

    def _do_lay(self, layer: dict[str, Any], epoch: str) -> None:
        wanted = Layer.model_validate(layer)
        self.slots[wanted.slot] = wanted
        self.loosened_until = None
        self.epoch = max(int(epoch), self.epoch or 0)  # a cut that comes late brings no older generation back
        self.opened.clear()
        self.released.clear()
        self.boots_released.clear()

    def _do_persist(self, layer: dict[str, Any]) -> None:
        wanted = Layer.model_validate(layer)
        self.boots[wanted.slot] = wanted

    def _do_read_back(self) -> str:
        return self.observed().model_dump_json()

    def observed(self) -> Observed:
        self._expire()
        lying = {} if self.loosened_until is not None else self.slots
        closed = {guard for layer in lying.values() if layer.coarse for guard in layer.guard} - set(self.released)
        return Observed(
            present=bool(lying),
            epoch=self.epoch,
            blocked=self.blocked,
            loosened_s=None if self.loosened_until is None else max(0, round(self.loosened_until - self.now())),
            slots={slot: slot_digest(layer) for slot, layer in lying.items()},
            opened=ordered(self.opened),
            temporary=tuple(
                (element, max(0, round(deadline - self.now())))
                for element, deadline in sorted(self.opened.items(), key=lambda item: item[0].sort_key())
                if deadline is not None
            ),
            closed=tuple(sorted(closed)),
            boots_with=tuple(sorted(self.boots)),
        )

    def _do_sessions(self) -> str:
        return json.dumps([connection.model_dump(mode="json") for connection in self.tracked])

    def _do_kill(self, connections: list[dict[str, Any]]) -> None:
        doomed = {TrackedConnection.model_validate(item) for item in connections}
        self.tracked = [connection for connection in self.tracked if connection not in doomed]

    def _fence(self, epoch: str) -> None:
        if self.epoch != int(epoch):
            raise Rejected(f"stale epoch {epoch}: this device is at {self.epoch}")

    def _do_open(self, change: dict[str, Any], epoch: str, seconds: str) -> None:
        self._fence(epoch)
        self._lay_openings(DeviceChange.model_validate(change), self.now() + int(seconds))

    def _do_confirm(self, change: dict[str, Any], epoch: str, seconds: str | None) -> None:
        self._fence(epoch)
        wanted = DeviceChange.model_validate(change)
        missing = [element for element in wanted.elements if element not in self.opened]
        if missing or any(guard not in self.released for guard in wanted.releases):
            raise Rejected("nothing to confirm: the opening has closed by itself")
        self._lay_openings(wanted, None if seconds is None else self.now() + int(seconds))
        self.boots_released |= set(wanted.releases)

    def _lay_openings(self, change: DeviceChange, deadline: float | None) -> None:
        self.opened.update(dict.fromkeys(change.elements, deadline))
        self.released.update(dict.fromkeys(change.releases, deadline))

    def _do_close(self, change: dict[str, Any]) -> None:
        wanted = DeviceChange.model_validate(change)
        for element in wanted.elements:
            self.opened.pop(element, None)
        for guard in wanted.releases:
            self.released.pop(guard, None)
            self.boots_released.discard(guard)

    def _do_fence(self, epoch: str) -> None:
        if self.epoch is not None:
            self.epoch = max(int(epoch), self.epoch)

    def _do_block(self, networks: list[str]) -> None:
        self.blocked = networks_in_order((*self.blocked, *map(ip_network, networks)))
        self.tracked = [one for one in self.tracked if not any(_within(end, self.blocked) for end in (one.source, one.destination))]

    def _do_unblock(self, remaining: list[str], epoch: str) -> None:
        self._fence(epoch)
        self.blocked = networks_in_order(map(ip_network, remaining))

    def _do_loosen(self, epoch: str, seconds: str) -> None:
        self._fence(epoch)
        self.loosened_until = self.now() + int(seconds)

    def _do_tighten(self) -> None:
        self.loosened_until = None

    def _do_lift(self, epoch: str) -> None:
        self._fence(epoch)
        self.loosened_until = None
        self.blocked = ()
        self.slots.clear()
        self.boots.clear()
        self.opened.clear()
        self.released.clear()
        self.boots_released.clear()
        self.epoch = None

    def _do_snapshot(self) -> str:
        return f"=== rules\nsimulated configuration of {self.declared.name}\n{self.site_rules}\n=== end\n"

    def _expire(self) -> None:
        """Deadlines are the device's own: they end whether anybody asks or not."""
        now = self.now()
        if self.loosened_until is not None and self.loosened_until <= now:
            self.loosened_until = None
        for element in [element for element, deadline in self.opened.items() if deadline is not None and deadline <= now]:
            del self.opened[element]
        for guard in [guard for guard, deadline in self.released.items() if deadline is not None and deadline <= now]:
            del self.released[guard]


def _within(end: Any, networks: tuple[Prefix, ...]) -> bool:
    return any(end.version == network.version and end in network for network in networks)
