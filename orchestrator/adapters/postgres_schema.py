"""The tables in PostgreSQL, in a schema of their own, and the rights of the account that writes.

`events` is evidence. The triggers are a defence against mistakes, as are the missing rights of the writing account: whoever
owns the tables, or the server, can go round both. That is what the chain and the heads outside are for.
`lease` and `volatile` may be lost, and are after a crash of PostgreSQL; the terms of the lease go on.
"""

from __future__ import annotations

from psycopg import errors as sql_errors

from orchestrator.adapters.postgres_connection import Connection
from orchestrator.errors import LogUnavailable, UsageError

LOCK = 0x6F7263  # the first of two keys of every advisory lock of ours; the second: 0 and below as here, above: a term of the lease
WRITING, LEASING, MAKING = 0, -1, -2

SCHEMA = """\
CREATE SCHEMA orchestrator;

CREATE TABLE orchestrator.events (
    seq bigint PRIMARY KEY,
    hash text NOT NULL,
    previous text NOT NULL,
    at text NOT NULL,
    type text NOT NULL,
    actor text NOT NULL,
    stage text,
    device text,
    body text NOT NULL
);
CREATE FUNCTION orchestrator.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the log is append-only'; END $$;
CREATE FUNCTION orchestrator.in_order() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last record;
BEGIN
    SELECT seq, hash INTO last FROM orchestrator.events ORDER BY seq DESC LIMIT 1;
    IF NEW.seq <> coalesce(last.seq + 1, 0) OR NEW.previous <> coalesce(last.hash, repeat('0', 64)) THEN
        RAISE EXCEPTION 'the log is append-only';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON orchestrator.events
    FOR EACH STATEMENT EXECUTE FUNCTION orchestrator.refuse();
CREATE TRIGGER events_in_order BEFORE INSERT ON orchestrator.events
    FOR EACH ROW EXECUTE FUNCTION orchestrator.in_order();

CREATE SEQUENCE orchestrator.lease_terms;
CREATE UNLOGGED TABLE orchestrator.lease (
    name text PRIMARY KEY,
    holder text NOT NULL,
    term bigint NOT NULL,
    beat bigint NOT NULL
);
CREATE UNLOGGED TABLE orchestrator.volatile (
    kind text NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX volatile_until ON orchestrator.volatile (until);
"""

_RIGHTS = """\
GRANT USAGE ON SCHEMA orchestrator TO {role};
GRANT SELECT, INSERT ON orchestrator.events TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestrator.lease, orchestrator.volatile TO {role};
GRANT USAGE ON SEQUENCE orchestrator.lease_terms TO {role};
"""


def setup(role: str) -> str:
    """What the owner of the database runs once, in one transaction: the tables, and the rights of the role that writes.

    Raises UsageError for a name that would have to be quoted.
    """
    if not role.isidentifier() or role != role.lower() or not role.isascii():
        raise UsageError(f"{role!r} is no name for a role here", advice="lower-case letters, digits and underscores")
    return f"BEGIN;\n{SCHEMA}\n{_RIGHTS.format(role=role)}COMMIT;\n"


def ensure(connection: Connection) -> None:
    """Makes the tables when there are none and this account may; of several that start at once one does. Raises psycopg.Error,
    LogUnavailable."""
    if _there(connection):
        return
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK, MAKING))
            if not _there(connection):
                connection.execute(SCHEMA)
    except sql_errors.InsufficientPrivilege as error:
        raise LogUnavailable(
            "this database has no tables of ours yet, and this account may not make them",
            advice="its owner makes them with what `orchestrator audit schema --role NAME` prints (docs/postgresql.md)",
        ) from error


def _there(connection: Connection) -> bool:
    """Whether the table is there; asked of the catalogue, since the rights on it are not needed for that."""
    query = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'orchestrator' AND c.relname = 'events'"
    return connection.execute(query).fetchone() is not None
