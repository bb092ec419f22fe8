"""Which lines of a site's own rules stop packets, in the words of each platform."""

from __future__ import annotations

import pytest

from orchestrator.dialects.surroundings import surroundings_for

LINES = {
    "nftables": (
        "site rules",
        {
            "\t\ttype filter hook forward priority filter; policy drop;": True,
            "\t\ttcp dport 23 counter packets drop": True,
            "\t\tip saddr 192.0.2.1 reject with icmp port-unreachable": True,
            "\t\ttype filter hook forward priority filter; policy accept;": False,
            "\t\tip saddr @dropped_before accept": False,
        },
    ),
    "iptables": (
        "site rules",
        {
            "iptables *filter :FORWARD DROP": True,
            "ip6tables *filter -A FORWARD -p tcp -m tcp --dport 23 -j REJECT --reject-with tcp-reset": True,
            "iptables *filter -A FORWARD -i wan0 -j DROP": True,
            "iptables *filter -A FORWARD -i wan0 -j ACCEPT": False,
            "iptables *filter -A FORWARD -j DROPPED": False,
        },
    ),
    "openvswitch": (
        "switch rules",
        {"priority=90,tcp,tp_dst=23 actions=drop": True, "priority=0 actions=NORMAL": False},
    ),
    "frr": ("site rules", {"\t\tip daddr 203.0.113.0/24 drop": True, "\t\tip daddr 203.0.113.0/24 accept": False}),
}  # fmt: skip


@pytest.mark.parametrize("platform", sorted(LINES))
def test_the_lines_that_stop_packets(platform: str) -> None:
    section, lines = LINES[platform]
    words = surroundings_for(platform)
    assert words.denials(section, "\n".join(lines)) == [line.strip() for line, denies in lines.items() if denies]
    assert words.denials("routes", "\n".join(lines)) == [], "a section that holds no rules"
