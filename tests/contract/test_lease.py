"""The contract of `ports.Lease`, held by the durable ones and by their double; then what only processes can show."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.adapters.memory_lease import MemoryLease
from orchestrator.adapters.postgres_lease import PostgresLease
from orchestrator.adapters.sqlite_lease import SqliteLease
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.errors import LogUnavailable
from orchestrator.ports import Held, Lease

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Two:
    """Two servers on one log, each with the lease as it reaches it. `end`: the first one's process ends without a word."""

    one: Lease
    other: Lease
    end: Callable[[], None]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    if request.param == "memory":
        lease = MemoryLease()
        yield Two(lease, lease, lease.end)
        return
    one: SqliteLease | PostgresLease
    other: SqliteLease | PostgresLease
    if request.param == "postgres":
        url = request.getfixturevalue("database")
        one, other = PostgresLease(url, grace_s=0), PostgresLease(url, grace_s=0)
    else:
        SqliteLog(tmp_path / "log.sqlite").close()
        one, other = SqliteLease(tmp_path / "log.sqlite"), SqliteLease(tmp_path / "log.sqlite")

    def end() -> None:
        one.close()
        while (seen := other.seen()) is not None and not seen.gone:
            time.sleep(0.01)  # PostgreSQL ends a session a moment after its connection

    try:
        yield Two(one, other, end)
    finally:
        one.close()
        other.close()


def taken(lease: Lease, holder: str) -> Held:
    held = lease.acquire(holder, lease.seen())
    assert held is not None
    return held


def test_nobody_holds_it_at_first_and_one_of_two_gets_it(two: Two) -> None:
    assert two.one.seen() is None
    held = two.one.acquire("a", None)
    assert held is not None
    assert held.holder == "a"
    assert two.other.acquire("b", None) is None, "somebody was faster"
    assert two.other.seen() == held


def test_it_is_taken_from_its_holder_only_as_it_was_seen(two: Two) -> None:
    held = taken(two.one, "a")
    seen = two.other.seen()
    renewed = two.one.renew(held)
    assert renewed is not None
    assert renewed.beat > held.beat
    assert two.other.acquire("b", seen) is None, "it has been renewed since"
    over = taken(two.other, "b")
    assert over.term > held.term


def test_who_has_lost_it_renews_and_releases_nothing(two: Two) -> None:
    held = taken(two.one, "a")
    over = taken(two.other, "b")
    assert two.one.renew(held) is None
    two.one.release(held)
    assert two.one.seen() == over


def test_a_released_one_is_nobodys_and_its_terms_go_on(two: Two) -> None:
    held = taken(two.one, "a")
    two.one.release(held)
    two.one.release(held)
    seen = two.other.seen()
    assert seen is not None
    assert seen.holder == ""
    assert taken(two.other, "b").term > held.term


def test_the_same_holder_again_is_another_term(two: Two) -> None:
    first = taken(two.one, "a")
    second = taken(two.one, "a")
    assert second.term > first.term
    assert two.one.renew(first) is None
    assert two.one.renew(second) is not None


def test_a_holder_that_lives_is_not_gone_and_one_that_died_is(two: Two) -> None:
    taken(two.one, "a")
    alive = two.other.seen()
    assert alive is not None
    assert not alive.gone
    two.end()
    dead = two.other.seen()
    assert dead is not None
    assert dead.gone
    assert dead.holder == "a"
    over = two.other.acquire("b", dead)
    assert over is not None
    now = two.other.seen()
    assert now is not None
    assert not now.gone


def test_a_holder_whose_row_was_lost_finds_that_out_and_terms_do_not_begin_again(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    SqliteLog(log).close()
    lease, other = SqliteLease(log), SqliteLease(log)
    held = taken(lease, "a")
    other._database.execute("DELETE FROM volatile")
    assert lease.renew(held) is None
    assert taken(other, "b").term > held.term
    lease.close()
    other.close()


def test_without_a_log_or_with_a_damaged_row_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable):
        SqliteLease(tmp_path / "no such.sqlite").seen()
    SqliteLog(tmp_path / "log.sqlite").close()
    lease = SqliteLease(tmp_path / "log.sqlite")
    lease._database.execute("INSERT INTO volatile (kind, key, value) VALUES ('lease', 'acting', 'nonsense')")
    with pytest.raises(LogUnavailable, match="cannot be told"):
        lease.seen()
    lease.close()


def test_a_killed_process_is_gone_at_once_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    SqliteLog(log).close()
    program = (
        "import sys, signal; from pathlib import Path; from orchestrator.adapters.sqlite_lease import SqliteLease\n"
        "lease = SqliteLease(Path(sys.argv[1])); assert lease.acquire('a', lease.seen()); print('held', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    lease = SqliteLease(log)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(19)  # SIGSTOP: it hangs, and keeps its lock
        hung = lease.seen()
        assert hung is not None
        assert not hung.gone
        process.kill()
        process.wait(10)
        dead = lease.seen()
        assert dead is not None
        assert dead.gone
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()
        lease.close()
