"""Continuous streams through every exit, both families, both ways: what measures a cut-off.

A cut has happened when the last packet of the last stream has arrived. Arrivals are counted at the receiver and timed
with the kernel's monotonic clock, which all namespaces of a machine share with the process that measures
(`time.monotonic_ns()`).
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.domain.network import Address, Node, Site
from orchestrator.errors import EnvironmentMissing, UnknownName
from orchestrator.lab import holder
from orchestrator.lab.hospital import Hospital

PERIOD_MS = 5
START_S = 10.0
STOP_S = 5.0
RESPONDER_SOCKET = "/run/responder.sock"
PORT = 9000  # declared in the inventory by every host that receives streams

Kind = Literal["tcp", "udp"]


@dataclass(frozen=True)
class StreamSpec:
    """One stream: `source` sends to `address`:`port`, which `receiver` answers for. `family` is 4 or 6.

    udp goes one way, from source to receiver. tcp is one connection with messages both ways: two results.
    """

    name: str
    exit: str
    family: int
    kind: Kind
    source: str
    receiver: str
    address: str
    port: int


@dataclass(frozen=True)
class StreamResult:
    """What arrived of one stream in one direction. The times are `time.monotonic_ns()`; 0 when nothing arrived."""

    name: str
    exit: str
    family: int
    kind: Kind
    received: int
    first_ns: int
    last_ns: int


def valmont_streams(site: Site) -> tuple[StreamSpec, ...]:
    """The streams of Valmont: every exit, both families, TCP and UDP each way, through devices and to a device itself.

    Raises UnknownName when the site has not the hosts that they run between.
    """
    return tuple(_lines(site))


def _lines(site: Site) -> Iterator[StreamSpec]:
    outside, sister, proxy, pacs, old, bastion = (
        _node(site, name) for name in ("internet-host", "sister", "proxy", "pacs", "ws-backup", "bastion")
    )
    vpn = _node(site, "vpn")
    for family in (4, 6):
        world = _address(outside, "eth0", family)
        detour = _address(outside, "eth0", family, 1)  # reached through the sister hospitals' own exit
        images = _address(pacs, "eth0", family)
        shared = _address(sister, "ght0", family)
        gateway = _address(vpn, "wan0", family)
        door, door_port = _door(site, "vpn", bastion, family, 22)

        def spec(name: str, leaves_by: str, kind: Kind, source: Node, receiver: Node, address: str, port: int = PORT) -> StreamSpec:
            return StreamSpec(f"{leaves_by}-v{family}-{kind}-{name}", leaves_by, family, kind, source.name, receiver.name, address, port)  # noqa: B023

        for leaves_by, device, inside in (("fibre", "fw-ext", proxy), ("backup-4g", "rtr-backup", old)):
            address, port = _door(site, device, inside, family, PORT)
            yield spec("in", leaves_by, "udp", outside, inside, address, port)
            yield spec("in", leaves_by, "tcp", outside, inside, address, port)
            yield spec("out", leaves_by, "udp", inside, outside, world)
        yield spec("in", "ght-mpls", "udp", sister, pacs, images)
        yield spec("in", "ght-mpls", "tcp", sister, pacs, images)
        yield spec("out", "ght-mpls", "udp", pacs, sister, shared)
        yield spec("transit", "ght-mpls", "udp", pacs, outside, detour)
        yield spec("transit", "ght-mpls", "tcp", pacs, outside, detour)
        yield spec("itself", "staff-vpn", "udp", outside, vpn, gateway, 4500)
        yield spec("itself", "staff-vpn", "tcp", outside, vpn, gateway, 443)
        yield spec("in", "staff-vpn", "tcp", outside, bastion, door, door_port)
        yield spec("out", "staff-vpn", "udp", bastion, outside, world)


class Streams:
    """Streams that flow. `stop` ends them; so does the end of this process. `specs`: what was started."""

    def __init__(self, hospital: Hospital, specs: Sequence[StreamSpec], period_ms: int) -> None:
        self._hospital = hospital
        self.specs = tuple(specs)
        self._run = secrets.token_hex(4)  # keeps the counts of one run apart from those of another
        self._control = f"/run/streams-{self._run}.sock"
        self._senders: dict[str, subprocess.Popen[str]] = {}
        by_source: dict[str, list[StreamSpec]] = defaultdict(list)
        for spec in self.specs:
            by_source[spec.source].append(spec)
        for source, own in by_source.items():
            streams = [{"name": self._tag(spec), "kind": spec.kind, "address": spec.address, "port": spec.port} for spec in own]
            plan = json.dumps({"control": self._control, "period_ms": period_ms, "streams": streams})
            sender = subprocess.Popen(
                [*hospital.entering(source), "/usr/bin/python3", "-I", "-S", "/run/disk/stream_sender.py"],
                env=holder.ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, text=True,
            )  # fmt: skip
            self._senders[source] = sender
            assert sender.stdin is not None
            sender.stdin.write(plan + "\n")
            sender.stdin.flush()

    def snapshot(self) -> list[StreamResult]:
        """What has arrived so far; the streams go on. A node that cannot be asked has received nothing."""
        there = {node: self._ask(node, RESPONDER_SOCKET) for node in {spec.receiver for spec in self.specs}}
        back = {node: self._ask(node, self._control) for node in self._senders}
        results = []
        for spec in self.specs:
            tag = self._tag(spec)
            results.append(_result(spec, "", there[spec.receiver].get(tag)))
            if spec.kind == "tcp":
                results.append(_result(spec, "-back", back[spec.source].get(tag)))
        return results

    def silent(self) -> list[str]:
        """Names of the streams of which nothing has arrived yet."""
        return [result.name for result in self.snapshot() if not result.received]

    def stop(self) -> list[StreamResult]:
        """Ends the streams and tells what arrived; a second call tells of nothing."""
        results = self.snapshot() if self._senders else []
        senders, self._senders = self._senders, {}
        for sender in senders.values():
            if sender.stdin is not None:
                sender.stdin.close()
        for sender in senders.values():
            try:
                sender.wait(STOP_S)
            except subprocess.TimeoutExpired:
                sender.kill()
                sender.wait()
        return results

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _tag(self, spec: StreamSpec) -> str:
        return f"{self._run}/{spec.name}"

    def _ask(self, node: str, control: str) -> dict[str, list[int]]:
        # A UNIX socket is found through the node's root directory: no process needs to be started there.
        pid = holder.pid_of(self._hospital.layout, node)
        if pid is None:
            return {}
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(2.0)
                sock.connect(f"/proc/{pid}/root{control}")
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError:
            return {}
        found: dict[str, list[int]] = json.loads(answer)
        return found


def start_streams(
    hospital: Hospital, specs: Iterable[StreamSpec] | None = None, *, period_ms: int = PERIOD_MS, within_s: float = START_S
) -> Streams:
    """Starts the streams (all exits by default) and returns once every one of them has been seen flowing.

    Raises EnvironmentMissing that names those that do not flow after `within_s`; nothing is then left running.
    """
    streams = Streams(hospital, tuple(valmont_streams(hospital.site) if specs is None else specs), period_ms)
    deadline = time.monotonic() + within_s
    try:
        while quiet := streams.silent():
            if time.monotonic() > deadline:
                raise EnvironmentMissing(f"streams that do not flow after {within_s:.0f} s: {', '.join(quiet)}")
            time.sleep(0.05)
    except BaseException:
        streams.stop()
        raise
    return streams


def _result(spec: StreamSpec, suffix: str, seen: list[int] | None) -> StreamResult:
    received, first, last = seen or (0, 0, 0)
    return StreamResult(spec.name + suffix, spec.exit, spec.family, spec.kind, received, first, last)


def _node(site: Site, name: str) -> Node:
    for node in (*site.devices, *site.hosts):
        if node.name == name:
            return node
    raise UnknownName(f"the streams need {name}, which the inventory does not have")


def _address(node: Node, interface: str, family: int, index: int = 0) -> str:
    own: list[Address] = [item.ip for item in node.interface(interface).addresses if item.ip.version == family]
    return str(own[index])


def _door(site: Site, device: str, inside: Node, family: int, port: int) -> tuple[str, int]:
    """Where a service inside is reached from outside: IPv4 by what the device publishes, IPv6 by its own address."""
    if family == 6:
        return _address(inside, "eth0", 6), port
    own = _address(inside, "eth0", 4)
    for item in site.device(device).nat.published:
        if str(item.to) == own and item.to_port == port:
            return str(item.public), item.port
    raise UnknownName(f"{device} does not publish port {port} of {inside.name}")
