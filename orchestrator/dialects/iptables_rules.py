"""The words of the iptables layer, as `iptables -S` prints them: one set of chains per family in the table `filter`.

    FORWARD ─ first ─> containment ─ per guard ─> containment-s<slot> ─ goto ─> containment-s<slot>-k ─ goto ─> containment-open
    INPUT   ─ first ─> containment-in  ─ (the device's own protocols return) ─> containment
    OUTPUT  ─ first ─> containment-out ─ (the same) ─> containment

A slot's first chain asks the block list (`containment-b`, which stops and else goes back) and confines the slot to its
scope, the second returns what it keeps, `containment-open` returns what was
opened and drops the rest. RETURN after a `goto` leads back to `containment`: the other slots and then the site's own
rules still decide. There is no ACCEPT in it, so ours are denies around pinholes (composition `complement`).

A pinhole is one rule on the tracked connection: protocol, original source, and the source that its reply has, which is
the destination after translation. So it matches the original direction, the replies and the ICMP errors of exactly these
conversations, and no packet of any other, whatever port that one comes from; there is no "established: accept". Packets
that are not tracked match no pinhole. Redirects and source quenches count as errors to the kernel: they are dropped first.

A deadline is a date in the rule (`-m time`), by the device's clock in UTC: the kernel stops matching it, and the session
dies with it. The rule stays behind, without effect, until it is closed or laid over. A loosened layer has such a rule as
the first of `containment`: until its date everything returns to the site's own rules, the block list is not asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from orchestrator.domain.canonical import digest
from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Prefix
from orchestrator.domain.packet_elements import disjoint

SKELETON = 2  # part of every slot's digest: other chains are another layer
FAMILIES = (4, 6)
DISPATCH, OPEN, EPOCH = "containment", "containment-open", "containment-e"
BLOCKED, STOPPED, LOOSENED = "containment-b", "containment-d", "containment-loosened"
HOOKS = {"FORWARD": DISPATCH, "INPUT": "containment-in", "OUTPUT": "containment-out"}
STOP = (
    '-m limit --limit 5/sec --limit-burst 20 -j LOG --log-prefix "containment "',
    "-j DROP",
)
BLOCKED_STOP = (
    '-m limit --limit 5/sec --limit-burst 20 -j LOG --log-prefix "containment blocked "',
    "-j DROP",
)
_NO_ERRORS = {4: tuple(f"-p icmp -m icmp --icmp-type {kind} -j DROP" for kind in (4, 5)), 6: ()}
_SPARED = {
    4: (
        "-d 224.0.0.18/32 -p vrrp -m ttl --ttl-eq 255 -j RETURN",
        "-p udp -m udp --dport 3784:3785 -m ttl --ttl-eq 255 -j RETURN",
        "-p udp -m udp --sport 67:68 --dport 67:68 -j RETURN",
        *(f"-p tcp -m tcp --{end} 179 -m ttl --ttl-eq {left} -j RETURN" for end in ("dport", "sport") for left in (1, 255)),
    ),
    6: (
        *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -m hl --hl-eq 255 -j RETURN" for kind in (133, 134, 135, 136)),
        *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -m hl --hl-eq 1 -j RETURN" for kind in (130, 131, 132, 143)),
        "-d ff02::12/128 -p vrrp -m hl --hl-eq 255 -j RETURN",
        "-p udp -m udp --dport 3784:3785 -m hl --hl-eq 255 -j RETURN",
        "-s fe80::/10 -p udp -m udp --sport 546:547 --dport 546:547 -j RETURN",
        *(f"-p tcp -m tcp --{end} 179 -m hl --hl-eq {left} -j RETURN" for end in ("dport", "sport") for left in (1, 255)),
    ),
}


def slot_chain(slot: str) -> str:
    """A chain's name has at most 28 characters, a slot's up to 41: its digest names the chain, and a comment the slot."""
    return f"{DISPATCH}-s{hashlib.sha256(slot.encode()).hexdigest()[:10]}"


def shared_chains(family: int) -> dict[str, tuple[str, ...]]:
    """Chains that are the same on every device: name → rules. `containment` and the openings are filled besides."""
    spared = tuple(_SPARED[family])
    return {"containment-in": (*spared, f"-j {DISPATCH}"), "containment-out": (*spared, f"-j {DISPATCH}"), STOPPED: BLOCKED_STOP}


def jumps(layer: Layer) -> tuple[str, ...]:
    """The rules of `containment` for one slot."""
    return tuple(
        f'{way} {guard} -m comment --comment "slot {layer.slot}" -j {slot_chain(layer.slot)}'
        for guard in sorted(set(layer.guard))
        for way in ("-i", "-o")
    )


def slot_chains(layer: Layer, family: int) -> dict[str, tuple[str, ...]]:
    """The two chains of a slot."""
    first = slot_chain(layer.slot)
    kept = f"{first}-k"
    concerned = tuple(f"{end} {prefix} -g {kept}" for prefix in scope_in(layer.scope, family) for end in ("-s", "-d"))
    keeping = tuple(f"{pinhole(element)} -j RETURN" for element in disjoint(layer.keep) if element.family == family)
    return {first: (f"-j {BLOCKED}", *(concerned if layer.scope else (f"-g {kept}",))), kept: (*_NO_ERRORS[family], *keeping, f"-g {OPEN}")}


def keep_head(family: int) -> tuple[str, ...]:
    """What a slot's second chain begins with."""
    return _NO_ERRORS[family]


def scope_in(scope: Iterable[Prefix], family: int) -> tuple[Prefix, ...]:
    """The prefixes of a scope that are of this family, collapsed."""
    if family == 4:
        return tuple(collapse_addresses(prefix for prefix in scope if isinstance(prefix, IPv4Network)))
    return tuple(collapse_addresses(prefix for prefix in scope if isinstance(prefix, IPv6Network)))


def pinhole(element: Element) -> str:
    """The match of one element. Ends that are everything are left out."""
    words = [f"-m conntrack --ctproto {element.protocol}"]
    words += [f"--ctorigsrc {_end(element.source)}"] if element.source.prefixlen else []
    words += [f"--ctreplsrc {_end(element.destination)}"] if element.destination.prefixlen else []
    if element.ports is not None:
        low, high = element.ports
        words.append(f"--ctreplsrcport {low if low == high else f'{low}:{high}'}")
    return " ".join(words)


def _end(prefix: Prefix) -> str:
    return str(prefix.network_address) if prefix.num_addresses == 1 else str(prefix)


def block_rules(networks: Iterable[Prefix], family: int) -> list[str]:
    """The rules of `containment-b` for these networks. A network that is everything is left out of its rule."""
    rules = []
    for network in networks:
        if network.version == family:
            ends = [f"-{end} {network} " for end in "sd"] if network.prefixlen else [""]
            rules += [f"{end}-g {STOPPED}" for end in ends]
    return rules


def opening_id(element: Element) -> str:
    """Names the rule of an opening, so that it is found again whatever its deadline is."""
    return "o-" + hashlib.sha256(pinhole(element).encode()).hexdigest()[:16]


def slot_digest(guard: Iterable[str], scope: Iterable[Prefix], keep: Iterable[Element], deviations: Sequence[str] = ()) -> str:
    """SHA-256 of a slot's normalised model; equal for what is rendered and what is read back."""
    content: dict[str, object] = {
        "iptables": SKELETON,
        "guard": sorted(set(guard)),
        "scope": sorted(str(prefix) for prefix in scope),
        "keep": [element.model_dump(mode="json") for element in keep],
    }
    if deviations:
        content["deviations"] = list(deviations)
    return digest(content)


def layer_digest(layer: Layer) -> str:
    scope = [prefix for family in FAMILIES for prefix in scope_in(layer.scope, family)]
    return slot_digest(layer.guard, scope, disjoint(layer.keep))


def slot_lines(layer: Layer, family: int) -> list[str]:
    """The slot as lines of a restore file; a chain that is declared is emptied first. Its jumps come last."""
    chains = slot_chains(layer, family)
    lines = [f":{name} - [0:0]" for name in chains]
    lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
    return lines + [f"-A {DISPATCH} {jump}" for jump in jumps(layer)]


def shared_lines(family: int) -> list[str]:
    """The shared chains as lines of a restore file, every opening gone."""
    chains = {**shared_chains(family), OPEN: STOP}
    return [f":{name} - [0:0]" for name in chains] + [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
