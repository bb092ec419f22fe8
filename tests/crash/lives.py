"""What an orchestrator does between its start and its death: a server with its verbs, the emergency command, a restart.

Each life runs in a forked process, on the log of `state` and the hospital at the other end of the line. One thread of it runs at a
time, always in the same order, so that it reaches the same points each time; other orders are what the races are for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_lease import SqliteLease
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.domain.digests import inventory_digest, policy_digest
from orchestrator.ports import Target
from orchestrator.service.acting import LEASE_S
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.cutoff import Cutoff, Order, Surroundings
from orchestrator.service.pack_making import make_pack
from orchestrator.service.stages import Stages
from orchestrator.simulation.dialect import dialect_for
from tests.crash.ports import AnnouncedLog, DistantClock, DistantDevices, DistantProbes, Line
from tests.crash.turns import ConductedLock, Conductor
from tests.service.reopening import PLANNER, key_of, valmont

Life = Callable[[Line, Path], None]
ENDS_WITHIN_S = 60.0
TURNS_S = (1e6, 1e6 + 10, 2e6)  # of the chores after a restart, on their clock: all are due, then the frequent ones, then all
LOOKS = 6  # at a lease that somebody holds
SERVER, OTHER = "server-1", "server-2"
CONDUCTOR = Conductor()  # of this process: a fork has its own


def server(line: Line, state: Path, name: str = SERVER) -> Stages:
    """A server as it is wired, before its start."""
    log = AnnouncedLog(line, SqliteLog(state / "log.sqlite", head_file=state / "log.head"))
    spool, clock, devices = Spool(state / "spool"), DistantClock(line), DistantDevices(line)
    spool.allocate()
    line.stop_here = CONDUCTOR.stop_here
    stages = Stages(
        Collaborators(
            log=log,
            clock=clock,
            signatures=lambda text: SshSignatures(text, key_of("the site")),
            devices_by_platform=lambda _platform: devices,
            reader=devices,
            probes=DistantProbes(line),
            dialect_for=dialect_for,
            target_for=lambda device: Target(device.name, device.platform, str(device.management), device.user),
            take_in=lambda: spool.holds_something() and spool.merge_into(log),
            wait=clock.wait,
            raise_epoch=lambda known: int(line.ask("epoch", known)),
            lease=SqliteLease(state / "log.sqlite"),
            server=name,
            elapsed=lambda: clock.now().timestamp(),
        ),
        PLANNER,
    )
    stages.runner._turn._lock = ConductedLock(CONDUCTOR, lambda: True)  # type: ignore[assignment]
    stages.runner.drift._looking = ConductedLock(CONDUCTOR, lambda: True)  # type: ignore[assignment]
    return stages


def started(line: Line, state: Path, name: str = SERVER) -> Stages:
    """It acts, and has taken up what it found. After a server that hangs, it waits until that one's lease has run out."""
    stages = server(line, state, name)
    acting = stages.runner.acting
    for _ in range(LOOKS):
        if acting.turn():
            break
        stages.collaborators.wait(LEASE_S / 2)
    _run_out(stages)
    assert acting.acts, f"{name} does not act; {acting.who} does"
    return stages


def doing(verb: Callable[[Stages], object], name: str = SERVER) -> Life:
    """A server that is asked one thing, and does it to the end."""

    def life(line: Line, state: Path) -> None:
        stages = started(line, state, name)
        finish(stages)
        verb(stages)
        finish(stages)

    return life


def taking_up(line: Line, state: Path) -> None:
    """A start: what an earlier server left is taken up, and the chores are done until nothing is left to do."""
    _take_up(line, state, SERVER)


def taking_over(line: Line, state: Path) -> None:
    """The same by another server."""
    _take_up(line, state, OTHER)


def _take_up(line: Line, state: Path, name: str) -> None:
    stages = started(line, state, name)
    finish(stages)
    for turn_s in TURNS_S:
        stages.runner.chores.turn(now=turn_s)
        finish(stages)


def finish(stages: Stages) -> None:
    """Until everything that was begun has ended. Raises what it raised."""
    _run_out(stages)
    assert stages.runner.wait(ENDS_WITHIN_S), "it does not end"
    assert stages.reisolating.wait(ENDS_WITHIN_S), "it does not end"
    failures = [*stages.runner.failures, *stages.reisolating.failures]
    if failures:
        raise failures[0]
    wrong = [f"{chore.name}: {chore.failure}" for chore in stages.runner.chores.all if chore.failure]
    assert not wrong, wrong


def _run_out(stages: Stages) -> None:
    """The oldest thread that can go on does, until none can."""
    CONDUCTOR.adopt(stages)
    while ready := CONDUCTOR.ready():
        CONDUCTOR.go(ready[0])
        CONDUCTOR.adopt(stages)


def cutting(profile: str) -> Life:
    """The emergency command, as it is wired, on the simulated hospital."""

    def life(line: Line, state: Path) -> None:
        spool, clock = Spool(state / "spool"), DistantClock(line)
        log = state / "log.sqlite"

        def spooled(events: Any) -> None:
            line.ask("before", f"spool {events[0].type.value}")
            spool.append(events)
            line.ask("after", f"spool {events[0].type.value}")

        def opened() -> AnnouncedLog:
            return AnnouncedLog(line, SqliteLog(log, head_file=state / "log.head"))

        (state / "cut-pack.json").write_text(_pack(), encoding="utf-8")
        around = Surroundings(
            candidates=(("cut pack", state / "cut-pack.json"),),
            verify=lambda _body, _signature: None,
            render=lambda _profile: {},
            devices=lambda: DistantDevices(line),
            probes=lambda _body: DistantProbes(line),
            dialect=dialect_for,
            log=opened,
            spool=spooled,
            files=_Files(line, state),
            now=clock.now,
            elapsed=lambda: 0.0,
            merge=lambda: spool.merge_into(opened()),
            wait=clock.wait,
        )
        Cutoff(Order(profile, "they encrypt", "eng-1"), around, lambda _told: None).run()

    return life


class _Files(CutoffFiles):
    """Of the hospital's own epoch, which the server raises as well."""

    def __init__(self, line: Line, root: Path) -> None:
        super().__init__(root)
        self._line = line

    def raise_epoch(self, at_least: int) -> int:
        del at_least  # the wall clock; the hospital has a time of its own
        return int(self._line.ask("epoch", 0))


@cache
def _pack() -> str:
    site, policy = valmont()
    body = make_pack(
        site,
        policy,
        policy_digest=policy_digest(policy),
        inventory_digest=inventory_digest(site),
        made_at="2026-06-01T08:00:00.000Z",
        ratified=False,  # what to close instead of a dead device takes minutes to work out, and no device is dead here
        host_keys={},
        dialect_for=dialect_for,
    )
    return json.dumps({"body": body, "signature": "of no weight here"})


def warm_up() -> None:
    """What every life needs and a fork can share."""
    _pack()
