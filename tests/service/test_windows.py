"""Dated windows: planned, signed, opened by themselves at their start and closed by the devices at their end."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp
from orchestrator.domain.state import moment
from orchestrator.domain.statement import read_statement
from orchestrator.errors import IllegalTransition, Refused, UsageError
from orchestrator.service.stages import Stages
from orchestrator.simulation.device import Fault
from tests.service.reopening import Reopening, after_the_cut

P6 = "P6-remote-maintenance"
BEFORE = ("P0-lifelines", "P1-inbound-mail", "P2-care-exchange")
BASTION, SSH = "203.0.113.3", 8022  # published; translated to tcp/22
HOUR = timedelta(hours=1)
CHORES = {"start planned re-cuts", "end what is over", "renew deadlines", "open windows", "warn before ends", "close leftovers"}


def planned(starts_in: timedelta = HOUR, lasts: timedelta = 2 * HOUR, vendor: str = "vendor-1") -> Reopening:
    """A window for one vendor, approved, before its start. (The history ends on a Wednesday morning: vendors work by day.)"""
    reopening = after_the_cut(*BEFORE)
    approve(reopening, starts_in, lasts, vendor)
    return reopening


def approve(reopening: Reopening, starts_in: timedelta, lasts: timedelta, vendor: str = "vendor-1") -> None:
    reopening.evidence(P6)
    starts = reopening.clock.now() + starts_in
    state = reopening.stages.plan("eng-1", P6, [vendor], (stamp(starts), stamp(starts + lasts)))
    name = max((n for n in state.stages if n.startswith(P6)), key=lambda n: state.stage(n).planned_seq)
    reopening.vote("eng-2", name)
    reopening.vote("rssi", name)
    assert reopening.status(name).state == "approved"


def turn(reopening: Reopening, stages: Stages | None = None) -> None:
    """One turn of a server's chores about time, and what they began."""
    runner = (stages or reopening.stages).runner
    for chore in runner.chores.all:
        if chore.name in CHORES:
            chore.do()
    assert runner.wait(60)
    assert runner.failures == []


def in_window() -> Reopening:
    """The window open, observed, a moment after its start."""
    reopening = planned()
    reopening.clock.wait(HOUR.total_seconds())
    turn(reopening)
    assert reopening.status(P6).state == "partially-open", reopening.status(P6).detail
    return reopening


def to_bastion(reopening: Reopening) -> bool:
    return reopening.reaches("vendor-1", BASTION, SSH)


def open_to(reopening: Reopening) -> set[str]:
    """The vendors whose addresses the gateway lets in, as it says itself."""
    vendors = {name: reopening.policy.partner(name).networks for name in ("vendor-1", "vendor-2", "vendor-3")}
    sources = {element.source for element in reopening.hospital.machines["vpn"].observed().opened}
    return {name for name, networks in vendors.items() if sources & set(networks)}


def types(reopening: Reopening, stage: str = P6) -> list[str]:
    return [event.type.value for event in reopening.log.read() if event.stage == stage]


# --- planning ---------------------------------------------------------------------------------------------------------


def test_the_window_is_in_the_digest_and_in_what_is_signed() -> None:
    reopening = planned()
    plan = reopening.status(P6).plan
    assert plan is not None
    assert plan.window is not None
    assert plan.on_expiry == "close"
    other = plan.model_copy(update={"window": plan.window.model_copy(update={"ends": "2026-06-24T15:00:00.000Z"})})
    assert other.digest != plan.digest
    signed = read_statement(reopening.status(P6).votes["eng-2"].statement)
    assert signed.window is not None
    assert (signed.window.starts, signed.window.ends) == (plan.window.starts, plan.window.ends)
    announced = [event for event in reopening.log.read() if event.type is E.WINDOW_ANNOUNCED]
    assert [event.body["partners"] for event in announced] == [["vendor-1"]]


@pytest.mark.parametrize(
    ("starts", "ends", "vendors", "rule"),
    [
        (1.0, 9.5, ["vendor-1"], "window-times"),  # 8 h 30 min, and the policy says 8 h
        (-1.0, 1.0, ["vendor-1"], "window-times"),
        (2.0, 1.0, ["vendor-1"], "window-times"),
        (25.0, 26.0, ["vendor-1"], "window-times"),  # nobody could vote on it in time
        (1.0, 2.0, ["vendor-1", "vendor-2"], "window-one-at-a-time"),
        (1.0, 2.0, None, "window-one-at-a-time"),
        (None, None, ["vendor-1"], "window-missing"),
    ],
)
def test_windows_that_cannot_be_kept_are_refused(starts: float | None, ends: float | None, vendors: list[str] | None, rule: str) -> None:
    reopening = after_the_cut(*BEFORE)
    now = reopening.clock.now()
    window = None if starts is None or ends is None else (stamp(now + starts * HOUR), stamp(now + ends * HOUR))
    with pytest.raises(Refused) as refused:
        reopening.stages.plan("eng-1", P6, vendors, window)
    assert refused.value.rule == rule


def test_a_window_is_refused_for_a_stage_that_has_none() -> None:
    reopening = after_the_cut()
    now = reopening.clock.now()
    with pytest.raises(Refused) as refused:
        reopening.stages.plan("eng-1", "P0-lifelines", None, (stamp(now + HOUR), stamp(now + 2 * HOUR)))
    assert refused.value.rule == "window-not-asked"


def test_half_a_window_is_none() -> None:
    with pytest.raises(UsageError, match="a start and an end"):
        after_the_cut(*BEFORE).stages.plan("eng-1", P6, ["vendor-1"], ("now", ""))


def test_a_window_may_begin_now() -> None:
    reopening = after_the_cut(*BEFORE)
    state = reopening.stages.plan("eng-1", P6, ["vendor-1"], ("now", "2026-06-24T12:00"))  # 12:00 in Paris
    plan = state.stage(P6).plan
    assert plan is not None
    assert plan.window is not None
    assert moment(plan.window.ends) == datetime.fromisoformat("2026-06-24T10:00:00+00:00")


# --- opening ----------------------------------------------------------------------------------------------------------


def test_an_approved_window_opens_at_its_start_and_not_before() -> None:
    reopening = planned()
    with pytest.raises(IllegalTransition) as refused:
        reopening.stages.apply("eng-1", P6)
    assert refused.value.rule == "window-not-begun"
    turn(reopening)
    assert (reopening.status(P6).state, to_bastion(reopening)) == ("approved", False)
    reopening.clock.wait(HOUR.total_seconds())
    turn(reopening)
    assert (reopening.status(P6).state, to_bastion(reopening)) == ("partially-open", True)
    assert not reopening.reaches("internet-host", BASTION, SSH)
    begun = next(event for event in reopening.log.read() if event.type is E.STAGE_APPLYING and event.stage == P6)
    assert (begun.actor, begun.body["approved_by"]) == ("orchestrator", ["eng-2", "rssi"])


def test_a_server_that_was_down_at_the_start_opens_it_when_it_is_back() -> None:
    reopening = planned()
    reopening.clock.wait(1.5 * HOUR.total_seconds())
    turn(reopening, reopening.server())
    assert to_bastion(reopening)
    end = reopening.status(P6).ends_at
    assert reopening.status(P6).plan.window.ends == end  # type: ignore[union-attr]


def test_a_window_that_was_missed_is_expired_and_opens_never() -> None:
    reopening = planned()
    reopening.clock.wait(3 * HOUR.total_seconds())
    turn(reopening, reopening.server())
    assert reopening.stages.state().stage(P6).state == "expired"
    assert not to_bastion(reopening)


def test_a_condition_that_does_not_hold_at_the_start_is_told_once_and_asked_again() -> None:
    reopening = planned(timedelta(hours=7, minutes=59))  # from 15:59 UTC, and vendors work until 18:00 in Paris: 16:00 UTC
    reopening.clock.wait(timedelta(hours=8, minutes=1).total_seconds())
    turn(reopening)
    turn(reopening)
    assert (reopening.status(P6).state, to_bastion(reopening)) == ("approved", False)
    denied = [event.body for event in reopening.log.read() if event.type is E.ACCESS_DENIED and event.stage == P6]
    assert [body["rule"] for body in denied] == ["gate-missing:window"]
    reopening.clock.wait(-timedelta(minutes=1, seconds=30).total_seconds())
    turn(reopening)
    assert to_bastion(reopening)


def test_a_plan_that_moved_before_its_window_is_stale() -> None:
    reopening = planned()
    reopening.clock.wait(HOUR.total_seconds())
    reopening.hospital.machines["vpn"].slots.clear()  # somebody has flushed the layer
    turn(reopening)
    assert reopening.status(P6).state == "stale"
    assert open_to(reopening) == set()


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_device_closes_at_the_end_although_nobody_is_there() -> None:
    reopening = in_window()
    end = moment(reopening.status(P6).ends_at)
    reopening.clock.wait((end - reopening.clock.now()).total_seconds() - 1)
    assert to_bastion(reopening)
    reopening.clock.wait(1)
    assert not to_bastion(reopening), "on the device, by the second"
    events = len(list(reopening.log.read()))
    turn(reopening, reopening.server())
    ended = list(reopening.log.read())[events:]
    assert [event.type.value for event in ended] == ["DeviceReadBack"] * (len(ended) - 1) + ["StageEnded"]
    assert ended[-1].body["closed_by"] == "the devices"
    assert reopening.status(P6).state == "ended"
    assert all(P6 not in device.openings for device in reopening.stages.state().devices.values())


def test_a_device_that_did_not_close_is_closed() -> None:
    reopening = in_window()
    for machine in reopening.hospital.machines.values():
        for element, deadline in machine.opened.items():
            machine.opened[element] = None if deadline is None else deadline + 600
    reopening.clock.time = moment(reopening.status(P6).ends_at)
    assert to_bastion(reopening)
    turn(reopening)
    assert (reopening.status(P6).state, to_bastion(reopening)) == ("ended", False)
    assert next(e for e in reopening.log.read() if e.type is E.STAGE_ENDED).body["closed_by"] == "the orchestrator"


def test_a_device_that_cannot_be_read_at_the_end_is_unknown_and_tried_again() -> None:
    reopening = in_window()
    where = next(name for name, device in reopening.stages.state().devices.items() if P6 in device.openings)
    reopening.hospital.machines[where].faults.add(Fault.HANG)
    reopening.clock.time = moment(reopening.status(P6).ends_at)
    turn(reopening)
    assert reopening.status(P6).state == "failed"
    assert where in reopening.status(P6).detail
    before = types(reopening)
    turn(reopening)
    assert types(reopening) == before, "not each second"
    reopening.hospital.machines[where].faults.clear()
    reopening.clock.wait(600)
    turn(reopening)
    assert reopening.status(P6).state in ("ended", "reverted"), "by the chore of ends, or by that of unknown devices"
    assert all(P6 not in device.openings for device in reopening.stages.state().devices.values())


def test_an_ended_stage_is_planned_again_and_another_vendor_beside_an_open_window() -> None:
    reopening = in_window()
    with pytest.raises(Refused) as refused:  # in the same time
        approve(reopening, timedelta(minutes=10), HOUR, "vendor-2")
    assert refused.value.rule == "window-one-at-a-time"
    approve(reopening, 3 * HOUR, HOUR, "vendor-2")
    reopening.clock.time = moment(reopening.status(P6).ends_at)
    turn(reopening)
    assert (reopening.status(P6).state, reopening.status(f"{P6}+2").state) == ("ended", "approved")
    reopening.clock.time = moment(reopening.status(f"{P6}+2").plan.window.starts)  # type: ignore[union-attr]
    turn(reopening)
    assert open_to(reopening) == {"vendor-2"}
    reopening.clock.time = moment(reopening.status(f"{P6}+2").ends_at)
    turn(reopening)
    assert open_to(reopening) == set()
    approve(reopening, timedelta(minutes=5), HOUR, "vendor-1")
    reopening.clock.wait(300)
    turn(reopening)
    assert to_bastion(reopening)


def test_a_window_shorter_than_the_confirm_window_works() -> None:
    reopening = planned(lasts=timedelta(seconds=40))
    reopening.clock.wait(HOUR.total_seconds())
    turn(reopening)
    opened = [e for e in reopening.log.read() if e.type is E.DEVICE_CHANGE_INTENDED and e.stage == P6]
    assert {e.body["confirm"] for e in opened if e.body["action"] == "open"} == {40}
    assert {e.body["until"] for e in opened if e.body["action"] == "confirm"} == {40}
    assert to_bastion(reopening)
    reopening.clock.wait(40)
    assert not to_bastion(reopening)


def test_an_observation_longer_than_the_window_is_cut_at_its_end() -> None:
    reopening = planned(lasts=timedelta(seconds=1))  # observed for 2 s under the rehearsal overlay
    reopening.clock.wait(HOUR.total_seconds())
    turn(reopening)
    assert "StageObserving" in types(reopening)
    assert "StageOpened" not in types(reopening)
    assert types(reopening)[-1] == "StageEnded"
    assert reopening.status(P6).conversations["remote-maintenance", "vendor-1"] == "ended"


def test_a_window_that_is_over_before_it_is_verified_is_reverted() -> None:
    reopening = planned(lasts=timedelta(seconds=4))
    reopening.clock.wait(HOUR.total_seconds())
    reopening.hospital.dark.add("vendor-1")  # verification tries for a while
    turn(reopening)
    assert reopening.status(P6).state == "reverted"
    assert not to_bastion(reopening)


# --- what comes in between --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", range(40))
def test_a_server_that_dies_at_any_write_leaves_nothing_open_beyond_the_window(write: int) -> None:
    """The log refuses from that write on, as if the process had died there; another server takes it up, hours later."""
    reopening = planned()
    reopening.clock.wait(HOUR.total_seconds())
    end = moment(reopening.status(P6).plan.window.ends)  # type: ignore[union-attr]
    dying = Dying(reopening, write)
    turn_until_dead(dying)
    reopening.clock.time = end
    assert not to_bastion(reopening), "whoever died, the device closes at the end"
    after = reopening.server()
    after.runner.recover()
    assert after.runner.wait(60)
    turn(reopening, after)
    turn(reopening, after)
    assert after.state().stage(P6).state in ("ended", "reverted", "expired")
    assert all(P6 not in held for d in after.state().devices.values() for held in (d.openings, d.pending, d.releases, d.deadlines))
    assert not to_bastion(reopening)


class Dying:
    """A server whose log takes this many writes more."""

    def __init__(self, reopening: Reopening, writes: int) -> None:
        self.stages = reopening.server()
        self.left = writes
        log = reopening.log
        append = log.append

        def dying(events: object, *, expected: int | None = None) -> object:
            if self.left <= 0:
                raise KeyboardInterrupt("killed here")
            self.left -= 1
            return append(events, expected=expected)  # type: ignore[arg-type]

        self.stages.journal._log = _With(log, dying)  # type: ignore[assignment]


class _With:
    def __init__(self, log: object, append: object) -> None:
        self._log, self.append = log, append

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)


def turn_until_dead(dying: Dying) -> None:
    for chore in dying.stages.runner.chores.all:
        try:
            chore.do()
        except KeyboardInterrupt:
            return
    assert dying.stages.runner.wait(60)


def test_a_cut_off_in_the_window_suspends_it_and_its_end_says_nothing_more() -> None:
    reopening = in_window()
    end = moment(reopening.status(P6).ends_at)
    reopening.cut()
    turn(reopening)
    assert (reopening.status(P6).state, to_bastion(reopening)) == ("suspended", False)
    reopening.clock.time = end
    turn(reopening)
    assert reopening.status(P6).state == "suspended"
    assert "StageEnded" not in types(reopening)


def test_another_stage_is_not_disturbed_by_a_window_that_ends_meanwhile() -> None:
    reopening = in_window()
    reopening.approve("P3-outbound-mail")
    end = moment(reopening.status(P6).ends_at)
    waits = reopening.clock.wait

    def wait(seconds: float) -> None:
        waits(seconds)
        reopening.clock.time = max(reopening.clock.time, end)  # the observation of the other lasts beyond it

    reopening.wait = wait
    server = reopening.server()
    server.apply("eng-1", "P3-outbound-mail")
    assert server.runner.wait(60)
    assert server.state().stage("P3-outbound-mail").state == "open", server.state().stage("P3-outbound-mail").detail
    turn(reopening, server)
    assert server.state().stage(P6).state == "ended"


def test_nothing_comes_to_depend_on_a_window() -> None:
    """What is open until its end is not counted as open for a stage that has none."""
    reopening = in_window()
    reopening.policy = reopening.policy.model_copy(
        update={
            "stages": tuple(
                stage.model_copy(update={"flows": ("remote-maintenance",)}) if stage.name == "P3-outbound-mail" else stage
                for stage in reopening.policy.stages
            )
        }
    )
    reopening.ratify()
    with pytest.raises(Refused) as refused:
        reopening.stages.planner.plan(reopening.stages.state(), "P3-outbound-mail")
    assert refused.value.rule == "ends-with-another"
