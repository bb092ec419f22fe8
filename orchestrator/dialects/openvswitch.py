"""The Open vSwitch dialect: switches at port grain, by parking ports in the database.

Words and reasons are in `openvswitch_ports`, reading in `openvswitch_readback`. Laying, closing and reading need
nothing on the device but Open vSwitch; opening and lifting go through `containment-host` (playbooks/files), which
compares the generation and arms a timer on the device.

A layer of flow grain is refused here (ValueError), when the cut pack is rendered and not in the emergency: a flow
device behind the switch keeps the flows, or the port is closed whole.
"""

from __future__ import annotations

from orchestrator.dialects import openvswitch_ports, openvswitch_readback
from orchestrator.dialects.base import Composition, Fence, Script, Traits
from orchestrator.domain.layer import DeviceChange, Layer, Observed, TrackedConnection

WRAPPER = "/usr/local/sbin/containment-host"


class OpenvswitchDialect:
    """Implements `dialects.base.Dialect`."""

    traits = Traits(
        platform="openvswitch",
        composition=Composition.CLOSE_ONLY,
        fence=Fence.WRAPPER,
        longest_deadline_s=365 * 24 * 3600,
        boot="a parked port is a row of the database, which the switch starts with",
        uncovered=(
            "a colleague's `ovs-vsctl set port` or a deleted and re-added port (drift notices it at its next reading); an OpenFlow entry "
            "of the site that names a parked port as output asks no VLAN (the read-back lists it and the device is not `applied`); "
            "mirrors; an opening inside its confirm window when the machine restarts and its start-up does not call "
            "`containment-host boot` before ovs-vswitchd"
        ),
        notes=(
            "deadlines are timers of the device, in whole seconds of its monotonic clock; a session on an opened port dies with the port",
            "a port that several slots claim is released whole when it is asked for by name",
        ),
    )

    def lay(self, layer: Layer) -> Script:
        return openvswitch_ports.lay_ports(_coarse(layer))

    def persist(self, layer: Layer) -> Script:
        _coarse(layer)
        return openvswitch_ports.persist_ports()

    def read_back(self) -> Script:
        return openvswitch_readback.read_back()

    def parse(self, output: str) -> Observed:
        return openvswitch_readback.parse_ports(openvswitch_readback.Reading(output))

    def expected(self, layers: tuple[Layer, ...]) -> Observed:
        slots = {layer.slot: openvswitch_ports.ports_digest(layer.guard) for layer in layers}
        closed = tuple(sorted({port for layer in layers for port in layer.guard}))
        return Observed(present=bool(slots), slots=slots, closed=closed, boots_with=tuple(sorted([*slots, *closed])))

    def sessions(self) -> Script:
        """A switch tracks no connections."""
        return Script("true")

    def parse_sessions(self, output: str) -> tuple[TrackedConnection, ...]:  # noqa: ARG002
        return ()

    def kill(self, connections: tuple[TrackedConnection, ...]) -> Script:
        if connections:
            raise ValueError("a switch tracks no connections")
        return Script("true")

    def open(self, change: DeviceChange) -> Script:
        return Script(f"{WRAPPER} release {{epoch}} {{confirm}} {_ports(change)}")

    def confirm(self, change: DeviceChange, *, until: bool = False) -> Script:
        return Script(f"{WRAPPER} confirm {{epoch}} {'--until {until} ' if until else ''}{_ports(change)}")

    def close(self, change: DeviceChange) -> Script:
        return openvswitch_ports.close_ports(_ports(change).split())

    def lift(self) -> Script:
        return Script(f"{WRAPPER} lift {{epoch}}")

    def snapshot(self) -> Script:
        return openvswitch_readback.snapshot()


def _coarse(layer: Layer) -> Layer:
    if not layer.coarse:
        raise ValueError(f"{layer.device}: this dialect closes ports whole; flow grain needs a firewall behind it")
    return layer


def _ports(change: DeviceChange) -> str:
    if change.openings or not change.releases:
        raise ValueError(f"{change.device}: a switch releases ports, and this change names {len(change.openings)} flows and no port")
    return " ".join(sorted(change.releases))
