"""After a false alarm: one vote resumes what was open, as it was, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from orchestrator.domain.commands import DeclareFalseAlarm, ReportMonitor
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import stamp
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.domain.resumption import outlook
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.stages import StageState
from orchestrator.errors import NotAllowed, Refused, UnknownName
from orchestrator.service.care import probe_care
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes
from tests.service.reopening import DOCUMENT, Reopening, after_the_cut
from tests.service.test_execution import held

LIFELINES, MAIL, CARE = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange"


def cut_again(*opened: str, profile: str = "total") -> tuple[Reopening, dict[str, tuple[set[object], set[str]]]]:
    """These stages were open, and a second cut-off came; what lay on the devices before it."""
    reopening = after_the_cut(*opened)
    before = held(reopening)
    reopening.cut(profile)
    return reopening, before


def declare(reopening: Reopening, person: str = "commander", since: int | None = None) -> None:
    reopening.stages.do(DeclareFalseAlarm(person, "a test of the sensor, confirmed by its provider", since))


def approve(reopening: Reopening) -> None:
    """Planned by eng-1; the three votes that the policy asks for."""
    reopening.stages.plan("eng-1", RESUME)
    for person in ("commander", "eng-2", "rssi"):
        reopening.vote(person, RESUME)


def refused(reopening: Reopening) -> str:
    with pytest.raises(Refused) as refusal:
        reopening.stages.plan("eng-1", RESUME)
    return refusal.value.rule


def alert(reopening: Reopening, alerts: int, minutes: int = 5) -> None:
    until = reopening.clock.now()
    since = until - timedelta(minutes=minutes)
    reopening.stages.do(ReportMonitor("rssi", "detection", stamp(since), stamp(until), alerts, ("core", "dmz-in"), DOCUMENT))


class Silent(SimulatedProbes):
    """The mail relay does not answer any more."""

    def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
        results = super().run(probes, deadline_s=deadline_s)
        mail = {result.probe.id for result in results if result.probe.about == "mail-in" and result.probe.expects_pass}
        return tuple(result.model_copy(update={"passed": False}) if result.probe.id in mail else result for result in results)


def test_one_vote_resumes_what_was_open_in_the_order_in_which_it_was_opened() -> None:
    reopening, before = cut_again(LIFELINES, MAIL, CARE)
    assert held(reopening) != before
    declare(reopening)
    approve(reopening)
    digests = {name: reopening.status(name).plan_digest for name in (LIFELINES, MAIL, CARE)}
    status = reopening.apply(RESUME)
    assert status.state == "ended", status.detail
    assert status.detail.startswith(f"laid and verified again: {LIFELINES}, {MAIL}, {CARE}")
    assert held(reopening) == before, "to the packet what was open, and no more"
    for name, digest in digests.items():
        assert reopening.status(name).state == "open", reopening.status(name).detail
        assert reopening.status(name).plan_digest == digest
    resumed = [event.stage for event in reopening.log.read() if event.type is E.STAGE_RESUMED]
    assert resumed == [LIFELINES, MAIL, CARE]
    assert not [event for event in reopening.log.read() if event.type is E.STAGE_REVERTING]


def test_nothing_is_resumed_before_somebody_has_declared_the_false_alarm() -> None:
    reopening, _ = cut_again(LIFELINES)
    assert refused(reopening) == "false-alarm-missing"
    for nobody in ("eng-1", "director-duty", "auditor"):
        with pytest.raises(NotAllowed):
            declare(reopening, nobody)
    declare(reopening, "rssi")
    with pytest.raises(Refused, match="already"):
        declare(reopening)


def test_it_takes_the_votes_of_the_policy_and_none_of_the_proposer() -> None:
    reopening, _ = cut_again(LIFELINES)
    declare(reopening)
    reopening.stages.plan("eng-1", RESUME)
    with pytest.raises(NotAllowed) as refusal:
        reopening.vote("eng-1", RESUME)
    assert refusal.value.rule == "proposer-cannot-vote"
    reopening.vote("commander", RESUME)
    reopening.vote("eng-2", RESUME)
    with pytest.raises(Refused) as few:
        reopening.stages.apply("eng-1", RESUME)
    assert few.value.rule == "votes-missing"
    reopening.vote("rssi", RESUME, "deny", "I am not convinced")
    assert reopening.status(RESUME).state == "denied"
    assert reopening.status(LIFELINES).state == "suspended"


def test_an_alarm_without_a_cut_is_none() -> None:
    reopening = Reopening()
    reopening.ratify()
    with pytest.raises(Refused) as refusal:
        declare(reopening)
    assert refusal.value.rule == "nothing-is-cut"


def test_an_open_indicator_of_compromise_holds_until_the_monitor_calls_it_quiet() -> None:
    reopening, _ = cut_again(LIFELINES)
    reopening.clock.wait(600)
    alert(reopening, 3)
    with pytest.raises(Refused) as refusal:
        declare(reopening)
    assert refusal.value.rule == "indicator-open"
    reopening.clock.wait(600)
    alert(reopening, 0)
    declare(reopening)
    approve(reopening)
    reopening.clock.wait(60)
    alert(reopening, 1, minutes=1)
    with pytest.raises(Refused) as late:
        reopening.stages.apply("eng-1", RESUME)
    assert late.value.rule == "indicator-open"
    assert held(reopening) == held(cut_again(LIFELINES)[0])


def test_after_the_hours_of_the_policy_it_is_too_late() -> None:
    reopening, _ = cut_again(LIFELINES)
    declare(reopening)
    reopening.clock.wait(3600)
    approve(reopening)
    reopening.clock.wait(11 * 3600 - 1)
    assert reopening.stages.state().stage(RESUME).state == "approved"
    reopening.clock.wait(1)
    assert refused(reopening) == "resume-too-late"
    with pytest.raises(Refused) as late:
        reopening.stages.apply("eng-1", RESUME)
    assert late.value.rule == "resume-too-late"


def test_a_false_alarm_is_resumed_from_once() -> None:
    reopening, before = cut_again(LIFELINES)
    declare(reopening)
    approve(reopening)
    reopening.apply(RESUME)
    assert held(reopening) == before
    assert refused(reopening) == "resume-used"
    with pytest.raises(Refused):
        reopening.stages.apply("eng-1", RESUME)
    reopening.cut()
    assert refused(reopening) == "false-alarm-missing", "another cut-off is another alarm"
    declare(reopening)
    approve(reopening)
    assert reopening.apply(RESUME).state == "ended"
    assert held(reopening) == before


def test_a_cut_off_after_the_vote_makes_the_resumption_stale() -> None:
    reopening, _ = cut_again(LIFELINES)
    declare(reopening)
    approve(reopening)
    reopening.cut()
    assert reopening.status(RESUME).state == "stale"
    assert refused(reopening) == "false-alarm-missing"
    declare(reopening)
    assert refused(reopening) == "nothing-to-resume", "the last cut-off closed nothing: it was closed already"


def test_cut_offs_that_followed_each_other_are_one_alarm_only_if_it_is_said() -> None:
    reopening, before = cut_again(LIFELINES)
    first = reopening.epoch
    reopening.cut()
    with pytest.raises(UnknownName):
        declare(reopening, since=first - 1)
    declare(reopening, since=first)
    approve(reopening)
    assert reopening.apply(RESUME).state == "ended"
    assert held(reopening) == before


def test_a_gate_that_does_not_hold_any_more_leaves_its_stage_and_those_after_it_out_by_name() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    reopening.clock.wait(8 * 24 * 3600)  # the relay was checked, and the partners were reached, too long ago by now
    reopening.cut()
    reopening.evidence(LIFELINES)
    declare(reopening)
    reopening.stages.plan("eng-1", RESUME)
    plan = reopening.status(RESUME).plan
    assert plan is not None
    assert [item.stage for item in plan.resumes] == [LIFELINES]
    assert [text.partition(":")[0] for text in plan.left_out] == [MAIL, CARE]
    assert "too old" in plan.left_out[0]
    assert "not open" in plan.left_out[1]


def test_a_gate_that_lapses_after_the_vote_refuses_all_of_it() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    reopening.clock.wait(23 * 3600)  # the partners were reached, and care was probed, less than 24 h ago
    reopening.cut()
    probe_care(reopening.stages, "rssi")
    declare(reopening)
    approve(reopening)
    reopening.clock.wait(2 * 3600)
    with pytest.raises(Refused) as refusal:
        reopening.stages.apply("eng-1", RESUME)
    assert refusal.value.rule.startswith(("gate-missing", "digest-moved", "nothing-to-resume"))
    assert reopening.status(LIFELINES).state == "suspended"


def test_a_wider_cut_off_leaves_out_what_would_be_planned_otherwise() -> None:
    reopening = after_the_cut(LIFELINES, profile="internet")
    reopening.cut("total")
    declare(reopening)
    with pytest.raises(Refused) as refusal:
        reopening.stages.plan("eng-1", RESUME)
    assert refusal.value.rule == "nothing-to-resume"
    assert LIFELINES in str(refusal.value)


def test_what_was_ratified_anew_is_not_resumed() -> None:
    reopening, _ = cut_again(LIFELINES)
    declare(reopening)
    reopening.policy = reopening.policy.model_copy(update={"default_profile": "total"})
    reopening.ratify()
    assert refused(reopening) == "nothing-to-resume"


def test_the_first_that_fails_is_closed_and_ends_it_and_what_came_before_stays() -> None:
    reopening, _ = cut_again(LIFELINES, MAIL, CARE)
    lifelines = held(after_the_cut(LIFELINES))
    declare(reopening)
    approve(reopening)
    reopening.probes = Silent(reopening.hospital)
    reopening.stages = reopening.server()
    status = reopening.apply(RESUME)
    assert status.state == "ended"
    assert MAIL in status.detail
    assert reopening.status(LIFELINES).state == "open", reopening.status(LIFELINES).detail
    assert reopening.status(MAIL).state == "reverted"
    assert reopening.status(CARE).state == "suspended"
    assert held(reopening) == lifelines


def test_a_cut_off_in_the_middle_ends_all_of_it() -> None:
    reopening, _ = cut_again(LIFELINES, MAIL)
    closed = held(reopening)
    declare(reopening)
    approve(reopening)
    waited = reopening.clock.wait

    def cut_while_observing(seconds: float) -> None:
        waited(seconds)
        if reopening.epoch == 42 and reopening.stages.journal.state().stage(LIFELINES).state is StageState.OBSERVING:
            reopening.cut()

    reopening.wait = cut_while_observing
    reopening.stages = reopening.server()
    reopening.apply(RESUME)
    assert reopening.stages.state().epoch == 43
    assert {reopening.status(name).state for name in (LIFELINES, MAIL)} == {"suspended"}
    assert held(reopening) == closed


def test_a_restart_between_two_stages_goes_on_and_in_the_middle_of_one_ends_it() -> None:
    reopening, _ = cut_again(LIFELINES, MAIL)
    declare(reopening)
    approve(reopening)

    class Dies(BaseException):
        """SIGKILL, as far as a test can."""

    alive, seen = reopening.hospital, {"confirm": 0}

    class KilledAfter(SimulatedHospital):
        def __init__(self) -> None:
            self.__dict__.update(alive.__dict__)

        def run(self, scripts, *, credential, deadline_s, verb):  # type: ignore[no-untyped-def]
            if verb == "open" and seen["confirm"]:
                raise Dies  # the first stage is lasting, the second was about to be laid
            yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)
            seen["confirm"] += verb == "confirm"

    reopening.hospital = KilledAfter()
    reopening.stages = reopening.server()
    reopening.stages.apply("eng-1", RESUME)
    reopening.stages.runner.wait(10)
    assert any(isinstance(failure, Dies) for failure in reopening.stages.runner.failures)
    reopening.hospital = alive
    reopening.stages = reopening.server()
    reopening.stages.runner.recover()
    assert reopening.stages.runner.wait(10)
    assert reopening.stages.runner.failures == []
    assert reopening.status(RESUME).state == "ended"
    assert reopening.status(LIFELINES).state == "open"
    assert reopening.status(MAIL).state == "reverted", "it was interrupted in the middle"
    assert held(reopening) == held(after_the_cut(LIFELINES))
    assert reopening.stages.runner.recover() == ()


def test_a_partner_who_was_closed_alone_keeps_the_stage_out() -> None:
    reopening = after_the_cut(LIFELINES)
    pair = next(iter(reopening.status(LIFELINES).conversations))
    body = {"reason": "an indicator there", "conversations": [list(pair)]}
    reopening.log.append([NewEvent(E.STAGE_NARROWED, stamp(reopening.clock.now()), "rssi", body, LIFELINES)])
    reopening.cut()
    alone = f"{LIFELINES}: not all of its plan was open: {pair[0]} with {pair[1]}"
    assert outlooks(reopening) == ((), (alone,)), "nobody is told before that it could be resumed"
    declare(reopening)
    assert outlooks(reopening) == ((), (alone,))
    with pytest.raises(Refused) as refusal:
        reopening.stages.plan("eng-1", RESUME)
    assert refusal.value.rule == "nothing-to-resume"
    assert f"{pair[0]} with {pair[1]}" in str(refusal.value)


def outlooks(reopening: Reopening) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What status, `stage next` and the answer to the false alarm say of it."""
    found = outlook(reopening.stages.state(), reopening.clock.now())
    assert found is not None
    return found.stages, found.left_out
