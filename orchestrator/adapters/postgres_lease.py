"""The lease of the servers that share one log in PostgreSQL, on whatever machines they run.

Whoever holds it has also taken an advisory lock of its own, by the number of its term, which PostgreSQL frees when that
server's connection ends: the death of a server is seen at once, and that of its whole machine after about ten seconds (keep-alive).
A server that hangs keeps its lock; it is found out by its row, which it does not renew. The lease is never evidence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from orchestrator.adapters.postgres_connection import Connection, Postgres
from orchestrator.adapters.postgres_schema import LEASING, LOCK, ensure
from orchestrator.ports import Held

T = TypeVar("T")

# When PostgreSQL itself has just started, every connection is gone, and nobody is: they are given this time to come back.
GRACE_S = 10.0

_ROW = "SELECT holder, term, beat FROM orchestrator.lease WHERE name = 'acting'"
_SEEN = """
SELECT holder, term, beat,
    now() - pg_postmaster_start_time() > make_interval(secs => %s) AND NOT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = %s AND objid = term
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
FROM orchestrator.lease WHERE name = 'acting'
"""
_WRITE = """
INSERT INTO orchestrator.lease (name, holder, term, beat) VALUES ('acting', %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = excluded.term, beat = excluded.beat
"""


class PostgresLease:
    """Implements `ports.Lease`, for servers of one database. Safe for threads. Raises LogUnavailable."""

    def __init__(
        self, url: str, *, server: str = "", busy_timeout_s: float = 5.0, restart_s: float = 2.0, grace_s: float = GRACE_S
    ) -> None:
        self._grace_s = grace_s
        self._guard = threading.RLock()
        self._locked: tuple[Connection, int] | None = None  # whose session holds the lock of which term
        name = f"orchestrator lease {server}".strip()
        self._database = Postgres(url, name=name, busy_timeout_s=busy_timeout_s, restart_s=restart_s, prepare=ensure)
        self._database.run(bool)

    def close(self) -> None:
        """As the end of the process: the lock is freed, the row stays."""
        self._database.close()

    def seen(self) -> Held | None:
        row = self._database.run(lambda connection: connection.execute(_SEEN, (self._grace_s, LOCK)).fetchone())
        return None if row is None else Held(row[0], row[1], row[2], gone=bool(row[0]) and bool(row[3]))

    def acquire(self, holder: str, instead_of: Held | None) -> Held | None:
        def once(connection: Connection) -> Held | None:
            if _who(_row(connection)) != _who(instead_of):
                return None
            found = connection.execute("SELECT nextval('orchestrator.lease_terms')").fetchone()
            assert found is not None
            held = Held(holder, int(found[0]), 0)  # the number of a sequence: also after the row was lost, never one twice
            self._lock(connection, held.term)
            connection.execute(_WRITE, (held.holder, held.term, held.beat))
            return held

        return self._alone(once)

    def renew(self, held: Held) -> Held | None:
        def once(connection: Connection) -> Held | None:
            if not _is_ours(_row(connection), held):
                return None
            self._lock(connection, held.term)  # again, when the connection is a new one
            renewed = Held(held.holder, held.term, held.beat + 1)
            connection.execute(_WRITE, (renewed.holder, renewed.term, renewed.beat))
            return renewed

        return self._alone(once)

    def release(self, held: Held) -> None:
        def once(connection: Connection) -> None:
            if _is_ours(_row(connection), held):
                connection.execute(_WRITE, ("", held.term, held.beat))
                self._unlock(connection)

        self._alone(once)

    # --- within -------------------------------------------------------------------------------------------------

    def _alone(self, once: Callable[[Connection], T]) -> T:
        """In a transaction that no other server's change of the lease falls into."""

        def within(connection: Connection) -> T:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK, LEASING))
                return once(connection)

        with self._guard:
            return self._database.run(within)

    def _lock(self, connection: Connection, term: int) -> None:
        """The lock of this term, for as long as the session lives; it replaces the one of an earlier term.

        The one who may not have it yet is this server itself, on a connection whose end PostgreSQL has not noticed: as good.
        """
        if self._locked == (connection, term):
            return
        self._unlock(connection)
        row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK, term)).fetchone()
        if row is not None and row[0]:
            self._locked = (connection, term)

    def _unlock(self, connection: Connection) -> None:
        if self._locked is not None and self._locked[0] is connection:
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK, self._locked[1]))
        self._locked = None


def _row(connection: Connection) -> Held | None:
    row = connection.execute(_ROW).fetchone()
    return None if row is None else Held(row[0], row[1], row[2])


def _is_ours(now: Held | None, held: Held) -> bool:
    return now is not None and (now.holder, now.term) == (held.holder, held.term)


def _who(held: Held | None) -> tuple[str, int, int] | None:
    return None if held is None else (held.holder, held.term, held.beat)
