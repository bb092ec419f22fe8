"""What the orchestrator is killed in. An operation is one entry: how the hospital stands before, and what is then done.

How the hospital comes to stand there is told by the service's own tests; they are the ones who know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.commands import BlockNetworks, GrantUnblock, Reisolate, RequestUnblock
from orchestrator.domain.stage_names import RESUME
from orchestrator.service.stages import Stages
from tests.crash.lives import Life, cutting, doing, finish, taking_over, taking_up
from tests.crash.world import Form, Point, World
from tests.service import test_lift, test_resume, test_windows
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_drift import BY_HAND

P0, P1, P2, P3, P4 = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail", "P4-images"
SCANNER = "198.51.100.99/32"


def _nothing(_world: World) -> None:
    return None


@dataclass(frozen=True)
class Operation:
    """`before` makes the hospital, `earlier` happens to it each time anew; `act` is the life that is killed; `then`, where
    given, is what a person does after the restart (a cut-off that died is ordered again). `dated`: what it opens ends by itself
    while time passes, and a server that is there then says so."""

    name: str
    before: Callable[[], Reopening]
    act: Life
    then: Life | None = None
    earlier: Callable[[World], None] = _nothing
    dated: bool = False


# --- what is done -------------------------------------------------------------------------------------------------


def _apply(stage: str) -> Life:
    return doing(lambda stages: stages.apply("eng-1", stage))


def _revert(stage: str) -> Life:
    return doing(lambda stages: stages.revert("eng-1", stage, "an alert"))


def _apply_and_revert(stage: str) -> Life:
    """Somebody closes it as soon as it is open."""

    def both(stages: Stages) -> None:
        stages.apply("eng-1", stage)
        finish(stages)
        stages.revert("eng-1", stage, "on second thoughts")

    return doing(both)


def _reisolate(what: str, name: str) -> Life:
    return doing(lambda stages: stages.reisolating.order(Reisolate("rssi", what, name, "an indicator", 0)))  # type: ignore[arg-type]


def _block(stages: Stages) -> None:
    stages.reisolating.block(BlockNetworks("rssi", (SCANNER,), "it scans us"))


def _unblock(stages: Stages) -> None:
    stages.do(RequestUnblock("rssi", (SCANNER,), "it was a test"))
    stages.do(GrantUnblock("commander", "U1"))
    stages.reisolating.lay()


def _chores(stages: Stages) -> None:
    """The server is left alone for a while."""
    for number in range(1, 4):
        stages.runner.chores.turn(now=number * 1e6)
        finish(stages)


def _repair(stages: Stages) -> None:
    def repair() -> None:
        stages.runner.repair.repair(None, only_more=False)

    stages.runner.begin(repair)


def _window_passes(stages: Stages) -> None:
    _chores(stages)
    stages.collaborators.wait(timedelta(hours=3).total_seconds())
    _chores(stages)


# --- how it stands before -----------------------------------------------------------------------------------------


def _false_alarm() -> Reopening:
    reopening, _ = test_resume.cut_again(P0, P1)
    test_resume.declare(reopening)
    test_resume.approve(reopening)
    return reopening


def _window_about_to_open() -> Reopening:
    reopening = test_windows.planned()
    reopening.clock.wait(timedelta(hours=1).total_seconds())
    return reopening


def _opened_by_hand() -> Reopening:
    reopening = after_the_cut(P0)
    reopening.stages.runner.drift.look()
    reopening.hospital.machines["fw-ext"].opened[BY_HAND] = None
    return reopening


def _blocked() -> Reopening:
    reopening = after_the_cut(P0, P1)
    _block(reopening.stages)
    finish(reopening.stages)
    return reopening


def _killed(life: Life, *points: Point) -> Callable[[World], None]:
    """An earlier server was killed there."""

    def earlier(world: World) -> None:
        for point in points:
            assert world.run(life, until=point).killed, f"{point} is not reached"

    return earlier


def _hung(life: Life, point: Point) -> Callable[[World], None]:
    """An earlier server hangs there: it will not die, nor do anything."""

    def earlier(world: World) -> None:
        _killed(life, point)(world)
        world.hold_the_lease("server-1")

    return earlier


LAID = Point("device fw-ext open", 1, Form.AFTER)
CONFIRMED = Point("device fw-ext confirm", 1, Form.AFTER)

OPERATIONS = (
    Operation("apply a firewall and the router behind it", lambda: after_the_cut(approved=P0), _apply(P0)),
    Operation("apply with a canary partner first", lambda: after_the_cut(P0, P1, approved=P2), _apply(P2)),
    Operation("revert an open stage", lambda: after_the_cut(P0, P1, P2), _revert(P2)),
    Operation("apply and revert", lambda: after_the_cut(P0, approved=P1), _apply_and_revert(P1)),
    Operation("cut off what is open", lambda: after_the_cut(P0, P1, approved=P2), cutting("total"), then=cutting("total")),
    Operation("cut off more narrowly", lambda: after_the_cut(P0, P1, P2), cutting("internet"), then=cutting("internet")),
    Operation("re-isolate a partner", lambda: after_the_cut(P0, P1, P2), _reisolate("partner", "sister")),
    Operation("re-isolate a zone", lambda: after_the_cut(P0, P1, P2), _reisolate("zone", "imaging")),
    Operation("block an address", lambda: after_the_cut(P0, P1), doing(_block)),
    Operation("unblock an address", _blocked, doing(_unblock)),
    Operation("resume after a false alarm", _false_alarm, _apply(RESUME)),
    Operation("lift the layer", test_lift.approved, _apply(test_lift.LIFT)),
    Operation("open a window and end it", _window_about_to_open, doing(_window_passes), dated=True),
    Operation("repair drift", _opened_by_hand, doing(_repair), then=doing(_repair)),
    Operation("recover after a death in the laying", lambda: after_the_cut(approved=P0), taking_up, earlier=_killed(_apply(P0), LAID)),
    Operation("recover after a death at the end", lambda: after_the_cut(approved=P0), taking_up, earlier=_killed(_apply(P0), CONFIRMED)),
    Operation("take over from a server that hangs", lambda: after_the_cut(approved=P0), taking_over, earlier=_hung(_apply(P0), LAID)),
)  # fmt: skip
