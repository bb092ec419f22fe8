"""The contract of `ports.Probes`, kept over a real OpenSSH server against real services on loopback."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.adapters.ssh_probes import SshProbes
from orchestrator.domain.probes import Check, Probe, ProbeResult, Purpose
from orchestrator.ports import Credential, Target
from tests.contract.ssh_servers import SshServers, free_port


class Record(BaseHTTPRequestHandler):
    """A record to log in to, and an image store; `/forgetful/` images come back changed."""

    images: dict[str, bytes] = {}  # noqa: RUF012 (shared by all connections on purpose)
    token = "t-1"
    forgetful = False

    def do_GET(self) -> None:
        if self.path in self.images:
            self._answer(200, b"another" if self.forgetful else self.images[self.path])
        elif self.path.startswith("/record/"):
            known = self.headers.get("Authorization") == f"Bearer {self.token}"
            self._answer(200 if known else 401, b"{}")
        else:
            self._answer(200 if self.path == "/" else 404, b"{}")

    def do_POST(self) -> None:
        self._answer(200, json.dumps({"token": self.token}).encode())

    def do_PUT(self) -> None:
        self.images[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class Forgetful(Record):
    forgetful = True


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data, self.client_address)


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Services on loopback, and one port where nothing listens."""
    servers: dict[str, socketserver.BaseServer] = {
        "http": ThreadingHTTPServer(("127.0.0.1", 0), Record),
        "forgetful": ThreadingHTTPServer(("127.0.0.1", 0), Forgetful),
        "udp": socketserver.ThreadingUDPServer(("127.0.0.1", 0), Echo),
    }
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}) for server in servers.values()]
    for thread in threads:
        thread.start()
    silent = socket.create_server(("127.0.0.1", 0))  # accepts, and says nothing
    mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # receives, and answers nothing
    mute.bind(("127.0.0.1", 0))
    addresses = {name: int(server.server_address[1]) for name, server in servers.items()}  # type: ignore[index]
    yield {**addresses, "silent": silent.getsockname()[1], "mute": mute.getsockname()[1], "nothing": free_port()}
    for server in servers.values():
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()
    silent.close()
    mute.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServers]:
    servers = SshServers(tmp_path_factory.mktemp("ssh"))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def target(servers: SshServers) -> Target:
    return servers.start()


@pytest.fixture
def probes(servers: SshServers, target: Target) -> SshProbes:
    return SshProbes(NetmikoDevices({Credential.CUT: servers.client_key}), {"here": target})


def probe(kind: Any, port: int | None, **more: Any) -> Probe:
    given = {"id": f"{kind}-{port}", "purpose": Purpose.POSITIVE, "vantage": "here", "destination": ip_address("127.0.0.1"), **more}
    return Probe(kind=kind, port=port, **given)


def ask(probes: SshProbes, *questions: Probe) -> tuple[ProbeResult, ...]:
    return probes.run(questions, deadline_s=15)


@pytest.mark.parametrize(
    ("kind", "port", "path", "passed", "detail"),
    [
        ("tcp", "http", "/", True, "connected"), ("tcp", "silent", "/", True, "connected"), ("tcp", "nothing", "/", False, "refused"),
        ("udp", "udp", "/", True, "echoed"), ("udp", "mute", "/", False, "no answer"), ("udp", "nothing", "/", False, "refused"),
        ("http", "http", "/", True, "status 200"), ("http", "http", "/elsewhere", False, "status 404"),
        ("http", "silent", "/", False, "no answer"), ("transaction", "http", "/record/42", True, "record opened"),
        ("transaction", "http", "/image/x", True, "stored and fetched"), ("transaction", "forgetful", "/image/x", False, "not the one"),
        ("transaction", "silent", "/record/42", False, "no answer"),
    ],
)  # fmt: skip
def test_each_kind_tells_what_got_through(
    probes: SshProbes, ports: dict[str, int], kind: str, port: str, path: str, passed: bool, detail: str
) -> None:
    (result,) = ask(probes, probe(kind, ports[port], path=path, timeout_s=0.5))
    assert result.passed is passed, result.detail
    assert detail in result.detail


def test_an_echo_request_is_answered(probes: SshProbes) -> None:
    here, six = ask(probes, probe("icmp", None), probe("icmp", None, destination=ip_address("::1")))
    assert (here.passed, six.passed) == (True, True), (here.detail, six.detail)


def test_answers_come_in_the_order_of_the_questions(probes: SshProbes, ports: dict[str, int]) -> None:
    questions = [probe("tcp", ports[name], id=f"q{number}") for number, name in enumerate(("nothing", "http", "nothing", "silent", "http"))]
    results = ask(probes, *questions)
    assert [result.probe.id for result in results] == [question.id for question in questions]
    assert [result.passed for result in results] == [False, True, False, True, True]


def test_all_questions_are_asked_at_once(probes: SshProbes, ports: dict[str, int]) -> None:
    started = time.monotonic()
    results = ask(probes, *(probe("udp", ports["mute"], id=f"q{number}", timeout_s=1.5) for number in range(20)))
    assert all(result.passed is False for result in results)
    assert time.monotonic() - started < 8  # one after the other they would take half a minute


def test_a_source_that_is_not_ours_says_nothing(probes: SshProbes, ports: dict[str, int]) -> None:
    (result,) = ask(probes, probe("tcp", ports["http"], source=ip_address("192.0.2.77")))
    assert result.check is Check.INCONCLUSIVE


def test_a_vantage_point_that_cannot_be_reached_is_inconclusive(servers: SshServers, target: Target, ports: dict[str, int]) -> None:
    dead = SshProbes(
        NetmikoDevices({Credential.CUT: servers.client_key}), {"here": target, "gone": replace(target, device="gone", port=free_port())}
    )
    lost, fine, unknown = ask(
        dead, probe("tcp", ports["http"], vantage="gone"), probe("tcp", ports["http"]), probe("tcp", ports["http"], vantage="nobody")
    )
    assert (lost.passed, fine.passed, unknown.passed) == (None, True, None)
    assert "refused" in lost.detail
    assert "cannot be reached" in unknown.detail


def test_a_host_without_python_is_inconclusive(servers: SshServers, ports: dict[str, int]) -> None:
    shell = servers.start(force_command="cat")
    (result,) = ask(SshProbes(NetmikoDevices({Credential.CUT: servers.client_key}), {"here": shell}), probe("tcp", ports["http"]))
    assert result.check is Check.INCONCLUSIVE


def test_without_a_key_nothing_was_asked(target: Target, ports: dict[str, int], tmp_path: Path) -> None:
    (result,) = ask(SshProbes(NetmikoDevices({Credential.CUT: tmp_path / "none"}), {"here": target}), probe("tcp", ports["http"]))
    assert result.check is Check.INCONCLUSIVE
    assert "key" in result.detail
