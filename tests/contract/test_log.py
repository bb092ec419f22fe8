"""The contract of `ports.Log`, held by the durable logs and by their double; then what only the one in a file promises."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.postgres_log import PostgresLog
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain import merkle
from orchestrator.domain.chain import Chain
from orchestrator.domain.events import EMPTY_HEAD, GENESIS, EventType, Head, NewEvent, event_hash
from orchestrator.errors import InputError, LogBroken, LogUnavailable, Stale
from orchestrator.ports import Log

AT = "2026-06-23T21:04:05.123Z"
Make = Callable[[], Log]


def said(number: int, **body: object) -> NewEvent:
    return NewEvent(EventType.LOGBOOK_ENTERED, AT, "alice", {"number": number, **body})


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "memory":
        yield MemoryLog()
        return
    if request.param == "postgres":
        with PostgresLog(request.getfixturevalue("database"), tmp_path / "log.head") as shared:
            yield shared
        return
    with SqliteLog(tmp_path / "log.sqlite") as durable:
        yield durable


def test_an_empty_log_has_the_head_of_the_empty_tree(log: Log) -> None:
    assert log.head() == EMPTY_HEAD
    assert list(log.read()) == []
    assert log.append([]) == EMPTY_HEAD


def test_events_come_back_as_they_were_appended_chained_and_hashed(log: Log) -> None:
    body = {"reason": "hôpital « isolé »", "count": 3, "none": None, "list": [True, {"x": "\u2028\x00\U0001f3e5"}], "pair": (1, 2)}
    new = NewEvent(EventType.CUTOFF_ORDERED, AT, "emergency", body, stage="P1", device="fw-ext")
    head = log.append([said(0), new])
    assert log.append([said(2)]).size == 3
    first, second, third = log.read()
    assert (second.type, second.at, second.actor, second.stage, second.device) == (new.type, AT, "emergency", "P1", "fw-ext")
    assert second.body == {**body, "pair": [1, 2]}
    assert [first.seq, second.seq, third.seq] == [0, 1, 2]
    assert [first.previous, second.previous, third.previous] == [GENESIS, first.hash, second.hash]
    assert all(event.hash == event_hash(event) for event in (first, second, third))
    assert head == Head(2, merkle.root([bytes.fromhex(first.hash), bytes.fromhex(second.hash)]).hex())
    assert log.head() == Head(3, merkle.root([bytes.fromhex(event.hash) for event in (first, second, third)]).hex())


def test_reading_starts_where_it_is_told(log: Log) -> None:
    log.append([said(number) for number in range(1203)])
    assert [event.body["number"] for event in log.read(1200)] == [1200, 1201, 1202]
    assert [event.seq for event in log.read()] == list(range(1203))
    assert list(log.read(1203)) == []


def test_a_reader_may_append_while_it_reads(log: Log) -> None:
    log.append([said(0), said(1)])
    seen = []
    for event in log.read():
        seen.append(event.seq)
        if event.seq < 3:
            log.append([said(event.seq + 2)])
    assert seen[:2] == [0, 1]
    assert log.head().size == 5


def test_an_append_that_has_not_seen_the_latest_is_stale(log: Log) -> None:
    log.append([said(0)], expected=0)
    with pytest.raises(Stale) as caught:
        log.append([said(1)], expected=0)
    assert caught.value.rule == "log-size"
    assert log.head().size == 1
    assert log.append([said(1)], expected=1).size == 2


@pytest.mark.parametrize(
    "wrong",
    [
        NewEvent(EventType.CHECK_RAN, AT, "alice", {"seconds": 1.5}),
        NewEvent(EventType.CHECK_RAN, AT, "alice", {"big": 2**53}),
        NewEvent(EventType.CHECK_RAN, AT, "alice", {"text": "\ud800"}),
        NewEvent(EventType.CHECK_RAN, AT, "alice", {"bytes": b"x"}),
        NewEvent(EventType.CHECK_RAN, "2026-06-23T21:04:05Z", "alice", {}),
        NewEvent(EventType.CHECK_RAN, "2026-06-23T23:04:05.123+02:00", "alice", {}),
    ],
)
def test_all_or_none_is_appended(log: Log, wrong: NewEvent) -> None:
    log.append([said(0)])
    before = log.head()
    with pytest.raises(InputError):
        log.append([said(1), wrong])
    assert log.head() == before
    assert log.append([said(1)]).size == 2


def test_threads_append_without_losing_anything(log: Log) -> None:
    def write(writer: int) -> None:
        for number in range(25):
            log.append([said(number, writer=writer)])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list(log.read())
    chain = Chain()
    for event in events:
        chain = chain.follow(event)
    assert chain.head() == log.head()
    for writer in range(4):
        assert [event.body["number"] for event in events if event.body["writer"] == writer] == list(range(25))


def test_the_double_can_be_unavailable() -> None:
    log = MemoryLog()
    log.unavailable = "disk full"
    with pytest.raises(LogUnavailable, match="disk full"):
        log.append([said(0)])


# Only the one in a file (that in PostgreSQL: test_postgres_log.py)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with SqliteLog(tmp_path / "log.sqlite") as log:
        log.append([said(number) for number in range(7)])
    return tmp_path / "log.sqlite"


def tamper(path: Path, *statements: str) -> None:
    """What someone who owns the file can do: the triggers go first."""
    database = sqlite3.connect(path)
    for trigger in ("events_no_update", "events_no_delete", "events_in_order"):
        database.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def test_it_is_all_there_after_reopening(path: Path) -> None:
    with SqliteLog(path) as log:
        assert [event.body["number"] for event in log.read()] == list(range(7))
        head = log.append([said(7)])
    assert path.with_suffix(".head").read_text() == f"8:{head.root}\n"
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET actor = 'mallory' WHERE seq = 3",
        "DELETE FROM events WHERE seq = 6",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 3",
    ],
)
def test_sql_cannot_change_it_by_mistake(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE events SET actor = 'mallory' WHERE seq = 3", 3),
        ("UPDATE events SET body = replace(body, '3', '4') WHERE seq = 3", 3),
        ("UPDATE events SET body = body || ' ' WHERE seq = 3", 3),
        ("UPDATE events SET at = '2026-06-23T21:04:05.124Z' WHERE seq = 0", 0),
        ("UPDATE events SET stage = 'P1' WHERE seq = 5", 5),
        ("UPDATE events SET type = 'Nonsense' WHERE seq = 5", 5),
        ("UPDATE events SET hash = upper(hash) WHERE seq = 2", 2),
        ("UPDATE events SET actor = CAST(x'ff61' AS TEXT) WHERE seq = 4", 4),
        ("UPDATE events SET body = CAST(x'7b7dff' AS TEXT) WHERE seq = 5", 5),
        ("DELETE FROM events WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 6", 6),
        ("DELETE FROM events WHERE seq >= 4", 4),
        ("DELETE FROM events", 0),
    ],
)
def test_what_was_changed_is_found_and_named(path: Path, statement: str, place: int) -> None:
    tamper(path, statement)
    with pytest.raises(LogBroken) as caught:
        SqliteLog(path)
    assert caught.value.seq == place
    with SqliteLog(path, read_only=True) as broken:
        assert broken.broken is not None
        assert broken.broken.seq == place
        with pytest.raises(LogUnavailable):
            broken.append([said(8)])


def test_events_in_another_order_are_found(path: Path) -> None:
    swap = "UPDATE events SET seq = CASE seq WHEN 2 THEN -3 WHEN 3 THEN -2 END WHERE seq IN (2, 3)"
    tamper(path, swap, "UPDATE events SET seq = -seq WHERE seq < 0")
    with pytest.raises(LogBroken) as caught:
        SqliteLog(path)
    assert caught.value.seq == 2


def test_a_rewritten_log_does_not_match_the_head_outside(path: Path, tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "forged.sqlite") as forged:
        forged.append([said(number) for number in (0, 1, 2, 99, 4, 5, 6)])
    path.unlink()
    (tmp_path / "forged.sqlite").rename(path)
    with pytest.raises(LogBroken, match="head"):
        SqliteLog(path)


def test_a_missing_or_damaged_head_file_is_not_overlooked(path: Path) -> None:
    head = path.with_suffix(".head")
    text = head.read_text()
    for wrong in ("", "7", "seven:" + text.partition(":")[2], text[:-5]):
        head.write_text(wrong)
        with pytest.raises(LogBroken):
            SqliteLog(path)
    head.unlink()
    with pytest.raises(LogBroken, match="missing"):
        SqliteLog(path)
    head.write_text(text)
    SqliteLog(path).close()


def test_a_head_that_a_crash_left_behind_is_brought_up_to_date(path: Path) -> None:
    head = path.with_suffix(".head")
    old = head.read_text()
    with SqliteLog(path) as log:
        log.append([said(7)])
    head.write_text(old)  # as after a crash between the commit and the rename
    with SqliteLog(path) as log:
        assert log.head().size == 8
        log.append([said(8)])
    assert head.read_text().startswith("9:")


def test_a_file_that_is_no_database_is_broken_and_a_missing_one_unavailable(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(LogBroken):
        SqliteLog(tmp_path / "log.sqlite")
    with pytest.raises(LogUnavailable):
        SqliteLog(tmp_path / "none.sqlite", read_only=True)


def test_every_flipped_byte_of_the_database_is_found_or_harmless(path: Path) -> None:
    """Flips that hit free space change no event; every other one is refused."""
    with SqliteLog(path) as log:
        truth = list(log.read())
    original = path.read_bytes()
    dice = random.Random("bytes of the database")
    found = 0
    for _ in range(60):
        at = dice.randrange(len(original))
        path.write_bytes(original[:at] + bytes([original[at] ^ (1 << dice.randrange(8))]) + original[at + 1 :])
        try:
            with SqliteLog(path) as log:
                assert list(log.read()) == truth
        except (LogBroken, LogUnavailable):
            found += 1
        path.write_bytes(original)
    assert found


def test_a_locked_log_is_unavailable(path: Path) -> None:
    with SqliteLog(path, busy_timeout_s=0.2) as log:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable):
            log.append([said(7)])
        assert len(list(log.read())) == 7  # readers are not kept waiting
        other.execute("ROLLBACK")
        other.close()
        assert log.append([said(7)]).size == 8


WRITER = """
import sys
from pathlib import Path
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import EventType, NewEvent
log = SqliteLog(Path(sys.argv[1]), busy_timeout_s=30)
for number in range(int(sys.argv[3])):
    body = {"writer": sys.argv[2], "number": number}
    head = log.append([NewEvent(EventType.LOGBOOK_ENTERED, "2026-06-23T21:04:05.123Z", "alice", body)] * 2)
    print(number, head.size, head.root, flush=True)
"""


def _writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True)


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    writers = [_writer(path, name, 60) for name in ("a", "b")]
    acknowledged = [line for writer in writers for line in writer.communicate(timeout=60)[0].splitlines()]
    assert [writer.returncode for writer in writers] == [0, 0]
    with SqliteLog(path) as log:
        events = list(log.read())
        leaves = [bytes.fromhex(event.hash) for event in events]
        assert len(events) == 240
        for name in ("a", "b"):
            assert [event.body["number"] for event in events if event.body["writer"] == name] == [n for n in range(60) for _ in (0, 1)]
        for line in acknowledged:
            _number, size, root = line.split()
            assert merkle.root(leaves[: int(size)]).hex() == root
    assert path.with_suffix(".head").read_text().startswith("240:")


@pytest.mark.parametrize("round_", range(4))
def test_nothing_that_was_acknowledged_is_lost_by_kill_9(tmp_path: Path, round_: int) -> None:
    path = tmp_path / "log.sqlite"
    writer = _writer(path, "a", 100_000)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(5)]
    time.sleep(random.Random(round_).random() * 0.2)
    os.kill(writer.pid, signal.SIGKILL)
    lines += writer.stdout.read().splitlines(keepends=True)
    writer.wait(timeout=10)
    writer.stdout.close()
    _number, size, root = [line for line in lines if line.endswith("\n")][-1].split()
    with SqliteLog(path) as log:
        events = list(log.read())
        assert len(events) >= int(size)
        assert len(events) % 2 == 0  # each append whole or not at all
        assert merkle.root([bytes.fromhex(event.hash) for event in events[: int(size)]]).hex() == root
        log.append([said(0)])


@pytest.fixture
def no_growth() -> Callable[[int], None]:
    """Limits how large a file may become, in a process of its own, as a full disk would."""

    def limit(bytes_: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))

    return limit


def test_without_room_nothing_is_half_written(path: Path, no_growth: Callable[[int], None]) -> None:
    code = WRITER.replace("print(number", "assert False; print(number")
    size = path.stat().st_size
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(path), "a", "1"],
        preexec_fn=lambda: no_growth(size // 8),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "LogUnavailable" in done.stderr, done.stderr
    with SqliteLog(path) as log:
        assert len(list(log.read())) == 7


FULL_DISK = """
import os, subprocess, sys
from pathlib import Path
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import EventType, NewEvent
from orchestrator.errors import LogUnavailable

def said(number):
    return NewEvent(EventType.LOGBOOK_ENTERED, "2026-06-23T21:04:05.123Z", "alice", {"number": number})

disk, elsewhere = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "rehearsal", str(disk)], check=True)
log = SqliteLog(disk / "log.sqlite")
log.append([said(number) for number in range(10)])
spool = Spool(disk / "spool", elsewhere / "spool")
spool.allocate()
try:
    with open(disk / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
except OSError:
    pass
refused = 0
for number in range(300):
    try:
        log.append([said(10)] * 20)
    except LogUnavailable:
        refused += 1
        break
assert refused, "the disk was not full"
held = log.head().size
spool.append([said(number) for number in range(100, 150)])
assert not (elsewhere / "spool").exists()
log.close()
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
for number in (150, 151):
    spool.append([said(number)])
try:
    SqliteLog(disk / "log.sqlite").append([said(0)])
except LogUnavailable:
    pass
else:
    raise AssertionError("a read-only disk took an append")
readable = SqliteLog(disk / "log.sqlite", read_only=True)
assert readable.broken is None and readable.head().size == held
readable.close()
subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
(disk / "filler").unlink()
log = SqliteLog(disk / "log.sqlite")
assert spool.merge_into(log) == 52
assert spool.merge_into(log) == 0
log.close()
with SqliteLog(disk / "log.sqlite") as log:
    merged = [event.body["number"] for event in log.read(held) if "number" in event.body]
assert merged == list(range(100, 152)), merged
print("held", held)
"""


def test_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    """On a real file system of its own, in a mount namespace that ends with the process."""
    for name in ("disk", "elsewhere"):
        (tmp_path / name).mkdir()
    command = [
        "unshare",
        "--mount",
        "--map-root-user",
        sys.executable,
        "-c",
        FULL_DISK,
        str(tmp_path / "disk"),
        str(tmp_path / "elsewhere"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("held ")


# The spool


def test_the_spool_is_merged_late_in_order_and_once(log: Log, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.allocate()
    assert (tmp_path / "spool").stat().st_size == 1 << 20
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    log.append([said(0)])
    spool.append([said(1), said(2)])
    spool.append([said(3)])
    assert spool.merge_into(log, at="2026-06-23T23:00:00.000Z") == 3
    assert spool.merge_into(log) == 0
    announced, *late = log.read(1)
    assert (announced.type, announced.at, announced.body["late"], announced.body["count"]) == (
        EventType.SPOOL_MERGED,
        "2026-06-23T23:00:00.000Z",
        True,
        3,
    )
    assert [event.body["number"] for event in late] == [1, 2, 3]
    assert all(event.at == AT and event.body["late"] and event.body["spooled_at"] == AT and event.actor == "alice" for event in late)
    spool.append([said(4)])
    assert spool.merge_into(log) == 1


def test_a_merge_that_was_interrupted_adds_nothing_twice(log: Log, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append([said(1), said(2)])
    before = (tmp_path / "spool").read_bytes()
    log.append([said(2)])  # an append whose answer came too late: the same event, in both places
    assert spool.merge_into(log) == 1
    (tmp_path / "spool").write_bytes(before)  # as after a crash between the append and the emptying
    assert spool.merge_into(log) == 0
    spool.append([said(3)])
    assert spool.merge_into(log) == 1
    assert [event.body["number"] for event in log.read() if "number" in event.body] == [2, 1, 3]


def test_nothing_is_lost_while_the_log_stays_unavailable(tmp_path: Path) -> None:
    log, spool = MemoryLog(), Spool(tmp_path / "spool")
    spool.append([said(1)])
    log.unavailable = "disk full"
    with pytest.raises(LogUnavailable):
        spool.merge_into(log)
    log.unavailable = None
    assert spool.merge_into(log) == 1


def test_a_torn_line_is_overwritten_and_a_damaged_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    log, spool = MemoryLog(), Spool(path)
    spool.append([said(number) for number in (1, 2, 3)])
    content = path.read_bytes()
    end = content.index(b"\0")
    path.write_bytes(content[: end - 40] + bytes(len(content) - end + 40))  # the third line, torn by a crash
    spool.append([said(4)])
    damaged = path.read_bytes().replace(b'"number":1', b'"number":7')
    path.write_bytes(damaged)
    assert spool.merge_into(log) == 2
    announced, *late = log.read()
    assert announced.body["damaged_lines"] == 1
    assert [event.body["number"] for event in late] == [2, 4]
    (kept,) = tmp_path.glob("spool.*.damaged")
    assert b'"number":7' in kept.read_bytes()
    assert spool.merge_into(log) == 0


def test_a_spool_that_cannot_be_written_anywhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(LogUnavailable):
        Spool(tmp_path / "file" / "spool").append([said(1)])
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(LogUnavailable):
        Spool(tmp_path / "link").append([said(1)])
    fallback = Spool(tmp_path / "file" / "spool", tmp_path / "fallback")
    fallback.append([said(1)])
    assert fallback.merge_into(MemoryLog()) == 1
