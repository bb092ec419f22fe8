"""Servers and commands on a log in PostgreSQL, each a process of its own: two servers on two machines, and the emergency command
when the database is away."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.adapters import sshsig
from orchestrator.adapters.postgres_log import PostgresLog
from orchestrator.adapters.spool import Spool
from orchestrator.domain.events import EventType
from orchestrator.domain.statement import NAMESPACE as VOTES
from orchestrator.service.identity import NAMESPACE
from orchestrator.settings import StateDirectory
from orchestrator.simulation.store import StoredHospital
from tests.api.state_directory import ROOT, StateOnDisk, cut_off_in
from tests.cli.test_cutoff_cli import Desk
from tests.postgres_server import PostgresServer, postgres_server
from tests.service.reopening import key_of, valmont

STAGE = "P0-lifelines"
PEOPLE = ("eng-1", "eng-2", "commander", "auditor")
WAIT_S = 60.0


def until(what: Callable[[], object]) -> None:
    give_up = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < give_up, "it did not come to that"
        time.sleep(0.05)


@dataclass
class Machine:
    """A machine with a server of its own."""

    name: str
    state: StateOnDisk
    process: subprocess.Popen[str]
    http: httpx.Client
    tokens: dict[str, str] = field(default_factory=dict)

    def login(self, person: str) -> None:
        challenge = self.http.post("/v1/login/challenge", json={"person": person}).json()["challenge"]
        signature = sshsig.sign(key_of(person), NAMESPACE, challenge.encode())
        answer = self.http.post("/v1/login", json={"person": person, "challenge": challenge, "signature": signature})
        self.tokens[person] = answer.json()["token"]

    def get(self, person: str, path: str) -> Any:
        answer = self.http.get(path, headers={"Authorization": f"Bearer {self.tokens[person]}"})
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, person: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return self.http.post(path, headers={"Authorization": f"Bearer {self.tokens[person]}"}, json=body or {})

    def vote(self, person: str) -> httpx.Response:
        statement = self.get(person, f"/v1/stages/{STAGE}/vote-statement?choice=approve")["statement"]
        signed = {"statement": statement, "signature": sshsig.sign(key_of(person), VOTES, statement.encode())}
        return self.post(person, f"/v1/stages/{STAGE}/votes", signed)

    def events(self) -> list[tuple[int, str]]:
        """All of them, as this server tells them: number and hash."""
        told: list[tuple[int, str]] = []
        while page := self.get("auditor", f"/v1/events?after={len(told) - 1}&limit=200")["events"]:
            told += [(event["seq"], event["hash"]) for event in page]
        return told

    @property
    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/v1/health").json()
        return found


@contextmanager
def serving(name: str, state: StateOnDisk) -> Iterator[Machine]:
    command = [sys.executable, "-m", "orchestrator", "serve", "--name", name]
    process = subprocess.Popen(command, cwd=ROOT, env=state.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: state.socket.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        with httpx.Client(base_url="http://orchestrator", transport=httpx.HTTPTransport(uds=str(state.socket)), timeout=60) as http:
            yield Machine(name, state, process, http)
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """Of this test, which stops it."""
    with postgres_server() as server:
        yield server


def two_machines(tmp_path: Path, log: str) -> tuple[StateOnDisk, StateOnDisk]:
    """The second one was made from the first: the same keys and `log.head`; one hospital."""
    (tmp_path / "alpha").mkdir(mode=0o700)
    first = cut_off_in(tmp_path / "alpha", PEOPLE, log=log, ready=STAGE)
    shutil.copytree(first.directory, tmp_path / "beta")
    return first, StateOnDisk(tmp_path / "beta", log, first.directory / "hospital.json")


def write(machines: Sequence[Machine], texts: Sequence[str]) -> None:
    """These entries into the logbook, at once, each at the next machine; every one was acknowledged."""
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(
            lambda pair: pair[1].post("eng-1", "/v1/logbook", {"text": pair[0]}),
            [(text, machines[number % len(machines)]) for number, text in enumerate(texts)],
        )
    assert [answer.text for answer in answers if answer.status_code != 201] == []


def test_two_servers_one_order_a_restart_of_postgresql_and_a_death(own_server: PostgresServer, tmp_path: Path) -> None:
    with own_server.database() as url, ExitStack() as stack:
        first, second = two_machines(tmp_path, url)
        alpha = stack.enter_context(serving("alpha", first))
        until(lambda: alpha.health["acts"])
        beta = stack.enter_context(serving("beta", second))
        for machine in (alpha, beta):
            for person in PEOPLE:
                machine.login(person)
        assert (beta.health["acts"], beta.health["acting"]) == (False, "alpha")

        written = [f"before {number}" for number in range(16)]
        write([alpha, beta], written)
        assert alpha.events() == beta.events()

        # A stage that is planned at one and voted on at the other; only the one that acts sends anything.
        assert alpha.post("eng-1", f"/v1/stages/{STAGE}/plan").status_code == 201
        assert beta.vote("eng-2").status_code == 201
        assert alpha.vote("commander").json()["state"] == "approved"
        assert beta.get("auditor", f"/v1/stages/{STAGE}")["state"] == "approved"
        refused = beta.post("eng-1", f"/v1/stages/{STAGE}/apply")
        assert refused.json()["rule"] == "another-server-acts"

        # PostgreSQL restarts while people write at both.
        own_server.end()
        during = [f"during {number}" for number in range(8)]
        with ThreadPoolExecutor(1) as writing:
            written_then = writing.submit(write, [alpha, beta], during)
            own_server.start()
            written_then.result(WAIT_S)
        assert alpha.events() == beta.events()
        assert (alpha.health["acts"], beta.health["acting"]) == (True, "alpha"), "who acts did not change"

        assert alpha.post("eng-1", f"/v1/stages/{STAGE}/apply").status_code == 202
        until(lambda: beta.get("auditor", f"/v1/stages/{STAGE}")["state"] in ("observing", "open"))

        alpha.process.kill()
        alpha.process.wait(20)
        until(lambda: beta.health["acts"])
        write([beta], ["after it died"])
        assert beta.post("eng-2", f"/v1/stages/{STAGE}/revert", {}).status_code == 202
        until(lambda: beta.get("auditor", f"/v1/stages/{STAGE}")["state"] == "reverted")

        done = second.orchestrator("audit", "log", "--json")
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        texts = [event["body"]["text"] for event in events if event["type"] == EventType.LOGBOOK_ENTERED and event["actor"] == "eng-1"]
        assert sorted(texts) == sorted([*written, *during, "after it died"]), "everything acknowledged is there, once"
        acted = [event["body"]["server"] for event in events if event["type"] == EventType.SERVER_ACTS]
        assert acted == ["alpha", "beta"]
        status = json.loads(second.orchestrator("status", "--json").stdout)
        assert (status["posture_from"], status["stages"][STAGE], status["server"]) == ("log", "reverted", "beta")


def test_the_commands_find_the_log_without_being_told_again(database: str, tmp_path: Path) -> None:
    """Somebody types `cutoff`, `status`, `audit` at night, in a shell that knows nothing of PostgreSQL."""
    told = cut_off_in(tmp_path, ("eng-1",), log=database)
    with serving("alpha", told):
        pass
    untold = StateOnDisk(tmp_path)
    export = untold.orchestrator("audit", "export", "--out", str(tmp_path / "export"))
    assert export.returncode == 0, export.stderr
    with PostgresLog(database, tmp_path / "log.head") as log:
        exported = [json.loads(line)["hash"] for line in (tmp_path / "export" / "events.jsonl").read_text().splitlines()]
        assert exported == [event.hash for event in log.read()]
    status = json.loads(untold.orchestrator("status", "--json").stdout)
    assert (status["posture"], status["posture_from"]) == ("isolated", "log")
    assert not (tmp_path / "log.sqlite").exists()
    assert (tmp_path / "log.location").read_text() == f"{database}\n"


def test_a_log_that_is_away_or_wrongly_named_is_said_and_no_other_one_is_begun(tmp_path: Path) -> None:
    for log, words in (
        (f"postgresql://writer@/log?host={tmp_path}", "is PostgreSQL running"),
        ("postgresql://writer:s3cret@db.example/log", "holds a password"),
        ("mysql://db.example/log", "ORCHESTRATOR_LOG is postgresql://"),
    ):
        state = StateOnDisk(tmp_path, log)
        done = state.orchestrator("serve")
        assert done.returncode != 0
        assert words in done.stderr
        assert "s3cret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    status = StateOnDisk(tmp_path, f"postgresql://writer@/log?host={tmp_path}").orchestrator("status")
    assert status.returncode == 0
    assert "cannot be read" in status.stdout
    assert not (tmp_path / "log.sqlite").exists()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "state").mkdir(mode=0o700)
    return Desk(tmp_path)


def is_cut(desk: Desk) -> bool:
    """Whether every device of the profile has its layer."""
    with StoredHospital(valmont()[0], Path(desk.environment["ORCHESTRATOR_SIMULATION"])).opened() as hospital:
        return sum(1 for machine in hospital.machines.values() if machine.slots) >= 3


class BlackHole:
    """Takes connections and never answers. `left`: whether the hospital was cut when who had connected gave up."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.left: list[bool] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://writer@127.0.0.1:{self._listening.getsockname()[1]}/log?connect_timeout=60"
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        with ExitStack() as stack:
            while True:
                try:
                    client, _ = self._listening.accept()
                except OSError:
                    return
                stack.enter_context(client)
                while client.recv(4096):  # until who asks gives up
                    continue
                self.left.append(is_cut(self._desk))

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._listening.close()


def test_a_database_that_swallows_everything_delays_no_cut(desk: Desk) -> None:
    """It may hold whoever asks it for a minute; long before, every device is cut, and the events are in the spool."""
    hole = BlackHole(desk)
    try:
        desk.environment["ORCHESTRATOR_LOG"] = hole.url
        done = desk.run("cutoff", "--json")
        verdict = json.loads(done.stdout)
        assert verdict["verified"], done.stderr
        assert verdict["recorded"] == "spool"
    finally:
        hole.close()
    assert hole.left, "the database was asked"
    assert all(hole.left), "the cut waited for the database"
    assert Spool(desk.state.spool, desk.state.spool_fallback).holds_something()


def test_a_cut_is_in_the_log_or_in_the_spool_and_comes_into_the_log_once(desk: Desk, own_server: PostgresServer) -> None:
    with own_server.database() as url:
        PostgresLog(url, desk.state.log_head).close()
        desk.environment["ORCHESTRATOR_LOG"] = url
        first = json.loads(desk.run("cutoff", "--json").stdout)
        assert (first["verified"], first["recorded"]) == (True, "log")
        own_server.end()
        try:
            second = json.loads(desk.run("cutoff", "--json").stdout)
            assert (second["verified"], second["recorded"]) == (True, "spool")
        finally:
            own_server.start()
        with PostgresLog(url, desk.state.log_head) as log:
            Spool(desk.state.spool, desk.state.spool_fallback).merge_into(log)
            events = list(log.read())
    for verdict in (first, second):
        of_it = [event for event in events if event.body.get("epoch") == verdict["epoch"]]
        names = [(event.type, event.device) for event in of_it]
        assert len(names) == len(set(names)), "nothing twice"
        assert sum(1 for type_, _ in names if type_ is EventType.CUTOFF_ORDERED) == 1
        assert {device for type_, device in names if type_ is EventType.CUTOFF_APPLIED} == {d["device"] for d in verdict["devices"]}
    assert desk.status()["posture"] == "isolated"
    assert StateDirectory(desk.state.root).log.exists() is False
