"""The contract of `ports.Volatile`, held by the stored ones and by their double."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.memory_volatile import MemoryVolatile
from orchestrator.adapters.postgres_volatile import PostgresVolatile
from orchestrator.adapters.sqlite_volatile import SqliteVolatile
from orchestrator.errors import LogUnavailable
from orchestrator.ports import Volatile

NOW = datetime(2026, 6, 25, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=15)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Volatile, Volatile]]:
    """The store, as two servers of one log reach it."""
    if request.param == "memory":
        both = MemoryVolatile()
        yield both, both
        return
    one: SqliteVolatile | PostgresVolatile
    other: SqliteVolatile | PostgresVolatile
    if request.param == "postgres":
        url = request.getfixturevalue("database")
        one, other = PostgresVolatile(url), PostgresVolatile(url)
    else:
        one, other = SqliteVolatile(tmp_path / "volatile.sqlite"), SqliteVolatile(tmp_path / "volatile.sqlite")
    try:
        yield one, other
    finally:
        one.close()
        other.close()


def test_what_one_keeps_the_other_finds_until_its_time_is_over(two: tuple[Volatile, Volatile]) -> None:
    one, other = two
    one.put("token", "abc", "eng-1 – é", until=LATER)
    assert other.get("token", "abc", now=NOW) == "eng-1 – é"
    assert other.get("token", "abc", now=LATER) is None
    assert other.get("challenge", "abc", now=NOW) is None, "kinds are apart"
    one.put("token", "abc", "eng-2", until=LATER)
    assert other.get("token", "abc", now=NOW) == "eng-2"


def test_of_many_that_take_it_one_gets_it(two: tuple[Volatile, Volatile]) -> None:
    one, other = two
    one.put("challenge", "c", "text", until=LATER)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda store: store.take("challenge", "c", now=NOW), (one, other) * 8))
    assert sorted(map(str, taken)) == ["None"] * 15 + ["text"]
    one.put("challenge", "late", "text", until=NOW)
    assert other.take("challenge", "late", now=NOW) is None


def test_all_of_a_kind_and_what_is_forgotten(two: tuple[Volatile, Volatile]) -> None:
    one, other = two
    one.put("token", "b", "2", until=LATER)
    one.put("token", "a", "1", until=LATER)
    one.put("token", "old", "0", until=NOW)
    one.put("answer", "a", "x", until=LATER)
    assert other.all("token", now=NOW) == (("a", "1"), ("b", "2"))
    other.clear(now=LATER)
    assert one.all("token", now=NOW) == ()
    assert one.get("answer", "a", now=NOW) is None


def test_it_outlives_its_server_and_a_damaged_file_is_only_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "volatile.sqlite"
    store = SqliteVolatile(path)
    store.put("token", "abc", "eng-1", until=LATER)
    store.close()
    again = SqliteVolatile(path)
    assert again.get("token", "abc", now=NOW) == "eng-1"
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()
    path.write_bytes(b"this is no database, and long enough to be looked at by SQLite as if it were one " * 20)
    emptied = SqliteVolatile(path)
    assert emptied.get("token", "abc", now=NOW) is None
    emptied.put("token", "abc", "eng-1", until=LATER)
    emptied.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"volatile\.sqlite"):
        SqliteVolatile(tmp_path / "missing" / "volatile.sqlite")
