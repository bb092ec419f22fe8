"""The shell around `nft`: what has to be looked up on the device before a transaction can be written, and the boot files.

Where a script both changes what runs and writes boot files, what closes comes first: the running layer when it gets
tighter, and the boot files only after the running layer went. A boot file is written beside its place, checked, and
moved there whole. On a full disk the script says so and answers no; what runs is tight all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from orchestrator.dialects.nftables_readback import EPOCH_FILE
from orchestrator.dialects.nftables_rules import BLOCKED, FENCE, LOOSENED, RAISE_EPOCH, SHARED_SETS, TABLE

_HELD = f"held=$(nft list set {TABLE} epoch 2>/dev/null | sed -n 's/.*elements = {{ \\(0x[0-9a-f]*\\) }}.*/\\1/p')"

# The generation never goes back: a cut that comes late lays its layer under the one that it finds, and tries again when
# another came in between. What else can fail is a table that somebody set dormant: it refuses new base chains in the
# transaction that wakes it, so then it is woken first, which only subtracts. The last try asks for nothing.
LAY = "; ".join(
    [
        "rules=$(cat)",
        f"newest() {{ {_HELD}",
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

SNAPSHOT = f"""\
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

# Changes the start-up generation unless it is as new already; in the boot directory.
_EPOCH_FILE = f"""\
before=$(sed -n '1s/.*epoch \\([0-9]*\\),.*/\\1/p' {EPOCH_FILE} 2>/dev/null || :)
if [ "${{before:-0}}" -lt {{epoch}} ]; then
  cat > .epoch.body <<'BOOT'
{chr(10).join(["add table " + TABLE, *RAISE_EPOCH])}
BOOT
  sum=$(sha256sum < .epoch.body)
  {{ echo "# containment boot file, epoch {{epoch}}, body ${{sum%% *}}"; cat .epoch.body; }} > .epoch.new
  rm -f .epoch.body
  mv .epoch.new {EPOCH_FILE}
fi
"""
_SYNC = "sync . 2>/dev/null || sync\n"

# Guarded interfaces, one a line.
GUARDS = (
    f"nft -nnn list table {TABLE} | tr -d '\\n\\t' | grep -o 'set [a-z0-9_]*_ports {{[^}}]*elements = {{[^}}]*}}' "
    "| grep -o '\"[^\"]*\"' | tr -d '\"' | sort -u"
)


def write_boot_file(name: str, title: str, body: str, *, try_first: bool) -> str:
    """Puts the file into the boot directory (the working directory), whole; fails with `set -e`.

    `try_first`: it has not just been laid in these words, so `nft -c` is asked (seconds for some thousand networks).
    """
    tried = f"nft -c -f .{name}.new\n" if try_first else ""
    head = f"# containment boot file, {title}, body {hashlib.sha256(body.encode()).hexdigest()}\n"
    return f"cat > .{name}.new <<'BOOT'\n{head}{body}BOOT\n{tried}mv .{name}.new {name}.nft\n"


def persist(slot: str, title: str, body: str, directory: str) -> str:
    """The slot's boot file and the generation's."""
    start = f"set -eu\numask 077\nmkdir -p {directory}\ncd {directory}\ntrap 'rm -f .{slot}.new .epoch.new .epoch.body' EXIT\n"
    return (
        start + _EPOCH_FILE + write_boot_file(slot, title, body, try_first=True) + f"sync {slot}.nft {EPOCH_FILE} . 2>/dev/null || sync\n"
    )


def fence(directory: str) -> str:
    """Raises the generation that runs, by comparing and swapping, then the one of the start-up."""
    return f"""\
set -u
umask 077
swap() {{
  {_HELD}
  [ "$((${{held:-0}}))" -lt {{epoch}} ] || return 0
  {{ if [ -n "$held" ]; then echo "delete element {TABLE} epoch {{ $held }}"
    else echo 'add set {TABLE} epoch {{ {SHARED_SETS["epoch"][0]}; }}'; echo 'flush set {TABLE} epoch'; fi
    echo 'add element {TABLE} epoch {{ {{epoch}} }}'; }} | nft -f -
}}
status=0
tables=$(nft list tables) || exit 1
if printf '%s\\n' "$tables" | grep -qx 'table {TABLE}'; then
  swap 2>/dev/null || swap 2>/dev/null || swap ||
    {{ echo 'the generation that runs could not be raised to {{epoch}}: late commands still count' >&2; status=1; }}
fi
set -- {directory}/*.nft
[ -e "$1" ] || exit $status
(
set -e
cd {directory}
trap 'rm -f .epoch.new .epoch.body' EXIT
{_EPOCH_FILE}sync {EPOCH_FILE} . 2>/dev/null || sync
)
[ $? = 0 ] || {{ echo 'raised for now, but the device would boot with an older generation: make room in {directory}' >&2; status=1; }}
exit $status
"""


def block(name: str, lines: Iterable[str], boot_file: str, ends: Iterable[str], directory: str) -> str:
    """Lays the rules of one block, ends what they stop, then writes their boot file. Rules of the same name are replaced."""
    return "\n".join(
        [
            "set -u", "umask 077", "rules=$(cat <<'RULES'", *lines, "RULES", ")",
            f"old() {{ nft -a list chain {TABLE} {BLOCKED} 2>/dev/null |",
            f"  sed -n 's/.* comment \"{name}\" # handle \\([0-9]*\\)$/delete rule {TABLE} {BLOCKED} handle \\1/p'; }}",
            "lay() { { old; printf '%s\\n' \"$rules\"; } | nft -f -; }",
            "lay 2>/dev/null || lay 2>/dev/null || lay || { echo 'nothing is blocked: nft did not take the rules' >&2; exit 1; }",
            *ends,
            f"( set -e; mkdir -p {directory}; cd {directory}; trap 'rm -f .*.new' EXIT", boot_file + _SYNC + ")",
            f"[ $? = 0 ] || {{ echo 'blocked for now, but the device would boot without it: make room in {directory}' >&2; exit 1; }}",
            "",
        ]
    )  # fmt: skip


def unblock(lines: Iterable[str], boot_file: str, directory: str) -> str:
    """The chain becomes these rules, in one transaction with the fence; then boot files of blocks that no longer run go.

    What was blocked again meanwhile runs, and its file stays.
    """
    return "\n".join(
        [
            "set -u", "umask 077", "nft -f - <<'RULES' || exit 1", *FENCE, *lines, "RULES",
            f"( set -e; [ -d {directory} ] || exit 0; cd {directory}; trap 'rm -f .*.new' EXIT", boot_file + "for file in _b-*.nft; do",
            '  [ -e "$file" ] || continue', "  name=${file#_}",
            f"  nft list chain {TABLE} {BLOCKED} | grep -q \"\\\"${{name%.nft}}\\\"\" || rm -f \"$file\"", "done", _SYNC + ")",
            f"[ $? = 0 ] || {{ echo 'unblocked for now, but the device would boot with the longer list: see {directory}' >&2; exit 1; }}",
            "",
        ]
    )  # fmt: skip


def loosen() -> str:
    """Text for `nft -f -`: both families go past the layer until the kernel drops these elements."""
    lines = list(FENCE)
    for family in ("ipv4", "ipv6"):
        words = f"element {TABLE} {LOOSENED} {{ {family}"
        lines += [f"add {words} }}", f"delete {words} }}", f"add {words} timeout {{confirm}}s }}"]
    return "\n".join([*lines, ""])


def tighten(directory: str) -> str:
    """A layer that lies is tight once the set is empty; one that was flushed is laid from its boot files."""
    return f"""\
set -u
tables=$(nft list tables) || exit 1
if printf '%s\\n' "$tables" | grep -qx 'table {TABLE}'; then
  exec nft -f - <<'RULES'
add set {TABLE} {LOOSENED} {{ {"; ".join(SHARED_SETS[LOOSENED])}; }}
flush set {TABLE} {LOOSENED}
RULES
fi
set -- {directory}/*.nft
[ -e "$1" ] || exit 0
cat "$@" | nft -f -
"""


def lift(directory: str) -> str:
    """The running layer goes first, in one transaction with the fence. Then its boot files, but none that was written
    anew meanwhile: a lift that hung and wakes up after a later cut takes nothing away from that. The directory stays,
    because the device's start-up names it."""
    return f"""\
set -u
if [ -d {directory} ]; then
  rm -rf {directory}/.lifted
  mkdir {directory}/.lifted || exit 1
  for file in {directory}/*.nft; do [ ! -e "$file" ] || ln "$file" {directory}/.lifted/ || exit 1; done
fi
nft -f - <<'RULES' || {{ rm -rf {directory}/.lifted; exit 1; }}
{FENCE[0]}
delete table {TABLE}
RULES
for file in {directory}/.lifted/*.nft; do
  [ ! "$file" -ef "{directory}/${{file##*/}}" ] || rm -f "{directory}/${{file##*/}}"
done
rm -rf {directory}/.lifted {directory}/.*.new {directory}/.epoch.body
sync
"""
