"""Many deaths: the points of every operation, shared among processes, with progress."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from orchestrator.domain.probes import Probe, Purpose
from tests.crash import lives
from tests.crash.approved import Asked, asked
from tests.crash.monitor import reaches
from tests.crash.one_death import Verdict, die, points_of
from tests.crash.operations import OPERATIONS, Operation
from tests.crash.world import Point, World
from tests.service.reopening import PLANNER, after_the_cut

MEMORY = Path("/dev/shm")
Task = tuple[int, Point, bool]


@dataclass
class Result:
    """Of a campaign. `points` counts deaths, of which there are several forms at one place. One that is not reached did not
    survive: every life runs the same way each time."""

    points: int = 0
    survived: int = 0
    left_open: int = 0
    lost_events: int = 0
    by_operation: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def count(self, verdict: Verdict) -> None:
        self.points += 1
        self.survived += verdict.survived
        self.left_open += len(verdict.left_open)
        self.lost_events += len(verdict.lost)
        self.by_operation[verdict.operation] = self.by_operation.get(verdict.operation, 0) + 1
        self.failures += verdict.lines()


def campaign(
    *, only: str = "", sample: int | None = None, seed: int = 4, processes: int | None = None, tell: Callable[[str], None] = print
) -> Result:
    """All points of all operations (those with `only` in their name), or a `sample` of so many, always the same ones."""
    result = Result()
    with _directory() as directory:
        tasks = list(_tasks(only, directory, tell))
        random.Random(seed).shuffle(tasks)  # the same order each time, of all operations: what fails is told early
        tasks = tasks[:sample]
        gc.collect()
        gc.freeze()  # what is warm is shared by the forks
        started = time.monotonic()
        with multiprocessing.get_context("fork").Pool(processes or os.cpu_count() or 1, _begin, (directory,)) as pool:
            for done, verdict in enumerate(pool.imap_unordered(_one, tasks, chunksize=4), start=1):
                result.count(verdict)
                if lines := verdict.lines():
                    tell(f"FAILED {lines[0]}" + (f" (and {len(lines) - 1} more)" if lines[1:] else ""))
                if done % 50 == 0 or done == len(tasks):
                    tell(f"{done} of {len(tasks)} deaths, {result.survived} survived, {time.monotonic() - started:.0f} s")
    return result


def _tasks(only: str, directory: Path, tell: Callable[[str], None]) -> Iterator[Task]:
    lives.warm_up()
    for number, operation in enumerate(OPERATIONS):
        if only not in operation.name:
            continue
        with _directory(directory) as place:
            points = points_of(operation, world_of(operation, place / "world"))
        tell(f"{len(points):5} points: {operation.name}")
        yield from ((number, point, index % 2 == 1) for index, point in enumerate(points))


# --- in the processes ---------------------------------------------------------------------------------------------

_place: Path
_worlds: dict[int, World] = {}


def _begin(directory: Path) -> None:
    global _place
    _place = Path(tempfile.mkdtemp(dir=directory))
    _worlds.clear()


def _one(task: Task) -> Verdict:
    number, point, waits = task
    operation = OPERATIONS[number]
    if number not in _worlds:
        _worlds[number] = world_of(operation, _place / str(number))
    try:
        return die(operation, point, _worlds[number], waits=waits)
    except Exception as failure:
        return Verdict(operation.name, str(point), wrong=[f"{type(failure).__name__}: {failure}"])


# --- the hospital -------------------------------------------------------------------------------------------------


@cache
def questions() -> tuple[Probe, ...]:
    """A packet of every flow of every stage that opens flows, as their own plans ask for it."""
    state = after_the_cut().stages.state()
    assert state.ratified is not None
    found: dict[Asked, Probe] = {}
    for stage in state.ratified.policy.stages:
        if stage.lifts or not stage.flows:
            continue
        for probe in PLANNER.plan(state, stage.name).probes:
            if probe.purpose is Purpose.POSITIVE:
                found.setdefault(asked(probe), probe)
    return tuple(found.values())


@cache
def kept() -> frozenset[Asked]:
    """What passes right after a total cut-off: the keep-list's."""
    reopening = after_the_cut()
    return frozenset(asked(probe) for probe in questions() if reaches(reopening.hospital, probe))


def world_of(operation: Operation, directory: Path) -> World:
    return World(operation.before(), directory, kept=kept(), questions=questions())


@contextmanager
def _directory(inside: Path | None = None) -> Iterator[Path]:
    """In memory where the machine has that: SIGKILL loses nothing of it, and thousands of logs are synced."""
    made = Path(tempfile.mkdtemp(prefix="crash-", dir=inside or (MEMORY if os.access(MEMORY, os.W_OK) else None)))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def names(operations: Sequence[Operation] = OPERATIONS) -> list[str]:
    return [operation.name for operation in operations]
