"""The block list of an iptables device: the chain `containment-b`, which every slot asks first, and its boot files.

Each network is two rules, one per direction. They are searched one by one: some thousand of them slow every packet that
crosses a guard. Both families are tried, whatever happens to one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from orchestrator.dialects.iptables_rules import BLOCKED, BLOCKED_STOP, DISPATCH, EPOCH, FAMILIES, STOPPED, block_rules
from orchestrator.dialects.iptables_shell import FREE_LOCK, HEAD, summed
from orchestrator.domain.network import Prefix

# Guarded interfaces, one a line.
GUARDS = f"for tool in iptables ip6tables; do $tool -S {DISPATCH} | sed -n 's/^-A {DISPATCH} -i \\([^ ]*\\) .*/\\1/p'; done | sort -u"

_STOP_RULES = " ".join(f"'-A {STOPPED} {rule}'" for rule in BLOCKED_STOP)
_STOPPING = f"$tool -S {STOPPED} >/dev/null 2>&1 || printf '%s\\n' '-N {STOPPED}' {_STOP_RULES}"
_ADD = f"""\
add() {{
  held=$($tool -S {BLOCKED} 2>/dev/null)
  text=$(echo '*filter'
    [ -n "$held" ] || echo '-N {BLOCKED}'
    {_STOPPING}
    printf '%s\\n' "$1" | grep -vxF -e "$held"
    echo COMMIT)
  printf '%s\\n' "$text" | commit
}}
"""


def _lines(networks: Iterable[Prefix], family: int) -> list[str]:
    return [f"-A {BLOCKED} {rule}" for rule in block_rules(networks, family)]


def _rules(networks: tuple[Prefix, ...]) -> list[str]:
    text = []
    for family in FAMILIES:
        text += [f"rules{family}=$(cat <<'RULES'", *_lines(networks, family), "RULES", ")"]
    return text


def _boot_files(networks: tuple[Prefix, ...]) -> list[str]:
    """Shell lines that write the boot files of one block into the working directory."""
    name = "_b-" + hashlib.sha256(" ".join(map(str, networks)).encode()).hexdigest()[:16]
    text = []
    for family in FAMILIES:
        its = [network for network in networks if network.version == family]
        if its:
            body = "\n".join([*_lines(its, family), ""])
            head = f"# containment boot file, {name}.v{family}, blocked {' '.join(map(str, its))}, body {summed(body)}"
            text += [f"cat > .{name}.new <<'BOOT'", f"{head}\n{body}BOOT", f"mv .{name}.new {name}.v{family}"]
    return text


def block(networks: tuple[Prefix, ...], ends: Iterable[str], directory: str) -> str:
    """`networks` in normal form; `ends`: shell lines that end the sessions."""
    return "\n".join(
        [
            HEAD + FREE_LOCK + "umask 077", _ADD, *_rules(networks), "status=0",
            'turn() { tool_for $1; [ -z "$2" ] || add "$2" 2>/dev/null || add "$2" || '
            "{ echo \"IPv$1: nothing more is blocked: $tool-restore did not take the rules\" >&2; status=1; }; }",
            'turn 4 "$rules4"', 'turn 6 "$rules6"', *ends,
            f"( set -e; mkdir -p {directory}; cd {directory}; trap 'rm -f .*.new' EXIT", *_boot_files(networks),
            "sync . 2>/dev/null || sync )",
            f"[ $? = 0 ] || {{ echo 'blocked for now, but the device would boot without it: make room in {directory}' >&2; exit 1; }}",
            "exit $status", "",
        ]
    )  # fmt: skip


def unblock(remaining: tuple[Prefix, ...], directory: str) -> str:
    """The chain becomes these rules; what IPv6 refuses is blocked again in IPv4. Then boot files go whose rules no longer
    run: those of what was blocked again meanwhile stay."""
    return "\n".join(
        [
            HEAD + "umask 077", _ADD, *_rules(remaining),
            "become() {", "  text=$(echo '*filter'", f"    echo '-X {EPOCH}{{epoch}}'; echo '-N {EPOCH}{{epoch}}'",
            f"    echo ':{BLOCKED} - [0:0]'",
            f"    {_STOPPING}",
            "    printf '%s\\n' \"$1\"; echo COMMIT)", "  printf '%s\\n' \"$text\" | commit", "}",
            "tool_for 4", f"before=$($tool -S {BLOCKED} 2>/dev/null | grep '^-A')", 'become "$rules4" || exit 1', "tool_for 6",
            'become "$rules6" || {', "  tool_for 4", '  [ -z "$before" ] || add "$before"',
            "  echo 'refused: IPv6 did not take it; IPv4 blocks again what it did' >&2; exit 1", "}",
            f"( set -e; [ -d {directory} ] || exit 0; cd {directory}; trap 'rm -f .*.new' EXIT", *_boot_files(remaining),
            "for file in _b-*.v4 _b-*.v6; do", '  [ -e "$file" ] || continue', '  tool_for "${file##*.v}"',
            f"  if grep '^-A' \"$file\" | grep -qvxF -e \"$($tool -S {BLOCKED})\"; then rm -f \"$file\"; fi", "done",
            "sync . 2>/dev/null || sync )",
            f"[ $? = 0 ] || {{ echo 'unblocked for now, but the device would boot with the longer list: see {directory}' >&2; exit 1; }}",
            "",
        ]
    )  # fmt: skip
