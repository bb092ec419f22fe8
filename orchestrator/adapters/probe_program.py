"""The program that asks the questions on a vantage point. Stand-alone, Python 3.9 or later, no library.

Sent over SSH to `python3 -`, with one more line that calls `main` with the questions. All of them are asked at once;
each answer is one line of JSON: {"n": number of the question, "passed": true|false|null, "ms": …, "detail": "…"}.
`null`: nothing can be said (an address that is not ours to bind, a tool that is missing).
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import time
from typing import Any

SAY_WITHIN_S = 0.3  # a service that says nothing first has let the connection through all the same
TimedOut = asyncio.TimeoutError  # another class than TimeoutError before Python 3.11
Question = dict[str, Any]
NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL, errno.EMFILE, errno.ENFILE)


class Failed(Exception):
    """The traffic did not get through, or the answer was not the right one."""


def local(question: Question) -> tuple[str, int] | None:
    source = question.get("source")
    return (source, 0) if source else None


async def connect(question: Question) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(question["destination"], question["port"], local_addr=local(question))


async def tcp(question: Question) -> str:
    reader, writer = await connect(question)
    try:
        writer.write(b"\n")
        said = await asyncio.wait_for(reader.read(1), SAY_WITHIN_S)
        return "connected, answered" if said else "connected, closed by the other end"
    except (TimedOut, OSError):
        return "connected"
    finally:
        writer.close()


class Echo(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


async def udp(question: Question) -> str:
    loop = asyncio.get_running_loop()
    peer = (question["destination"], question["port"])
    transport, echo = await loop.create_datagram_endpoint(Echo, remote_addr=peer, local_addr=local(question))
    try:
        for _ in range(2):  # a datagram may be lost; two in a row are no accident
            transport.sendto(b"probe " + os.urandom(8).hex().encode())
            done, _pending = await asyncio.wait([echo.answer], timeout=question["timeout_s"] / 2)
            if done:
                return f"echoed {len(echo.answer.result())} bytes"
        raise TimedOut
    finally:
        transport.close()


async def icmp(question: Question) -> str:
    """An echo request from an unprivileged ping socket; where the kernel grants none, the `ping` of the host."""
    six = ":" in question["destination"]
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
    except OSError:
        return await ping(question)
    with sock:
        sock.setblocking(False)
        if question.get("source"):
            sock.bind((question["source"], 0))
        sock.connect((question["destination"], 0))
        sock.send(struct.pack("!BBHHH", 128 if six else 8, 0, 0, 0, 1) + b"probe")
        await asyncio.get_running_loop().sock_recv(sock, 1024)
    return "echo reply"


async def ping(question: Question) -> str:
    command = ["ping", "-n", "-q", "-c", "1", "-W", str(max(1, round(question["timeout_s"])))]
    if question.get("source"):
        command += ["-I", question["source"]]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, question["destination"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise OSError(errno.EINVAL, "this host can send no echo request") from None
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    if status == 1:
        raise Failed("no echo reply")
    if status:
        raise Failed(f"ping failed with status {status}")
    return "echo reply"


async def request(question: Question, method: str, path: str, body: bytes = b"", **fields: str) -> tuple[int, bytes]:
    """One HTTP/1.1 request on a connection of its own; returns status and body."""
    reader, writer = await connect(question)
    host = f"[{question['destination']}]" if ":" in question["destination"] else question["destination"]
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields.items()] + ["", ""]
    try:
        writer.write("\r\n".join(lines).encode() + body)
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), rest
    except (IndexError, ValueError):
        raise Failed("connected, but the answer was not HTTP") from None


async def http(question: Question) -> str:
    status, _ = await request(question, "GET", question.get("path") or "/")
    if status != 200:
        raise Failed(f"status {status}")
    return "status 200"


async def transaction(question: Question) -> str:
    """`path` says which: an image is stored and fetched again; else one logs in and opens a record."""
    path = question.get("path") or "/"
    if "image" in path:
        name, picture = "/image/probe-" + os.urandom(4).hex(), os.urandom(2048)
        status, _ = await request(question, "PUT", name, picture)
        if status not in (200, 201, 204):
            raise Failed(f"storing the image: status {status}")
        status, fetched = await request(question, "GET", name)
        if status != 200 or fetched != picture:
            raise Failed(f"the image that came back is not the one that was sent (status {status})")
        return "image stored and fetched"
    status, body = await request(question, "POST", "/login")
    if status != 200:
        raise Failed(f"log-in: status {status}")
    token = json.loads(body)["token"]
    status, _ = await request(question, "GET", path if path.startswith("/record/") else "/record/42", Authorization="Bearer " + token)
    if status != 200:
        raise Failed(f"opening the record: status {status}")
    return "logged in, record opened"


KINDS = {"tcp": tcp, "udp": udp, "icmp": icmp, "http": http, "transaction": transaction}


async def ask(number: int, question: Question) -> None:
    passed: bool | None
    started = time.monotonic()
    try:
        detail = await asyncio.wait_for(KINDS[question["kind"]](question), question["timeout_s"])
        passed = True
    except TimedOut:
        passed, detail = False, f"no answer within {question['timeout_s']:g} s"
    except Failed as failure:
        passed, detail = False, str(failure)
    except OSError as failure:
        passed = None if failure.errno in NOT_OURS else False
        detail = os.strerror(failure.errno).lower() if failure.errno else str(failure)
    except Exception as failure:
        passed, detail = None, f"{type(failure).__name__}: {failure}"
    answer = {"n": number, "passed": passed, "ms": round(1000 * (time.monotonic() - started), 1), "detail": detail}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def ask_all(questions: list[Question]) -> None:
    await asyncio.gather(*(ask(number, question) for number, question in enumerate(questions)))


def main(questions: list[Question]) -> None:
    asyncio.run(ask_all(questions))
