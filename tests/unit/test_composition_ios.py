"""The words of IOS access lists. They were read and written here only, never by a device."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from orchestrator.dialects import PLATFORMS, ios_acl
from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.rule_lists import accepted
from orchestrator.errors import DeviceUnknown, Refused

SITE = """\
ip access-list extended SITE-IN
 10 remark mail, and what the portal needs
 20 deny   tcp any host 10.20.11.10 eq 666
 30 permit tcp any 10.20.11.0 0.0.0.255 range 400 500
 40 permit udp any any eq isakmp
 50 permit icmp any any echo
 60 permit esp 192.0.2.0 0.0.0.255 any log
 70 deny   ip any any log
"""


def element(source: str, destination: str, protocol: int, *ports: int) -> Element:
    return Element(
        source=ip_network(source), destination=ip_network(destination), protocol=protocol, ports=(ports[0], ports[-1]) if ports else None
    )


LAYER = (
    element("0.0.0.0/0", "10.20.11.10/32", 6, 443, 666),
    element("192.0.2.0/25", "10.20.11.10/32", 50),
    element("192.0.2.0/28", "10.20.11.10/32", 1),
)


def test_the_site_s_own_list_line_by_line_narrowed_to_the_layer() -> None:
    rendered = ios_acl.compose("CONTAINMENT-IN", 4, LAYER, SITE)
    assert rendered.splitlines() == [
        "ip access-list extended CONTAINMENT-IN",
        " deny tcp any host 10.20.11.10 eq 666",
        " permit tcp any host 10.20.11.10 range 443 500",
        " permit icmp 192.0.2.0 0.0.0.15 host 10.20.11.10 8",
        " permit esp 192.0.2.0 0.0.0.127 host 10.20.11.10 log",
        " deny ip any any log",
        " deny ip any any",
    ]
    assert ios_acl.prove_list(rendered, 4, LAYER, SITE, device="rtr")


def test_read_back_as_ios_prints_it_is_the_same_list() -> None:
    rendered = ios_acl.compose("CONTAINMENT-IN", 4, LAYER, SITE)
    numbered = [f" {10 * n}{line}" for n, line in enumerate(rendered.splitlines()[1:], start=1)]
    printed = (
        "\n".join([rendered.splitlines()[0], *numbered]).replace("deny tcp", "deny   tcp").replace("10.20.11.10 8", "10.20.11.10 echo")
    )
    assert ios_acl.read(printed, 4) == ios_acl.read(rendered, 4)


def test_a_list_that_lets_more_through_than_both_is_refused() -> None:
    rendered = ios_acl.compose("CONTAINMENT-IN", 4, LAYER, SITE)
    with pytest.raises(Refused, match=r"rtr would let through what the layer must stop: .*tcp/22") as refusal:
        ios_acl.prove_list(rendered.replace(" deny tcp", " permit tcp any any eq 22\n deny tcp"), 4, LAYER, SITE, device="rtr")
    assert refusal.value.rule == "composition"
    with pytest.raises(Refused, match="what the site's own rules must stop"):
        ios_acl.prove_list(
            rendered.replace(" deny tcp any host 10.20.11.10 eq 666\n", "").replace("443 500", "443 666"), 4, LAYER, SITE, device="rtr"
        )


def test_neighbour_discovery_passes_before_the_implied_deny_and_not_before_a_written_one() -> None:
    kept = (element("2001:db8:100::/64", "2001:db8:10::10/128", 6, 443),)
    rendered = ios_acl.compose("CONTAINMENT6", 6, kept, "ipv6 access-list SITE6\n permit tcp any any sequence 10\n")
    assert rendered.splitlines()[1:] == [
        " permit tcp 2001:db8:100::/64 host 2001:db8:10::10 eq 443",
        " permit icmp any any 136",
        " permit icmp any any 135",
        " deny ipv6 any any",
    ]
    closed = ios_acl.compose("CONTAINMENT6", 6, kept, "ipv6 access-list SITE6\n deny ipv6 any any\n")
    assert not accepted(line.rule for line in ios_acl.read(closed, 6))


@pytest.mark.parametrize("family", [4, 6])
def test_no_list_and_an_empty_one_let_everything_through_and_ours_is_never_empty(family: int) -> None:
    width = 4 if family == 4 else 6
    header = "ip access-list extended SITE-IN\n" if width == 4 else "ipv6 access-list SITE-IN\n"
    for site in ("", header, header + " remark nothing yet\n"):
        rendered = ios_acl.compose("CONTAINMENT", width, (), site)  # type: ignore[arg-type]
        assert "deny ip" in rendered
        through = ios_acl.prove_list(rendered, width, (), site, device="rtr")  # type: ignore[arg-type]
        assert through == ios_acl.spared((), width)  # type: ignore[arg-type]
    assert not packets_of(()) - ios_acl.spared((), 4)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("permit tcp any any established", "established"),
        ("permit tcp any eq 5 any", "5"),
        ("permit tcp any any eq pcanywhere-data", "pcanywhere-data"),
        ("permit tcp any any neq 22", "neq"),
        ("permit tcp any any eq 80 443", "443"),
        ("permit ip any 10.0.0.0 0.255.0.255", "holes"),
        ("permit ip object-group PARTNERS any", "object-group"),
        ("permit udp any any range 500 400", "500"),
        ("permit tcp any any reflect BACK", "reflect"),
        ("permit ip any any time-range NIGHT", "time-range"),
        ("permit ip any any fragments", "fragments"),
        ("evaluate BACK", "evaluate"),
        ("permit", "early"),
    ],
)
def test_what_is_not_modelled_is_refused_by_its_line(line: str, why: str) -> None:
    with pytest.raises(DeviceUnknown) as refusal:
        ios_acl.compose("CONTAINMENT", 4, LAYER, f"{SITE} 80 {line}\n")
    assert f"line 9 of the access list is not modelled: '80 {line}'" in str(refusal.value)
    assert why in str(refusal.value)
    assert refusal.value.advice


def test_it_is_no_platform() -> None:
    assert "ios" not in PLATFORMS
