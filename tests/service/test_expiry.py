"""Ends that count from the opening: on the device or an alarm; warnings, extensions by two people, deadlines that are renewed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.commands import GrantExtension, RequestExtension
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.making import stamp
from orchestrator.domain.state import moment
from orchestrator.errors import NotAllowed, Refused, Stale
from orchestrator.simulation.device import Fault
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_late_commands import Hangs
from tests.service.test_windows import Dying, turn, turn_until_dead, types

MAIL = "P1-inbound-mail"
LIFELINES = "P0-lifelines"
HOUR = timedelta(hours=1)
DAY_S = 86_400  # the longest deadline of a simulated device


def opened(open_for: timedelta, on_expiry: str, stage: str = MAIL) -> Reopening:
    """The stage open for so long, by a policy that was ratified for it."""
    reopening = after_the_cut(LIFELINES)
    policy = reopening.policy
    declared = policy.stage(stage).model_copy(update={"open_for": open_for})
    reopening.policy = policy.model_copy(
        update={
            "stages": tuple(declared if known.name == stage else known for known in policy.stages),
            "flows": tuple(
                flow.model_copy(update={"on_expiry": on_expiry}) if flow.name in declared.flows else flow for flow in policy.flows
            ),
        }
    )
    reopening.ratify()
    reopening.open(stage)
    return reopening


def end_of(reopening: Reopening) -> float:
    """Seconds from now."""
    return (moment(reopening.status(MAIL).ends_at) - reopening.clock.now()).total_seconds()


def is_open(reopening: Reopening) -> bool:
    return reopening.reaches("internet-host", "203.0.113.22", 25)


def told(reopening: Reopening, *wanted: E) -> list[object]:
    return [event.body.get("hours", event.type.value) for event in reopening.log.read() if event.type in wanted]


# --- alarm ------------------------------------------------------------------------------------------------------------


def test_an_alarm_is_warned_of_three_times_and_stays_open() -> None:
    reopening = opened(30 * HOUR, "alarm")
    assert reopening.hospital.machines["fw-ext"].observed().temporary == ()
    for hours in (24.0, 23.9, 4.0, 3.5, 1.0, 0.5):
        reopening.clock.wait(end_of(reopening) - hours * 3600)
        turn(reopening)
        turn(reopening, reopening.server())  # a restart warns nobody again
    assert told(reopening, E.EXPIRY_WARNED) == [24, 4, 1]
    reopening.clock.wait(end_of(reopening) + 60)
    turn(reopening)
    turn(reopening, reopening.server())
    assert told(reopening, E.EXPIRY_PASSED) == ["ExpiryPassed"]
    status = reopening.status(MAIL)
    assert (status.state, bool(status.end_passed), is_open(reopening)) == ("open", True, True)


def test_of_several_warnings_that_were_missed_only_the_last_is_given() -> None:
    reopening = opened(30 * HOUR, "alarm")
    reopening.clock.wait(end_of(reopening) - 1800)
    turn(reopening, reopening.server())
    assert told(reopening, E.EXPIRY_WARNED) == [1]


def test_an_extension_takes_two_people_and_moves_the_end() -> None:
    reopening = opened(30 * HOUR, "alarm")
    reopening.clock.wait(end_of(reopening) + 60)
    turn(reopening)
    until = stamp(reopening.clock.now() + 20 * HOUR)
    reopening.stages.do(RequestExtension("rssi", MAIL, until, "the relay is needed"))
    assert reopening.status(MAIL).ends_at != until
    with pytest.raises(NotAllowed) as refused:
        reopening.stages.do(GrantExtension("rssi", "E1"))
    assert refused.value.rule == "extension-needs-a-second-person"
    with pytest.raises(NotAllowed) as refused:  # the deputy acts by the security officer's own authority
        reopening.stages.do(GrantExtension("rssi-deputy", "E1"))
    assert refused.value.rule == "extension-needs-a-second-person"
    with pytest.raises(NotAllowed) as refused:
        reopening.stages.do(GrantExtension("eng-1", "E1"))
    assert refused.value.rule == "role"
    reopening.stages.do(GrantExtension("commander", "E1"))
    status = reopening.status(MAIL)
    assert (status.ends_at, status.end_passed, status.warned_h) == (until, "", 0)
    reopening.clock.wait(end_of(reopening) - 3600)
    turn(reopening)
    assert told(reopening, E.EXPIRY_WARNED)[-1] == 1


@pytest.mark.parametrize(("hours", "rule"), [(61.0, "extension-too-long"), (29.0, "extension-too-long")])
def test_an_extension_lasts_as_long_again_at_most(hours: float, rule: str) -> None:
    reopening = opened(30 * HOUR, "alarm")
    until = stamp(reopening.clock.now() + hours * HOUR)
    with pytest.raises(Refused) as refused:
        reopening.stages.do(RequestExtension("rssi", MAIL, until, "for long"))
    assert refused.value.rule == rule


def test_a_stage_without_an_end_is_not_extended() -> None:
    reopening = after_the_cut(LIFELINES)
    with pytest.raises(Refused) as refused:
        reopening.stages.do(RequestExtension("rssi", LIFELINES, stamp(reopening.clock.now() + HOUR), "longer"))
    assert refused.value.rule == "no-end"


def test_an_extension_of_what_has_moved_is_requested_anew() -> None:
    reopening = opened(30 * HOUR, "alarm")
    for hours in (31, 32):
        reopening.stages.do(RequestExtension("rssi", MAIL, stamp(reopening.clock.now() + hours * HOUR), "longer"))
    reopening.stages.do(GrantExtension("commander", "E1"))
    with pytest.raises(Stale):
        reopening.stages.do(GrantExtension("commander", "E2"))


# --- close ------------------------------------------------------------------------------------------------------------


def test_what_closes_has_its_end_on_the_device() -> None:
    reopening = opened(10 * HOUR, "close")
    assert is_open(reopening)
    reopening.clock.wait(end_of(reopening) - 1)
    assert is_open(reopening)
    reopening.clock.wait(1)
    assert not is_open(reopening), "nobody was there"
    turn(reopening, reopening.server())
    assert reopening.status(MAIL).state == "ended"


def test_an_extension_is_on_the_device_before_the_old_end() -> None:
    reopening = opened(10 * HOUR, "close")
    old = end_of(reopening)
    until = stamp(reopening.clock.now() + 15 * HOUR)
    reopening.stages.do(RequestExtension("rssi", MAIL, until, "longer"))
    turn(reopening)
    assert "DeadlineRenewed" not in types(reopening, MAIL), "nobody has granted it"
    reopening.stages.do(GrantExtension("director-duty", "E1"))
    turn(reopening)
    assert types(reopening, MAIL)[-4:] == ["DeviceChangeIntended", "DeviceChanged", "DeviceReadBack", "DeadlineRenewed"]
    reopening.clock.wait(old + 1)
    assert is_open(reopening)
    reopening.clock.time = moment(until)
    assert not is_open(reopening)
    turn(reopening)
    assert reopening.status(MAIL).state == "ended"


def test_a_device_that_holds_no_end_so_far_away_is_renewed_until_it_is_there() -> None:
    reopening = opened(60 * HOUR, "close")
    end = moment(reopening.status(MAIL).ends_at)
    sent = [left for _, left in reopening.hospital.machines["fw-ext"].observed().temporary]
    assert sent
    assert max(sent) <= DAY_S
    renewed = 0
    while reopening.clock.now() < end - HOUR:
        reopening.clock.wait(1800)
        turn(reopening)
        assert is_open(reopening)
        renewed = types(reopening, MAIL).count("DeadlineRenewed")
    assert 2 <= renewed / len(reopening.status(MAIL).plan.devices) <= 5  # type: ignore[union-attr]
    reopening.clock.time = end
    assert not is_open(reopening), "by the second, after all of that"


def test_a_server_that_was_away_too_long_reopens_nothing() -> None:
    reopening = opened(60 * HOUR, "close")
    reopening.clock.wait(25 * 3600)
    assert not is_open(reopening), "fail closed"
    after = reopening.server()
    turn(reopening, after)
    turn(reopening, after)
    status = after.state().stage(MAIL)
    assert status.state == "suspended"
    assert "closed by itself before the end" in status.detail
    assert not is_open(reopening)
    opens = [event for event in reopening.log.read() if event.type is E.DEVICE_CHANGE_INTENDED and event.body["action"] != "close"]
    assert all(moment(event.at) < reopening.clock.now() - 24 * HOUR for event in opens)


def test_a_renewal_that_fails_is_tried_again_and_the_device_closes_by_itself() -> None:
    reopening = opened(60 * HOUR, "close")
    machine = reopening.hospital.machines["fw-ext"]
    machine.faults.add(Fault.HANG)
    reopening.clock.wait(13 * 3600)
    stages = reopening.stages
    next(chore for chore in stages.runner.chores.all if chore.name == "renew deadlines").do()
    assert stages.runner.wait(60)
    assert [type(failure).__name__ for failure in stages.runner.failures] == ["DeviceRefused"]
    assert is_open(reopening), "half of its time is left"
    machine.faults.clear()
    stages.runner.failures.clear()
    reopening.clock.wait(300)
    turn(reopening)
    assert types(reopening, MAIL)[-1] == "DeadlineRenewed"


@pytest.mark.parametrize("write", range(6))
def test_a_server_that_dies_while_it_renews_leaves_what_was_approved(write: int) -> None:
    reopening = opened(60 * HOUR, "close")
    end = moment(reopening.status(MAIL).ends_at)
    reopening.clock.wait(13 * 3600)
    turn_until_dead(Dying(reopening, write))
    after = reopening.server()
    after.runner.recover()
    assert after.runner.wait(60)
    while reopening.clock.now() < end:
        turn(reopening, after)
        assert is_open(reopening) == (after.state().stage(MAIL).state == "open")
        reopening.clock.wait(3600)
    assert not is_open(reopening)
    turn(reopening, after)
    assert after.state().stage(MAIL).state in ("ended", "suspended", "reverted")


def test_a_cut_off_between_two_renewals_is_not_undone_by_the_next() -> None:
    reopening = opened(60 * HOUR, "close")
    reopening.cut()
    reopening.clock.wait(13 * 3600)
    turn(reopening)
    assert not is_open(reopening)
    assert "DeadlineRenewed" not in types(reopening, MAIL)


def test_mixed_ends_are_refused() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    stage = "P2-care-exchange"
    first = reopening.policy.stage(stage).flows[0]
    reopening.policy = reopening.policy.model_copy(
        update={
            "stages": tuple(s.model_copy(update={"open_for": 30 * HOUR}) if s.name == stage else s for s in reopening.policy.stages),
            "flows": tuple(f.model_copy(update={"on_expiry": "close"}) if f.name == first else f for f in reopening.policy.flows),
        }
    )
    reopening.ratify()
    with pytest.raises(Refused) as refused:
        reopening.stages.plan("eng-1", stage)
    assert refused.value.rule == "mixed-expiry"


# --- what goes back first -----------------------------------------------------------------------------------------------


def test_what_goes_back_first_is_closed_before_the_rest() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    stage, first = "P2-care-exchange", "dictation"
    assert first in reopening.policy.stage(stage).flows
    reopening.policy = reopening.policy.model_copy(
        update={"stages": tuple(s.model_copy(update={"back_first": (first,)}) if s.name == stage else s for s in reopening.policy.stages)}
    )
    reopening.ratify()
    reopening.open(stage)
    reopening.stages.revert("eng-1", stage, "an alert")
    assert reopening.stages.runner.wait(60)
    closing = [
        {opening.flow for opening in DeviceChange.model_validate(event.body["change"]).openings}
        for event in reopening.log.read()
        if event.stage == stage and event.type is E.DEVICE_CHANGE_INTENDED and event.body["action"] == "close"
    ]
    assert closing[0] == {first}
    assert reopening.status(stage).state == "reverted"
    assert all(stage not in device.openings for device in reopening.stages.state().devices.values())


def test_a_confirm_window_longer_than_a_device_holds_is_as_long_as_it_holds() -> None:
    reopening = after_the_cut(LIFELINES)
    overlay = reopening.policy.rehearsal
    assert overlay is not None
    reopening.policy = reopening.policy.model_copy(update={"rehearsal": overlay.model_copy(update={"confirm_window": 48 * HOUR})})
    reopening.ratify()
    reopening.open(MAIL)
    intents = [event.body for event in reopening.log.read() if event.type is E.DEVICE_CHANGE_INTENDED and event.stage == MAIL]
    assert {body["confirm"] for body in intents if body["action"] == "open"} == {DAY_S}


def test_a_renewal_that_hung_for_hours_lengthens_nothing() -> None:
    """The next renewal fences it. When it arrives nobody is there any more, and the device has its own deadline only."""
    reopening = opened(30 * HOUR, "close")
    end = moment(reopening.status(MAIL).ends_at)
    reopening.clock.wait(13 * 3600)
    hospital = Hangs(reopening, "fw-ext", "confirm")
    renewal = next(chore for chore in reopening.stages.runner.chores.all if chore.name == "renew deadlines")
    renewal.do()
    assert reopening.stages.runner.wait(60)
    hung, hospital.on_their_way = hospital.on_their_way, []
    assert hospital.arrives() == [], "the next one comes through"
    reopening.clock.wait(300)
    renewal.do()
    assert reopening.stages.runner.wait(60)
    assert types(reopening, MAIL)[-1] == "DeadlineRenewed"
    reopening.clock.time = end - HOUR
    hospital.on_their_way = hung
    assert len(hung) == 1
    assert "epoch" in hospital.arrives()[0]
    assert is_open(reopening)
    reopening.clock.time = end
    assert not is_open(reopening)
