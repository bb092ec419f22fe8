"""What an orchestrator does between its start and its death: a server with its verbs, the emergency command, a restart.

Each life runs in a forked process, on the log of `state` and the hospital at the other end of the line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.domain.digests import inventory_digest, policy_digest
from orchestrator.ports import Target
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.cutoff import Cutoff, Order, Surroundings
from orchestrator.service.pack_making import make_pack
from orchestrator.service.stages import Stages
from orchestrator.simulation.dialect import dialect_for
from tests.crash.ports import AnnouncedLog, DistantClock, DistantDevices, DistantProbes, Line
from tests.service.reopening import PLANNER, key_of, valmont

Life = Callable[[Line, Path], None]
ENDS_WITHIN_S = 60.0
ROUNDS = 4  # of chores, after a restart


def server(line: Line, state: Path) -> Stages:
    """A server that has just been started; it has not looked at what an earlier one left."""
    log = AnnouncedLog(line, SqliteLog(state / "log.sqlite", head_file=state / "log.head"))
    spool, clock, devices = Spool(state / "spool"), DistantClock(line), DistantDevices(line)
    spool.allocate()
    return Stages(
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
        ),
        PLANNER,
    )


def doing(verb: Callable[[Stages], object]) -> Life:
    """A server that is asked one thing, and does it to the end."""

    def life(line: Line, state: Path) -> None:
        stages = server(line, state)
        verb(stages)
        _finish(stages)

    return life


def taking_up(line: Line, state: Path) -> None:
    """A start: what an earlier server left is taken up, and the chores are done until nothing is left to do."""
    stages = server(line, state)
    stages.runner.recover()
    _finish(stages)
    for number in range(1, ROUNDS + 1):
        stages.runner.chores.turn(now=number * 1e6)
        _finish(stages)


def _finish(stages: Stages) -> None:
    assert stages.runner.wait(ENDS_WITHIN_S), "it does not end"
    if stages.runner.failures:
        raise stages.runner.failures[0]


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
