"""One PostgreSQL for the tests of a run that ask for it; it is stopped and removed afterwards, also when they fail.

Tests that ask a server (`api_on`) run with its log in a file and in PostgreSQL; others where `STORES` of their module says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from orchestrator.adapters.postgres_log import PostgresLog
from orchestrator.adapters.postgres_volatile import PostgresVolatile
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.adapters.sqlite_volatile import SqliteVolatile
from tests.postgres_server import PostgresServer, postgres_server
from tests.service.kept import DurableLog, Kept, in_memory, kept_by


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A test that stops it or changes its settings makes one of its own."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The address of an empty database of this test's own."""
    with postgres.database() as url:
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    stores = getattr(metafunc.module, "STORES", ("sqlite", "postgres") if hasattr(metafunc.module, "api_on") else ())
    if stores:
        metafunc.parametrize("store", stores, indirect=True)


@pytest.fixture(autouse=True)
def store(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the hospitals of this test keep their logs."""
    kind: str = getattr(request, "param", "memory")
    with ExitStack() as stack:
        make: Callable[[], Kept] = in_memory
        if kind == "sqlite":
            make = partial(_in_a_file, stack, request.getfixturevalue("tmp_path_factory"))
        elif kind == "postgres":
            make = partial(_in_postgres, stack, request.getfixturevalue("postgres"), request.getfixturevalue("tmp_path_factory"))
        with kept_by(make):
            yield


def _in_a_file(stack: ExitStack, directories: pytest.TempPathFactory) -> Kept:
    directory = directories.mktemp("state")
    volatile = SqliteVolatile(directory / "volatile.sqlite")
    stack.callback(volatile.close)
    return Kept(DurableLog(stack.enter_context(SqliteLog(directory / "log.sqlite"))), volatile)


def _in_postgres(stack: ExitStack, server: PostgresServer, directories: pytest.TempPathFactory) -> Kept:
    url = stack.enter_context(server.database())
    log = stack.enter_context(PostgresLog(url, directories.mktemp("state") / "log.head"))
    volatile = PostgresVolatile(url)
    stack.callback(volatile.close)
    return Kept(DurableLog(log), volatile)
