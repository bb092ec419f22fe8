"""The lease of the servers that share one log: a row of its database's `volatile` table, which is never evidence.

Whoever holds it has also locked a file of its own, `LOG.acting-TERM`: the kernel frees that lock when the process ends, however
it ends, so that the death of a server on this machine is seen at once. A server that hangs keeps its lock; it is found out by
its row, which it does not renew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import LogUnavailable
from orchestrator.ports import Held

_READ = "SELECT value FROM volatile WHERE kind = 'lease' AND key = 'acting'"
_WRITE = "INSERT OR REPLACE INTO volatile (kind, key, value) VALUES ('lease', 'acting', ?)"


class SqliteLease:
    """Implements `ports.Lease`, for processes of one machine. The log's database must be there already. Safe for threads."""

    def __init__(self, log: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._log = log
        self._guard = threading.RLock()
        self._locked: tuple[int, int] | None = None  # the term, and the descriptor that holds its lock
        with _as_log_errors(log):
            address = f"{log.absolute().as_uri()}?mode=rw"
            self._database = sqlite3.connect(
                address, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
            )  # fmt: skip

    def close(self) -> None:
        """As the end of the process: the lock is freed, the row stays."""
        with self._guard:
            self._unlock()
            self._database.close()

    def seen(self) -> Held | None:
        with self._guard, _as_log_errors(self._log):
            held = self._row()
            return None if held is None else Held(held.holder, held.term, held.beat, gone=bool(held.holder) and self._is_gone(held.term))

    def acquire(self, holder: str, instead_of: Held | None) -> Held | None:
        with self._guard, _as_log_errors(self._log), self._transaction():
            now = self._row()
            if _who(now) != _who(instead_of):
                return None
            term = max([0 if now is None else now.term, *self._terms()]) + 1  # the row may have been lost, and its file not
            descriptor = os.open(self._file(term), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = Held(holder, term, 0)
                self._write(held)
            except BaseException:
                os.close(descriptor)
                raise
            self._unlock()
            self._locked = (term, descriptor)
            for older in self._terms():
                if older < term:
                    self._file(older).unlink(missing_ok=True)
            return held

    def renew(self, held: Held) -> Held | None:
        with self._guard, _as_log_errors(self._log), self._transaction():
            if not self._is_ours(held):
                return None
            renewed = Held(held.holder, held.term, held.beat + 1)
            self._write(renewed)
            return renewed

    def release(self, held: Held) -> None:
        with self._guard, _as_log_errors(self._log), self._transaction():
            if self._is_ours(held):
                self._write(Held("", held.term, held.beat))
                self._unlock()

    # --- within -------------------------------------------------------------------------------------------------

    def _row(self) -> Held | None:
        row = self._database.execute(_READ).fetchone()
        if row is None:
            return None
        value = json.loads(row[0])
        return Held(str(value["holder"]), int(value["term"]), int(value["beat"]))

    def _write(self, held: Held) -> None:
        self._database.execute(_WRITE, (json.dumps({"holder": held.holder, "term": held.term, "beat": held.beat}),))

    def _is_ours(self, held: Held) -> bool:
        now = self._row()
        return now is not None and (now.holder, now.term) == (held.holder, held.term)

    def _file(self, term: int) -> Path:
        return self._log.with_name(f"{self._log.name}.acting-{term}")

    def _terms(self) -> list[int]:
        found = (path.name.rpartition("-")[2] for path in self._log.parent.glob(f"{self._log.name}.acting-*"))
        return [int(term) for term in found if term.isdecimal()]

    def _is_gone(self, term: int) -> bool:
        """Whether nobody holds the lock of that term any more; without its file that is not known."""
        try:
            descriptor = os.open(self._file(term), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _unlock(self) -> None:
        if self._locked is not None:
            os.close(self._locked[1])
            self._locked = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _who(held: Held | None) -> tuple[str, int, int] | None:
    return None if held is None else (held.holder, held.term, held.beat)


@contextlib.contextmanager
def _as_log_errors(log: Path) -> Iterator[None]:
    """The one place where SQLite's and the system's errors become ours."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, KeyError) as error:
        raise LogUnavailable(
            f"which server acts on {log} cannot be told: {error}", advice="check the disk (full? read-only?) and the rights on it"
        ) from error
