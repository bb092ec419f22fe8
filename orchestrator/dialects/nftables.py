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

import hashlib
from functools import lru_cache

from orchestrator.dialects import nftables_readback, nftables_sessions
from orchestrator.dialects.base import Composition, Fence, Script, Traits
from orchestrator.dialects.nftables_boxes import refuse_overlap
from orchestrator.dialects.nftables_rules import ERRORS_REMEMBERED_S, FENCE, RAISE_EPOCH, TABLE, box_set, box_words, lay_slot, layer_digest
from orchestrator.domain.layer import DeviceChange, Element, Layer, Observed, TrackedConnection

BOOT_DIRECTORY = "/etc/containment"

# The generation never goes back: a cut that comes late lays its layer under the one that it finds, and tries again when
# another came in between. What else can fail is a table that somebody set dormant: it refuses new base chains in the
# transaction that wakes it, so then it is woken first, which only subtracts. The last try asks for nothing.
_LAY = "; ".join(
    [
        "rules=$(cat)",
        f"newest() {{ held=$(nft list set {TABLE} epoch 2>/dev/null | sed -n 's/.*elements = {{ \\(0x[0-9a-f]*\\) }}.*/\\1/p')",
        "epoch=$((${held:-0})); [ $epoch -gt {epoch} ] || epoch={epoch}; }",
        'found() { if [ -n "$held" ]',
        f"then for verb in delete add; do echo $verb 'element {TABLE} epoch {{' $held '}}'; done; else echo 'create table {TABLE}'; fi; }}",
        f'words() {{ printf \'%s\\n\' "$rules" | sed "s/^add element {TABLE} epoch .*/add element {TABLE} epoch {{ $epoch }}/"; }}',
        "laid=no",
        "for try in 1 2 3; do newest; { found; words; } | nft -f - 2>/dev/null && laid=yes && break; done",
        f"[ $laid = yes ] || {{ if nft -t list table {TABLE} 2>/dev/null | grep -q 'flags dormant'; then nft add table {TABLE}; fi",
        "newest; words | nft -f -; }",
    ]
)

_SNAPSHOT = f"""\
export LC_ALL=C
echo '=== rules'
nft -s list ruleset | awk '/^table {TABLE} \\{{$/ {{ ours = 1 }} !ours {{ print }} /^\\}}$/ {{ ours = 0 }}' | sed 's/ expires [0-9a-z]*//g'
echo '=== addresses'; ip -o address show | sed 's/ *valid_lft.*//'
echo '=== routing rules'; ip -4 rule show; ip -6 rule show
echo '=== routes'; for family in 4 6; do ip -$family route show table all | sed 's/ expires [0-9]*sec//' | sort; done
echo '=== forwarding'
for name in ipv4/ip_forward ipv4/conf/all/rp_filter ipv4/conf/all/forwarding ipv6/conf/all/forwarding ipv6/conf/all/disable_ipv6; do
  [ -r "/proc/sys/net/$name" ] && printf '%s %s\\n' "$name" "$(cat "/proc/sys/net/$name")"
done
echo '=== end'
"""


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
        ),
    )

    def __init__(self, boot_directory: str = BOOT_DIRECTORY) -> None:
        self._directory = boot_directory

    def lay(self, layer: Layer) -> Script:
        return Script(_LAY, _text(["add table " + TABLE, *RAISE_EPOCH, *lay_slot(layer)]))

    def persist(self, layer: Layer) -> Script:
        """Checks the file with `nft -c`, then puts it in place whole and durable. The boot generation never goes back."""
        body = _text(lay_slot(layer))
        head = (
            f"# containment boot file, slot {layer.slot}, layer {layer_digest(layer)}, body {hashlib.sha256(body.encode()).hexdigest()}\n"
        )
        directory, slot = self._directory, layer.slot
        epoch_body = "\n".join(["add table " + TABLE, *RAISE_EPOCH])
        return Script(
            "sh",
            f"""\
set -eu
umask 077
mkdir -p {directory}
cd {directory}
cat > .{slot}.new <<'BOOT'
{head}{body}BOOT
nft -c -f .{slot}.new
before=$(sed -n '1s/.*epoch \\([0-9]*\\),.*/\\1/p' {nftables_readback.EPOCH_FILE} 2>/dev/null || :)
if [ "${{before:-0}}" -lt {{epoch}} ]; then
  cat > .epoch.body <<'BOOT'
{epoch_body}
BOOT
  sum=$(sha256sum < .epoch.body)
  {{ echo "# containment boot file, epoch {{epoch}}, body ${{sum%% *}}"; cat .epoch.body; }} > .epoch.new
  rm -f .epoch.body
  mv .epoch.new {nftables_readback.EPOCH_FILE}
fi
mv .{slot}.new {slot}.nft
sync {slot}.nft {nftables_readback.EPOCH_FILE} . 2>/dev/null || sync
""",
        )

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

    def lift(self) -> Script:
        """The running layer goes first, in one transaction with the fence; the boot files only after it went. Their
        directory stays: the device's start-up names it."""
        lines = ["set -eu", "nft -f - <<'RULES'", FENCE[0], f"delete table {TABLE}", "RULES"]
        files = f"{self._directory}/*.nft {self._directory}/.*.new {self._directory}/.epoch.body"
        lines += [f"rm -f -- {files}", "sync"]
        return Script("sh", _text(lines))

    def snapshot(self) -> Script:
        return Script("sh", _SNAPSHOT)


def _opened(change: DeviceChange) -> tuple[tuple[Element, ...], tuple[str, ...]]:
    """The elements, and what the verbs of a line act on: up to the element's options and the closing brace."""
    if change.releases:
        raise ValueError(f"{change.device}: an nftables device is opened by elements; it has no guard to release")
    return _written(change.elements)


@lru_cache(maxsize=4)  # a change is rendered three times: to open, to confirm, to close
def _written(elements: tuple[Element, ...]) -> tuple[tuple[Element, ...], tuple[str, ...]]:
    kept = refuse_overlap(elements)
    return kept, tuple(f"element {TABLE} {box_set('open', element)} {{ {box_words(element)}" for element in kept)


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
