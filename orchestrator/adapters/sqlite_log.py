"""The log in one SQLite file: WAL, `synchronous=FULL`, one table of events that triggers keep append-only.

An append, step by step (the numbers are those in the code):

1. take the file lock next to the database, so that head files are written in the order of the commits;
2. begin the transaction and follow what other processes have appended meanwhile;
3. check the size that the caller has seen;
4. insert the events;
5. write and fsync the new head to a temporary file: a full disk is found out before anything is committed;
6. commit, which is durable on return;
7. rename the head into place and fsync the directory.

A crash between 6 and 7 leaves a head file that is older than the log: it is still a prefix of it, and the next append
brings it up to date. A head file that is *newer* than the log means that events were cut off: the log is broken.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.adapters.head_file import BROKEN_ADVICE, HeadFile, fsync_directory
from orchestrator.adapters.log_rows import COLUMNS, PAGE, Row, event_of, follow, row_of, verify
from orchestrator.domain.chain import Chain
from orchestrator.domain.events import EMPTY_HEAD, Event, Head, NewEvent
from orchestrator.errors import LogBroken, LogUnavailable, Stale

# `events` is evidence; `volatile` (tokens, leases, queues) may be lost. The triggers are a defence against mistakes, not
# against someone who owns the file: that is what the chain is for. The insert trigger also stops INSERT OR REPLACE,
# which deletes a row without firing the delete trigger.
SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    previous TEXT NOT NULL,
    at TEXT NOT NULL,
    type TEXT NOT NULL,
    actor TEXT NOT NULL,
    stage TEXT,
    device TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_in_order BEFORE INSERT ON events
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM events)
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TABLE volatile (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    expires TEXT,
    PRIMARY KEY (kind, key)
) STRICT;
PRAGMA user_version = 1;
COMMIT;
"""


class SqliteLog:
    """Implements `ports.Log`, durably. Safe for several threads and several processes; open it after a fork, not before.

    On opening, the whole chain is verified (about 1 s for 100,000 events). `read_only` opens it without writing
    anything and does not refuse a broken one: `broken` then says what is wrong.
    Raises LogUnavailable when it cannot be opened, LogBroken (with `seq`) when it does not verify.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_timeout_s: float = 5.0, head_file: Path | None = None) -> None:
        self._path = path
        lock = path.with_name(path.name + ".lock")
        self._head = HeadFile(head_file or path.with_suffix(".head"), lock, busy_timeout_s=busy_timeout_s)
        self._read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._chain = Chain()
        self._guard = threading.RLock()
        self.broken: LogBroken | None = None
        with _as_log_errors(f"the log {path} cannot be opened"):
            self._database = self._open_read_only() if read_only else self._open()
        try:
            self._verify()
        except LogBroken as error:
            if not read_only:
                self._database.close()
                raise
            self.broken = error
        except LogUnavailable:
            self._database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> SqliteLog:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        if self._read_only:
            raise LogUnavailable(f"the log {self._path} was opened for reading only")
        with self._guard, _as_log_errors(f"the log {self._path} cannot be written"), self._head.locked():  # 1
            self._database.execute("BEGIN IMMEDIATE")  # 2
            try:
                before = self._follow(self._chain)
                if expected is not None and expected != before.size:  # 3
                    raise Stale(f"the log has {before.size} events, not {expected}", rule="log-size")
                after, sealed = before.seal(events)
                self._database.executemany(  # 4
                    f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [row_of(event) for event in sealed]
                )
                prepared = self._head.prepare(after.head())  # 5
                self._database.execute("COMMIT")  # 6
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            self._chain = after
            self._head.publish(prepared)  # 7
            return after.head()

    def read(self, start: int = 0) -> Iterator[Event]:
        position = max(start, 0)
        while True:
            with self._guard, _as_log_errors(f"the log {self._path} cannot be read"):
                rows = self._page(position)
            if not rows:
                return
            for row in rows:
                yield event_of(row)
            position = int(rows[-1][0]) + 1

    def head(self) -> Head:
        with self._guard, _as_log_errors(f"the log {self._path} cannot be read"):
            if self.broken is None:
                self._chain = self._follow(self._chain)
            return self._chain.head()

    # Opening and verifying

    def _connect(self, address: str) -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = not self._path.exists()
        if new:  # nobody but the owner reads the log; SQLite gives the same mode to the -wal and -shm files
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        database = self._connect(f"{self._path.absolute().as_uri()}?mode=rw")
        try:
            with self._head.locked():  # two processes that start at once must not both create the tables
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=FULL")
                if database.execute("PRAGMA user_version").fetchone()[0] == 0:
                    database.executescript(SCHEMA)
                    if not self._head.path.exists():
                        self._head.publish(self._head.prepare(EMPTY_HEAD))
                    fsync_directory(self._path.parent)
        except BaseException:
            database.close()
            raise
        return database

    def _open_read_only(self) -> sqlite3.Connection:
        address = f"{self._path.absolute().as_uri()}?mode=ro"
        database = self._connect(address)
        try:
            database.execute("SELECT count(*) FROM events").fetchone()
        except sqlite3.OperationalError:
            # On a read-only file system SQLite cannot make its -shm file. Without a WAL there is nothing that it would miss.
            database.close()
            wal = self._path.with_name(self._path.name + "-wal")
            if not self._path.exists() or (wal.exists() and wal.stat().st_size):
                raise
            database = self._connect(f"{address}&immutable=1")
        return database

    def _verify(self) -> None:
        """Raises LogBroken, LogUnavailable."""
        with _as_log_errors(f"the log {self._path} cannot be read"):
            self._chain, broken = verify(self._page, self._head, missing_advice=_MISSING_ADVICE)
        if broken is not None:
            raise broken

    def _follow(self, chain: Chain) -> Chain:
        """The chain after every stored event beyond it, each checked. Raises LogBroken."""
        after, broken = follow(self._page, chain)
        if broken is not None:
            self._chain = after
            raise broken
        return after

    def _page(self, start: int, stop: int | None = None) -> list[Row]:
        query = f"SELECT {COLUMNS} FROM events WHERE seq >= ? ORDER BY seq LIMIT ?"
        limits = (start, PAGE if stop is None else min(PAGE, stop - start))
        try:
            return self._database.execute(query, limits).fetchall()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            # Bytes that are not UTF-8: read them all the same, so that the event's hash tells which one it is.
            self._database.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            return self._database.execute(query, limits).fetchall()


_MISSING_ADVICE = "put it back, or write the head of the newest export or of the paper logbook into it (SIZE:ROOT)"


@contextlib.contextmanager
def _as_log_errors(what: str) -> Iterator[None]:
    """The one place where SQLite's and the system's errors become ours."""
    try:
        yield
    except BlockingIOError as error:
        raise LogUnavailable(f"{what}: another process is writing to it", advice="try again") from error
    except sqlite3.DatabaseError as error:
        if "malformed" in str(error) or "not a database" in str(error):
            raise LogBroken(f"{what}: {error}", advice=BROKEN_ADVICE) from error
        raise LogUnavailable(f"{what}: {error}", advice="check the disk (full? read-only?) and the rights on it") from error
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message
        raise LogBroken(f"{what}: it is damaged ({error})", advice=BROKEN_ADVICE) from error
    except OSError as error:
        raise LogUnavailable(f"{what}: {error}", advice="check the disk (full? read-only?) and the rights on it") from error
