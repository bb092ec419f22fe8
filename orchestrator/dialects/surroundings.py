"""What lies on a device beside our layer and decides as well what passes there: site rules, address translation, routes,
addresses, interfaces, tunnels, mirrors. Read as text, split into named sections that drift compares one by one.

Nothing of ours is in a section, nothing that moves by itself (counters, remaining times, carrier, learnt routes), and no
secret (`secrets_masked`): what follows a word such as `password` is left out, so that a changed password is not noticed here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.dialects.base import Script
from orchestrator.domain.secrets_masked import PATTERNS_ONLY

Sections = dict[str, str]
_LINUX = """\
export LC_ALL=C
echo '=== links'; ip -j -d link show
echo '=== addresses'; ip -o address show
echo '=== routing rules'; ip -4 rule show; ip -6 rule show
echo '=== routes'; ip -4 route show table all; ip -6 route show table all
echo '=== ipsec'; ip xfrm policy 2>/dev/null
echo '=== end'
"""
_SWITCH = """\
export LC_ALL=C
list() { ovs-vsctl --timeout=8 --format=csv --no-headings "$@" | sort; }
echo '=== mirrors'; list --columns=name,select_all,select_dst_port,select_src_port,select_vlan,output_port,output_vlan list Mirror
echo '=== switch tunnels'; list --columns=name,type,options find Interface type!=internal type!=patch 'type!=""'
echo '=== controllers'; list --columns=target list Controller; list --columns=target list Manager
echo '=== end'
"""
_LEARNT = re.compile(r" proto (bgp|ospf|isis|rip|ripng|eigrp|babel|zebra|bird|dhcp)\b")
_MOVES = re.compile(
    r" (linkdown|dead|offload|tentative|dadfailed|dynamic|deprecated|mngtmpaddr|optimistic)\b| expires \S+| pref \S+| *valid_lft.*"
)
_OF_ADDRESSES = re.compile(r"^(broadcast|anycast|multicast|local) .* proto kernel\b|^fe80::|^multicast ")
_OURS = re.compile(r"^(containment|ovs-netdev$|ovs-system$)")


@dataclass(frozen=True)
class Surroundings:
    """One platform's words. `scripts` run after the dialect's snapshot, on the same session; `sections` takes what all of
    them printed, the snapshot first. `denies` finds the lines of the site's own rules that stop packets."""

    scripts: tuple[Script, ...]
    sections: Callable[[Sequence[str]], Sections]
    denies: re.Pattern[str] = re.compile(r"(?!)")  # nothing is known of such lines

    def denials(self, section: str, text: str) -> list[str]:
        """The lines of a section that stop packets, in order, as often as they stand there."""
        return [line.strip() for line in text.splitlines() if self.denies.search(line)] if section in _RULES else []


def surroundings_for(platform: str) -> Surroundings:
    """Raises KeyError for a platform that has no dialect."""
    return _WORDS[platform]


def _linux(printed: Sequence[str]) -> Sections:
    snapshot, host = headed(printed[0]), headed(printed[1])
    return _clean({**_rules(snapshot), "forwarding": snapshot.get("forwarding", ""), **_host(host)})


def _switch(printed: Sequence[str]) -> Sections:
    lines = [line.strip() for line in printed[0].splitlines() if line != "=== end"]
    own = {
        "switch rules": "\n".join(line for line in lines if "actions=" in line),
        "switch ports": "\n".join(line for line in lines if "actions=" not in line),
    }
    return _clean({**own, **headed(printed[2]), **_host(headed(printed[1]))})


def _router(printed: Sequence[str]) -> Sections:
    snapshot, read = headed(printed[0]), headed(printed[1])
    interfaces: list[str] = []
    routing: list[str] = []
    block = False
    for line in snapshot.get("running", "").splitlines():
        if line[:1] not in (" ", "!", ""):
            block = line.startswith("interface ") or (block and line == "exit")
        (interfaces if block else routing).append(line)
    links = "\n".join(sorted(link["ifname"] for link in _json(read.get("links", "")) if not _OURS.match(link["ifname"])))
    return _clean(
        {
            "site rules": snapshot.get("rules", ""), "interfaces": "\n".join(interfaces), "routing": "\n".join(routing),
            "start-up": snapshot.get("start-up", ""), "links": links,
        }
    )  # fmt: skip


def _snapshot(printed: Sequence[str]) -> Sections:
    return _clean(headed(printed[0]))


_RULES = frozenset({"rules", "site rules", "switch rules"})
_NFTABLES = re.compile(r"\b(drop|reject)\b")  # `policy drop` of a chain included
_FLOWS = re.compile(r"\bactions=drop\b")
_IPTABLES = re.compile(r"-j (DROP|REJECT)\b|:\S+ DROP\b")
SNAPSHOT_ONLY = Surroundings((), _snapshot, _NFTABLES)
_WORDS: Mapping[str, Surroundings] = {
    "nftables": Surroundings((Script("sh", _LINUX),), _linux, _NFTABLES),
    "iptables": Surroundings((Script("sh", _LINUX),), _linux, _IPTABLES),
    "openvswitch": Surroundings((Script("sh -s", _LINUX), Script("sh -s", _SWITCH)), _switch, _FLOWS),
    "frr": Surroundings((Script("containment-router read"),), _router, _NFTABLES),
}


# --- taking apart what was printed ----------------------------------------------------------------------------------


def headed(printed: str) -> Sections:
    """The text under each `=== name`; what comes before the first one is left out."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in printed.splitlines():
        if line.startswith("=== "):
            lines = found.setdefault(line.removeprefix("=== ").strip(), [])
        else:
            lines.append(line.rstrip())
    found.pop("end", None)
    return {name: "\n".join(text) for name, text in found.items()}


def _rules(snapshot: Sections) -> Sections:
    """The site's rules, and those that translate addresses by themselves."""
    if "rules" not in snapshot:  # iptables: each line names its table
        lines = [f"{tool} {line}" for tool in ("iptables", "ip6tables") for line in snapshot.get(tool, "").splitlines()]
        translating = [line for line in lines if " *nat " in line]
        return {"site rules": "\n".join(line for line in lines if " *nat " not in line), "translation": "\n".join(translating)}
    kept: list[str] = []
    translating = []
    for chain in _chains(snapshot["rules"].splitlines()):
        (translating if any(line.strip().startswith("type nat ") for line in chain) else kept).extend(chain)
    return {"site rules": "\n".join(kept), "translation": "\n".join(translating)}


def _chains(lines: Iterable[str]) -> Iterable[list[str]]:
    """nftables text in pieces: each chain with its braces, and every line outside of one alone."""
    chain: list[str] = []
    for line in lines:
        if chain or re.match(r"\tchain \S+ \{$", line):
            chain.append(line)
            if line == "\t}":
                yield chain
                chain = []
        elif line.strip():
            yield [line]
    if chain:
        yield chain


def _host(printed: Sections) -> Sections:
    links, tunnels = [], []
    for link in _json(printed.get("links", "")):
        if _OURS.match(link["ifname"]):
            continue
        info = link.get("linkinfo", {})
        kind, master = info.get("info_kind", ""), link.get("master", "")
        state = "up" if "UP" in link.get("flags", ()) else "down"
        links.append(f"{link['ifname']} {kind or link.get('link_type', '')} {state} {master}".strip())
        if kind and kind not in ("veth", "bridge", "bond", "vlan", "dummy", "tun"):
            tunnels.append(f"{link['ifname']} {kind} {json.dumps(info.get('info_data', {}), sort_keys=True)}")
    routes = [line for line in _lines(printed, "routes") if not _OF_ADDRESSES.match(line) and not _LEARNT.search(line)]
    return {
        "links": "\n".join(sorted(links)),
        "tunnels": "\n".join([*sorted(tunnels), *_lines(printed, "ipsec")]),
        "addresses": "\n".join(sorted(re.sub(r"^\d+: ", "", line) for line in _lines(printed, "addresses") if "inet6 fe80:" not in line)),
        "routing rules": "\n".join(_lines(printed, "routing rules")),
        "routes": "\n".join(sorted(set(routes))),
    }


def _lines(printed: Sections, name: str) -> list[str]:
    return [re.sub(r"\s+", " ", _MOVES.sub("", line)).rstrip("\\ ") for line in printed.get(name, "").splitlines() if line.strip()]


def _json(text: str) -> list[dict[str, Any]]:
    """Raises ValueError when it is not what `ip -j` prints."""
    found = json.loads(text or "[]")
    return [link for link in found if "ifname" in link]


def _clean(sections: Sections) -> Sections:
    return {name: PATTERNS_ONLY.text(text).strip("\n") for name, text in sections.items()}
