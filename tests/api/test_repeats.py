"""A server that is killed in the middle of a thousand writes: repeated with their keys, nothing is lost and nothing is there twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import sshsig
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import Event
from orchestrator.service.identity import NAMESPACE
from orchestrator.service.requests import MARK
from tests.api.state_directory import StateOnDisk, cut_off_in
from tests.service.reopening import DOCUMENT, key_of

PEOPLE = ("rssi", "commander", "eng-1", "eng-2")
CLIENTS = 8


@dataclass(frozen=True)
class Write:
    person: str
    path: str
    body: Mapping[str, Any]
    key: str

    @property
    def mark(self) -> str:
        """The first part of what the log keeps of it."""
        return hashlib.sha256(f"{self.person}\n{self.key}".encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    replayed: bool


class Connection(HTTPConnection):
    """To a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("orchestrator", timeout=60)
        self._path = path

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(self._path))
        except OSError:
            made.close()
            raise
        self.sock = made

    def ask(self, path: str, body: Mapping[str, Any], **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **named})
        answer = self.getresponse()
        return Answer(answer.status, json.loads(answer.read()), answer.getheader("Idempotent-Replayed") == "true")


@dataclass
class Sent:
    """What came back, by key; `stop` once so many have been answered."""

    answers: dict[str, Answer] = field(default_factory=dict)
    stop_after: int = 10**9
    reached: threading.Event = field(default_factory=threading.Event)


def write(number: int) -> Write:
    """Every tenth is something else than an entry in the logbook."""
    person = PEOPLE[number % len(PEOPLE)]
    if number % 20 == 7:
        body = {"kind": "cut-verified", "document_sha256": DOCUMENT, "note": f"number {number}"}
        return Write(person, "/v1/evidence", body, f"key-{number}")
    if number % 20 == 17:
        return Write(
            person, "/v1/partners/ready", {"partner": "sister", "ready": number % 40 == 17, "note": f"number {number}"}, f"key-{number}"
        )
    return Write(person, "/v1/logbook", {"text": f"number {number}"}, f"key-{number}")


def log_in(connection: Connection, person: str) -> str:
    challenge = connection.ask("/v1/login/challenge", {"person": person}).body["challenge"]
    signature = sshsig.sign(key_of(person), NAMESPACE, challenge.encode())
    return str(connection.ask("/v1/login", {"person": person, "challenge": challenge, "signature": signature}).body["token"])


def send(state: StateOnDisk, writes: Sequence[Write], sent: Sent) -> None:
    """By several clients at once, until all are answered or the server is gone."""
    with contextlib.closing(Connection(state.socket)) as connection:
        tokens = {person: log_in(connection, person) for person in PEOPLE}

    def work(mine: Sequence[Write]) -> None:
        with contextlib.closing(Connection(state.socket)) as connection:
            for one in mine:
                try:
                    answer = connection.ask(one.path, one.body, Authorization=f"Bearer {tokens[one.person]}", Idempotency_Key=one.key)
                except (OSError, HTTPException):
                    return
                sent.answers[one.key] = answer
                if len(sent.answers) >= sent.stop_after:
                    sent.reached.set()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, [writes[start::CLIENTS] for start in range(CLIENTS)]))


def marked(state: StateOnDisk) -> list[Event]:
    with SqliteLog(state.directory / "log.sqlite", head_file=state.directory / "log.head", read_only=True) as log:
        assert log.broken is None
        return [event for event in log.read() if MARK in event.body]


@pytest.mark.parametrize(("count", "answers_kept"), [(1000, True), (120, False)])
def test_a_server_is_killed_in_the_middle_of_writes_that_are_then_repeated(tmp_path: Path, count: int, answers_kept: bool) -> None:
    state = cut_off_in(tmp_path, PEOPLE)
    writes = [write(number) for number in range(count)]
    before, after = Sent(stop_after=count // 2), Sent()

    with state.serving() as server:
        sending = threading.Thread(target=send, args=(state, writes, before))
        sending.start()
        assert before.reached.wait(120)
        server.kill()
        server.wait(20)
        sending.join(60)
    assert not sending.is_alive()
    assert count // 2 <= len(before.answers) < count, "it was killed in the middle"
    done = {str(event.body[MARK]).partition(":")[0] for event in marked(state)}
    assert {one.mark for one in writes if one.key in before.answers} <= done, "nothing that was answered is lost"

    state.socket.unlink()
    if not answers_kept:
        for file in state.directory.glob("volatile.sqlite*"):
            file.unlink()
    with state.serving():
        send(state, writes, after)

    assert len(after.answers) == count
    assert {answer.status for answer in after.answers.values()} == {201}
    for key, answer in before.answers.items():
        assert after.answers[key] == replace(answer, replayed=True)
    replayed = {one.mark for one in writes if after.answers[one.key].replayed}
    assert replayed == done, "what was in the log was answered from it, the rest was done"
    found = Counter(str(event.body[MARK]).partition(":")[0] for event in marked(state))
    assert found == Counter(one.mark for one in writes), "each of them is in the log once"
    texts = Counter(str(event.body.get("text") or event.body.get("note")) for event in marked(state))
    assert texts == Counter(f"number {number}" for number in range(count))
