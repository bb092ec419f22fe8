"""The address of a log in PostgreSQL, as people may see it. Standard library only: the emergency command reads this.

No password is taken from an address: PostgreSQL's own ways (the account of a Unix socket, a client certificate, `~/.pgpass`,
PGPASSFILE, a service file) do it.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from orchestrator.errors import UsageError


def checked(url: str) -> str:
    """The address. Raises UsageError for one that is none, or holds a password: it would be seen in the process list and in
    copied settings."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise UsageError(
            "the address of the log is none that can be used",
            advice="ORCHESTRATOR_LOG is postgresql://ROLE@HOST/DATABASE, or sqlite, or not set (sqlite)",
        )
    if parts.password is not None or {"password", "sslpassword"} & set(parse_qs(parts.query, keep_blank_values=True)):
        raise UsageError(
            f"the address of the log, {shown(url)}, holds a password",
            advice="take it out; let PostgreSQL know the account of the Unix socket (peer), or put it into a file for PGPASSFILE",
        )
    return url


def shown(url: str) -> str:
    """The address as it may be printed: without parameters, and without a password even if there is one."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    host = parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["(local socket)"])[0]
    return f"postgresql://{user}{host}{'' if host.startswith('/') and not parts.path else parts.path}"
