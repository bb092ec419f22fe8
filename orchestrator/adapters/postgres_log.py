"""The log in PostgreSQL, for several servers on several machines: one table of events that triggers keep append-only.

An append, step by step (the numbers are those in the code):

1. take the file lock of this machine, so that its head files are written in the order of the commits;
2. begin the transaction and take the lock that every writer of this log takes: one at a time, over all machines;
3. follow what others have appended meanwhile, and see that what was there is still there (a backup that was put back, a
   standby that had not got everything, are found out here);
4. check the size that the caller has seen;
5. write and sync the new head to a temporary file of this machine: a full disk is found out before anything is committed;
6. insert the events;
7. commit, which is durable on return (`synchronous_commit` on, a server without fsync is refused);
8. rename the head into place.

When the connection is lost, all of it is done again on a new one. If the loss fell into step 7, the events may be in the log:
they are looked for first, by the hash of the last one, which stands for all before it.

Each machine keeps the newest head that it has seen in a file of its own: a log that is shorter is refused by each machine
that knew more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from orchestrator.adapters.head_file import BROKEN_ADVICE, HeadFile
from orchestrator.adapters.log_rows import COLUMNS, PAGE, Page, Row, event_of, follow, link, row_of, verify
from orchestrator.adapters.postgres_connection import CONNECT_S, RESTART_S, Connection, Postgres, as_log_errors
from orchestrator.adapters.postgres_schema import LOCK, WRITING, ensure
from orchestrator.domain.chain import Chain
from orchestrator.domain.events import EMPTY_HEAD, Event, Head, NewEvent
from orchestrator.errors import InputError, LogBroken, LogUnavailable, Stale

_INSERT = f"INSERT INTO orchestrator.events ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
_SELECT = f"SELECT {COLUMNS} FROM orchestrator.events WHERE seq >= %s ORDER BY seq LIMIT %s"
_MISSING_ADVICE = "copy log.head from a server that works on this log, or write the head of the newest export into it (SIZE:ROOT)"


class PostgresLog:
    """Implements `ports.Log`, durably. Safe for several threads, processes and machines; open it after a fork, not before.

    On opening, the whole chain is verified. `read_only` writes nothing and does not refuse a broken log: `broken` then says
    what is wrong. Raises LogUnavailable when it cannot be opened, LogBroken (with `seq`) when it does not verify.
    """

    def __init__(
        self,
        url: str,
        head_file: Path,
        *,
        read_only: bool = False,
        busy_timeout_s: float = 5.0,
        restart_s: float = RESTART_S,
        connect_s: int = CONNECT_S,
    ) -> None:
        self._read_only = read_only
        self._head = HeadFile(head_file, head_file.with_name(head_file.name + ".lock"), busy_timeout_s=busy_timeout_s)
        self._database = Postgres(
            url, read_only=read_only, durable=not read_only, busy_timeout_s=busy_timeout_s, restart_s=restart_s, connect_s=connect_s
        )
        self.where = self._database.where
        self._chain = Chain()
        self._guard = threading.RLock()
        self.broken: LogBroken | None = None
        try:
            self._open()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> PostgresLog:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        if self._read_only:
            raise LogUnavailable(f"the log {self.where} was opened for reading only")
        sent: list[Event] = []

        def once(connection: Connection) -> tuple[Chain, Path]:
            page = partial(_fetch, connection)  # all of it on this connection: another one is not in the transaction
            with connection.pipeline(), connection.transaction():  # 2, 7; two answers are waited for, not five
                connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK, WRITING))
                if sent and _holds(connection, sent[-1]):  # an answer was lost, and no more than that
                    chain, _broken = follow(page, self._chain, sent[-1].seq + 1)
                    return chain, self._head.prepare(chain.head())
                before = self._caught_up(page)  # 3
                if expected is not None and expected != before.size:  # 4
                    raise Stale(f"the log has {before.size} events, not {expected}", rule="log-size")
                after, sealed = before.seal(events)
                sent[:] = sealed
                prepared = self._head.prepare(after.head())  # 5
                with connection.cursor() as cursor:
                    cursor.executemany(_INSERT, [_row(event) for event in sealed])  # 6
            return after, prepared

        with self._guard, as_log_errors(self.where), self._head.locked():  # 1
            self._chain, prepared = self._database.run(once)
            self._head.publish(prepared)  # 8
            return self._chain.head()

    def read(self, start: int = 0) -> Iterator[Event]:
        position = max(start, 0)
        while True:
            rows = self._page(position)
            if not rows:
                return
            for row in rows:
                yield event_of(row)
            position = int(rows[-1][0]) + 1

    def head(self) -> Head:
        with self._guard:
            if self.broken is not None:
                return self._chain.head()
            before = self._chain.size
            self._chain = self._caught_up(self._page)
            head = self._chain.head()
            if head.size > before and not self._read_only:
                self._remember(head)
            return head

    # --- within -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if not self._read_only:
            with as_log_errors(self.where):
                self._head.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database.run(ensure)
        with as_log_errors(self.where):
            self._chain, broken = verify(self._page, self._head, missing_advice=_MISSING_ADVICE)
            if broken is not None and not self._read_only:
                raise broken
            self.broken = broken
            if not self._read_only:
                self._remember(self._chain.head() if self._chain.size else EMPTY_HEAD)

    def _remember(self, head: Head) -> None:
        """The newest head that was seen, unless another process of this machine has seen a newer one."""
        try:
            with self._head.locked():
                known = self._head.read()
                if known is None or known.size < head.size:
                    self._head.publish(self._head.prepare(head))
        except (OSError, LogBroken):
            return  # an older head is still true; an append needs the disk, and says so

    def _page(self, start: int, stop: int | None = None) -> Sequence[Row]:
        return self._database.run(lambda connection: _fetch(connection, start, stop))

    def _caught_up(self, page: Page) -> Chain:
        """The chain after every stored event, each new one checked, and the last known one still there. Raises LogBroken."""
        chain = self._chain
        rows = page(max(chain.size - 1, 0), None)
        if chain.size:
            if not rows or (rows[0][0], rows[0][1]) != (chain.size - 1, chain.tip):
                raise LogBroken(
                    f"the log in {self.where} has lost events while this server was working: number {chain.size - 1} is not there any more",
                    seq=chain.size - 1,
                    advice="was a backup put back, or a standby promoted that had not got everything? " + BROKEN_ADVICE,
                )
            full, rows = len(rows) == PAGE, rows[1:]
        else:
            full = len(rows) == PAGE
        after, broken = link(chain, rows)
        if broken is None and full:
            after, broken = follow(page, after)
        if broken is not None:
            raise broken
        return after


def _fetch(connection: Connection, start: int, stop: int | None = None) -> Sequence[Row]:
    return connection.execute(_SELECT, (start, PAGE if stop is None else min(PAGE, stop - start))).fetchall()


def _holds(connection: Connection, event: Event) -> bool:
    found = connection.execute("SELECT hash FROM orchestrator.events WHERE seq = %s", (event.seq,)).fetchone()
    return found is not None and found[0] == event.hash


def _row(event: Event) -> Row:
    row = row_of(event)
    if any(isinstance(value, str) and "\0" in value for value in row):
        raise InputError(f"event {event.type}: a name or a text of it holds the character NUL, which PostgreSQL does not keep")
    return row
