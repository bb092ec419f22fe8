"""A real PostgreSQL for tests: Debian's, of its own, reachable through a Unix socket in a directory of its own only.

It syncs to the disk as in a hospital. It cannot run as root: the account `postgres` of the Debian package runs it then.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

OWNER = "owner"
_ACCOUNT = "postgres"


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    assert found, "no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql (`make system-packages` does)"
    return found[-1].parent


def _as_its_account(*words: str) -> list[str]:
    """The server ends with the thread that starts it, however that ends (SIGINT is its fast shutdown): start it in the main one."""
    account = ["--reuid", _ACCOUNT, "--regid", _ACCOUNT, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *account, "--pdeathsig", "INT", "--", *words]


class PostgresServer:
    """`start` and `end` at will: the data stay in between. `directory` is removed by whoever made it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.data = directory, directory / "data"
        self._binaries = _binaries()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        if os.geteuid() == 0:
            shutil.chown(directory, _ACCOUNT, _ACCOUNT)
        command = [str(self._binaries / "initdb"), "-D", str(self.data), "-U", OWNER, "--auth", "trust", "--no-sync"]
        command += ["--encoding", "UTF8", "--locale", "C.UTF-8"]
        subprocess.run(_as_its_account(*command), check=True, capture_output=True, cwd=directory)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def url(self, database: str, user: str = OWNER) -> str:
        return f"postgresql://{user}@/{database}?host={self.directory}"

    def start(self, *settings: str) -> None:
        """With `name=value` settings; returns when it answers."""
        words = [str(self._binaries / "postgres"), "-D", str(self.data), "-k", str(self.directory)]
        for setting in ("listen_addresses=", "shared_buffers=16MB", "max_connections=60", *settings):
            words += ["-c", setting]
        with (self.directory / "server.log").open("ab") as told:
            self._process = subprocess.Popen(_as_its_account(*words), stdout=told, stderr=told, cwd=self.directory)
        for _ in range(1200):
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.directory / "server.log").read_text()
                time.sleep(0.05)
        raise AssertionError("PostgreSQL does not answer")

    def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: in order, without waiting for anybody; SIGQUIT: as after a crash. Returns when it has ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            try:
                self._process.wait(30)
            finally:
                self._process.kill()
                self._process.wait(10)
                self._process = None

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of a new, empty database, which is removed afterwards."""
        name = f"log_{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, database: str, *statements: str) -> None:
        """As the owner of everything, each on its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def postgres_server(*settings: str) -> Iterator[PostgresServer]:
    """Started; stopped and removed afterwards, also after a failure."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = PostgresServer(directory)
        try:
            server.start(*settings)
            yield server
        finally:
            server.end()
    finally:
        shutil.rmtree(directory)
