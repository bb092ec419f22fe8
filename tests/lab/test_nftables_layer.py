"""What the nftables layer does to packets, on the real kernel, in both families."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest

from orchestrator.dialects.base import Script
from tests.lab.nftables_site import (
    BITS,
    FAMILIES,
    INSIDE,
    LAN,
    OUTSIDE,
    TCP,
    UDP,
    WAN,
    Site,
    box,
    inbound,
    layer,
    opening,
    talks,
)

pytestmark = pytest.mark.lab


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "boot")
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_dies_at_once_and_what_is_kept_lives(site: Site, family: int) -> None:
    for node, port in (("i", 80), ("i", 443), ("o", 80), ("r", 22), ("o", 5671)):
        site.echo(node, family, port)
    doomed = [
        site.connection("o", family, INSIDE[family], 80),
        site.connection("i", family, OUTSIDE[family], 80),
        site.connection("o", family, WAN[family], 22),
        site.connection("r", family, OUTSIDE[family], 80),
        site.connection("o", family, WAN[family], 8443),
    ]
    kept = site.connection("i", family, OUTSIDE[family], 5671)
    inner = site.connection("i", family, LAN[family], 22)
    assert all(talks(connection) for connection in [*doomed, kept, inner])
    assert site.delivered("o", "i", family, INSIDE[family], 7000) == 5
    assert site.delivered("i", "o", family, OUTSIDE[family], 7000) == 5
    assert site.delivered("o", "r", family, WAN[family], 7000) == 5
    assert site.pings("o", INSIDE[family])
    assert site.pings("o", WAN[family])

    keep = box(f"{INSIDE[family]}/{BITS[family]}", f"{OUTSIDE[family]}/{BITS[family]}", TCP, 5671)
    site.did(site.dialect.lay(layer(keep)))

    assert not any(talks(connection) for connection in doomed)
    assert talks(kept)
    assert talks(inner)
    assert site.connection("i", family, OUTSIDE[family], 5671) is not None
    assert site.connection("o", family, INSIDE[family], 80) is None
    assert site.connection("o", family, WAN[family], 8443) is None
    assert site.connection("o", family, WAN[family], 22) is None
    assert site.connection("r", family, OUTSIDE[family], 80) is None
    for sender, receiver, to in (("o", "i", INSIDE), ("i", "o", OUTSIDE), ("o", "r", WAN), ("r", "o", OUTSIDE)):
        assert site.delivered(sender, receiver, family, to[family], 7001) == 0
    assert not site.pings("o", INSIDE[family])
    assert not site.pings("o", WAN[family])
    assert site.pings("r", INSIDE[family])
    # The device still resolves its neighbour on the guarded wire.
    site.ip("r", "neighbour", "flush", "dev", "wan0")
    assert site.connection("i", family, OUTSIDE[family], 5671) is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pinhole_opens_one_direction_of_one_service_behind_the_published_address(site: Site, family: int) -> None:
    for node, port in (("i", 443), ("i", 80), ("o", 9443)):
        site.echo(node, family, port)
    assert site.connection("i", family, OUTSIDE[family], 9443, source_port=4000) is not None
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.open(opening(inbound(family, 443), inbound(family, 4001))))
    assert talks(site.connection("o", family, WAN[family], 8443))
    assert site.connection("o", family, INSIDE[family], 80) is None
    # A stateless reverse rule would let anyone out who takes the service's port as the source.
    assert site.connection("i", family, OUTSIDE[family], 9443, source_port=4001) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_deny_of_the_site_under_a_pinhole_still_denies(site: Site, family: int) -> None:
    site.echo("i", family, 666)
    site.echo("i", family, 443)
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.open(opening(inbound(family, 666), inbound(family, 443))))
    assert site.connection("o", family, INSIDE[family], 666) is None
    assert site.connection("o", family, INSIDE[family], 443) is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_an_opening_ends_by_itself_and_takes_its_session_with_it(site: Site, family: int) -> None:
    site.echo("i", family, 443)
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.open(opening(inbound(family, 443))), confirm=2)
    session = site.connection("o", family, INSIDE[family], 443)
    assert talks(session)
    [(element, left)] = site.observed().temporary
    assert element == inbound(family, 443)
    assert 0 <= left <= 2
    time.sleep(2.2)
    assert not talks(session)
    assert site.connection("o", family, INSIDE[family], 443) is None
    status, _ = site.on_router(site.dialect.confirm(opening(inbound(family, 443))))
    assert status != 0, "a confirmation after the window must not reopen"
    assert site.observed().opened == ()


def test_confirming_makes_lasting_and_closing_ends_the_session(site: Site) -> None:
    site.echo("i", 4, 443)
    change = opening(inbound(4, 443))
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.open(change), confirm=2)
    session = site.connection("o", 4, INSIDE[4], 443)
    site.did(site.dialect.confirm(change))
    time.sleep(2.2)
    assert talks(session)
    assert site.observed().temporary == ()
    site.did(site.dialect.confirm(change, until=True), until=40)
    [(_, left)] = site.observed().temporary
    assert 35 <= left <= 40
    site.did(site.dialect.close(change))
    assert not talks(session)
    assert "dport=443" not in site.did(site.dialect.sessions())
    site.did(site.dialect.close(change))


def test_opening_again_starts_the_window_anew(site: Site) -> None:
    change = opening(inbound(4, 443))
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.open(change), confirm=5)
    site.did(site.dialect.open(change), confirm=300)
    [(_, left)] = site.observed().temporary
    assert left > 290


def test_a_stale_generation_is_refused_whole(site: Site) -> None:
    change = opening(inbound(4, 443), inbound(6, 443))
    site.did(site.dialect.lay(layer()), epoch=100)
    site.did(site.dialect.open(change), epoch=100)
    site.did(site.dialect.lay(layer()), epoch=200)
    assert site.observed().opened == ()
    for late in (site.dialect.open(change), site.dialect.confirm(change), site.dialect.lift()):
        status, _ = site.on_router(late, epoch=100)
        assert status != 0
    seen = site.observed()
    assert (seen.present, seen.epoch, seen.opened) == (True, 200, ())
    site.did(site.dialect.open(change), epoch=200)
    assert set(site.observed().opened) == set(change.elements)


def test_a_cut_that_comes_late_lays_its_layer_and_brings_no_older_generation_back(site: Site) -> None:
    change = opening(inbound(4, 443))
    first, second = layer(slot="internet-11111111"), layer(slot="total-22222222")
    site.did(site.dialect.lay(second), epoch=200)
    site.did(site.dialect.lay(first), epoch=100)
    seen = site.observed()
    assert (seen.epoch, seen.foreign) == (200, ())
    assert seen.slots == site.dialect.expected((first, second)).slots
    status, _ = site.on_router(site.dialect.open(change), epoch=100)
    assert status != 0
    site.did(site.dialect.open(change), epoch=200)


def test_cuts_at_the_same_moment_leave_the_newest_generation(site: Site) -> None:
    for newest in (1000, 2000):
        with ThreadPoolExecutor(6) as together:
            for done in [together.submit(site.did, site.dialect.lay(layer()), epoch=newest - late) for late in range(6)]:
                done.result()
        assert site.observed().epoch == newest


def test_a_generation_that_somebody_took_away_or_doubled_keeps_nobody_from_cutting(site: Site) -> None:
    site.did(site.dialect.lay(layer()), epoch=5)
    for tampered in ("flush set inet containment epoch", "add element inet containment epoch { 9 }"):
        site.did(Script("nft -f -", tampered + "\n"))
        site.did(site.dialect.lay(layer()), epoch=7)
        seen = site.observed()
        assert (seen.epoch, seen.foreign) == (7, ())


def test_a_second_narrower_layer_opens_nothing(site: Site) -> None:
    for port in (443, 8080):
        site.echo("i", 4, port)
    wide = layer(inbound(4, 443), slot="internet-11111111")
    narrow = layer(inbound(4, 443), inbound(4, 8080), slot="vendors-22222222")
    site.did(site.dialect.lay(wide))
    site.did(site.dialect.lay(narrow))
    assert site.connection("o", 4, INSIDE[4], 443) is not None
    assert site.connection("o", 4, INSIDE[4], 8080) is None
    assert site.observed().slots == site.dialect.expected((wide, narrow)).slots


def test_a_scope_confines_the_drop_to_its_prefixes(site: Site) -> None:
    site.ip("o", "address", "add", "198.51.100.77/24", "dev", "eth0")
    site.echo("i", 4, 443)
    site.echo("i", 6, 443)
    site.did(site.dialect.lay(layer(scope=(ip_network("198.51.100.77/32"),))))
    assert site.connection("o", 4, INSIDE[4], 443) is not None
    assert site.connection("o", 6, INSIDE[6], 443) is not None
    vendor = site.endpoint("o", 4, socket.SOCK_STREAM, bind=("198.51.100.77", 0))
    with pytest.raises(TimeoutError):
        vendor.connect((INSIDE[4], 443))


@pytest.mark.parametrize("family", FAMILIES)
def test_icmp_errors_pass_for_a_permitted_flow_and_for_no_other(site: Site, family: int) -> None:
    element = box(f"{OUTSIDE[family]}/{BITS[family]}", f"{INSIDE[family]}/{BITS[family]}", UDP, 4500)

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
    site.did(site.dialect.lay(layer(element)))
    assert refused(4500)
    assert not refused(4501)


@pytest.mark.parametrize("family", FAMILIES)
def test_portless_protocols_have_pinholes_of_their_own(site: Site, family: int) -> None:
    icmp = 1 if family == 4 else 58
    site.did(site.dialect.lay(layer(box(f"{INSIDE[family]}/{BITS[family]}", f"{OUTSIDE[family]}/{BITS[family]}", icmp))))
    assert site.pings("i", OUTSIDE[family])
    assert not site.pings("o", INSIDE[family])
