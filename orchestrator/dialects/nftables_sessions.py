"""Tracked connections of a Linux device: listing them, reading the list, deleting exactly some of them."""

from __future__ import annotations

from ipaddress import ip_address

from orchestrator.dialects.base import Script
from orchestrator.domain.address_text import host_or_prefix_text, prefix_text
from orchestrator.domain.layer import Element, TrackedConnection

LISTED_AT_MOST = 20_000
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}  # `conntrack` takes their options only with the name

_LIST = f"""\
conntrack -C >/dev/null || exit 1
{{ timeout 5 conntrack -L -f ipv4 -o extended; timeout 5 conntrack -L -f ipv6 -o extended; }} 2>/dev/null | head -n {LISTED_AT_MOST}
echo '=== neighbours'
ip neigh show
"""

# `conntrack -D` reads the whole table once per connection (27 s for 3,000 of them on two cores); the kernel deletes by
# the original tuple at once, so the tuples go to it over netlink. Any Python 3 of the device will do; without one,
# `conntrack -R` does the same slowly.
DELETE = """\
import socket, struct, sys
def attr(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)
nested = 0x8000
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
link.bind((0, 0))
link.settimeout(5)
gone = deleted = 0
for line in sys.stdin:
    family, protocol, source, destination, *keys = line.split()
    six = family == "6"
    af = socket.AF_INET6 if six else socket.AF_INET
    ip = attr(3 if six else 1, socket.inet_pton(af, source)) + attr(4 if six else 2, socket.inet_pton(af, destination))
    l4 = attr(1, bytes([int(protocol)]))
    if len(keys) == 2:
        l4 += attr(2, struct.pack("!H", int(keys[0]))) + attr(3, struct.pack("!H", int(keys[1])))
    elif len(keys) == 3:
        base = 7 if six else 4
        l4 += attr(base, struct.pack("!H", int(keys[2]))) + attr(base + 1, bytes([int(keys[0])])) + attr(base + 2, bytes([int(keys[1])]))
    body = struct.pack("=BBH", af, 0, 0) + attr(1 | nested, attr(1 | nested, ip) + attr(2 | nested, l4))
    link.send(struct.pack("=IHHII", 16 + len(body), 0x102, 5, 0, 0) + body)
    answer = link.recv(65536)
    error = -struct.unpack_from("=i", answer, 16)[0]
    if error == 0:
        deleted += 1
    elif error == 2:
        gone += 1
    else:
        sys.exit("deleting %s: error %d" % (line.strip(), error))
print("deleted %d, already gone %d" % (deleted, gone))
"""


def list_sessions() -> Script:
    return Script("sh", _LIST)


def parse_sessions(output: str) -> tuple[TrackedConnection, ...]:
    """The entries of `conntrack -L -o extended`; lines of anything else are skipped.

    The ends are untranslated: the original source, and as destination and port the source of the reply, which is
    what an element matches.
    """
    found = []
    for line in output.splitlines():
        words = line.split()
        if len(words) < 5 or words[0] not in ("ipv4", "ipv6"):
            continue
        original, reply = _tuples(line)
        if not original or "src" not in reply:
            continue
        with_ports = "dport" in original
        found.append(
            TrackedConnection(
                source=ip_address(original["src"]), destination=ip_address(reply["src"]), protocol=int(words[3]),
                port=_port(reply["sport"]) if with_ports else None,
                source_port=_port(original["sport"]) if with_ports else None, raw=line,
            )
        )  # fmt: skip
    return tuple(found)


def _port(text: str) -> int | None:
    return int(text) or None  # port 0 exists on the wire and nowhere in a policy


def _tuples(line: str) -> tuple[dict[str, str], dict[str, str]]:
    """The original and the reply tuple: the second `src=` begins the reply."""
    tuples: list[dict[str, str]] = []
    for word in line.split():
        key, equals, value = word.partition("=")
        if not equals:
            continue
        if key == "src":
            tuples.append({})
        if tuples:
            tuples[-1].setdefault(key, value)
    return (tuples[0], tuples[1]) if len(tuples) == 2 else ({}, {})


def kill_sessions(connections: tuple[TrackedConnection, ...]) -> Script:
    """Deletes exactly these entries, by their original tuple. Raises ValueError for one whose `raw` is no such line."""
    if not connections:
        return Script("sh", ":\n")
    keys, commands = [], []
    for connection in connections:
        original, _ = _tuples(connection.raw)
        if not original:
            raise ValueError(f"not a connection tracking entry: {connection.raw!r}")
        family, protocol = connection.source.version, connection.protocol
        source, destination = original["src"], original["dst"]
        key = f"{family} {protocol} {source} {destination}"
        command = f"-D -f ipv{family} -p {_NAMES.get(protocol, protocol)} -s {source} -d {destination}"
        if "sport" in original:
            key += f" {original['sport']} {original['dport']}"
            command += f" --sport {original['sport']} --dport {original['dport']}"
        elif "type" in original:
            key += f" {original['type']} {original['code']} {original['id']}"
            icmp = _NAMES.get(protocol, "icmp")
            command += f" --{icmp}-type {original['type']} --{icmp}-code {original['code']} --{icmp}-id {original['id']}"
        keys.append(key)
        commands.append(command)
    text = "\n".join(
        [
            "if command -v python3 >/dev/null; then", "program=$(cat <<'PROGRAM'", DELETE + "PROGRAM", ")",
            "python3 -I -S -c \"$program\" <<'CONNECTIONS'", *keys, "CONNECTIONS",
            "else", "conntrack -R - >/dev/null <<'CONNECTIONS'", *commands, "CONNECTIONS", "fi", "",
        ]
    )  # fmt: skip
    return Script("sh", text)


def kill_commands(elements: tuple[Element, ...]) -> list[str]:
    """Shell lines that delete what is tracked inside closed elements, as far as `conntrack` can say it.

    It can where the destination is one host and the port one port. Wider elements are left to `sessions` and `kill`;
    their packets are dropped in any case.
    """
    lines = []
    for element in elements:
        destination, ports = element.destination, element.ports
        if destination.prefixlen != destination.max_prefixlen or (ports is not None and ports[0] != ports[1]):
            continue
        port = f" --reply-port-src {ports[0]}" if ports is not None else ""
        lines.append(
            f"conntrack -D -f ipv{element.family} -p {_NAMES.get(element.protocol, element.protocol)} -s {prefix_text(element.source)}"
            f" -r {host_or_prefix_text(destination)}{port} >/dev/null 2>&1 || :"
        )
    return lines
