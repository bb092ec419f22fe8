"""Ends the tracked connections of blocked networks on a Linux device: those that cross a guard, and no others.

Their packets are dropped already when this runs. What is deleted is printed first, as it was listed: it is evidence. A
connection crosses a guard when the route to one of its ends leaves by one; so a session on the management side of the
device stays, whatever its address is.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.dialects.nftables_sessions import DELETE, LISTED_AT_MOST
from orchestrator.domain.network import Prefix

# Reads "N network", "G guard" and then lines of `conntrack -L -o extended`; prints keys for DELETE, and on descriptor 3
# the lines themselves.
_CHOOSE = """\
import ipaddress, os, subprocess, sys
blocked, guards, routes = {}, set(), {}
def number(text):
    address = ipaddress.ip_address(text)
    return address.version, address.max_prefixlen, int(address)
def is_blocked(text):
    version, bits, value = number(text)
    return any(value >> bits - length in taken for (its, length), taken in blocked.items() if its == version)
def by_a_guard(text):
    if text not in routes:
        said = subprocess.run(["ip", "-o", "route", "get", text], capture_output=True, text=True).stdout.split()
        routes[text] = "dev" in said and said[said.index("dev") + 1] in guards
    return routes[text]
for line in sys.stdin:
    words = line.split()
    if words[:1] == ["N"]:
        network = ipaddress.ip_network(words[1])
        value = int(network.network_address) >> network.max_prefixlen - network.prefixlen
        blocked.setdefault((network.version, network.prefixlen), set()).add(value)
    elif words[:1] == ["G"]:
        guards.add(words[1])
    elif words[:1] in (["ipv4"], ["ipv6"]):
        pairs = [word.split("=", 1) for word in words if "=" in word]
        ends = [value for key, value in pairs if key in ("src", "dst")]
        if any(map(is_blocked, ends)) and any(map(by_a_guard, ends)):
            first = {}
            for key, value in pairs:
                first.setdefault(key, value)
            keys = [first[key] for key in ("sport", "dport", "type", "code", "id") if key in first]
            os.write(3, line.encode())
            print(words[0][3:], words[3], first["src"], first["dst"], *keys)
"""


def end_blocked(networks: Iterable[Prefix], guards: str) -> list[str]:
    """Shell lines; `guards` is a command that prints the guarded interfaces. They never fail: the drop is what counts."""
    return [
        "if command -v python3 >/dev/null && conntrack -C >/dev/null 2>&1; then",
        "choose=$(cat <<'PROGRAM'", _CHOOSE + "PROGRAM", ")", "delete=$(cat <<'PROGRAM'", DELETE + "PROGRAM", ")",
        "networks=$(cat <<'NETWORKS'", *(f"N {network}" for network in networks), "NETWORKS", ")",
        f"{{ {{ printf '%s\\n' \"$networks\"; {guards} | sed 's/^/G /'",
        f"  for family in ipv4 ipv6; do timeout 5 conntrack -L -f $family -o extended 2>/dev/null; done | head -n {LISTED_AT_MOST}",
        '} | python3 -I -S -c "$choose" | python3 -I -S -c "$delete"; } 3>&1 ||',
        "  echo 'the sessions of blocked ends could not be deleted; their packets are dropped' >&2",
        "else echo 'the sessions of blocked ends stay listed (no python3 or no conntrack here); their packets are dropped' >&2; fi",
    ]  # fmt: skip
