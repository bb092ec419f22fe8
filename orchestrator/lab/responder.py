"""The services of one node of the rehearsal hospital. Stand-alone: `python3 -I -S responder.py responder.json`.

The file says {"node", "addresses", "services": [[kind, port], …]}; every service is bound to every address.

tcp   a banner line, then echo
udp   echo
http  HTTP/1.1: GET / → 200 · POST /login → a token · GET /record/42 with it → the record · PUT and GET /image/…

Streams that measure a cut: a datagram `STREAM <name> …` is counted and not answered; a TCP connection whose first line
is `STREAM <name> <milliseconds>` is counted and receives a message every so many milliseconds.
Whoever connects to the socket /run/responder.sock is told {name: [count, first, last]}, times in monotonic nanoseconds.
"""

import asyncio
import json
import secrets
import socket
import sys
import time

CONTROL = "/run/responder.sock"
READY = "/run/responder.ready"
MESSAGE = b"." * 32
MARK = b"STREAM "
IPV6_FREEBIND = 78
LONGEST_BODY = 8_000_000

streams = {}  # name → [count, first, last]
images = {}  # path → bytes
tokens = set()


def count(name):
    now = time.monotonic_ns()
    seen = streams.get(name)
    if seen is None:
        streams[name] = [1, now, now]
    else:
        seen[0] += 1
        seen[2] = now


class Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        if data.startswith(MARK):
            count(data.split(b" ", 2)[1].decode("ascii", "replace"))
        else:
            self.transport.sendto(data, peer)


class Tcp(asyncio.Protocol):
    """Says its banner and echoes, unless the first line makes it a stream."""

    def __init__(self, banner):
        self.banner = banner
        self.stream = None
        self.begun = False
        self.timer = None

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(self.banner)

    def data_received(self, data):
        if self.stream is not None:
            count(self.stream)
        elif not self.begun and data.startswith(MARK):
            _, name, period = data.split(b"\n", 1)[0].split(b" ")
            self.stream = name.decode("ascii", "replace")
            self.period = int(period) / 1000
            self.next = asyncio.get_running_loop().time()
            count(self.stream)
            self.send()
        else:
            self.begun = True
            self.transport.write(data)

    def send(self):
        # A cut connection must not pile up what it could never send.
        if self.transport.get_write_buffer_size() == 0:
            self.transport.write(MESSAGE)
        self.next += self.period
        self.timer = asyncio.get_running_loop().call_at(self.next, self.send)

    def connection_lost(self, error):
        if self.timer is not None:
            self.timer.cancel()


class Http(asyncio.Protocol):
    def __init__(self, node):
        self.node = node
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
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

    def decide(self, method, path, fields, body):
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

    def answer(self, status, body, close):
        words = {200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Content Too Large"}
        head = f"HTTP/1.1 {status} {words[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += "Connection: close\r\n\r\n" if close else "\r\n"
        self.transport.write(head.encode() + body)
        if close:
            self.transport.close()


class Control(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(json.dumps(streams).encode())
        transport.close()


def bound(kind, address, port):
    """A socket on exactly this address and family; the address may come later (an interface that is still down)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
    if kind != "udp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    return sock


async def serve(plan):
    loop = asyncio.get_running_loop()
    node = plan["node"]
    for kind, port in plan["services"]:
        for address in plan["addresses"]:
            sock = bound(kind, address, port)
            if kind == "udp":
                await loop.create_datagram_endpoint(Udp, sock=sock)
            elif kind == "tcp":
                banner = f"{node} tcp/{port}\r\n".encode()
                await loop.create_server(lambda banner=banner: Tcp(banner), sock=sock, backlog=256)
            else:
                await loop.create_server(lambda: Http(node), sock=sock, backlog=256)
    await loop.create_unix_server(Control, CONTROL)
    open(READY, "w").close()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with open(sys.argv[1]) as plan_file:
        asyncio.run(serve(json.load(plan_file)))
