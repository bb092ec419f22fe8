"""The iptables dialect: Linux firewalls whose owners still write their rules with `iptables`, flow grain.

What is laid is described in `iptables_rules`, the shell around it in `iptables_shell`, reading in `iptables_readback`.
It works with both kinds of iptables, the one on nf_tables and the one before it; ours lies in the kind that the site's
own `iptables` is, and whatever the other kind holds decides besides.
"""

from __future__ import annotations

from orchestrator.dialects import iptables_blocks, iptables_generation, iptables_readback, iptables_shell, nftables_sessions
from orchestrator.dialects.base import Composition, Fence, Script, Traits
from orchestrator.dialects.blocked_sessions import end_blocked
from orchestrator.dialects.iptables_rules import FAMILIES, layer_digest, shared_lines, slot_lines
from orchestrator.dialects.nftables_boxes import refuse_overlap
from orchestrator.domain.layer import DeviceChange, Element, Layer, Observed, TrackedConnection, networks_in_order
from orchestrator.domain.network import Prefix


class IptablesDialect:
    """Implements `dialects.base.Dialect`. `boot_directory` is where our boot files lie; its `boot` lays them."""

    traits = Traits(
        platform="iptables",
        composition=Composition.COMPLEMENT,
        fence=Fence.GENERATION_OBJECT,
        longest_deadline_s=365 * 24 * 3600,
        boot=f"{iptables_shell.BOOT_DIRECTORY}/boot, which the device runs after its own rules and before it forwards",
        uncovered=(
            "a site's script that flushes or restores its rules takes the layer away (drift notices it); a rule put before ours (drift "
            "notices it); packets that the site exempts from tracking match no pinhole; frames that the device bridges; raw sockets; "
            "flowtables, which the read-back names"
        ),
        notes=(
            "two transactions, IPv4 and then IPv6: each is whole, and both are tried; what opens in the first only is closed again",
            "elements match the inside address and port, on the tracked connection; its replies and ICMP errors belong to it",
            "deadlines are dates in the rules, by the device's own clock in UTC, to the second: a clock that is set back lengthens them",
            "a session dies at its deadline; the rule stays behind without effect until it is closed or laid over",
            "spared on the device itself, to the next hop: neighbour and router discovery, multicast listener reports, VRRP, "
            "single-hop BFD, DHCP, BGP with TTL 1 or 255",
            "a block list is asked first, in both directions, on guarded interfaces only, rule by rule: some thousand networks slow "
            "every packet there; it survives laying and reboot. A loosened layer asks nothing, the block list included",
            "loosening is a rule with a date: the kernel lays the layer again, whether any process lives or not",
            "the older kind of iptables has one lock: who holds it for 3 s is ended by whatever closes, a script of the site too",
            "tried on live packets in a namespace with iptables 1.8.9, on nf_tables and legacy; on no machine of a hospital",
        ),
        blocks=True,
    )

    def __init__(self, boot_directory: str = iptables_shell.BOOT_DIRECTORY) -> None:
        self._directory = boot_directory

    def lay(self, layer: Layer) -> Script:
        lines = {family: [*shared_lines(family), *slot_lines(layer, family)] for family in FAMILIES}
        return Script("sh", iptables_shell.lay(layer.slot, lines))

    def persist(self, layer: Layer) -> Script:
        lines = {family: slot_lines(layer, family) for family in FAMILIES}
        return Script("sh", iptables_shell.persist(layer.slot, layer_digest(layer), lines, self._directory))

    def read_back(self) -> Script:
        return Script("sh", iptables_shell.READ.replace("BOOT/", f"{self._directory}/"))

    def parse(self, output: str) -> Observed:
        return iptables_readback.parse(output)

    def expected(self, layers: tuple[Layer, ...]) -> Observed:
        slots = {layer.slot: layer_digest(layer) for layer in layers}
        return Observed(present=bool(slots), slots=slots, boots_with=tuple(sorted(slots)))

    def sessions(self) -> Script:
        return nftables_sessions.list_sessions()

    def parse_sessions(self, output: str) -> tuple[TrackedConnection, ...]:
        return nftables_sessions.parse_sessions(output)

    def kill(self, connections: tuple[TrackedConnection, ...]) -> Script:
        return nftables_sessions.kill_sessions(connections)

    def open(self, change: DeviceChange) -> Script:
        return Script("sh", iptables_shell.change("open", _openings(change), "{confirm}"))

    def confirm(self, change: DeviceChange, *, until: bool = False) -> Script:
        """Refused whole when a window has passed. Who hung between that look and the transaction takes it back at once."""
        return Script("sh", iptables_shell.change("confirm", _openings(change), "{until}" if until else ""))

    def close(self, change: DeviceChange) -> Script:
        elements = _openings(change)
        ends = "".join(f"{line}\n" for line in nftables_sessions.kill_commands(elements))
        return Script("sh", iptables_shell.change("close", elements, "") + ends)

    def fence(self) -> Script:
        return Script("sh", iptables_generation.fence(self._directory))

    def block(self, networks: tuple[Prefix, ...]) -> Script:
        """Prints the entries of connection tracking that it deletes."""
        given = networks_in_order(networks)
        if not given:
            return Script("sh", ":\n")
        return Script("sh", iptables_blocks.block(given, end_blocked(given, iptables_blocks.GUARDS), self._directory))

    def unblock(self, remaining: tuple[Prefix, ...]) -> Script:
        return Script("sh", iptables_blocks.unblock(networks_in_order(remaining), self._directory))

    def loosen(self) -> Script:
        return Script("sh", iptables_generation.loosen())

    def tighten(self) -> Script:
        return Script("sh", iptables_generation.tighten(self._directory))

    def lift(self) -> Script:
        return Script("sh", iptables_shell.LIFT.replace("BOOT", self._directory))

    def snapshot(self) -> Script:
        return Script("sh", iptables_shell.SNAPSHOT)


def _openings(change: DeviceChange) -> tuple[Element, ...]:
    if change.releases:
        raise ValueError(f"{change.device}: an iptables device is opened by elements; it has no guard to release")
    return refuse_overlap(change.elements)
