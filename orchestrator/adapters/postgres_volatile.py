"""What may be lost, in an unlogged table of the log's PostgreSQL: shared by the servers of all machines.

PostgreSQL writes no journal for it and empties it after a crash of its own: people log in again. Keys and values are kept
as bytes: whatever a stranger sends as a token is looked up, and not found.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.adapters.postgres_connection import Postgres
from orchestrator.adapters.postgres_schema import ensure

_PUT = """
INSERT INTO orchestrator.volatile (kind, key, value, until) VALUES (%s, %s, %s, %s)
ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, until = excluded.until
"""
_GET = "SELECT value FROM orchestrator.volatile WHERE kind = %s AND key = %s AND until > %s"
_TAKE = "DELETE FROM orchestrator.volatile WHERE kind = %s AND key = %s RETURNING value, until"
_ALL = "SELECT key, value FROM orchestrator.volatile WHERE kind = %s AND until > %s ORDER BY key"
_CLEAR = "DELETE FROM orchestrator.volatile WHERE until <= %s"


class PostgresVolatile:
    """Implements `ports.Volatile`. Safe for threads, processes and machines. Raises LogUnavailable."""

    def __init__(self, url: str, *, server: str = "", busy_timeout_s: float = 5.0) -> None:
        name = f"orchestrator volatile {server}".strip()
        self._database = Postgres(url, name=name, busy_timeout_s=busy_timeout_s, prepare=ensure)
        self._database.run(bool)

    def close(self) -> None:
        self._database.close()

    def put(self, kind: str, key: str, value: str, *, until: datetime) -> None:
        self._run(_PUT, (kind, _bytes(key), _bytes(value), until))

    def get(self, kind: str, key: str, *, now: datetime) -> str | None:
        rows = self._run(_GET, (kind, _bytes(key), now))
        return _text(rows[0][0]) if rows else None

    def take(self, kind: str, key: str, *, now: datetime) -> str | None:
        rows = self._run(_TAKE, (kind, _bytes(key)))
        return _text(rows[0][0]) if rows and rows[0][1] > now else None

    def all(self, kind: str, *, now: datetime) -> tuple[tuple[str, str], ...]:
        return tuple((_text(key), _text(value)) for key, value in self._run(_ALL, (kind, now)))

    def clear(self, *, now: datetime) -> None:
        self._run(_CLEAR, (now,))

    def _run(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        def once(connection: Any) -> list[tuple[Any, ...]]:
            cursor = connection.execute(query, values)
            return list(cursor.fetchall()) if cursor.description else []

        return self._database.run(once)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")
