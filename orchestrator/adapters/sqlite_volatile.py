"""What may be lost, in one SQLite file beside the log: shared by the servers of one machine.

A file of its own: nothing of it ever waits for the log, or the log for it. `synchronous=OFF`: what a power cut takes was
allowed to be lost; what a killed server had written stays. A damaged file is replaced by an empty one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.errors import LogUnavailable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS volatile (
    kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, until TEXT NOT NULL, PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID
"""


class SqliteVolatile:
    """Implements `ports.Volatile`. Safe for threads and for several processes. Raises LogUnavailable."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._path, self._timeout_s = path, busy_timeout_s
        self._guard = threading.RLock()
        with _as_log_errors(path):
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as damaged:
                if "not a database" not in str(damaged) and "malformed" not in str(damaged):
                    raise
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                self._database = self._open()

    def close(self) -> None:
        with self._guard:
            self._database.close()

    def put(self, kind: str, key: str, value: str, *, until: datetime) -> None:
        self._run("INSERT OR REPLACE INTO volatile VALUES (?, ?, ?, ?)", (kind, key, value, _text(until)))

    def get(self, kind: str, key: str, *, now: datetime) -> str | None:
        rows = self._run("SELECT value FROM volatile WHERE kind = ? AND key = ? AND until > ?", (kind, key, _text(now)))
        return str(rows[0][0]) if rows else None

    def take(self, kind: str, key: str, *, now: datetime) -> str | None:
        rows = self._run("DELETE FROM volatile WHERE kind = ? AND key = ? RETURNING value, until", (kind, key))
        return str(rows[0][0]) if rows and str(rows[0][1]) > _text(now) else None

    def all(self, kind: str, *, now: datetime) -> tuple[tuple[str, str], ...]:
        rows = self._run("SELECT key, value FROM volatile WHERE kind = ? AND until > ? ORDER BY key", (kind, _text(now)))
        return tuple((str(key), str(value)) for key, value in rows)

    def clear(self, *, now: datetime) -> None:
        self._run("DELETE FROM volatile WHERE until <= ?", (_text(now),))

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=OFF")
            database.execute(_SCHEMA)
        except BaseException:
            database.close()
            raise
        return database

    def _run(self, query: str, values: tuple[str, ...]) -> list[tuple[str, ...]]:
        with self._guard, _as_log_errors(self._path):
            return self._database.execute(query, values).fetchall()


def _text(at: datetime) -> str:
    """In UTC with microseconds: sorts as the times do."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextlib.contextmanager
def _as_log_errors(path: Path) -> Iterator[None]:
    """The one place where SQLite's and the system's errors become ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LogUnavailable(f"{path} cannot be used: {error}", advice="check the disk (full? read-only?) and the rights on it") from error
