"""What the iptables layer does to packets, on the real kernel, in both families, with both kinds of iptables."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import disjoint, packets_of
from tests.lab.iptables_site import FILTER, NAT, IptablesSite
from tests.lab.nftables_site import BITS, FAMILIES, INSIDE, LAN, OUTSIDE, TCP, UDP, WAN, box, inbound, layer, opening, talks

pytestmark = pytest.mark.lab


@pytest.fixture(params=["nft", "legacy"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[IptablesSite]:
    made = IptablesSite(tmp_path / "boot", request.param)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_dies_at_once_and_what_is_kept_lives(site: IptablesSite, family: int) -> None:
    for node, port in (("i", 80), ("o", 80), ("r", 22), ("o", 5671)):
        site.echo(node, family, port)
    doomed = [
        site.connection("o", family, INSIDE[family], 80),
        site.connection("i", family, OUTSIDE[family], 80),
        site.connection("o", family, WAN[family], 22),
        site.connection("r", family, OUTSIDE[family], 80),
    ]
    kept = site.connection("i", family, OUTSIDE[family], 5671)
    inner = site.connection("i", family, LAN[family], 22)
    assert all(talks(connection) for connection in [*doomed, kept, inner])
    assert site.delivered("o", "i", family, INSIDE[family], 7000) == 5
    assert site.delivered("i", "o", family, OUTSIDE[family], 7000) == 5

    keep = box(f"{INSIDE[family]}/{BITS[family]}", f"{OUTSIDE[family]}/{BITS[family]}", TCP, 5671)
    site.did(site.dialect.lay(layer(keep)))

    assert not any(talks(connection) for connection in doomed)
    assert talks(kept)
    assert talks(inner)
    assert site.connection("i", family, OUTSIDE[family], 5671) is not None
    assert site.connection("o", family, INSIDE[family], 80) is None
    assert site.connection("o", family, WAN[family], 22) is None
    assert site.connection("r", family, OUTSIDE[family], 80) is None
    for sender, receiver, to in (("o", "i", INSIDE), ("i", "o", OUTSIDE), ("o", "r", WAN), ("r", "o", OUTSIDE)):
        assert site.delivered(sender, receiver, family, to[family], 7001) == 0
    assert not site.pings("o", INSIDE[family])
    site.ip("r", "neighbour", "flush", "dev", "wan0")
    assert site.connection("i", family, OUTSIDE[family], 5671) is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pinhole_opens_one_direction_and_a_deny_of_the_site_under_it_still_denies(site: IptablesSite, family: int) -> None:
    for node, port in (("i", 443), ("i", 666), ("i", 80), ("o", 9443)):
        site.echo(node, family, port)
    assert site.connection("i", family, OUTSIDE[family], 9443, source_port=4000) is not None
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.open(opening(inbound(family, 443), inbound(family, 666), inbound(family, 4001))))
    assert talks(site.connection("o", family, WAN[family], 8443))
    assert site.connection("o", family, INSIDE[family], 443) is not None
    assert site.connection("o", family, INSIDE[family], 666) is None
    assert site.connection("o", family, INSIDE[family], 80) is None
    # A stateless reverse rule would let anyone out who takes the service's port as the source.
    assert site.connection("i", family, OUTSIDE[family], 9443, source_port=4001) is None


@pytest.mark.parametrize("site", ["nft"], indirect=True)
@pytest.mark.parametrize("family", FAMILIES)
def test_errors_and_portless_protocols_pass_for_a_permitted_flow_and_for_no_other(site: IptablesSite, family: int) -> None:
    def refused(port: int) -> bool:
        end = site.endpoint("o", family, socket.SOCK_DGRAM)
        end.connect((INSIDE[family], port))
        end.send(b"nobody listens")
        try:
            end.recv(100)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return False

    assert refused(4500)
    assert refused(4501)
    udp = box(f"{OUTSIDE[family]}/{BITS[family]}", f"{INSIDE[family]}/{BITS[family]}", UDP, 4500)
    icmp = box(f"{INSIDE[family]}/{BITS[family]}", f"{OUTSIDE[family]}/{BITS[family]}", 1 if family == 4 else 58)
    site.did(site.dialect.lay(layer(udp, icmp)))
    assert refused(4500)
    assert not refused(4501)
    assert site.pings("i", OUTSIDE[family])
    assert not site.pings("o", INSIDE[family])


def test_an_opening_ends_by_itself_with_its_session_or_is_confirmed_and_closed(site: IptablesSite) -> None:
    for family in FAMILIES:
        site.echo("i", family, 443)
    change = opening(inbound(4, 443), inbound(6, 443))
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.open(change), confirm=3)
    assert [element for element, _ in site.observed().temporary] == list(change.elements)
    session = site.connection("o", 4, INSIDE[4], 443)
    assert talks(session)
    time.sleep(3.1)
    assert not talks(session)
    assert site.connection("o", 6, INSIDE[6], 443) is None
    seen = site.observed()
    assert (seen.opened, seen.temporary, seen.foreign) == ((), (), ())
    status, said = site.on_router(site.dialect.confirm(change))
    assert status != 0, "a confirmation after the window must not reopen"
    assert "has passed" in said
    assert site.observed().opened == ()

    site.did(site.dialect.open(change), confirm=3)
    session = site.connection("o", 6, INSIDE[6], 443)
    site.did(site.dialect.confirm(change))
    time.sleep(3.1)
    assert talks(session)
    assert (site.observed().opened, site.observed().temporary) == (change.elements, ())
    site.did(site.dialect.confirm(change, until=True), until=40)
    assert all(30 <= left <= 40 for _, left in site.observed().temporary)
    site.did(site.dialect.close(change))
    assert not talks(session)
    assert site.observed().opened == ()
    site.did(site.dialect.close(change))


def test_a_stale_generation_is_refused_and_a_late_cut_brings_none_back(site: IptablesSite) -> None:
    change = opening(inbound(4, 443), inbound(6, 443))
    wide, narrow = layer(inbound(4, 443), slot="internet-11111111"), layer(inbound(4, 8080), slot="vendors-22222222")
    site.did(site.dialect.lay(wide), epoch=200)
    site.did(site.dialect.open(change), epoch=200)
    site.did(site.dialect.lay(narrow), epoch=100)
    seen = site.observed()
    assert (seen.epoch, seen.opened, seen.foreign) == (200, (), ())
    assert seen.slots == site.dialect.expected((wide, narrow)).slots
    for late in (site.dialect.open(change), site.dialect.confirm(change), site.dialect.lift()):
        status, _ = site.on_router(late, epoch=100)
        assert status != 0
    assert site.observed() == seen
    for port in (443, 8080):
        site.echo("i", 4, port)
        assert site.connection("o", 4, INSIDE[4], port) is None, "a packet passes every slot"


@pytest.mark.parametrize("site", ["nft"], indirect=True)
def test_what_is_not_ours_is_named(site: IptablesSite) -> None:
    site.did(site.dialect.lay(layer(inbound(4, 443))))
    assert site.observed().foreign == ()
    for tool, words in (
        ("iptables", "-I FORWARD 1 -s 198.51.100.0/24 -j ACCEPT"),
        ("iptables", "-I containment 1 -j RETURN"),
        ("ip6tables", "-A containment-open -j ACCEPT"),
        ("ip6tables", "-I containment-in 3 -p tcp -j RETURN"),
        ("iptables", "-N containment-other"),
    ):
        site.did(Script(f"{tool} {words}"))
        found = site.observed().foreign
        assert found, f"{tool} {words} was not noticed"
        site.did(site.dialect.lay(layer(inbound(4, 443))))
        left = site.observed().foreign
        assert all("containment-other" in line for line in left), left


def test_random_layers_and_openings_are_read_back_as_they_were_laid(site: IptablesSite) -> None:
    chance = random.Random(17)

    def element() -> Element:
        family = chance.choice(FAMILIES)
        first, bits, least = (198 << 24 | 51 << 16 | 100 << 8, 32, 0) if family == 4 else (int(ip_address("2001:db8:100::")), 128, 0)
        ends = [
            ip_network((first + chance.randrange(256), bits)).supernet(new_prefix=chance.choice([least, bits - 8, bits - 1, bits]))
            for _ in "ab"
        ]
        protocol = chance.choice([TCP, UDP, 50, 1 if family == 4 else 58])
        ports = (chance.randrange(1, 9), chance.randrange(9, 65536)) if protocol in (TCP, UDP) else None
        return Element(source=ends[0], destination=ends[1], protocol=protocol, ports=ports)

    for epoch in range(1, 7):
        laid = layer(*(element() for _ in range(4)))
        change = opening(*disjoint([element() for _ in range(4)]))
        site.did(site.dialect.lay(laid), epoch=epoch)
        site.did(site.dialect.open(change), epoch=epoch, confirm=600)
        seen = site.observed()
        assert (seen.epoch, seen.foreign) == (epoch, ())
        assert seen.slots == site.dialect.expected((laid,)).slots
        assert packets_of(seen.opened) == packets_of(change.elements)
        site.did(site.dialect.confirm(change), epoch=epoch)
        assert (site.observed().opened, site.observed().temporary) == (seen.opened, ())


@pytest.mark.parametrize("site", ["nft"], indirect=True)
def test_a_scope_confines_the_drop_to_its_prefixes(site: IptablesSite) -> None:
    site.ip("o", "address", "add", "198.51.100.77/24", "dev", "eth0")
    for family in FAMILIES:
        site.echo("i", family, 443)
    confined = layer(scope=(ip_network("198.51.100.77/32"),))
    site.did(site.dialect.lay(confined))
    assert site.observed().slots == site.dialect.expected((confined,)).slots
    for family in FAMILIES:
        assert site.connection("o", family, INSIDE[family], 443) is not None
    vendor = site.endpoint("o", 4, socket.SOCK_STREAM, bind=("198.51.100.77", 0))
    with pytest.raises(TimeoutError):
        vendor.connect((INSIDE[4], 443))


def test_it_boots_closed_and_lifting_leaves_everything_as_it_was(site: IptablesSite) -> None:
    site.echo("i", 4, 443)
    before = site.did(site.dialect.snapshot())
    laid = layer(inbound(6, 443))
    site.did(site.dialect.lay(laid))
    site.did(site.dialect.persist(laid))
    seen = site.observed()
    assert (seen.foreign, seen.boots_with) == ((), (laid.slot,))
    assert site.did(site.dialect.snapshot()) == before
    for tool, inside in (("iptables", f"{INSIDE[4]}:443"), ("ip6tables", f"[{INSIDE[6]}]:443")):
        # As the machine starts: nothing of ours runs, the site's rules are restored, then our boot file.
        site.did(Script(f"{tool} -F; {tool} -X; {tool} -t nat -F PREROUTING; {tool}-restore --noflush", FILTER + NAT.format(inside=inside)))
    assert site.connection("o", 4, INSIDE[4], 443) is not None
    site.did(Script(str(site.boot / "boot")))
    assert site.observed() == seen
    site.did(site.dialect.open(opening(inbound(4, 443))))
    assert site.connection("o", 4, INSIDE[4], 443) is not None
    site.did(Script(str(site.boot / "boot")))  # run again, it closes what was open
    assert site.observed() == seen
    assert site.connection("o", 4, INSIDE[4], 443) is None
    site.did(site.dialect.lift())
    assert site.did(site.dialect.snapshot()) == before
    assert not site.observed().present
    assert not list(site.boot.parent.glob("boot/*"))
