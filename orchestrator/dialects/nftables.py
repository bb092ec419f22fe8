"""The nftables dialect: firewalls and gateways that filter with `nft`, flow grain.

What is laid is described in `nftables_rules`, how it is read back in `nftables_readback`.

The fence (invariant 9) is the one element of the set `epoch`: an opening deletes and adds the element of its own
generation in the same transaction, which fails whole when the device has moved on. Laying swaps the element.

Boot: `persist` writes one file per slot, without openings, and one with the generation, into a directory whose `*.nft`
the device loads after its own rules and before it forwards. A last line `include "/etc/containment/*.nft"` in
/etc/nftables.conf does, and then a reload of the site's rules lays the layer again in the same transaction; loading
each file with `nft -f` works as well.
"""

from __future__ import annotations

from functools import lru_cache

from orchestrator.dialects import nftables_readback, nftables_sessions, nftables_shell
from orchestrator.dialects.base import Composition, Fence, Script, Traits
from orchestrator.dialects.blocked_sessions import end_blocked
from orchestrator.dialects.nftables_blocks import block_lines, block_name
from orchestrator.dialects.nftables_boxes import refuse_overlap
from orchestrator.dialects.nftables_rules import (
    BLOCKED,
    ERRORS_REMEMBERED_S,
    FENCE,
    RAISE_EPOCH,
    TABLE,
    box_set,
    box_words,
    lay_slot,
    layer_digest,
)
from orchestrator.domain.layer import DeviceChange, Element, Layer, Observed, TrackedConnection, networks_in_order
from orchestrator.domain.network import Prefix

BOOT_DIRECTORY = "/etc/containment"


class NftablesDialect:
    """Implements `dialects.base.Dialect`.

    `boot_directory` is where the device looks for boot files of ours.
    """

    traits = Traits(
        platform="nftables",
        composition=Composition.AND,
        fence=Fence.GENERATION_OBJECT,
        longest_deadline_s=365 * 24 * 3600,
        boot=f"one file per slot in {BOOT_DIRECTORY}, loaded after the site's own rules and before forwarding starts",
        uncovered=(
            "`flush ruleset` by hand (drift notices it); frames that the device bridges; raw sockets of its own; "
            "flowtables, which the read-back names and which then keep the device from counting as applied"
        ),
        notes=(
            "elements match the inside address and port: after destination translation, before source translation",
            "deadlines run on the device's own clock, to the second; sessions die with their element",
            f"ICMP errors of a permitted connection pass for {ERRORS_REMEMBERED_S} s after its last packet",
            "opening again what is open starts its confirm window anew: it must be confirmed again",
            "spared on the device itself, to the next hop: neighbour and router discovery, multicast listener reports, VRRP, "
            "single-hop BFD, DHCP, BGP with TTL 1 or 255",
            "a block list is asked first, in both directions, on guarded interfaces only; it survives laying, reboot and a reload of "
            "the site's rules. A loosened layer asks nothing, the block list included",
            "loosening is an element with a timeout: the kernel lays the layer again to the second, whether any process lives or not",
        ),
        blocks=True,
        counts=True,
    )

    def __init__(self, boot_directory: str = BOOT_DIRECTORY) -> None:
        self._directory = boot_directory

    def lay(self, layer: Layer) -> Script:
        return Script(nftables_shell.LAY, _text(["add table " + TABLE, *RAISE_EPOCH, *lay_slot(layer)]))

    def persist(self, layer: Layer) -> Script:
        """Checks the file with `nft -c`, then puts it in place whole and durable. The boot generation never goes back."""
        title = f"slot {layer.slot}, layer {layer_digest(layer)}"
        return Script("sh", nftables_shell.persist(layer.slot, title, _text(lay_slot(layer)), self._directory))

    def read_back(self) -> Script:
        return nftables_readback.read_back(self._directory)

    def parse(self, output: str) -> Observed:
        return nftables_readback.parse(output)

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
        """Opening again what is open starts its window anew, lasting or not. An element inside a broader one that is
        open already is refused by the kernel ("File exists"), with everything beside it."""
        lines = list(FENCE)
        for words in _opened(change)[1]:
            lines += (f"add {words} }}", f"delete {words} }}", f"add {words} timeout {{confirm}}s }}")
        return Script("nft -f -", _text(lines))

    def confirm(self, change: DeviceChange, *, until: bool = False) -> Script:
        """Refused whole when one of the elements is gone, because its window has passed: a late word reopens nothing."""
        lines, lasting = list(FENCE), " timeout {until}s" if until else ""
        for words in _opened(change)[1]:
            lines += (f"delete {words} }}", f"add {words}{lasting} }}")
        return Script("nft -f -", _text(lines))

    def close(self, change: DeviceChange) -> Script:
        elements, every = _opened(change)
        lines = [f"{verb} {words} }}" for words in every for verb in ("add", "delete")]
        return Script("sh", _text(["set -eu", "nft -f - <<'RULES'", *lines, "RULES", *nftables_sessions.kill_commands(elements)]))

    def fence(self) -> Script:
        return Script("sh", nftables_shell.fence(self._directory))

    def block(self, networks: tuple[Prefix, ...]) -> Script:
        """Prints the entries of connection tracking that it deletes."""
        given = networks_in_order(networks)
        if not given:
            return Script("sh", ":\n")
        name, ends = block_name(given), end_blocked(given, nftables_shell.GUARDS)
        return Script("sh", nftables_shell.block(name, block_lines(given), _block_file(given), ends, self._directory))

    def unblock(self, remaining: tuple[Prefix, ...]) -> Script:
        left = networks_in_order(remaining)
        lines = [f"flush chain {TABLE} {BLOCKED}", *(block_lines(left) if left else ())]
        return Script("sh", nftables_shell.unblock(lines, _block_file(left) if left else "", self._directory))

    def loosen(self) -> Script:
        """One transaction; its deadline is the kernel's, and no process of ours has to live for it."""
        return Script("nft -f -", nftables_shell.loosen())

    def tighten(self) -> Script:
        return Script("sh", nftables_shell.tighten(self._directory))

    def lift(self) -> Script:
        return Script("sh", nftables_shell.lift(self._directory))

    def snapshot(self) -> Script:
        return Script("sh", nftables_shell.SNAPSHOT)


def _opened(change: DeviceChange) -> tuple[tuple[Element, ...], tuple[str, ...]]:
    """The elements, and what the verbs of a line act on: up to the element's options and the closing brace."""
    if change.releases:
        raise ValueError(f"{change.device}: an nftables device is opened by elements; it has no guard to release")
    return _written(change.elements)


@lru_cache(maxsize=4)  # a change is rendered three times: to open, to confirm, to close
def _written(elements: tuple[Element, ...]) -> tuple[tuple[Element, ...], tuple[str, ...]]:
    kept = refuse_overlap(elements)
    return kept, tuple(f"element {TABLE} {box_set('open', element)} {{ {box_words(element)}" for element in kept)


def _block_file(networks: tuple[Prefix, ...]) -> str:
    """Shell words that write the boot file of one block."""
    title = f"blocked {' '.join(str(network) for network in networks)}"
    return nftables_shell.write_boot_file("_" + block_name(networks), title, _text(block_lines(networks)), try_first=False)


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
