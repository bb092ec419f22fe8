"""The Open vSwitch dialect: a switch closes ports whole, or tells flows apart on them.

Port grain parks ports in the database (`openvswitch_ports`); flow grain puts them behind a bridge of ours
(`openvswitch_tables`, `openvswitch_bridge`). One switch may hold layers of both, also on the same port: a packet must
pass each. Laying, closing, fencing, blocking and reading need nothing on the device but Open vSwitch; releasing a port,
loosening and lifting go through `containment-host` (playbooks/files), which compares the generation and arms a timer on
the device.
"""

from __future__ import annotations

from orchestrator.dialects import openvswitch_blocks, openvswitch_bridge, openvswitch_fence, openvswitch_ports, openvswitch_readback
from orchestrator.dialects.base import Composition, Fence, Script, Traits
from orchestrator.dialects.openvswitch_compose import COMPOSE
from orchestrator.dialects.openvswitch_tables import layer_digest
from orchestrator.domain.layer import DeviceChange, Layer, Observed, TrackedConnection
from orchestrator.domain.network import Prefix

WRAPPER = "/usr/local/sbin/containment-host"


class OpenvswitchDialect:
    """Implements `dialects.base.Dialect`."""

    traits = Traits(
        platform="openvswitch",
        composition=Composition.RESUBMIT,
        fence=Fence.TABLE_PER_EPOCH,
        blocks=True,
        counts=True,
        longest_deadline_s=openvswitch_bridge.LONGEST_S,
        boot=(
            "the database, with which the switch starts: a parked port at port grain; at flow grain a port behind our bridge, which fails "
            "secure: closed without any script. `containment-host restore`, after the switch daemon has started, puts back what is kept"
        ),
        uncovered=(
            "a colleague's `ovs-vsctl set port`, or a port taken out of our bridge or deleted and re-added (drift notices it at its next "
            "reading); an OpenFlow entry of the site that names a parked port as output asks no VLAN (the read-back lists it and the "
            "device is not `applied`); mirrors; an opening of a whole port inside its confirm window, or a loosened port, when the machine "
            "restarts and its start-up does not call `containment-host boot` before ovs-vswitchd; what hides in ARP and neighbour discovery"
        ),
        notes=(
            "flow grain: a guarded port moves into a bridge of ours, and a patch port with its OpenFlow number and VLANs takes its place, "
            "because what leaves by a port cannot be matched before `NORMAL`. The site's entries stay as they are and decide after ours; "
            "words of the site that name the port (`in_port=NAME`, mirrors, `list-ports`) do not find it until the layer is lifted",
            "internal ports, bonds and tunnels cannot be moved: the script parks them whole and says so",
            "flow grain is stateful: tcp, udp and ICMP by connection tracking in a zone of ours, both directions matched by the original "
            "tuple; other protocols (ESP) by a learned entry, 600 s without a packet of the original direction. A session dies with its "
            "element; one that is kept through the cut goes on when the side that opened it sends next",
            "flow grain: deadlines are OpenFlow `hard_timeout`, whole seconds of the switch daemon, 65,535 s at most; a later end is "
            "refused, and renewed by confirming again before it comes. Openings do not outlive the daemon",
            "flow grain: besides the table of its generation, every bundle that opens carries a lock entry that overlaps the one in force: "
            "a late one fails whole. A fence carries openings over into the new table, with what is left of their time in whole seconds",
            "port grain: deadlines are timers of the device, and the transaction that opens compares the generation in the database; a "
            "session on an opened port dies with the port",
            "the block list holds where flows are told apart, also for openings; ARP and neighbour discovery are spared. On a switch that "
            "closes ports whole it is kept, and on a port that is released whole nothing finer than the port is filtered: `block` says so",
            "loosened: flows by one entry with a `hard_timeout`, ports by a timer of the device; with the daemon or the machine the layer "
            "is back (ports: `containment-host boot` or `restore`, which the start-up calls)",
            "nothing is logged of what is dropped at flow grain but the counters of the dropping entries",
            "spared at flow grain: ARP, neighbour and router discovery, multicast listener reports; VRRP and BFD between routers on both "
            "sides of a guarded port are not",
            "a port that several coarse slots claim is released whole when it is asked for by name",
        ),
    )

    def lay(self, layer: Layer) -> Script:
        if layer.coarse:
            return openvswitch_ports.lay_ports(layer, COMPOSE + openvswitch_bridge.RECOMPOSE)
        return openvswitch_bridge.lay_flows(layer)

    def persist(self, layer: Layer) -> Script:
        return openvswitch_ports.persist_ports() if layer.coarse else openvswitch_bridge.persist_flows(layer)

    def read_back(self) -> Script:
        return openvswitch_readback.read_back()

    def parse(self, output: str) -> Observed:
        return openvswitch_readback.parse_switch(openvswitch_readback.Reading(output))

    def expected(self, layers: tuple[Layer, ...]) -> Observed:
        slots = {layer.slot: openvswitch_ports.ports_digest(layer.guard) if layer.coarse else layer_digest(layer) for layer in layers}
        closed = tuple(sorted({port for layer in layers if layer.coarse for port in layer.guard}))
        return Observed(present=bool(slots), slots=slots, closed=closed, boots_with=tuple(sorted([*slots, *closed])))

    def sessions(self) -> Script:
        """Before it is cut a switch tracks no connections; afterwards it tracks those only that the layer lets pass."""
        return Script("true")

    def parse_sessions(self, output: str) -> tuple[TrackedConnection, ...]:  # noqa: ARG002
        return ()

    def kill(self, connections: tuple[TrackedConnection, ...]) -> Script:
        if connections:
            raise ValueError("a switch tracks no connections")
        return Script("true")

    def open(self, change: DeviceChange) -> Script:
        """Flows first: they end by themselves if the ports are refused."""
        flows = openvswitch_bridge.open_flows(change.elements) if change.openings else ""
        return _both(flows, f"{WRAPPER} release {{epoch}} {{confirm}}", change)

    def confirm(self, change: DeviceChange, *, until: bool = False) -> Script:
        flows = openvswitch_bridge.confirm_flows(change.elements, until=until) if change.openings else ""
        return _both(flows, f"{WRAPPER} confirm {{epoch}}{' --until {until}' if until else ''}", change)

    def close(self, change: DeviceChange) -> Script:
        flows = openvswitch_bridge.close_flows(change.elements) if change.openings else ""
        if not change.releases:
            return _both(openvswitch_bridge.WITHOUT_LOCK + flows if flows else "", "", change)
        return openvswitch_ports.close_ports(change.releases, f"(\n{flows}) || status=1\n" if flows else "")

    def fence(self) -> Script:
        return openvswitch_fence.fence()

    def block(self, networks: tuple[Prefix, ...]) -> Script:
        return openvswitch_blocks.block(networks)

    def unblock(self, remaining: tuple[Prefix, ...]) -> Script:
        return openvswitch_blocks.unblock(remaining)

    def loosen(self) -> Script:
        return Script(f"{WRAPPER} loosen {{epoch}} {{confirm}}")

    def tighten(self) -> Script:
        return Script(f"{WRAPPER} tighten")

    def lift(self) -> Script:
        return Script(f"{WRAPPER} lift {{epoch}}")

    def snapshot(self) -> Script:
        return openvswitch_readback.snapshot()


def _both(flows: str, wrapper: str, change: DeviceChange) -> Script:
    """The flows by their own words, the ports by the wrapper's, which takes the lock for itself."""
    if not change.openings and not change.releases:
        raise ValueError(f"{change.device}: this change names no flow and no port")
    ports = f"{wrapper} {' '.join(sorted(change.releases))}" if change.releases else ""
    if not flows:
        return Script(ports)
    return Script("sh -s", flows + (f"exec 9>&-\n{ports}\n" if ports else ""))
