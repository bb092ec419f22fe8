"""The two ends of the streams: `cutoff_streams.py send FILE` and `cutoff_streams.py receive PORT`. Stand-alone.

One datagram to each address of FILE every 10 ms, its index inside. The receiver keeps when the last one of each index
came (monotonic nanoseconds, the same clock in every namespace) and answers a line on standard input with all of them;
the line `forget` clears them.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from pathlib import Path

PERIOD_S = 0.01


def send(file: str) -> None:
    targets = json.loads(Path(file).read_text())
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams = [(struct.pack("!I", index), tuple(target)) for index, target in enumerate(targets)]
    following = time.monotonic()
    while True:
        for data, target in datagrams:
            try:
                sock.sendto(data, target)
            except OSError:
                continue  # a neighbour that is not resolved yet
        following += PERIOD_S
        time.sleep(max(0.0, following - time.monotonic()))


def receive(port: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind(("0.0.0.0", int(port)))
    last: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sock:
                last[struct.unpack("!I", sock.recv(4))[0]] = time.monotonic_ns()
                continue
            line = sys.stdin.readline()
            if not line:
                return
            if line.strip() == "forget":
                last.clear()
            print(json.dumps(last), flush=True)


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]](sys.argv[2])
