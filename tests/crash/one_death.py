"""One death: the orchestrator is killed at a point, everything is judged, a new server starts, and then another one.

1 the orchestrator dies at the point; every change on a device has been held against the log
2 nobody does anything: within the confirm window all that was not made lasting has closed by itself
3 a new server starts (for every second point only after that window): it ends in states of the table, nothing runs any
  more, nothing is open that is not approved, and what is open is what the log says
4 a command that was still on its way arrives: nothing changes
5 no event is lost: what was acknowledged is there, every intent has an outcome, nothing is left in the spool
6 a second restart appends nothing but what it is documented to, and changes nothing on any device
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain import stages
from orchestrator.domain.folding import fold
from orchestrator.domain.merkle import root
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState
from orchestrator.errors import LogBroken
from orchestrator.simulation.store import at_rest
from tests.crash.approved import Fact, box
from tests.crash.lives import taking_up
from tests.crash.operations import Operation
from tests.crash.world import MORE_THAN_A_WINDOW, MORE_THAN_ANY_END, Ended, Form, Point, World, facts

AT_A_RESTART = frozenset({"ServerActs", "Recovered"})  # what every start may write (docs/recovery.md)


@dataclass
class Verdict:
    """What was wrong with one death; nothing when it was survived."""

    operation: str
    point: str
    left_open: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def survived(self) -> bool:
        return not (self.left_open or self.lost or self.wrong)

    def lines(self) -> list[str]:
        return [f"{self.operation} · {self.point}: {text}" for text in (*self.left_open, *self.lost, *self.wrong)]


def points_of(operation: Operation, world: World) -> list[Point]:
    """Every point that the operation reaches when nobody kills it, in each of its forms. Raises AssertionError when it fails."""
    world.reset()
    operation.earlier(world)
    ended = world.run(operation.act)
    assert ended.code == 0, f"{operation.name} fails by itself: {ended.said}"
    assert not world.monitor.open_uncovered, world.monitor.open_uncovered
    assert not world.monitor.wrong, world.monitor.wrong
    assert not world.approved.faults, world.approved.faults
    points = []
    for name, nth in ended.reached:
        forms = list(Form) if name.startswith("device") and not name.endswith("read_back") else [Form.BEFORE, Form.AFTER]
        points += [Point(name, nth, form) for form in forms]
    return points


def die(operation: Operation, point: Point, world: World, *, waits: bool) -> Verdict:
    """`waits`: the new server starts only when every window is over."""
    verdict = Verdict(operation.name, str(point))
    world.reset()
    operation.earlier(world)
    ended = world.run(operation.act, until=point)  # 1
    if not ended.killed:
        verdict.wrong.append(f"it failed by itself: {ended.said}" if ended.code else "the point is not reached")
        return verdict
    acknowledged = [ended]
    if waits:
        _closes_by_itself(world, verdict)
    else:
        with world.alone():
            _closes_by_itself(world, verdict)  # 2
    acknowledged.append(_restart(world, verdict, "the restart"))  # 3
    if operation.then is not None:
        again = world.run(operation.then)
        if again.code:
            verdict.wrong.append(f"what a person does then failed: {again.said}")
        acknowledged += [again, _restart(world, verdict, "the restart after it")]
    world.deliver_late()  # 4
    world.let_time_pass(MORE_THAN_A_WINDOW)
    if operation.dated:
        world.let_time_pass(MORE_THAN_ANY_END)
        acknowledged.append(_restart(world, verdict, "the restart after all ends"))
    _settled(world, verdict)
    nothing_lost(world, verdict, acknowledged)  # 5
    _again(world, verdict)  # 6
    verdict.left_open += dict.fromkeys(world.monitor.open_uncovered)
    verdict.wrong += [*dict.fromkeys(world.monitor.wrong), *dict.fromkeys(world.approved.faults)]
    return verdict


def _closes_by_itself(world: World, verdict: Verdict) -> None:
    world.let_time_pass(MORE_THAN_A_WINDOW)
    verdict.left_open += [f"without anybody, after the confirm window: {what}" for what in world.monitor.temporary()]
    world.monitor.packets("without anybody, after the confirm window")


def _restart(world: World, verdict: Verdict, which: str) -> Ended:
    ended = world.run(taking_up)
    if ended.code:
        verdict.wrong.append(f"{which} failed: {ended.said}")
    world.monitor.packets(f"after {which}")
    return ended


def _settled(world: World, verdict: Verdict) -> None:
    """Nothing runs, and what the log says is open is open, lastingly."""
    world.monitor.packets("at the end")
    state = state_of(world.state)
    for status in state.stages.values():
        if status.state in stages.RUNNING:
            verdict.wrong.append(f"{status.name} is still {status.state}")
        if status.state in (StageState.REVERTED, StageState.SUSPENDED, StageState.STALE):
            verdict.left_open += _held(world, state, status.name)
    for name, machine in world.hospital.machines.items():
        there = {box(element) for element in machine.opened}
        missing = {box(element) for element in state.device(name).opened} - there
        verdict.wrong += [f"{name} does not hold {found}, which the log says is open" for found in missing]


def _held(world: World, state: SiteState, stage: str) -> list[str]:
    """What a closed stage has left on the devices, that no other stage has."""
    plan = state.stage(stage).plan
    found = []
    for device in plan.devices if plan else ():
        others = {box(element) for element in state.device(device.device).held_by_others(stage)}
        left = {box(element) for element in world.hospital.machines[device.device].opened} & {box(e) for e in device.change.elements}
        found += [f"{stage} is closed and {device.device} holds {one}" for one in left - others]
    return found


def nothing_lost(world: World, verdict: Verdict, lives: Sequence[Ended]) -> None:
    try:
        with SqliteLog(world.state / "log.sqlite", head_file=world.state / "log.head") as log:
            hashes = [bytes.fromhex(event.hash) for event in log.read()]
    except LogBroken as broken:
        verdict.lost.append(str(broken))
        return
    for ended in lives:
        if ended.acknowledged is not None:
            size, acknowledged = ended.acknowledged
            if len(hashes) < size or root(hashes[:size]).hex() != acknowledged:
                verdict.lost.append(f"the log of {size} events that was acknowledged is not a beginning of this one")
    everything = list(facts(world.state / "log.sqlite", 0))
    verdict.lost += [
        f"event {fact.seq}: {fact.device} was to {fact.body['action']}, and nobody said what became of it"
        for fact in without_outcome(everything)
    ]
    if Spool(world.state / "spool").holds_something():
        verdict.lost.append("the spool was not merged")


def without_outcome(everything: Sequence[Fact]) -> list[Fact]:
    """Intents after which nothing was said of their device: no outcome, no read-back, no layer of a cut-off."""
    said: dict[str, int] = {}
    for fact in everything:
        if fact.device is not None and fact.type in ("DeviceChanged", "DeviceReadBack", "CutoffApplied"):
            said[fact.device] = fact.seq
    return [fact for fact in everything if fact.type == "DeviceChangeIntended" and said.get(str(fact.device), -1) < fact.seq]


def _again(world: World, verdict: Verdict) -> None:
    before, held = world.approved.size, _everything_held(world)
    ended = world.run(taking_up)
    if ended.code:
        verdict.wrong.append(f"the second restart failed: {ended.said}")
    new = [fact.type for fact in facts(world.state / "log.sqlite", before) if fact.type not in AT_A_RESTART]
    if new:
        verdict.wrong.append(f"a second restart wrote {new}")
    if held != _everything_held(world):
        verdict.wrong.append("a second restart changed a device")


def _everything_held(world: World) -> str:
    return json.dumps({name: at_rest(machine).model_dump(mode="json") for name, machine in world.hospital.machines.items()}, sort_keys=True)


def state_of(directory: Path) -> SiteState:
    with SqliteLog(directory / "log.sqlite", head_file=directory / "log.head") as log:
        return fold(log.read())
