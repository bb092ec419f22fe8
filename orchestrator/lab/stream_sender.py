"""Sends streams from one node of the rehearsal hospital. Stand-alone: `python3 -I -S stream_sender.py`, plan on stdin.

The first line of standard input is JSON: {"control": path of a UNIX socket, "period_ms", "streams":
[{"name", "kind", "address", "port"}, …]}. It sends until standard input ends (its starter stops, or dies).

udp   a datagram `STREAM <name> <number>` every period; the responder counts them and never answers
tcp   one connection; after the line `STREAM <name> <period>` a message every period, both ways; ours are counted here
Whoever connects to the control socket is told {name: [count, first, last]} of what came back, monotonic nanoseconds.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import sys
import time
from contextlib import suppress
from typing import Any, cast

MESSAGE = b"." * 32
RETRY_S = 0.2

received: dict[str, list[int]] = {}


class Back(asyncio.Protocol):
    """The near end of a TCP stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, _: bytes) -> None:
        now = time.monotonic_ns()
        seen = received.setdefault(self.name, [0, now, now])
        seen[0] += 1
        seen[2] = now

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False


class Control(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(json.dumps(received).encode())
        transport.close()


class Sender:
    """All streams of this node, on one clock: a wake-up per stream would cost more than the packets."""

    def __init__(self, streams: list[dict[str, Any]], period_ms: int) -> None:
        self.period_ms = period_ms
        self.datagrams: list[tuple[socket.socket, bytes, tuple[str, int]]] = []
        self.connections: list[Back] = []
        self.connecting: set[asyncio.Task[None]] = set()
        for stream in streams:
            if stream["kind"] == "udp":
                family = socket.AF_INET6 if ":" in stream["address"] else socket.AF_INET
                sock = socket.socket(family, socket.SOCK_DGRAM)
                sock.setblocking(False)
                self.datagrams.append((sock, f"STREAM {stream['name']} ".encode(), (stream["address"], stream["port"])))
            else:
                self.connecting.add(asyncio.get_running_loop().create_task(self.connect(stream)))

    async def connect(self, stream: dict[str, Any]) -> None:
        """One connection, tried until it stands; when it dies the stream is over: an established session is what counts."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, protocol = await loop.create_connection(lambda: Back(stream["name"]), stream["address"], stream["port"])
                break
            except OSError:
                await asyncio.sleep(RETRY_S)
        protocol.transport.write(f"STREAM {stream['name']} {self.period_ms}\n".encode())
        self.connections.append(protocol)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        # All senders of the machine tick together: packets then travel in batches, which leaves the processors to others.
        period = self.period_ms / 1000
        start, number = math.ceil(loop.time() / period) * period, 0
        await asyncio.sleep(start - loop.time())
        while True:
            tail = str(number).encode()
            for sock, head, target in self.datagrams:
                # Refusals and missing routes are what is being measured: go on sending.
                with suppress(OSError):
                    sock.sendto(head + tail, target)
            for connection in self.connections:
                if connection.open and connection.transport.get_write_buffer_size() == 0:
                    connection.transport.write(MESSAGE)
            number += 1
            await asyncio.sleep(start + number * period - loop.time())


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    plan = json.loads(await reader.readline())
    await loop.create_unix_server(Control, plan["control"])
    sender = Sender(plan["streams"], plan["period_ms"])
    sending = loop.create_task(sender.run())
    await reader.read()
    sending.cancel()


if __name__ == "__main__":
    asyncio.run(main())
