"""The nftables layer on the real kernel: an outside host, a router with rules of its own, an inside host; both families."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.dialects.base import Script
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.domain.layer import DeviceChange, Element, Layer, Observed, Opening

pytestmark = pytest.mark.lab

FAMILIES = (4, 6)
OUTSIDE = {4: "198.51.100.2", 6: "2001:db8:100::2"}
WAN = {4: "198.51.100.1", 6: "2001:db8:100::1"}
LAN = {4: "10.20.11.1", 6: "2001:db8:20:11::1"}
INSIDE = {4: "10.20.11.10", 6: "2001:db8:20:11::10"}
BITS = {4: 32, 6: 128}
TCP, UDP = 6, 17
# The site's own rules: everything the layer must win over, a deny that it must not lift, and a published address.
SITE = """
table inet site {
  chain early { type filter hook forward priority -20; policy accept; ct state established,related accept; accept; }
  chain forward { type filter hook forward priority 0; policy accept; tcp dport 666 drop; ct state established,related accept; accept; }
  chain input { type filter hook input priority 0; policy accept; ct state established,related accept; counter accept; }
  chain published {
    type nat hook prerouting priority -100;
    iifname wan0 tcp dport 8443 dnat ip to 10.20.11.10:443
    iifname wan0 tcp dport 8443 dnat ip6 to [2001:db8:20:11::10]:443
  }
  chain leaving { type nat hook postrouting priority 100; oifname wan0 meta nfproto ipv4 masquerade; }
}
"""
_T = TypeVar("_T")
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words: str, stdin: str = "") -> str:
    return subprocess.run(words, input=stdin, text=True, capture_output=True, check=True, timeout=20).stdout


class Site:
    """Three namespaces and what talks between them."""

    def __init__(self, boot: Path) -> None:
        self.dialect = NftablesDialect(str(boot))
        self.boot = boot
        self._name = f"n1{os.getpid() % 100000}"
        self._closing = contextlib.ExitStack()

    def up(self) -> None:
        for node in ("o", "r", "i"):
            run("ip", "netns", "add", self._name + node)
            self._closing.callback(run, "ip", "netns", "delete", self._name + node)
            # Link-local addresses serve at once instead of after a second of duplicate detection.
            self._sysctl(node, "ipv6/conf/default/accept_dad", 0)
        self._plug("o", "eth0", OUTSIDE, "wan0", WAN)
        self._plug("i", "eth0", INSIDE, "lan0", LAN)
        for node, via in (("o", WAN), ("i", LAN)):
            for family in FAMILIES:
                self.ip(node, f"-{family}", "route", "add", "default", "via", via[family])
        self._sysctl("r", "ipv4/ip_forward", 1)
        self._sysctl("r", "ipv6/conf/all/forwarding", 1)
        self.nft(SITE)

    def down(self) -> None:
        self._closing.close()

    def _plug(self, node: str, port: str, its: dict[int, str], router_port: str, routers: dict[int, str]) -> None:
        self.ip("r", "link", "add", router_port, "type", "veth", "peer", "name", port, "netns", self._name + node)
        for where, name, addresses in ((node, port, its), ("r", router_port, routers)):
            self.ip(where, "link", "set", "lo", "up")
            self.ip(where, "link", "set", name, "up")
            self.ip(where, "address", "add", addresses[4] + "/24", "dev", name)
            self.ip(where, "address", "add", addresses[6] + "/64", "dev", name, "nodad")

    def _sysctl(self, node: str, name: str, value: int) -> None:
        self.within(node, lambda: Path(f"/proc/sys/net/{name}").write_text(f"{value}"))

    def ip(self, node: str, *words: str) -> str:
        return run("ip", "-netns", self._name + node, *words)

    def nft(self, text: str) -> str:
        return run("ip", "netns", "exec", self._name + "r", "nft", "-f", "-", stdin=text)

    def on_router(self, script: Script, *, epoch: int = 100, confirm: int = 30, until: int = 60) -> tuple[int, str]:
        """Runs a script of the dialect as a session would; (exit status, everything printed)."""
        filled = script.filled(epoch=epoch, confirm=confirm, until=until)
        done = subprocess.run(
            ["ip", "netns", "exec", self._name + "r", "sh", "-c", filled.command], input=filled.text, text=True, timeout=30,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def did(self, script: Script, **values: int) -> str:
        status, output = self.on_router(script, **values)
        assert status == 0, output
        return output

    def observed(self) -> Observed:
        return self.dialect.parse(self.did(self.dialect.read_back()))

    def within(self, node: str, action: Callable[[], _T]) -> _T:
        """Runs the action in the node's network namespace; a socket made there stays there."""

        def enter() -> _T:
            with open(f"/run/netns/{self._name}{node}") as handle:  # noqa: PTH123 (a descriptor is wanted)
                if _libc.setns(handle.fileno(), 0x40000000) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return action()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter).result()

    def endpoint(self, node: str, family: int, kind: int, *, bind: tuple[str, int] | None = None) -> socket.socket:
        made = self.within(node, lambda: socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind))
        self._closing.callback(made.close)
        made.settimeout(0.3)
        if bind is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == 6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(bind)
        return made

    def echo(self, node: str, family: int, port: int) -> None:
        """A TCP service on every address of the node, which sends back what it gets."""
        listening = self.endpoint(node, family, socket.SOCK_STREAM, bind=("0.0.0.0" if family == 4 else "::", port))
        listening.settimeout(None)
        listening.listen()

        def answer(peer: socket.socket) -> None:
            with peer, contextlib.suppress(OSError):
                while data := peer.recv(1000):
                    peer.sendall(data)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        self._closing.callback(listening.shutdown, socket.SHUT_RDWR)

    def connection(self, node: str, family: int, to: str, port: int, *, source_port: int = 0) -> socket.socket | None:
        """An open TCP connection, or None when there was no answer."""
        end = self.endpoint(node, family, socket.SOCK_STREAM, bind=("", source_port) if source_port else None)
        try:
            end.connect((to, port))
        except TimeoutError:
            return None
        return end if talks(end) else None

    def delivered(self, sender: str, receiver: str, family: int, to: str, port: int) -> int:
        """One-way UDP: how many of five datagrams the receiver counted."""
        sink = self.endpoint(receiver, family, socket.SOCK_DGRAM, bind=(to, port))
        source = self.endpoint(sender, family, socket.SOCK_DGRAM)
        for _ in range(5):
            with contextlib.suppress(PermissionError):  # what the device drops on its way out
                source.sendto(b"one way", (to, port))
        sink.settimeout(0.3)
        count = 0
        with contextlib.suppress(TimeoutError):
            while sink.recv(100):
                count += 1
        sink.close()
        return count

    def pings(self, node: str, to: str) -> bool:
        words = ["ip", "netns", "exec", self._name + node, "ping", "-n", "-c", "1", "-W", "1", to]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


def talks(connection: socket.socket | None) -> bool:
    """Whether the other end still answers on an open connection."""
    assert connection is not None, "the connection never opened"
    word = os.urandom(8)
    try:
        connection.sendall(word)
        received = b""
        while len(received) < 8:
            received += connection.recv(8 - len(received)) or b"\0" * 8
        return received == word
    except TimeoutError:
        return False


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "boot")
    try:
        made.up()
        yield made
    finally:
        made.down()


def box(source: str, destination: str, protocol: int, port: int | None = None, last: int | None = None) -> Element:
    ports = None if port is None else (port, last or port)
    return Element(source=ip_network(source), destination=ip_network(destination), protocol=protocol, ports=ports)


def layer(*keep: Element, slot: str = "internet-3fa29b1c", **more: Any) -> Layer:
    return Layer(slot=slot, profile="internet", device="fw", guard=("wan0",), keep=keep, **more)


def opening(*elements: Element) -> DeviceChange:
    return DeviceChange(device="fw", openings=tuple(Opening(flow="f", partner="p", element=element) for element in elements))


def inbound(family: int, port: int) -> Element:
    return box(f"{OUTSIDE[family]}/{BITS[family]}", f"{INSIDE[family]}/{BITS[family]}", TCP, port)


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
    assert not site.boot.exists()
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
    run("ip", "netns", "exec", f"n1{os.getpid() % 100000}r", "conntrack", "-R", "-", stdin=many)
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
