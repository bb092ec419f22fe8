"""N firewalls side by side between one sender and one receiver, as real as the rehearsal hospital: it builds them.

    sender ── segment `inside` ── dev1 … devN ── segment `outside` ── receiver
Every device has its own sshd, a clean account, the site's ordinary rules, and a stream of its own through it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Device, Host, Interface, Route, Segment, Site, Zone
from orchestrator.lab.hospital import Hospital

PORT = 9009
PROGRAM = Path(__file__).with_name("cutoff_streams.py")
SYSTEM_PYTHON = "/usr/bin/python3"


def bench_site(count: int) -> Site:
    zones = [
        {"name": "admin", "kind": "management", "prefixes": ["10.20.250.0/24"]},
        {"name": "inside", "kind": "internal", "prefixes": ["10.20.0.0/20"]},
        {"name": "outside", "kind": "external", "prefixes": ["198.51.100.0/24", "203.0.113.0/24"]},
    ]
    devices = [_device(number) for number in range(1, count + 1)]
    targets = [f"203.0.113.{number}/32" for number in range(1, count + 1)]
    routes = [{"to": f"203.0.113.{number}/32", "via": f"10.20.0.{number}"} for number in range(1, count + 1)]
    sender = {"name": "sender", "interfaces": [_interface("eth0", "inside", "10.20.15.1/20")], "routes": routes}
    receiver = {"name": "receiver", "interfaces": [_interface("eth0", "outside", "198.51.100.250/24", *targets)]}
    return Site(
        name="bench", zones=tuple(Zone.model_validate(zone) for zone in zones),
        segments=tuple(Segment(name=name, zone=zone) for name, zone in (("oob", "admin"), ("inside", "inside"), ("outside", "outside"))),
        devices=tuple(devices), hosts=tuple(Host.model_validate(host) for host in (sender, receiver)), outside=(), exits=(),
        orchestrator=Interface.model_validate({**_interface("mgmt0", "admin", "10.20.250.250/24"), "link": "oob"}),
    )  # fmt: skip


def _device(number: int) -> Device:
    device = {
        "name": f"dev{number}", "platform": "nftables", "grain": ["flow"], "management": f"10.20.250.{number}",
        "interfaces": [
            {**_interface("mgmt0", "admin", f"10.20.250.{number}/24"), "link": "oob"},
            _interface("in0", "inside", f"10.20.0.{number}/20"), _interface("out0", "outside", f"198.51.100.{number}/24"),
        ],
        "routes": [Route.model_validate({"to": f"203.0.113.{number}/32", "via": "198.51.100.250"})],
    }  # fmt: skip
    return Device.model_validate(device)


def _interface(name: str, zone: str, *addresses: str) -> dict[str, Any]:
    return {"name": name, "zone": zone, "link": zone, "addresses": list(addresses)}


def bench_layer(device: str) -> Layer:
    """A layer with a keep-list of the size of Valmont's `internet` profile."""
    keep = tuple(
        Element(source=ip_network("10.20.1.0/28"), destination=ip_network(f"192.0.2.{index}/32"), protocol=6, ports=(443, 443))
        for index in range(1, 17)
    )
    return Layer(
        slot="bench-00000001", profile="bench", device=device, guard=("out0",), keep=keep,
        behind=(ip_network("0.0.0.0/0"), ip_network("::/0")), aside=(ip_network("10.20.0.0/16"),),
    )  # fmt: skip


class Streams:
    """One stream through each device, all from one process to one process."""

    def __init__(self, hospital: Hospital, count: int) -> None:
        self._count = count
        file = hospital.directory / "targets.json"
        file.write_text(json.dumps([(f"203.0.113.{number}", PORT) for number in range(1, count + 1)]))
        program = [SYSTEM_PYTHON, "-I", "-S", str(PROGRAM)]
        where = {node: ["ip", "netns", "exec", hospital.layout.namespace(node)] for node in ("sender", "receiver")}
        self._receiver = subprocess.Popen(
            [*where["receiver"], *program, "receive", str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._sender = subprocess.Popen([*where["sender"], *program, "send", str(file)])

    def last(self, order: str = "tell") -> dict[int, int]:
        """When the last datagram through each device came, monotonic nanoseconds."""
        assert self._receiver.stdin is not None
        assert self._receiver.stdout is not None
        self._receiver.stdin.write(order + "\n")
        self._receiver.stdin.flush()
        return {int(index): at for index, at in json.loads(self._receiver.stdout.readline()).items()}

    def await_all(self, within_s: float = 20.0) -> None:
        """Returns when every stream flows. Raises RuntimeError when one does not."""
        self.last("forget")
        deadline = time.monotonic() + within_s
        while len(self.last()) < self._count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {len(self.last())} of {self._count} streams flow")
            time.sleep(0.05)

    def stop(self) -> None:
        for process in (self._sender, self._receiver):
            process.kill()
            process.wait()
        for pipe in (self._receiver.stdin, self._receiver.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def devices_up(name: str, count: int) -> Iterator[tuple[Hospital, Streams]]:
    """N devices with their streams; everything is removed afterwards, whatever happens."""
    hospital = Hospital(bench_site(count), name)
    try:
        hospital.up(lambda line: print(f"  {line}", file=sys.stderr, flush=True))
        streams = Streams(hospital, count)
        try:
            streams.await_all()
            yield hospital, streams
        finally:
            streams.stop()
    finally:
        hospital.down()
