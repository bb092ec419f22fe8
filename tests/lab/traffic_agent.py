"""Makes and counts real traffic inside one namespace; driven by JSON lines on standard input (standard library only).

Commands (one JSON list a line; one JSON value a line comes back):
["serve", port]            TCP echo and UDP counting on the port, both families
["connect", address, port] opens a TCP connection that stays: an id, or null after 0.5 s
["reach", [[address, port]…]]  whether new TCP connections come about, all tried at once, within 0.5 s
["alive", id]              whether an echo comes back on it within 0.5 s
["stream", address, port]  starts one-way UDP, a datagram every 10 ms, for ever
["counts", port]           datagrams received on the port, by source address
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

counts: dict[int, Counter[str]] = {}
connections: list[socket.socket] = []


def serve(port: int) -> bool:
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", port))
    counts[port] = Counter()
    threading.Thread(target=_accept, args=(tcp,), daemon=True).start()
    threading.Thread(target=_count, args=(udp, counts[port]), daemon=True).start()
    return True


def _accept(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=_echo, args=(listener.accept()[0],), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := connection.recv(4096):
            connection.sendall(data)


def _count(receiver: socket.socket, counted: Counter[str]) -> None:
    while True:
        counted[receiver.recvfrom(2048)[1][0].removeprefix("::ffff:")] += 1


def connect(address: str, port: int) -> int | None:
    try:
        connections.append(socket.create_connection((address, port), timeout=0.5))
    except OSError:
        return None
    return len(connections) - 1


def reach(ends: list[tuple[str, int]]) -> list[bool]:
    waiting: dict[int, socket.socket] = {}
    for number, (address, port) in enumerate(ends):
        waiting[number] = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        waiting[number].setblocking(False)
        waiting[number].connect_ex((address, port))
    reached = [False] * len(ends)
    given_up = time.monotonic() + 0.5
    while waiting and time.monotonic() < given_up:
        _, ready, _ = select.select([], list(waiting.values()), [], max(0.0, given_up - time.monotonic()))
        for number in [number for number, end in waiting.items() if end in ready]:
            reached[number] = waiting[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            waiting.pop(number).close()
    for end in waiting.values():
        end.close()
    return reached


def alive(identifier: int) -> bool:
    connection = connections[identifier]
    token = f"{time.monotonic_ns()}\n".encode()
    given_up = time.monotonic() + 0.5
    received = b""
    try:
        connection.sendall(token)
        while token not in received:
            ready, _, _ = select.select([connection], [], [], max(0.0, given_up - time.monotonic()))
            if not ready:
                return False
            data = connection.recv(4096)
            if not data:
                return False
            received += data
    except OSError:
        return False
    return True


def stream(address: str, port: int) -> bool:
    sender = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    threading.Thread(target=_send, args=(sender, (address, port)), daemon=True).start()
    return True


def _send(sender: socket.socket, to: tuple[str, int]) -> None:
    while True:
        with contextlib.suppress(OSError):  # no route or no neighbour just now: that is what being cut looks like
            sender.sendto(b"one-way", to)
        time.sleep(0.01)


if __name__ == "__main__":
    commands: dict[str, Callable[..., object]] = {
        "serve": serve,
        "connect": connect,
        "reach": reach,
        "alive": alive,
        "stream": stream,
        "counts": lambda port: dict(counts[port]),
    }
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(commands[name](*arguments)), flush=True)
