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
    if status != question.get("status", 200):
        raise Failed(f"status {status}")
    return f"status {status}"


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


async def tls(question: Question) -> str:
    """The certificate is valid now, for the name, by somebody who is trusted; else the names that it does have are told."""
    import ssl

    try:
        context = ssl.create_default_context(cadata=question.get("ca") or None)
    except ssl.SSLError:
        raise ValueError("the authority's certificate cannot be read") from None  # our fault says nothing of the traffic
    try:
        _, writer = await handshake(question, context)
    except ssl.SSLCertVerificationError as failure:
        presented = await presented_names(question)
        raise Failed(f"{failure.verify_message.rstrip('.')}; it is for {presented}") from None
    except ssl.SSLError as failure:
        raise Failed(f"connected, but no TLS: {failure.reason or failure}") from None
    certificate = writer.get_extra_info("peercert") or {}
    writer.transport.abort()
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return f"certificate for {', '.join(names)}, until {certificate.get('notAfter')}"


async def handshake(question: Question, context: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        question["destination"], question["port"], local_addr=local(question), ssl=context, server_hostname=question["name"]
    )


async def presented_names(question: Question) -> str:
    """The names in a certificate that was not believed, for people: nothing is decided by them."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await handshake(question, context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return ", ".join(alternative_names(der)) or "no name at all"
    except (OSError, IndexError):
        return "names that cannot be read"


def alternative_names(der: bytes) -> list[str]:
    """The DNS names of the extension subjectAltName (RFC 5280): found by its identifier, without reading the rest."""
    _, found, rest = der.partition(b"\x06\x03\x55\x1d\x11")
    names: list[str] = []
    if not found:
        return names
    for _ in range(2):  # an OCTET STRING with a SEQUENCE in it
        _, rest = der_value(rest)
    while rest:
        begins, name = der_value(rest)
        if rest[0] == 0x82:  # dNSName
            names.append(name.decode("ascii", "replace"))
        rest = rest[begins + len(name) :]
    return names


def der_value(data: bytes) -> tuple[int, bytes]:
    """(where the value begins, the value) of the first thing in `data`."""
    length, begins = data[1], 2
    if length & 0x80:
        begins += length & 0x7F
        length = int.from_bytes(data[2:begins], "big")
    return begins, data[begins : begins + length]


RECORDS = {"A": 1, "AAAA": 28, "TXT": 16}
ANSWERS = {0: "no such record", 1: "format error", 2: "server failure", 3: "no such name", 5: "refused"}


async def dns(question: Question) -> str:
    """One query with recursion desired (RFC 1035); what counts as passing is said by `dns` of the question."""
    wanted, name = question.get("dns", "resolves"), question["name"].rstrip(".")
    if wanted == "tunnels":
        name = os.urandom(12).hex() + "." + name
    code, authoritative, answers = await resolve(question, name, RECORDS[question.get("record", "A")])
    said = "answered" if code == 0 and answers else ANSWERS.get(code, f"code {code}")
    if wanted == "tunnels":
        # "No such name" was learnt outside, unless the server says so by its own authority: the query got there.
        if code in (0, 3) and not authoritative:
            return f"the query left: {said}"
        raise Failed(f"the query did not leave: {said}{', by its own authority' if authoritative else ''}")
    if wanted == "resolves" and question.get("negative"):
        return said  # any answer at all got through
    if wanted == "refused":
        if code == 5:
            return "refused"
        raise Failed(f"not refused: {said}")
    if code == 0 and answers:
        return f"answered, {answers} records"
    raise Failed(said)


async def resolve(question: Question, name: str, kind: int) -> tuple[int, bool, int]:
    """(response code, whether by the server's own authority, how many answers of the kind)."""
    number = os.urandom(2)
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"
    query = number + b"\x01\x00" + struct.pack("!4H", 1, 0, 0, 0) + labels + struct.pack("!2H", kind, 1)
    loop = asyncio.get_running_loop()
    peer = (question["destination"], question["port"])
    transport, echo = await loop.create_datagram_endpoint(Echo, remote_addr=peer, local_addr=local(question))
    try:
        for _ in range(2):
            transport.sendto(query)
            done, _pending = await asyncio.wait([echo.answer], timeout=question["timeout_s"] / 2)
            if done:
                return read_response(echo.answer.result(), query, kind)
        raise TimedOut
    finally:
        transport.close()


def read_response(data: bytes, query: bytes, kind: int) -> tuple[int, bool, int]:
    if len(data) < len(query) or data[:2] != query[:2] or not data[2] & 0x80 or data[12 : len(query)].lower() != query[12:].lower():
        raise Failed("the answer is not one to this question")
    count, at, found = struct.unpack("!H", data[6:8])[0], len(query), 0
    try:
        for _ in range(count):
            while data[at] and data[at] < 0xC0:
                at += data[at] + 1
            at += 2 if data[at] else 1
            its_kind, length = struct.unpack("!H", data[at : at + 2])[0], struct.unpack("!H", data[at + 8 : at + 10])[0]
            at += 10 + length
            found += its_kind == kind
    except (IndexError, struct.error):
        raise Failed("the answer is cut short") from None
    return data[3] & 0x0F, bool(data[2] & 0x04), found


KINDS = {"tcp": tcp, "udp": udp, "icmp": icmp, "http": http, "transaction": transaction, "tls": tls, "dns": dns}
BY_CONNECTION = ("http", "transaction", "tls")


async def ask(number: int, question: Question) -> None:
    passed: bool | None
    started = time.monotonic()
    try:
        kind = question["kind"]
        if question.get("negative") and kind in BY_CONNECTION:
            kind = "tcp"  # a wrong page or certificate is no proof that nothing gets through
        detail = await asyncio.wait_for(KINDS[kind](question), question["timeout_s"])
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
