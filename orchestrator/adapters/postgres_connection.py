"""A connection to PostgreSQL: made when it is needed, made again after it was lost, and no call on it ever waits without end.

The one place where PostgreSQL's errors become ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from orchestrator.adapters.head_file import BROKEN_ADVICE
from orchestrator.adapters.postgres_address import checked, shown
from orchestrator.errors import EnvironmentMissing, LogBroken, LogUnavailable, OrchestratorError

try:
    import psycopg
    from psycopg import errors as sql_errors
except ImportError as missing:  # the product runs without a PostgreSQL
    raise EnvironmentMissing(
        f"the log is in PostgreSQL, and its driver cannot be loaded ({missing})",
        advice="install the driver: pip install 'network-isolation-orchestrator[postgresql]'",
    ) from missing

Connection = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")

CONNECT_S = 3  # for one address; whole seconds, at least 2 (libpq)
ANSWER_S = 10.0  # a statement that has no answer by then: the server hangs, or the network swallows it
RESTART_S = 8.0  # PostgreSQL may be away for so long, once, before a call fails: a restart is not worth an error
QUIET_S = 1.0  # after a vain attempt the next ones fail at once for so long, and callers do not queue up
_AWAY = (sql_errors.OperationalError, sql_errors.InterfaceError)

# A writer that freezes in the middle of a transaction holds the others up; PostgreSQL ends its session after this time, and
# one whose machine is gone without a word after about ten seconds.
_SESSION = {
    "lock_timeout": "{busy_ms}",
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "10000",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "client_encoding": "UTF8",
    "bytea_output": "hex",
}


class _Bounded(psycopg.Connection[tuple[Any, ...]]):
    """Every wait of a connection ends: psycopg itself waits for ever for a server that hangs."""

    answer_s = ANSWER_S

    def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return super().wait(_until(gen, time.monotonic() + self.answer_s), *arguments, **named)
        except _NoAnswerError:
            self.close()  # what it still does there is not known: its transaction ends with the session
            raise


class _NoAnswerError(psycopg.OperationalError):
    pass


def _until(gen: Generator[Any, Any, T], give_up: float) -> Generator[Any, Any, T]:
    """The same conversation, until then. psycopg sends nothing (a false value) every tenth of a second while nothing arrives."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= give_up:
                raise _NoAnswerError("PostgreSQL does not answer")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class Postgres:
    """One connection to `url`, used by one thread at a time. `durable`: refuses a server that does not sync to its disk.

    `prepare` is called on every new connection. `restart_s` as RESTART_S, after a connection that worked.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "orchestrator",
        read_only: bool = False,
        durable: bool = False,
        busy_timeout_s: float = 5.0,
        restart_s: float = RESTART_S,
        connect_s: int = CONNECT_S,
        prepare: Callable[[Connection], object] = bool,
    ) -> None:
        self.where = shown(url)
        self._url, self._name, self._read_only, self._durable = checked(url), name, read_only, durable
        self._busy_timeout_s, self._restart_s, self._connect_s, self._prepare = busy_timeout_s, restart_s, connect_s, prepare
        self._guard = threading.RLock()
        self._connection: _Bounded | None = None
        self._worked = False
        self._failed: tuple[float, LogUnavailable] | None = None
        self._closed = False

    def close(self) -> None:
        with self._guard:
            self._closed = True
            self._drop()

    def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` makes of the connection; on a new one again, from the beginning, when the connection is lost meanwhile.

        `work` must bear that: what it asked for may have happened although the answer was lost. Raises LogUnavailable, LogBroken.
        """
        with self._guard:
            give_up = time.monotonic() + self._restart_s
            while True:
                connection = self._connected(give_up)
                try:
                    with as_log_errors(self.where):
                        return work(connection)
                except LogUnavailable as failure:
                    if not (connection.closed or _is_lost(failure.__cause__)):
                        raise
                    self._drop()
                    if time.monotonic() >= give_up:
                        raise
                    time.sleep(0.02)

    # --- within -------------------------------------------------------------------------------------------------

    def _connected(self, give_up: float) -> Connection:
        if self._closed:
            raise LogUnavailable(f"{self.where} was closed by this process")
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._failed is not None and time.monotonic() - self._failed[0] < QUIET_S:
            raise LogUnavailable(str(self._failed[1].args[0]), advice=self._failed[1].advice)
        while True:
            try:
                with as_log_errors(self.where):
                    self._connection = self._connect()
                self._worked, self._failed = True, None
                return self._connection
            except LogUnavailable as failure:
                # After a connection that worked a restart is likely, and waited for; else whoever asks is told at once.
                if not (self._worked and isinstance(failure.__cause__, _AWAY) and time.monotonic() < give_up):
                    self._failed, self._worked = (time.monotonic(), failure), False
                    raise
            time.sleep(0.1)

    def _connect(self) -> _Bounded:
        wanted: dict[str, Any] = {} if "target_session_attrs" in self._url else {"target_session_attrs": "read-write"}
        if self._read_only:
            wanted = {}
        if "connect_timeout" not in self._url:
            wanted["connect_timeout"] = self._connect_s
        connection = _Bounded.connect(
            self._url, autocommit=True, application_name=self._name[:63], keepalives_idle=4, keepalives_interval=2,
            keepalives_count=3, tcp_user_timeout=8000, **wanted,
        )  # fmt: skip
        try:
            values = {name: value.format(busy_ms=max(1, int(self._busy_timeout_s * 1000))) for name, value in _SESSION.items()}
            values["default_transaction_read_only"] = "on" if self._read_only else "off"
            calls = ", ".join("set_config(%s, %s, false)" for _ in values)
            connection.execute(f"SELECT {calls}", [text for pair in values.items() for text in pair])
            if self._durable:
                self._require_durable(connection)
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_durable(self, connection: Connection) -> None:
        """Raises LogUnavailable for a server on which an acknowledged event could be lost, or one that changes texts."""
        asked = "current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding')"
        row = connection.execute(f"SELECT {asked}, current_setting('synchronous_commit')").fetchone()
        fsync, pages, encoding, commit = row or ("", "", "", "")
        if (fsync, pages) != ("on", "on"):
            raise LogUnavailable(
                f"{self.where} runs with fsync {fsync} and full_page_writes {pages}: what it acknowledges can be lost",
                advice="set both to on in postgresql.conf: votes must be durable before anything is opened",
            )
        if encoding != "UTF8":
            raise LogUnavailable(
                f"the database {self.where} keeps texts as {encoding}",
                advice="make one with `createdb --encoding UTF8 --template template0`",
            )
        if commit not in ("on", "remote_apply"):
            connection.execute("SET synchronous_commit TO on")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def as_log_errors(where: str) -> Iterator[None]:
    """Raises LogUnavailable or LogBroken for everything that PostgreSQL, its driver or the system says."""
    try:
        yield
    except OrchestratorError:
        raise
    except (sql_errors.DataCorrupted, sql_errors.IndexCorrupted, UnicodeDecodeError) as error:
        raise LogBroken(f"the log in {where} is damaged: {_line(error)}", advice=BROKEN_ADVICE) from error
    except BlockingIOError as error:
        raise LogUnavailable(f"the log in {where}: another process of this machine is writing to it", advice="try again") from error
    except (psycopg.Error, OSError) as error:
        raise LogUnavailable(f"the log in {where} cannot be used: {_line(error)}", advice=_advice(error)) from error


def _is_lost(error: BaseException | None) -> bool:
    """Whether the connection has ended, although the driver may not have noticed: PostgreSQL said that it ends it, or nobody said
    anything (an error without a code is the driver's own)."""
    if not isinstance(error, _AWAY) or isinstance(error, sql_errors.PipelineAborted):
        return False
    code = error.sqlstate or ""
    return not code or code.startswith(("08", "57P")) or code == "25P03"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _advice(error: BaseException) -> str:
    if isinstance(error, (sql_errors.LockNotAvailable, sql_errors.UniqueViolation)):
        return "another server is writing to it: try again"
    if isinstance(error, sql_errors.InsufficientPrivilege):
        return "the account needs the rights that docs/postgresql.md lists: `orchestrator audit schema` prints them"
    if isinstance(error, (sql_errors.UndefinedTable, sql_errors.InvalidSchemaName)):
        return "its owner makes the tables with what `orchestrator audit schema` prints"
    if isinstance(error, sql_errors.DiskFull):
        return "make room on the disk of the PostgreSQL server"
    if isinstance(error, sql_errors.ReadOnlySqlTransaction):
        return "this server only reads (a standby?): name the one that writes"
    if isinstance(error, OSError):
        return "check the disk (full? read-only?) of this machine and the rights on its state directory"
    return "is PostgreSQL running, reachable from here, and may this account connect? A cut-off does not need it"
