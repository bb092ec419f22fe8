"""The hospital that outlives the orchestrator: a process in which the devices, the clock and the monitor live.

`run` forks an orchestrator, serves its calls, and at the chosen point kills it: just before, or just after with its outcome
lost, or before with the command still on its way (it arrives when `deliver_late` is called).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestrator.adapters.sqlite_lease import SqliteLease
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import NewEvent
from orchestrator.domain.probes import Probe
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes
from orchestrator.simulation.store import SavedMachine, at_rest, restore
from tests.crash.approved import Approved, Asked, Fact
from tests.crash.monitor import Monitor, moment_of
from tests.crash.ports import DIE, Line
from tests.service.reopening import Reopening

ANSWERS_WITHIN_S = 120.0
MORE_THAN_A_WINDOW = timedelta(hours=1)
MORE_THAN_ANY_END = timedelta(hours=6)


class Form(StrEnum):
    BEFORE = "just before"
    AFTER = "just after, outcome lost"
    LATE = "before, and the command arrives after the recovery"


@dataclass(frozen=True)
class Point:
    """The n-th time (from 1) that something of this name is reached."""

    name: str
    nth: int
    form: Form

    def __str__(self) -> str:
        return f"{self.form} {self.name} (time {self.nth})"


@dataclass
class Ended:
    """How an orchestrator ended. `reached` are the points in their order."""

    killed: bool = False
    code: int | None = None
    reached: list[tuple[str, int]] = field(default_factory=list)
    acknowledged: tuple[int, str] | None = None
    said: str = ""


class World:
    """One hospital with its log, in `directory`. `reset` makes it again as it was when `reopening` was taken over."""

    def __init__(self, reopening: Reopening, directory: Path, *, kept: frozenset[Asked], questions: tuple[Probe, ...]) -> None:
        self.directory, self.epoch = directory, reopening.epoch
        self._start, self._first_epoch = reopening.clock.time, reopening.epoch
        self.time = self._start
        self.hospital = SimulatedHospital(reopening.site, now=lambda: self.time.timestamp())
        self._machines = {name: at_rest(machine) for name, machine in reopening.hospital.machines.items()}
        self._kept, self._questions = kept, questions
        self._late: list[Callable[[], object]] = []
        self._lease: SqliteLease | None = None
        template = directory / "template"
        template.mkdir(parents=True)
        with SqliteLog(template / "log.sqlite", head_file=template / "log.head") as log:
            log.append([NewEvent(e.type, e.at, e.actor, e.body, e.stage, e.device) for e in reopening.log.read()])
        self.state = directory / "state"
        self.reset()

    def reset(self) -> None:
        self._let_go()
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self.directory / "template", self.state)
        self.time, self.epoch = self._start, self._first_epoch
        self._put_back(self._machines)
        self._late.clear()
        self.approved = Approved()
        self._follow()
        self.monitor = Monitor(self.hospital, self.approved, kept=self._kept, questions=self._questions)

    def hold_the_lease(self, server: str) -> None:
        """As a server that hangs: its process lives, it acts on the log, and does nothing any more."""
        self._lease = SqliteLease(self.state / "log.sqlite")
        assert self._lease.acquire(f"{server} 0000", self._lease.seen()) is not None

    def _let_go(self) -> None:
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    # --- an orchestrator lives and dies ------------------------------------------------------------------------

    def run(self, life: Callable[[Line, Path], None], *, until: Point | None = None) -> Ended:
        """Forks `life`; returns when it has ended. Raises TimeoutError when it hangs."""
        ours, theirs = Pipe()
        child = os.fork()
        if child == 0:
            ours.close()
            _live(life, theirs, self.state)
        theirs.close()
        ended = Ended()
        try:
            self._serve(ours, ended, until)
        finally:
            ours.close()
            if ended.code is None:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        ended.killed = os.WIFSIGNALED(status)
        ended.code = -os.WTERMSIG(status) if ended.killed else os.WEXITSTATUS(status)
        report = self.state / "died-of"
        ended.said = report.read_text(encoding="utf-8") if report.exists() else ""
        self.look("when it was dead")
        return ended

    def deliver_late(self) -> None:
        """What was on its way when the orchestrator died arrives now."""
        for arrive in self._late:
            arrive()
            self.look("when a late command arrived")
        self._late.clear()

    def let_time_pass(self, span: timedelta) -> None:
        """With every deadline of a device on the way."""
        end = self.time + span
        while (deadline := self.monitor.next_deadline(self.time.timestamp())) is not None and moment_of(deadline) <= end:
            self.time = moment_of(deadline)
            self.look("when a deadline passed")
        self.time = end
        self.look("when time had passed")

    def look(self, when: str) -> None:
        self._follow()
        self.monitor.look(when, self.time)

    def alone(self) -> Alternative:
        """A block in which things may happen that are undone at its end: devices and time."""
        return Alternative(self)

    # --- its questions -----------------------------------------------------------------------------------------

    def _serve(self, line: Connection, ended: Ended, until: Point | None) -> None:
        counts: Counter[str] = Counter()
        while True:
            if not line.poll(ANSWERS_WITHIN_S):
                raise TimeoutError(f"the orchestrator hangs after {ended.reached[-3:]}")
            try:
                question = line.recv()
            except EOFError:
                ended.code = 0
                return
            kind, *rest = question
            answer = self._answer(kind, rest, counts, ended, until)
            line.send(answer)

    def _answer(self, kind: str, rest: list[Any], counts: Counter[str], ended: Ended, until: Point | None) -> Any:
        if kind == "now":
            return self.time
        if kind == "wait":
            return self.let_time_pass(timedelta(seconds=rest[0]))
        if kind == "epoch":
            self.epoch = max(self.epoch, rest[0]) + 1
            return self.epoch
        if kind == "probes":
            return SimulatedProbes(self.hospital).run(rest[0], deadline_s=rest[1])
        if kind == "acknowledged":
            ended.acknowledged = (rest[0], rest[1])
            return None
        name = str(rest[0])
        if kind == "before":
            counts[name] += 1
            ended.reached.append((name, counts[name]))
            return DIE if until in (Point(name, counts[name], Form.BEFORE), Point(name, counts[name], Form.LATE)) else None
        if kind == "after":
            self.look(f"after {name}")
            return DIE if until == Point(name, counts[name], Form.AFTER) else None
        assert kind == "device"
        counts[name] += 1
        ended.reached.append((name, counts[name]))
        return self._device(Point(name, counts[name], Form.BEFORE), rest[1:], until)

    def _device(self, point: Point, call: list[Any], until: Point | None) -> Any:
        target, script, credential, deadline_s, verb = call

        def arrive() -> Any:
            answer = next(self.hospital.run({target: [script]}, credential=credential, deadline_s=deadline_s, verb=verb))[0]
            if verb == "cutoff" and json.loads(script.text)["verb"] == "lay":
                self.monitor.laid(target.device)
            return answer

        if until == point:
            return DIE
        if until == Point(point.name, point.nth, Form.LATE):
            self._late.append(arrive)
            return DIE
        outcome = arrive()
        self.look(f"after {point.name}")
        return DIE if until == Point(point.name, point.nth, Form.AFTER) else outcome

    # --- within ------------------------------------------------------------------------------------------------

    def _put_back(self, machines: Mapping[str, SavedMachine]) -> None:
        for name, machine in self.hospital.machines.items():
            restore(machine, machines[name])

    def _follow(self) -> None:
        for fact in facts(self.state / "log.sqlite", self.approved.size):
            self.approved.take(fact)


class Alternative:
    """See `World.alone`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> None:
        world = self._world
        self._machines = {name: at_rest(machine) for name, machine in world.hospital.machines.items()}
        self._time, self._seen = world.time, world.monitor.memory()

    def __exit__(self, *_: object) -> None:
        world = self._world
        world._put_back(self._machines)
        world.time = self._time
        world.monitor.recall(self._seen)


def facts(database: Path, start: int) -> Iterator[Fact]:
    """The events from this number on, read with nothing of the product's."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT seq, type, at, actor, stage, device, body FROM events WHERE seq >= ? ORDER BY seq", (start,))
        for seq, type_, at, actor, stage, device, body in rows.fetchall():
            yield Fact(seq, type_, at, actor, stage, device, json.loads(body))
    finally:
        connection.close()


def _live(life: Callable[[Line, Path], None], connection: Connection, state: Path) -> None:
    """The child: never returns, runs nobody's exit handlers."""
    code = 0
    try:
        life(Line(connection), state)
    except BaseException:
        code = 1
        (state / "died-of").write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(code)
