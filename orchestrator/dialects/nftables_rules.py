"""The words of the nftables layer: its skeleton, the same for every slot, and the elements that fill it.

Everything lies in one table, `inet containment`. Rules never change: what a slot guards, keeps and is confined to
lies in sets, so a read-back compares with the skeleton line by line and any other line is named.

A packet on a guarded interface goes through `<slot>_guard`:
  1. the layer is loosened, that is the set `loosened` holds the family for some seconds: returned;
  2. one end is in a blocked network: logged, counted and dropped (`nftables_blocks`);
  3. both ends unconcerned, that is outside the scope: returned;
  4. ICMP errors that belong to a tracked connection which an element let through in the last seconds: returned;
  5. original direction inside an element, or reply direction of one: remembered (4.) and returned;
  6. logged, at a limited rate, counted and dropped.
`return` is no verdict: the other slots and the site's own rules still decide (composition `and`). Nothing says
"established: accept", so a session dies with its element.

Whatever lets a packet go on is a positive match: while a transaction that brings sets is being committed (a reload of
the site's rules brings ours too), a look-up in an interval set finds nothing for some microseconds. Tried: with
`saddr != @scope` single packets passed in that moment. So the set holds the complement of the scope. (The guarded
interfaces lie in a hash, which is never without its elements.)

The device's own protocols are spared in `_input` and `_output`, never in `_forward`, and only as far as the next hop:
neighbour and router discovery and multicast listener reports (hop limit), VRRP and single-hop BFD (TTL 255), DHCP
(ports; DHCPv6 from link-local), BGP with TTL 1 or 255. Multi-hop BFD, internal BGP, OSPF and IKE are not spared: they
reach beyond the wire, and are kept by an element where they must be.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, summarize_address_range

from orchestrator.dialects.nftables_boxes import disjoint
from orchestrator.domain.address_text import host_or_prefix_text
from orchestrator.domain.canonical import digest
from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Prefix

TABLE = "inet containment"
SKELETON = 4  # part of every slot's digest: another skeleton is another layer
ERRORS_REMEMBERED_S = 10  # an ICMP error comes within a round trip of the packet that caused it

_PORTS4 = "type ipv4_addr . ipv4_addr . inet_proto . inet_service"
_PORTS6 = "type ipv6_addr . ipv6_addr . inet_proto . inet_service"
_PLAIN4 = "type ipv4_addr . ipv4_addr . inet_proto"
_PLAIN6 = "type ipv6_addr . ipv6_addr . inet_proto"
_BOXES = {"4": _PORTS4, "6": _PORTS6, "p4": _PLAIN4, "p6": _PLAIN6}

Bodies = dict[str, tuple[str, ...]]
LOOSENED, BLOCKED, STOPPED = "loosened", "blocked", "stopped"

SHARED_SETS: Bodies = {
    "epoch": ("type mark",),
    LOOSENED: ("type nf_proto", "flags timeout"),
    **{f"open{kind}": (declared, "flags interval,timeout", "counter") for kind, declared in _BOXES.items()},
}
SHARED_CHAINS: Bodies = {  # `blocked` besides: its rules are the block list
    STOPPED: ('limit rate 5/second burst 20 packets log prefix "containment blocked "', "counter drop"),
}

_SPARED = (
    "icmpv6 type { 133, 134, 135, 136 } ip6 hoplimit 255 accept",
    "icmpv6 type { 130, 131, 132, 143 } ip6 hoplimit 1 accept",
    "meta l4proto 112 ip daddr 224.0.0.18 ip ttl 255 accept",
    "meta l4proto 112 ip6 daddr ff02::12 ip6 hoplimit 255 accept",
    "udp dport { 3784, 3785 } ip ttl 255 accept",
    "udp dport { 3784, 3785 } ip6 hoplimit 255 accept",
    "meta nfproto ipv4 udp sport { 67, 68 } udp dport { 67, 68 } accept",
    "ip6 saddr fe80::/10 udp sport { 546, 547 } udp dport { 546, 547 } accept",
    "tcp dport 179 ip ttl { 1, 255 } accept",
    "tcp sport 179 ip ttl { 1, 255 } accept",
    "tcp dport 179 ip6 hoplimit { 1, 255 } accept",
    "tcp sport 179 ip6 hoplimit { 1, 255 } accept",
)

# How `nft -nnn` prints what is written here in words.
_NUMERIC = {
    "ct state related": "ct state 0x4",
    "ct direction original": "ct direction 0",
    "ct direction reply": "ct direction 1",
    "meta nfproto ipv4": "meta nfproto 2",
}


def as_listed(line: str) -> str:
    """A rule as `nft -nnn -s list table` prints it."""
    for words, number in _NUMERIC.items():
        line = line.replace(words, number)
    return line


def nft_name(slot: str) -> str:
    """The slot in names of ours; slots have no underscore, so it can be undone."""
    return slot.replace("-", "_")


def slot_name(name: str) -> str:
    return name.replace("_", "-")


def slot_sets(slot: str) -> Bodies:
    """The sets of a slot: name → declaration, line by line."""
    name = nft_name(slot)
    return {
        f"{name}_ports": ("type ifname",),
        f"{name}_unconcerned4": ("type ipv4_addr", "flags interval"),
        f"{name}_unconcerned6": ("type ipv6_addr", "flags interval"),
        **{f"{name}_keep{kind}": (declared, "flags interval") for kind, declared in _BOXES.items()},
        f"{name}_flows": ("typeof ct id", "size 65535", "flags dynamic,timeout", f"timeout {ERRORS_REMEMBERED_S}s"),
    }


def slot_chains(slot: str) -> Bodies:
    """The chains of a slot: name → lines (a base chain begins with its hook), in the order of rendering."""
    name = nft_name(slot)

    def base(hook: str, *rules: str) -> tuple[str, ...]:
        return (f"type filter hook {hook} priority -10; policy accept;", *rules)

    enter, leave = f"iifname @{name}_ports jump {name}_guard", f"oifname @{name}_ports jump {name}_guard"
    return {
        f"{name}_permitted": (f"update @{name}_flows {{ ct id }}",),
        f"{name}_guard": _guard(name, slot),
        f"{name}_forward": base("forward", enter, leave),
        f"{name}_input": base("input", *_SPARED, enter),
        f"{name}_output": base("output", *_SPARED, leave),
    }


def _guard(name: str, slot: str) -> tuple[str, ...]:
    lines = [f"meta nfproto @{LOOSENED} return", f"jump {BLOCKED}"]
    lines += [
        f"{ip} saddr @{name}_unconcerned{family} {ip} daddr @{name}_unconcerned{family} return"
        for family, ip in (("4", "ip"), ("6", "ip6"))
    ]
    lines.append(f"ct state related icmp type {{ 3, 11, 12 }} ct id @{name}_flows return")
    lines.append(f"ct state related icmpv6 type {{ 1, 2, 3, 4 }} ct id @{name}_flows return")
    for family, ip in (("4", "ip"), ("6", "ip6")):
        for box in (f"{name}_keep", "open"):
            for kind, to, back in (("", " . th dport", " . th sport"), ("p", "", "")):
                target = f"@{box}{kind}{family} goto {name}_permitted"
                lines.append(f"ct direction original {ip} saddr . {ip} daddr . meta l4proto{to} {target}")
                lines.append(f"ct direction reply {ip} daddr . {ip} saddr . meta l4proto{back} {target}")
    lines.append(f'limit rate 5/second burst 20 packets log prefix "containment {slot} "')
    lines.append("counter drop")
    return tuple(lines)


def box_set(prefix: str, element: Element) -> str:
    """The set that holds such elements: `open4`, `openp6`, …"""
    return f"{prefix}{'' if element.ports is not None else 'p'}{element.family}"


def box_words(element: Element) -> str:
    """An element as nft writes it; a host without its prefix length, a single port without a range."""
    words = [host_or_prefix_text(element.source), host_or_prefix_text(element.destination), str(element.protocol)]
    if element.ports is not None:
        low, high = element.ports
        words.append(str(low) if low == high else f"{low}-{high}")
    return " . ".join(words)


def scope_of(layer: Layer) -> tuple[Prefix, ...]:
    """The prefixes that the slot is confined to, collapsed; everything when the layer names none."""
    if not layer.scope:
        return (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    four = collapse_addresses(prefix for prefix in layer.scope if isinstance(prefix, IPv4Network))
    six = collapse_addresses(prefix for prefix in layer.scope if isinstance(prefix, IPv6Network))
    return (*four, *six)


def complement(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """All that these prefixes leave out, both families, in the fewest prefixes. Its own inverse on collapsed prefixes."""
    taken = sorted((prefix.version, int(prefix.network_address), int(prefix.broadcast_address)) for prefix in prefixes)
    left: list[Prefix] = []
    for version, last in ((4, 2**32 - 1), (6, 2**128 - 1)):
        free = 0
        for first, end in [(first, end) for its, first, end in taken if its == version] + [(last + 1, last)]:
            if first > free:
                left += _between(version, free, first - 1)
            free = max(free, end + 1)
    return tuple(left)


def _between(version: int, first: int, last: int) -> list[Prefix]:
    if version == 4:
        return list(summarize_address_range(IPv4Address(first), IPv4Address(last)))
    return list(summarize_address_range(IPv6Address(first), IPv6Address(last)))


def slot_digest(guard: Iterable[str], scope: Iterable[Prefix], keep: Iterable[Element], deviations: Iterable[str] = ()) -> str:
    """SHA-256 of a slot's normalised model; equal for what is rendered and what is read back."""
    content: dict[str, object] = {
        "skeleton": SKELETON,
        "guard": sorted(set(guard)),
        "scope": sorted(str(prefix) for prefix in scope),
        "keep": [element.model_dump(mode="json") for element in keep],
    }
    if found := list(deviations):
        content["deviations"] = found
    return digest(content)


def layer_digest(layer: Layer) -> str:
    return slot_digest(layer.guard, scope_of(layer), disjoint(layer.keep))


def slot_elements(layer: Layer) -> dict[str, list[str]]:
    """Set → its elements as nft writes them."""
    name = nft_name(layer.slot)
    filled: dict[str, list[str]] = {f"{name}_ports": [f'"{port}"' for port in sorted(set(layer.guard))]}
    for prefix in complement(scope_of(layer)):
        filled.setdefault(f"{name}_unconcerned{prefix.version}", []).append(host_or_prefix_text(prefix))
    for element in disjoint(layer.keep):
        filled.setdefault(box_set(f"{name}_keep", element), []).append(box_words(element))
    return filled


def shared_chain_lines() -> list[str]:
    """Commands that make the chains of all slots; whatever is blocked stays so."""
    lines = [f"add chain {TABLE} {BLOCKED}"]
    for name, rules in SHARED_CHAINS.items():
        lines += [f"add chain {TABLE} {name}", f"flush chain {TABLE} {name}", *(f"add rule {TABLE} {name} {rule}" for rule in rules)]
    return lines


def lay_slot(layer: Layer) -> list[str]:
    """Commands that make the slot exactly this, whether it exists, does not, or was tampered with; openings die, a
    loosened layer is tight again, and what is blocked stays so.

    Base chains are deleted and made again in the same transaction: that also undoes a changed priority or policy,
    and no packet sees a moment without them.
    """
    sets, chains = slot_sets(layer.slot), slot_chains(layer.slot)
    lines = [f"add table {TABLE}"]
    lines += [f"add set {TABLE} {name} {{ {'; '.join(body)}; }}" for name, body in {**SHARED_SETS, **sets}.items()]
    lines += [f"flush set {TABLE} {name}" for name in (*SHARED_SETS, *sets) if name != "epoch"]
    lines += shared_chain_lines()
    for name, body in chains.items():
        lines += [f"add chain {TABLE} {name}", f"flush chain {TABLE} {name}"]
        if body[0].startswith("type "):
            lines += [f"delete chain {TABLE} {name}", f"add chain {TABLE} {name} {{ {body[0]} }}"]
    for name, body in chains.items():
        lines += [f"add rule {TABLE} {name} {rule}" for rule in body if not rule.startswith("type ")]
    lines += [f"add element {TABLE} {name} {{ {', '.join(elements)} }}" for name, elements in slot_elements(layer).items()]
    return lines


RAISE_EPOCH = [
    f"add set {TABLE} epoch {{ {SHARED_SETS['epoch'][0]}; }}",
    f"flush set {TABLE} epoch",
    f"add element {TABLE} epoch {{ {{epoch}} }}",
]
# Deleting an element that is not there fails the whole transaction: this is the fence.
FENCE = [f"delete element {TABLE} epoch {{ {{epoch}} }}", f"add element {TABLE} epoch {{ {{epoch}} }}"]
