"""A fixed handful of the deaths of `make crash`; and that what judges them finds what it is there to find."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.layer import DeviceChange, Opening
from orchestrator.domain.network import Site
from orchestrator.ports import Credential, Target
from orchestrator.simulation.dialect import dialect_for
from tests.crash import lives
from tests.crash.campaign import campaign, world_of
from tests.crash.one_death import Verdict, die, nothing_lost, points_of
from tests.crash.operations import OPERATIONS, P1, Operation
from tests.crash.ports import DistantDevices, Line
from tests.crash.world import Form, Point, World
from tests.service.reopening import after_the_cut, valmont
from tests.service.test_drift import BY_HAND

DEATHS = 16
EVERY_KIND = ("apply", "revert", "cut off", "re-isolate", "block", "resume", "lift", "window", "drift", "recover", "take over")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """After the cut, with one stage approved."""
    return world_of(OPERATIONS[0], tmp_path / "world")


def test_a_sample_of_all_deaths_is_survived() -> None:
    told: list[str] = []
    result = campaign(sample=DEATHS, tell=told.append)
    assert (result.left_open, result.lost_events, result.failures) == (0, 0, []), "\n".join(told)
    assert result.survived == result.points == DEATHS


def test_a_life_reaches_the_same_points_each_time(world: World) -> None:
    """Also where a server does several things beside each other: the looks for drift, what is owed, what is left over."""
    first = world.run(lives.taking_up).reached
    for _ in range(3):
        world.reset()
        assert world.run(lives.taking_up).reached == first


def test_a_point_that_is_not_reached_is_not_survived(world: World) -> None:
    verdict = die(OPERATIONS[0], Point("log StageApplying", 2, Form.BEFORE), world, waits=False)
    assert not verdict.survived
    assert "not reached" in verdict.lines()[0]


def test_every_kind_of_operation_is_killed() -> None:
    names = " ".join(operation.name for operation in OPERATIONS)
    assert [kind for kind in EVERY_KIND if kind not in names] == []


def test_points_are_found_by_what_is_called_and_each_has_its_forms(world: World) -> None:
    points = points_of(OPERATIONS[0], world)
    assert len(points) == len(set(points))
    for name in ("log StageApplying", "device fw-ext open", "device rtr-isp confirm", "log StageOpened"):
        forms = {point.form for point in points if point.name == name}
        assert forms == ({Form.BEFORE, Form.AFTER} if name.startswith("log") else set(Form)), name


# --- what judges them finds what it is there to find ---------------------------------------------------------------


def sending(*scripts: Script, device: str = "fw-ext") -> lives.Life:
    """An orchestrator that sends these, one session each, with nothing of it in the log."""

    def life(line: Line, _state: Path) -> None:
        site: Site = valmont()[0]
        target = Target(device, site.device(device).platform, "", "")
        for script in scripts:
            list(DistantDevices(line).run({target: (script,)}, credential=Credential.OPEN, deadline_s=1, verb="open"))

    return life


def by_hand() -> DeviceChange:
    return DeviceChange(device="fw-ext", openings=(Opening(flow="website", partner="everyone", element=BY_HAND),))


def test_what_nobody_approved_is_found(world: World) -> None:
    epoch = world.hospital.machines["fw-ext"].epoch
    assert epoch is not None
    ended = world.run(sending(dialect_for("nftables").open(by_hand()).filled(epoch=epoch, confirm=60)))
    assert ended.code == 0
    assert any("which nothing approves" in text for text in world.monitor.open_uncovered)


def test_a_layer_that_goes_is_found(world: World) -> None:
    epoch = world.hospital.machines["fw-ext"].epoch
    assert epoch is not None
    world.run(sending(dialect_for("nftables").lift().filled(epoch=epoch)))
    assert any("has lost the layer" in text for text in world.monitor.open_uncovered)


def test_an_opening_without_its_intent_is_found(world: World) -> None:
    """Approved and being applied, and yet: nothing is sent before the log says so."""
    ended = world.run(OPERATIONS[0].act, until=Point("log DeviceChangeIntended", 1, Form.BEFORE))
    assert ended.killed
    plan = after_the_cut(approved="P0-lifelines").status("P0-lifelines").plan
    assert plan is not None
    change = next(device.change for device in plan.devices if device.device == "fw-ext")
    epoch = world.hospital.machines["fw-ext"].epoch
    assert epoch is not None
    world.run(sending(dialect_for("nftables").open(change).filled(epoch=epoch, confirm=60)))
    assert any("without a present intent" in text for text in world.monitor.open_uncovered)


def test_a_packet_that_passes_unapproved_is_found(world: World) -> None:
    assert world.monitor.packets("before") >= 0
    assert world.monitor.open_uncovered == []
    for machine in world.hospital.machines.values():
        machine.slots.clear()
    world.monitor.packets("after")
    assert any("a packet passes" in text for text in world.monitor.open_uncovered)


def test_a_deadline_that_is_forgotten_is_found(world: World) -> None:
    ended = world.run(OPERATIONS[0].act, until=Point("device fw-ext open", 1, Form.AFTER))
    assert ended.killed
    machine = world.hospital.machines["fw-ext"]
    machine.opened = dict.fromkeys(machine.opened)  # the device has lost its deadlines
    world.let_time_pass(timedelta(hours=1))
    assert any("lasting without an intent" in text for text in world.monitor.open_uncovered)


def test_a_lost_event_is_found(world: World) -> None:
    ended = world.run(OPERATIONS[0].act, until=Point("log StageVerifying", 1, Form.AFTER))
    verdict = Verdict("", "")
    nothing_lost(world, verdict, [ended])
    assert verdict.lost == []
    with sqlite3.connect(world.state / "log.sqlite") as database:
        database.execute("DROP TRIGGER events_no_delete")
        database.execute("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
        database.execute("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
    nothing_lost(world, verdict, [ended])
    assert verdict.lost != []


def test_votes_are_counted_once_more(tmp_path: Path) -> None:
    """A log in which somebody's vote stands in for another's is refused by the fold of our own."""
    operation = Operation("forged", lambda: after_the_cut("P0-lifelines", approved=P1), OPERATIONS[3].act)
    world = world_of(operation, tmp_path / "world")
    with sqlite3.connect(world.state / "log.sqlite") as database:
        database.execute("DROP TRIGGER events_no_update")
        rows = database.execute("SELECT seq, body FROM events WHERE type = 'VoteCast' AND stage = ? ORDER BY seq", (P1,)).fetchall()
        first, second = json.loads(rows[0][1]), rows[1][0]
        database.execute("UPDATE events SET body = ? WHERE seq = ?", (json.dumps(first), second))
        last = database.execute("SELECT max(seq) FROM events").fetchone()[0]
        database.execute("DROP TRIGGER events_in_order")
        database.execute(
            "INSERT INTO events SELECT ?, hash, previous, at, 'StageApplying', actor, ?, device, '{}' FROM events WHERE seq = ?",
            (last + 1, P1, last),
        )
    world.approved.__init__()  # type: ignore[misc]
    world.look("after the forgery")
    assert any("is applied with the votes of" in text for text in world.approved.faults)


def test_a_death_that_is_not_survived_says_where(world: World) -> None:
    """Somebody opens by hand after the restart, in whatever generation: the verdict names the death and what is open."""
    opening = dialect_for("nftables").open(by_hand())
    then = sending(*(opening.filled(epoch=epoch, confirm=60) for epoch in range(40, 60)))
    operation = Operation("apply", lambda: after_the_cut(approved="P0-lifelines"), OPERATIONS[0].act, then=then)
    verdict = die(operation, Point("log StageVerifying", 1, Form.AFTER), world, waits=False)
    assert not verdict.survived
    assert "just after, outcome lost log StageVerifying" in verdict.lines()[0]
