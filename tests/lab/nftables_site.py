"""An outside host, a router with nftables rules of its own, an inside host: three namespaces, both families."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.dialects.base import Dialect, Script
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.domain.layer import DeviceChange, Element, Layer, Observed, Opening

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
        self.dialect: Dialect = NftablesDialect(str(boot))
        self.boot = boot
        self.programs = boot.parent / "programs"
        self.name = f"nfx{os.getpid() % 100000}"
        self._closing = contextlib.ExitStack()

    def up(self) -> None:
        for node in ("o", "r", "i"):
            run("ip", "netns", "add", self.name + node)
            self._closing.callback(run, "ip", "netns", "delete", self.name + node)
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
        self.ip("r", "link", "add", router_port, "type", "veth", "peer", "name", port, "netns", self.name + node)
        for where, name, addresses in ((node, port, its), ("r", router_port, routers)):
            self.ip(where, "link", "set", "lo", "up")
            self.ip(where, "link", "set", name, "up")
            self.ip(where, "address", "add", addresses[4] + "/24", "dev", name)
            self.ip(where, "address", "add", addresses[6] + "/64", "dev", name, "nodad")

    def _sysctl(self, node: str, name: str, value: int) -> None:
        self.within(node, lambda: Path(f"/proc/sys/net/{name}").write_text(f"{value}"))

    def ip(self, node: str, *words: str) -> str:
        return run("ip", "-netns", self.name + node, *words)

    def nft(self, text: str) -> str:
        return run("ip", "netns", "exec", self.name + "r", "nft", "-f", "-", stdin=text)

    def on_router(self, script: Script, **values: int) -> tuple[int, str]:
        """Runs a script of the dialect as a session would; (exit status, everything printed)."""
        filled = self.filled(script, **values)
        done = subprocess.run(
            self.words_for(filled.command), input=filled.text, text=True, timeout=30,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def filled(self, script: Script, *, epoch: int = 100, confirm: int = 30, until: int = 60) -> Script:
        return script.filled(epoch=epoch, confirm=confirm, until=until)

    def words_for(self, command: str) -> list[str]:
        """The shell command, to be run on the router. What lies in `programs` is found before the machine's own."""
        return ["ip", "netns", "exec", self.name + "r", "sh", "-c", f"PATH={self.programs}:$PATH; export PATH; {command}"]

    def put_program(self, name: str, text: str) -> None:
        """A program of the router's own, in place of the machine's."""
        self.programs.mkdir(exist_ok=True)
        (self.programs / name).unlink(missing_ok=True)
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def take_program(self, name: str) -> None:
        (self.programs / name).unlink()

    def start(self, command: str, text: str = "") -> subprocess.Popen[str]:
        """A process of its own session on the router; its standard input is filled and closed. Ended at the latest with the site."""
        begun = subprocess.Popen(
            self.words_for(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._closing.callback(_end, begun)
        assert begun.stdin is not None
        begun.stdin.write(text)
        begun.stdin.close()
        return begun

    def reboot(self) -> None:
        """As the machine starts: nothing of ours runs and nothing is tracked; the site's rules and ours in one transaction."""
        ours = "".join(f'include "{file}"\n' for file in sorted(self.boot.glob("*.nft")))
        self.nft("flush ruleset\n" + SITE + ours)
        run("ip", "netns", "exec", self.name + "r", "conntrack", "-F")

    def did(self, script: Script, **values: int) -> str:
        status, output = self.on_router(script, **values)
        assert status == 0, output
        return output

    def observed(self) -> Observed:
        return self.dialect.parse(self.did(self.dialect.read_back()))

    def within(self, node: str, action: Callable[[], _T]) -> _T:
        """Runs the action in the node's network namespace; a socket made there stays there."""

        def enter() -> _T:
            with open(f"/run/netns/{self.name}{node}") as handle:  # noqa: PTH123 (a descriptor is wanted)
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
        words = ["ip", "netns", "exec", self.name + node, "ping", "-n", "-c", "1", "-W", "1", to]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _end(process: subprocess.Popen[str]) -> None:
    """With everything that it started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    if process.stdout is not None:
        process.stdout.close()


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


def box(source: str, destination: str, protocol: int, port: int | None = None, last: int | None = None) -> Element:
    ports = None if port is None else (port, last or port)
    return Element(source=ip_network(source), destination=ip_network(destination), protocol=protocol, ports=ports)


def layer(*keep: Element, slot: str = "internet-3fa29b1c", **more: Any) -> Layer:
    return Layer(slot=slot, profile="internet", device="fw", guard=("wan0",), keep=keep, **more)


def opening(*elements: Element) -> DeviceChange:
    return DeviceChange(device="fw", openings=tuple(Opening(flow="f", partner="p", element=element) for element in elements))


def inbound(family: int, port: int) -> Element:
    return box(f"{OUTSIDE[family]}/{BITS[family]}", f"{INSIDE[family]}/{BITS[family]}", TCP, port)
