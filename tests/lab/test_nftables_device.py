"""The nftables layer and its device: round trip, boot, tampering, tracked connections, read-back; on the real kernel."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.layer import Element, Layer, Observed
from tests.lab.nftables_site import (
    FAMILIES,
    INSIDE,
    OUTSIDE,
    SITE,
    TCP,
    UDP,
    WAN,
    Site,
    box,
    inbound,
    layer,
    opening,
    run,
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


def test_laying_and_lifting_leave_the_site_as_it_was(site: Site) -> None:
    before = site.did(site.dialect.snapshot())
    assert "tcp dport 666 drop" in before
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.persist(layer()))
    site.did(site.dialect.open(opening(inbound(4, 443))))
    assert site.did(site.dialect.snapshot()) == before
    site.did(site.dialect.lift())
    assert site.did(site.dialect.snapshot()) == before
    assert site.observed() == Observed(present=False)
    assert list(site.boot.iterdir()) == []
    site.echo("i", 4, 443)
    assert site.connection("o", 4, INSIDE[4], 443) is not None


@pytest.mark.parametrize("how", ["include", "each"])
def test_the_device_boots_with_the_layer_and_without_openings(site: Site, tmp_path: Path, how: str) -> None:
    site.echo("i", 4, 443)
    first, second = layer(slot="internet-11111111"), layer(slot="vendors-22222222")
    for one in (first, second):
        site.did(site.dialect.lay(one), epoch=300)
        site.did(site.dialect.persist(one), epoch=300)
    site.did(site.dialect.persist(first), epoch=200)  # a late one must not take the generation back
    site.did(site.dialect.open(opening(inbound(4, 443))), epoch=300)
    assert site.connection("o", 4, INSIDE[4], 443) is not None
    main = tmp_path / "nftables.conf"
    main.write_text("flush ruleset\n" + SITE + (f'include "{site.boot}/*.nft"\n' if how == "include" else ""))
    site.nft(f'include "{main}"\n')
    if how == "each":
        for file in sorted(site.boot.glob("*.nft"), reverse=True):
            site.nft(f'include "{file}"\n')
    assert site.connection("o", 4, INSIDE[4], 443) is None
    expected = site.dialect.expected((first, second))
    seen = site.observed()
    assert (seen.epoch, seen.fingerprint, seen.boots_with) == (300, expected.fingerprint, expected.boots_with)


def test_an_edited_boot_file_does_not_count(site: Site) -> None:
    site.did(site.dialect.lay(layer()))
    site.did(site.dialect.persist(layer()))
    assert site.observed().boots_with == ("internet-3fa29b1c",)
    file = site.boot / "internet-3fa29b1c.nft"
    file.write_text(file.read_text().replace("counter drop", "counter accept"))
    seen = site.observed()
    assert seen.boots_with == ()
    assert seen.foreign == ("boot file internet-3fa29b1c.nft is not as we wrote it",)


def test_a_boot_file_that_opens_more_and_says_that_it_is_ours_is_found(site: Site) -> None:
    """Head and body changed together: each fits the other, and neither fits what runs."""
    one = layer(inbound(4, 443), inbound(6, 443), box("10.20.0.0/16", "198.51.100.0/24", UDP, 53, 99), slot="internet-11111111")
    site.did(site.dialect.lay(one))
    site.did(site.dialect.persist(one))
    assert site.observed().foreign == ()
    file = site.boot / f"{one.slot}.nft"
    head, _, body = file.read_text().partition("\n")
    opening_more = body.replace("counter drop", "counter accept")
    assert opening_more != body
    file.write_text(head.rpartition(" ")[0] + " " + hashlib.sha256(opening_more.encode()).hexdigest() + "\n" + opening_more)
    seen = site.observed()
    assert seen.foreign == (f"the boot file of {one.slot} differs from what runs",)
    assert seen.fingerprint != site.dialect.expected((one,)).fingerprint


def test_a_dormant_table_is_named_and_woken_by_laying(site: Site) -> None:
    site.echo("i", 4, 443)
    site.did(site.dialect.lay(layer()))
    site.nft("add table inet containment { flags dormant; }\n")
    assert site.connection("o", 4, INSIDE[4], 443) is not None
    assert site.observed().foreign == ("in the table itself: flags dormant",)
    second = layer(slot="vendors-22222222")
    site.did(site.dialect.lay(second))
    assert site.connection("o", 4, INSIDE[4], 443) is None
    assert site.observed().fingerprint == site.dialect.expected((layer(), second)).fingerprint


def test_what_a_colleague_did_inside_the_table_is_named_and_undone(site: Site) -> None:
    site.echo("i", 4, 443)
    site.did(site.dialect.lay(layer()))
    name = "internet_3fa29b1c"
    site.nft(
        f"""insert rule inet containment {name}_guard meta l4proto 6 accept comment "just for tonight"
        add chain inet containment night {{ type filter hook forward priority 0; policy accept; }}
        add element inet containment openp4 {{ 192.0.2.1-192.0.2.9 . 192.0.2.1 . 6 }}
        flush chain inet containment {name}_input
        delete chain inet containment {name}_input
        add chain inet containment {name}_input {{ type filter hook input priority 5; policy accept; }}
        """
    )
    assert site.connection("o", 4, INSIDE[4], 443) is not None
    seen = site.observed()
    assert f'chain {name}_guard: unexpected: meta l4proto 6 accept comment "just for tonight"' in seen.foreign
    assert "chain night is not ours" in seen.foreign
    assert any(line.startswith("set openp4: unexpected element") for line in seen.foreign)
    assert f"chain {name}_input: missing: type filter hook input priority -10; policy accept;" in seen.foreign
    assert seen.slots != site.dialect.expected((layer(),)).slots
    site.did(site.dialect.lay(layer()))
    assert site.connection("o", 4, INSIDE[4], 443) is None
    seen = site.observed()
    assert seen.slots == site.dialect.expected((layer(),)).slots
    assert seen.foreign == ("chain night is not ours",), "a chain that we do not know can only subtract; it is named, and left"


def test_sessions_are_listed_untranslated_and_exactly_those_named_are_deleted(site: Site) -> None:
    site.echo("i", 4, 443)
    site.echo("i", 6, 443)
    published = site.connection("o", 4, WAN[4], 8443)
    others = [site.connection("o", family, INSIDE[family], 443) for family in FAMILIES]
    assert site.pings("i", OUTSIDE[6])
    many = "".join(f"-I -s 192.0.2.{n % 250 + 1} -d 10.20.11.10 -p udp --sport {2000 + n} --dport 53 -t 300\n" for n in range(600))
    run("ip", "netns", "exec", site.name + "r", "conntrack", "-R", "-", stdin=many)
    seen = site.dialect.parse_sessions(site.did(site.dialect.sessions()))
    assert published is not None
    [through] = [one for one in seen if one.source_port == published.getsockname()[1]]
    assert (str(through.destination), through.port, through.protocol) == (INSIDE[4], 443, TCP)
    assert {one.source.version for one in seen} == {4, 6}
    doomed = tuple(one for one in seen if one.port == 53 or one is through or one.protocol == 58)
    assert len(doomed) == 602
    started = time.monotonic()
    site.did(site.dialect.kill(doomed))
    site.did(site.dialect.kill(doomed))
    assert time.monotonic() - started < 3
    left = site.dialect.parse_sessions(site.did(site.dialect.sessions()))
    assert {(one.source, one.source_port) for one in left} == {(one.source, one.source_port) for one in seen if one not in doomed}
    assert len(left) >= len(others)


_prefixes = {
    4: st.builds(lambda n, size: ip_network((n << 8 | 0x0A000000, 32)).supernet(new_prefix=size), st.integers(0, 9), st.integers(0, 32)),
    6: st.builds(lambda n, size: ip_network(f"2001:db8::{n:x}").supernet(new_prefix=size), st.integers(0, 9), st.integers(0, 128)),
}
_ports = st.tuples(st.integers(1, 40), st.integers(0, 40)).map(lambda pair: (pair[0], pair[0] + pair[1]))
_elements = st.one_of(
    *(
        st.builds(Element, source=_prefixes[family], destination=_prefixes[family], protocol=protocol, ports=ports)
        for family in FAMILIES
        for protocol, ports in ((st.sampled_from([TCP, UDP]), _ports), (st.sampled_from([1, 50, 58, 112]), st.none()))
    )
)
_layers = st.builds(
    Layer,
    slot=st.sampled_from(["internet-0a", "total-1", "a"]), profile=st.just("internet"), device=st.just("fw"),
    guard=st.lists(st.sampled_from(["wan0", "lte0", "dmz-in", "x"]), min_size=1, max_size=4).map(tuple),
    scope=st.lists(st.one_of(*_prefixes.values()), max_size=3).map(tuple), keep=st.lists(_elements, max_size=6).map(tuple),
)  # fmt: skip


def test_any_layer_reads_back_as_it_was_laid(site: Site) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(_layers)
    def check(one: Layer) -> None:
        site.nft("flush ruleset\n")
        site.did(site.dialect.lay(one))
        seen = site.observed()
        assert seen.foreign == ()
        assert seen.fingerprint == site.dialect.expected((one,)).fingerprint

    check()
