"""The services of one node of the rehearsal hospital. Stand-alone: `python3 -I -S responder.py responder.json`.

The file says {"node", "addresses", "services": [[kind, port], …]}; every service is bound to every address.

tcp   a banner line, then echo
udp   echo
http  HTTP/1.1: GET / → 200 · POST /login → a token · GET /record/42 with it → the record · PUT and GET /image/…
tls   the same behind TLS: `certificate` of the file is a path (PEM, key included); whoever begins in clear is answered in clear,
      as web servers answer a plain request on their TLS port
dns   over UDP: `names` of the file are its own ({name: IPv4 address}); names under `forwards` are answered as from outside;
      everything else is refused

Streams that measure a cut: a datagram `STREAM <name> …` is counted and not answered; a TCP connection whose first line
is `STREAM <name> <milliseconds>` is counted and receives a message every so many milliseconds.
Whoever connects to the socket /run/responder.sock is told {name: [count, first, last]}, times in monotonic nanoseconds.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

CONTROL = "/run/responder.sock"
READY = "/run/responder.ready"
MESSAGE = b"." * 32
MARK = b"STREAM "
IP_FREEBIND, IPV6_FREEBIND = 15, 78
LONGEST_BODY = 8_000_000

streams: dict[str, list[int]] = {}  # name → [count, first, last]
images: dict[str, bytes] = {}  # path → what was put there
tokens: set[str] = set()


def count(name: str) -> None:
    now = time.monotonic_ns()
    seen = streams.get(name)
    if seen is None:
        streams[name] = [1, now, now]
    else:
        seen[0] += 1
        seen[2] = now


class Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: Any) -> None:
        if data.startswith(MARK):
            count(data.split(b" ", 2)[1].decode("ascii", "replace"))
        else:
            self.transport.sendto(data, peer)


class Tcp(asyncio.Protocol):
    """Says its banner and echoes, unless the first line makes it a stream."""

    def __init__(self, banner: bytes) -> None:
        self.banner = banner
        self.stream: str | None = None
        self.begun = False
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.banner)

    def data_received(self, data: bytes) -> None:
        if self.stream is not None:
            count(self.stream)
        elif not self.begun and data.startswith(MARK):
            _, name, period_ms = data.split(b"\n", 1)[0].split(b" ")
            self.stream = name.decode("ascii", "replace")
            count(self.stream)
            Clock.of(int(period_ms)).add(self)
        else:
            self.begun = True
            self.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False


class Clock:
    """Sends on every TCP stream of one period at once: a wake-up per stream would cost more than the packets."""

    clocks: ClassVar[dict[int, Clock]] = {}

    def __init__(self, period_ms: int) -> None:
        self.period_s = period_ms / 1000
        self.streams: list[Tcp] = []

    @classmethod
    def of(cls, period_ms: int) -> Clock:
        return cls.clocks.setdefault(period_ms, cls(period_ms))

    def add(self, stream: Tcp) -> None:
        self.streams.append(stream)
        if len(self.streams) == 1:
            loop = asyncio.get_running_loop()
            # In step with the senders: packets then travel in batches, which leaves the processors to others.
            self.next = math.ceil(loop.time() / self.period_s) * self.period_s
            loop.call_at(self.next, self.tick)

    def tick(self) -> None:
        self.streams = [stream for stream in self.streams if stream.open]
        for stream in self.streams:
            # A cut connection must not pile up what it could never send.
            if stream.transport.get_write_buffer_size() == 0:
                stream.transport.write(MESSAGE)
        if self.streams:
            self.next += self.period_s
            asyncio.get_running_loop().call_at(self.next, self.tick)


class Http(asyncio.Protocol):
    def __init__(self, node: str) -> None:
        self.node = node
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                if len(self.buffer) > 65536:
                    self.transport.close()
                return
            lines = head.decode("latin-1").split("\r\n")
            fields = {}
            for line in lines[1:]:
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
            try:
                method, path, _ = lines[0].split(" ")
                length = int(fields.get("content-length", 0))
            except ValueError:
                self.answer(400, b'{"error": "bad request"}', close=True)
                return
            if length > LONGEST_BODY:
                self.answer(413, b'{"error": "too large"}', close=True)
                return
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            status, body = self.decide(method, path.split("?")[0], fields, rest[:length])
            self.answer(status, body, close=fields.get("connection", "").lower() == "close")

    def decide(self, method: str, path: str, fields: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/" and method in ("GET", "HEAD"):
            return 200, json.dumps({"service": self.node}).encode()
        if path == "/login" and method == "POST":
            token = secrets.token_hex(16)
            tokens.add(token)
            return 200, json.dumps({"token": token}).encode()
        if path.startswith("/record/") and method == "GET":
            if fields.get("authorization", "").removeprefix("Bearer ") not in tokens:
                return 401, b'{"error": "log in first"}'
            return 200, json.dumps({"record": path.rpartition("/")[2], "patient": "fictional"}).encode()
        if path.startswith("/image/") and method == "PUT":
            images[path] = body
            return 201, json.dumps({"stored": len(body)}).encode()
        if path.startswith("/image/") and method == "GET":
            return (200, images[path]) if path in images else (404, b'{"error": "no such image"}')
        return 404, b'{"error": "not found"}'

    def answer(self, status: int, body: bytes, close: bool) -> None:
        words = {200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Content Too Large"}
        head = f"HTTP/1.1 {status} {words[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += "Connection: close\r\n\r\n" if close else "\r\n"
        self.transport.write(head.encode() + body)
        if close:
            self.transport.close()


class Dns(asyncio.DatagramProtocol):
    """Enough of RFC 1035 to be asked: one question, A records, a refusal for whom it does not serve."""

    def __init__(self, names: dict[str, str], forwards: list[str]) -> None:
        self.names, self.forwards = names, forwards

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: Any) -> None:
        labels, at = [], 12
        while at < len(data) and 0 < data[at] < 64:
            labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii", "replace").lower())
            at += data[at] + 1
        if at + 5 > len(data):
            self.transport.sendto(data[:2] + struct.pack("!5H", 0x8181, 0, 0, 0, 0), peer)  # format error
            return
        name, wants_address = ".".join(labels), data[at + 1 : at + 5] == b"\0\x01\0\x01"
        if name in self.names:
            flags, address = 0x8580, self.names[name]
        elif any(name == one or name.endswith("." + one) for one in self.forwards):
            flags, address = 0x8180, "192.0.2.53"
        else:
            flags, address = 0x8185, ""
        found = socket.inet_aton(address) if address and wants_address else b""
        answer = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 60, len(found)) + found if found else b""
        self.transport.sendto(data[:2] + struct.pack("!5H", flags, 1, 1 if found else 0, 0, 0) + data[12 : at + 5] + answer, peer)


class Control(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(json.dumps(streams).encode())
        transport.close()


def bound(kind: str, address: str, port: int) -> socket.socket:
    """A socket on exactly this address and family; the address may come later (an interface that is still down)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    datagrams = kind in ("udp", "dns")
    sock = socket.socket(family, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    if not datagrams:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    return sock


async def accept(listening: socket.socket, protocol: Callable[[], asyncio.Protocol], context: ssl.SSLContext) -> None:
    """Each connection behind TLS if its first byte begins a handshake (RFC 8446: content type 22), else in clear."""
    loop = asyncio.get_running_loop()
    begun: set[asyncio.Task[None]] = set()

    async def begin(connection: socket.socket) -> None:
        readable = asyncio.Event()
        loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(connection)
        try:
            first = connection.recv(1, socket.MSG_PEEK)
            if not first:
                raise ConnectionResetError
            await loop.connect_accepted_socket(protocol, connection, ssl=context if first == b"\x16" else None)
        except OSError:  # a handshake that failed too (ssl.SSLError)
            connection.close()

    while True:
        connection, _ = await loop.sock_accept(listening)
        connection.setblocking(False)
        task = asyncio.create_task(begin(connection))
        begun.add(task)
        task.add_done_callback(begun.discard)


async def serve(plan: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    node = plan["node"]
    accepting: list[asyncio.Task[None]] = []
    for kind, port in plan["services"]:
        for address in plan["addresses"]:
            sock = bound(kind, address, port)
            if kind == "udp":
                await loop.create_datagram_endpoint(Udp, sock=sock)
            elif kind == "dns":
                await loop.create_datagram_endpoint(partial(Dns, plan.get("names", {}), plan.get("forwards", [])), sock=sock)
            elif kind == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(plan["certificate"])
                sock.listen(256)
                accepting.append(asyncio.create_task(accept(sock, partial(Http, node), context)))
            elif kind == "tcp":
                banner = f"{node} tcp/{port}\r\n".encode()
                await loop.create_server(partial(Tcp, banner), sock=sock, backlog=256)
            else:
                await loop.create_server(partial(Http, node), sock=sock, backlog=256)
    await loop.create_unix_server(Control, CONTROL)
    Path(READY).touch()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
