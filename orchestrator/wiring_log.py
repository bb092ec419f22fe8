"""Where the log of a state directory is: in a file of it, or in PostgreSQL. The only place that chooses.

ORCHESTRATOR_LOG says so (`postgresql://…`, or `sqlite`). A directory whose log was opened in PostgreSQL once remembers that in
`log.location`: a command that is typed at night without the variable, the emergency command first, must not begin another log.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.settings import StateDirectory, log_setting

if TYPE_CHECKING:
    from orchestrator.adapters.postgres_lease import PostgresLease
    from orchestrator.adapters.postgres_log import PostgresLog
    from orchestrator.adapters.postgres_volatile import PostgresVolatile
    from orchestrator.adapters.sqlite_lease import SqliteLease
    from orchestrator.adapters.sqlite_log import SqliteLog
    from orchestrator.adapters.sqlite_volatile import SqliteVolatile

SQLITE = "sqlite"


def postgres_url(state: StateDirectory, environ: Mapping[str, str] = os.environ) -> str:
    """The address of the log in PostgreSQL; empty for the file. Raises UsageError for what is neither, or holds a password."""
    said = log_setting(environ) or _remembered(state)
    if said in ("", SQLITE):
        return ""
    from orchestrator.adapters.postgres_address import checked

    return checked(said)


def log_is_there(state: StateDirectory) -> bool:
    """Whether a log was ever begun here; one in PostgreSQL is there or cannot be reached."""
    return bool(postgres_url(state)) or state.log.exists()


def open_log(state: StateDirectory, *, read_only: bool = False) -> SqliteLog | PostgresLog:
    """Verified as a whole. Raises LogUnavailable, LogBroken, EnvironmentMissing (no driver)."""
    url = postgres_url(state)
    if not url:
        from orchestrator.adapters.sqlite_log import SqliteLog

        return SqliteLog(state.log, head_file=state.log_head, read_only=read_only)
    from orchestrator.adapters.postgres_log import PostgresLog

    log = PostgresLog(url, state.log_head, read_only=read_only)
    if not read_only:
        _remember(state, url)
    return log


def lease_for(state: StateDirectory, server: str) -> SqliteLease | PostgresLease:
    """Of the log, which must have been opened. Raises LogUnavailable."""
    url = postgres_url(state)
    if not url:
        from orchestrator.adapters.sqlite_lease import SqliteLease

        return SqliteLease(state.log)
    from orchestrator.adapters.postgres_lease import PostgresLease

    return PostgresLease(url, server=server)


def volatile_for(state: StateDirectory, server: str) -> SqliteVolatile | PostgresVolatile:
    """Beside the log. Raises LogUnavailable."""
    url = postgres_url(state)
    if not url:
        from orchestrator.adapters.sqlite_volatile import SqliteVolatile

        return SqliteVolatile(state.volatile)
    from orchestrator.adapters.postgres_volatile import PostgresVolatile

    return PostgresVolatile(url, server=server)


def _remembered(state: StateDirectory) -> str:
    try:
        return state.log_location.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _remember(state: StateDirectory, url: str) -> None:
    if _remembered(state) == url:
        return
    prepared = state.log_location.with_suffix(".new")
    with contextlib.suppress(OSError):  # a full disk refuses the next append; this alone stops nothing
        prepared.write_text(url + "\n", encoding="utf-8")
        prepared.chmod(0o600)
        prepared.replace(state.log_location)
