"""What only the log in PostgreSQL promises: to several machines, over restarts, against rights and against whoever owns it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.adapters.postgres_lease import PostgresLease
from orchestrator.adapters.postgres_log import PostgresLog
from orchestrator.adapters.postgres_schema import setup
from orchestrator.adapters.postgres_volatile import PostgresVolatile
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain import merkle
from orchestrator.domain.events import EMPTY_HEAD, EventType, NewEvent
from orchestrator.errors import InputError, LogBroken, LogUnavailable, Stale, UsageError
from tests.contract.test_log import AT, said
from tests.postgres_server import PostgresServer, postgres_server

ROOT = Path(__file__).parents[2]
REST = "hash, previous, at, type, actor, stage, device, body"
NOT_THEIRS = (
    "UPDATE orchestrator.events SET actor = 'mallory'",
    "DELETE FROM orchestrator.events",
    "TRUNCATE orchestrator.events",
    "DROP TABLE orchestrator.events",
    "ALTER TABLE orchestrator.events DISABLE TRIGGER USER",
)


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """For tests that stop it: the others keep theirs. They leave it running."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def restarted(own_server: PostgresServer) -> Iterator[str]:
    with own_server.database() as url:
        yield url


@pytest.fixture
def seven(database: str, tmp_path: Path) -> str:
    with PostgresLog(database, tmp_path / "log.head") as log:
        log.append([said(number) for number in range(7)])
    return database


def tamper(url: str, *statements: str) -> None:
    """What the owner of the tables can do: the triggers go first."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE orchestrator.events DISABLE TRIGGER USER")
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute("ALTER TABLE orchestrator.events ENABLE TRIGGER USER")


def test_two_machines_see_one_order_and_each_keeps_its_head(database: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.head", tmp_path / "second.head"
    with PostgresLog(database, first) as one, PostgresLog(database, second) as other:
        one.append([said(0)], expected=0)
        with pytest.raises(Stale):
            other.append([said(1)], expected=0)
        assert other.append([said(1)], expected=1).size == 2
        assert [event.body["number"] for event in one.read()] == [0, 1]
        assert one.head() == other.head()
    assert first.read_text() == second.read_text()


def test_it_is_what_the_other_durable_log_would_be(database: str, tmp_path: Path) -> None:
    """The same events have the same hashes: a log can be moved from one to the other, and its head stays."""
    with SqliteLog(tmp_path / "log.sqlite") as file, PostgresLog(database, tmp_path / "other.head") as server:
        file.append([said(0, text="hôpital \u2028 \x00 🏥"), said(1)])
        server.append(list(file.read()))
        assert list(server.read()) == list(file.read())
        assert server.head() == file.head()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orchestrator.events SET actor = 'mallory' WHERE seq = 3",
        "DELETE FROM orchestrator.events WHERE seq = 6",
        "TRUNCATE orchestrator.events",
        f"INSERT INTO orchestrator.events SELECT 9, {REST} FROM orchestrator.events WHERE seq = 3",
        f"INSERT INTO orchestrator.events SELECT 7, {REST} FROM orchestrator.events WHERE seq = 3",
    ],
)
def test_sql_cannot_change_it_by_mistake(seven: str, statement: str) -> None:
    with psycopg.connect(seven) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE orchestrator.events SET actor = 'mallory' WHERE seq = 3", 3),
        ("UPDATE orchestrator.events SET body = body || ' ' WHERE seq = 3", 3),
        ("UPDATE orchestrator.events SET stage = 'P1' WHERE seq = 5", 5),
        ("UPDATE orchestrator.events SET hash = upper(hash) WHERE seq = 2", 2),
        ("DELETE FROM orchestrator.events WHERE seq = 2", 2),
        ("DELETE FROM orchestrator.events WHERE seq = 6", 6),
        ("DELETE FROM orchestrator.events", 0),
    ],
)
def test_what_its_owner_changed_is_found_and_named(seven: str, tmp_path: Path, statement: str, place: int) -> None:
    tamper(seven, statement)
    with pytest.raises(LogBroken) as caught:
        PostgresLog(seven, tmp_path / "log.head")
    assert caught.value.seq == place
    with PostgresLog(seven, tmp_path / "log.head", read_only=True) as broken:
        assert broken.broken is not None
        assert broken.broken.seq == place
        assert broken.head().size == place
        with pytest.raises(LogUnavailable):
            broken.append([said(8)])


def test_a_rewritten_log_fits_no_head_and_a_machine_without_one_is_not_let_in(seven: str, tmp_path: Path) -> None:
    tamper(seven, "DELETE FROM orchestrator.events")
    with PostgresLog(seven, tmp_path / "mallory.head") as forged:
        forged.append([said(number) for number in (0, 1, 2, 99, 4, 5, 6)])
    with pytest.raises(LogBroken, match=r"log\.head"):
        PostgresLog(seven, tmp_path / "log.head")
    with pytest.raises(LogBroken, match="missing") as caught:
        PostgresLog(seven, tmp_path / "new" / "log.head")
    assert "copy log.head" in caught.value.advice


def test_a_backup_that_is_put_back_under_a_running_server_is_found_at_its_next_word(database: str, tmp_path: Path) -> None:
    with PostgresLog(database, tmp_path / "log.head") as log:
        log.append([said(number) for number in range(5)])
        tamper(database, "DELETE FROM orchestrator.events WHERE seq >= 3")
        with pytest.raises(LogBroken, match="lost events") as caught:
            log.append([said(9)])
        assert caught.value.seq == 4
        with pytest.raises(LogBroken, match="lost events"):
            log.head()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM orchestrator.events").fetchone() == (3,), "nothing was written to it"


def test_the_writing_role_reads_and_inserts_and_no_more(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    writer = postgres.url(str(name), "orchestrator_writer")
    postgres.execute(str(name), "CREATE ROLE orchestrator_writer LOGIN")
    try:
        with pytest.raises(LogUnavailable, match="no tables") as caught:
            PostgresLog(writer, tmp_path / "log.head")
        assert "audit schema" in caught.value.advice
        postgres.execute(str(name), *setup("orchestrator_writer").removeprefix("BEGIN;\n").removesuffix("COMMIT;\n").split(";\n\n"))
        with PostgresLog(writer, tmp_path / "log.head") as log:
            assert log.append([said(0)]).size == 1
        lease, volatile = PostgresLease(writer), PostgresVolatile(writer)
        held = lease.acquire("a", None)
        assert held is not None
        assert lease.renew(held) is not None
        volatile.close()
        lease.close()
        with psycopg.connect(writer, autocommit=True) as connection:
            for statement in NOT_THEIRS:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
    finally:
        postgres.execute(str(name), "DROP OWNED BY orchestrator_writer", "DROP ROLE orchestrator_writer")


def test_an_account_that_may_only_read_is_told_so(postgres: PostgresServer, seven: str, tmp_path: Path) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(seven)["dbname"])
    postgres.execute(name, "CREATE ROLE orchestrator_reader LOGIN", "GRANT USAGE ON SCHEMA orchestrator TO orchestrator_reader",
                     "GRANT SELECT ON orchestrator.events TO orchestrator_reader")  # fmt: skip
    try:
        with PostgresLog(postgres.url(name, "orchestrator_reader"), tmp_path / "log.head") as log:
            with pytest.raises(LogUnavailable, match="permission denied") as caught:
                log.append([said(7)])
            assert "audit schema" in caught.value.advice
            assert log.head().size == 7
    finally:
        postgres.execute(name, "DROP OWNED BY orchestrator_reader", "DROP ROLE orchestrator_reader")


def test_two_that_start_at_once_make_the_tables_once(database: str, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def begin(number: int) -> None:
        try:
            with PostgresLog(database, tmp_path / f"{number}.head") as log:
                log.append([said(number)])
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # A server that finds events of another one without having a head of its own is told so; no table was made twice.
    assert all(isinstance(failure, LogBroken) and "missing" in str(failure) for failure in failures), failures
    with PostgresLog(database, tmp_path / "x" / "log.head", read_only=True) as log:
        assert log.head().size == 4 - len(failures)


def test_a_text_that_postgresql_cannot_keep_is_refused_and_nothing_is_written(database: str, tmp_path: Path) -> None:
    with PostgresLog(database, tmp_path / "log.head") as log:
        with pytest.raises(InputError, match="NUL"):
            log.append([said(0), NewEvent(EventType.LOGBOOK_ENTERED, AT, "al\0ice", {})])
        assert log.head() == EMPTY_HEAD
        assert log.append([said(0)]).size == 1


# Other processes, and PostgreSQL going away

WRITER = """
import sys
from pathlib import Path
from orchestrator.adapters.postgres_log import PostgresLog
from orchestrator.domain.events import EventType, NewEvent
log = PostgresLog(sys.argv[1], Path(sys.argv[2]), busy_timeout_s=30, restart_s=60)
for number in range(int(sys.argv[4])):
    body = {"writer": sys.argv[3], "number": number}
    head = log.append([NewEvent(EventType.LOGBOOK_ENTERED, "2026-06-23T21:04:05.123Z", "alice", body)] * 2)
    print(number, head.size, head.root, flush=True)
"""


def _writer(url: str, head: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, str(head), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _empty(url: str, *heads: Path) -> None:
    for head in heads:
        PostgresLog(url, head).close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_writers_on_two_machines_live_through_restarts_and_nothing_is_lost_or_twice(
    own_server: PostgresServer, restarted: str, tmp_path: Path, how: signal.Signals
) -> None:
    """Each append is there once: also those whose answer was lost because PostgreSQL went away in the middle of the commit."""
    heads = (tmp_path / "a.head", tmp_path / "b.head")
    _empty(restarted, *heads)
    count = 120
    writers = [_writer(restarted, head, name, count) for head, name in zip(heads, ("a", "b"), strict=True)]
    lines: list[list[str]] = [[], []]
    readers = [threading.Thread(target=lambda n=n: lines[n].extend(writers[n].stdout or ())) for n in (0, 1)]
    try:
        for reader in readers:
            reader.start()
        for enough in (15, 60):
            while min(map(len, lines)) < enough and all(writer.poll() is None for writer in writers):
                time.sleep(0.02)
            own_server.end(how)
            own_server.start()
        for reader in readers:
            reader.join(90)
        assert [writer.wait(30) for writer in writers] == [0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(10)
            assert writer.stdout is not None
            writer.stdout.close()
    with PostgresLog(restarted, heads[0]) as log:
        events = list(log.read())
    leaves = [bytes.fromhex(event.hash) for event in events]
    for name in ("a", "b"):
        numbers = [event.body["number"] for event in events if event.body["writer"] == name]
        assert numbers == [n for n in range(count) for _ in (0, 1)], "each append whole, once, in its order"
    for line in (*lines[0], *lines[1]):
        _number, size, root = line.split()
        assert merkle.root(leaves[: int(size)]).hex() == root


@pytest.mark.parametrize("round_", range(3))
def test_nothing_that_was_acknowledged_is_lost_by_kill_9_of_the_writer(database: str, tmp_path: Path, round_: int) -> None:
    head = tmp_path / "log.head"
    _empty(database, head)
    writer = _writer(database, head, "a", 100_000)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(5 + 3 * round_)]
    os.kill(writer.pid, signal.SIGKILL)
    lines += writer.stdout.read().splitlines(keepends=True)
    writer.wait(10)
    writer.stdout.close()
    _number, size, root = [line for line in lines if line.endswith("\n")][-1].split()
    with PostgresLog(database, head) as log:
        events = list(log.read())
        assert len(events) >= int(size)
        assert len(events) % 2 == 0
        assert merkle.root([bytes.fromhex(event.hash) for event in events[: int(size)]]).hex() == root
        log.append([said(0)])


def test_an_answer_that_was_lost_after_the_commit_is_found_again(database: str, tmp_path: Path) -> None:
    """The connection ends between the commit and its answer: a proxy swallows what comes back, once."""
    with PostgresLog(database, tmp_path / "log.head") as log:
        log.append([said(0)])
    with SwallowingProxy(database, tmp_path) as (url, swallow), PostgresLog(url, tmp_path / "log.head") as log:
        swallow.set()
        head = log.append([said(1), said(2)], expected=1)
        assert not swallow.is_set(), "the answer to the commit was lost"
        assert head.size == 3
        assert [event.body["number"] for event in log.read()] == [0, 1, 2]


class SwallowingProxy:
    """A Unix socket in front of PostgreSQL. When `swallow` is set, it waits for the answer to the next COMMIT, and ends instead of
    handing it on; then it is as before."""

    def __init__(self, url: str, directory: Path) -> None:
        words = psycopg.conninfo.conninfo_to_dict(url)
        self._there = f"{words['host']}/.s.PGSQL.5432"
        self._here = directory / "proxy"
        self._here.mkdir()
        self._url = f"postgresql://{words['user']}@/{words['dbname']}?host={self._here}"
        self._swallow = threading.Event()
        self._open: list[socket.socket] = []

    def __enter__(self) -> tuple[str, threading.Event]:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._here / ".s.PGSQL.5432"))
        self._listening.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self._url, self._swallow

    def __exit__(self, *_exception: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            one.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._there)
            self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self._swallow.is_set() and b"COMMIT\0" in data:  # the answer to it, which only the server sends
                    self._swallow.clear()
                    break
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def test_one_that_hangs_in_the_middle_holds_the_others_up_for_seconds_only(database: str, tmp_path: Path) -> None:
    with PostgresLog(database, tmp_path / "log.head", busy_timeout_s=0.3) as log, psycopg.connect(database) as hanging:
        hanging.execute("SELECT pg_advisory_xact_lock(%s, 0)", (0x6F7263,))
        with pytest.raises(LogUnavailable, match="lock timeout") as caught:
            log.append([said(0)])
        assert "another server" in caught.value.advice
        assert list(log.read()) == [], "readers are not kept waiting"
        hanging.rollback()
        assert log.append([said(0)]).size == 1
        connection = log._database._connected(0)
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("10s",), "PostgreSQL ends one of ours"


def test_a_server_that_hangs_is_left_and_found_again(own_server: PostgresServer, restarted: str, tmp_path: Path) -> None:
    with PostgresLog(restarted, tmp_path / "log.head", restart_s=0) as log:
        log.append([said(0)])
        connection = log._database._connected(0)
        connection.answer_s = 0.5  # type: ignore[attr-defined]
        workers = subprocess.run(["pgrep", "-P", str(own_server.process.pid)], capture_output=True, text=True, check=True).stdout.split()
        for pid in (own_server.process.pid, *map(int, workers)):
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(LogUnavailable, match="does not answer"):
                log.append([said(1)])
        finally:
            for pid in (own_server.process.pid, *map(int, workers)):
                os.kill(pid, signal.SIGCONT)
        time.sleep(1.1)  # for so long nobody asks again
        assert log.append([said(2)]).size == 2, "what had no answer was not done: its transaction ended with its session"


def test_what_cannot_be_reached_is_said_and_not_waited_for_by_everybody(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"postgresql://writer@/\S+log cannot be used") as caught:
        PostgresLog(f"postgresql://writer@/log?host={tmp_path}", tmp_path / "log.head")
    assert "is PostgreSQL running" in caught.value.advice


@pytest.mark.parametrize(
    "url", ["postgresql://w:s3cret@db/log", "postgresql://db/log?password=s3cret", "postgresql://db/log?sslpassword=s3cret"]
)
def test_a_password_in_the_address_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="holds a password") as caught:
        PostgresLog(url, tmp_path / "log.head")
    assert "s3cret" not in str(caught.value)
    assert "PGPASSFILE" in caught.value.advice


def test_a_server_that_does_not_sync_is_refused(tmp_path: Path) -> None:
    with postgres_server("fsync=off") as careless, careless.database() as url, pytest.raises(LogUnavailable, match="fsync off"):
        PostgresLog(url, tmp_path / "log.head")


def test_commits_wait_for_the_disk_whatever_the_role_is_set_to(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    postgres.execute("postgres", f"ALTER DATABASE {name} SET synchronous_commit TO off")
    with PostgresLog(database, tmp_path / "log.head") as log:
        assert log._database._connected(0).execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_the_lease_outlives_a_restart_of_postgresql_and_its_terms_a_crash(own_server: PostgresServer, restarted: str) -> None:
    one, other = PostgresLease(restarted, restart_s=30), PostgresLease(restarted, restart_s=30)
    held = one.acquire("a", None)
    assert held is not None
    own_server.end(signal.SIGINT)
    own_server.start()
    seen = other.seen()
    assert seen is not None
    assert not seen.gone, "its connection went with PostgreSQL; it did not"
    renewed = one.renew(held)
    assert renewed is not None
    own_server.end(signal.SIGQUIT)
    own_server.start()
    assert other.seen() is None, "a crash empties what may be lost"
    assert one.renew(renewed) is None
    over = other.acquire("b", None)
    assert over is not None
    assert over.term > held.term
    one.close()
    other.close()


def test_a_killed_server_process_is_gone_at_once_and_one_that_hangs_is_not(database: str) -> None:
    program = (
        "import sys, signal; from orchestrator.adapters.postgres_lease import PostgresLease\n"
        "lease = PostgresLease(sys.argv[1]); assert lease.acquire('a', lease.seen()); print('held', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", program, database], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    lease = PostgresLease(database, grace_s=0)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        hung = lease.seen()
        assert hung is not None
        assert not hung.gone
        process.kill()
        process.wait(10)
        while not (seen := lease.seen()) or not seen.gone:
            time.sleep(0.01)
        assert seen.holder == "a"
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()
        lease.close()


def test_what_was_spooled_while_it_was_away_is_merged_when_it_is_back(own_server: PostgresServer, restarted: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with PostgresLog(restarted, tmp_path / "log.head", restart_s=0) as log:
        log.append([said(0)])
        own_server.end()
        try:
            with pytest.raises(LogUnavailable):
                log.append([said(1)])
            spool.append([said(1)])
            with pytest.raises(LogUnavailable):
                spool.merge_into(log)
        finally:
            own_server.start()
        time.sleep(1.1)
        assert spool.merge_into(log) == 1
        assert [event.body["number"] for event in log.read() if "number" in event.body] == [0, 1]
