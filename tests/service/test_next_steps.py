"""What can be opened now, in which order, and for everything else why not and how early; what falls due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.cli.stage_next import as_text
from orchestrator.domain.commands import AttachEvidence, SayPartnerReady
from orchestrator.domain.due_dates import Due, obligations
from orchestrator.domain.events import EventType as E
from orchestrator.domain.gates import WindowGate
from orchestrator.domain.next_steps import NextSteps, StageNext, next_steps
from orchestrator.domain.policy_words import Role
from orchestrator.domain.stages import StageState
from orchestrator.errors import Refused, UsageError
from tests.api.server import Api, api_on
from tests.service.reopening import DOCUMENT, Reopening, after_the_cut

P0, P1, P2, P3 = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail"
P5, P6, P8 = "P5-patients-and-payments", "P6-remote-maintenance", "P8-lift"


def seen(reopening: Reopening) -> NextSteps:
    return next_steps(reopening.stages.state(), reopening.clock.now())


def of(reopening: Reopening, stage: str) -> StageNext:
    return next(item for item in seen(reopening).stages if item.stage.name == stage)


def rules(item: StageNext) -> set[str]:
    return {lack.unmet.rule for lack in item.lacks}


def due(reopening: Reopening) -> dict[str, Due]:
    return {item.obligation.name: item for item in obligations(reopening.stages.state(), reopening.clock.now())}


# --- what can be opened -----------------------------------------------------------------------------------------------


def test_nothing_can_be_opened_before_its_gates_hold_and_each_missing_thing_is_named() -> None:
    reopening = after_the_cut()
    found = seen(reopening)
    assert found.openings == ()
    assert {"gate-missing:cut-verified", "gate-missing:configurations-archived", "gate-missing:owner-named"} <= rules(of(reopening, P0))
    first, second = of(reopening, P1), of(reopening, P2)
    assert {(lack.unmet.rule, lack.stage) for lack in first.lacks} >= {("predecessor-not-open", P0)}
    assert "attestation-missing:sister" in rules(second)
    assert next(lack for lack in second.lacks if lack.unmet.rule == "attestation-missing:sister").unmet.partners == ("sister",)


def test_what_can_be_opened_is_in_the_order_of_the_criteria() -> None:
    reopening = after_the_cut()
    reopening.evidence(P0)
    found = seen(reopening)
    assert [opening.flow for opening in found.openings] == [
        "samu-hub",  # vital, medium, low
        "blood-supply-out", "blood-supply-in",  # vital, medium, medium: as the policy has them
        "national-services",  # high, high
        "revocation-lists", "detection-console", "anssi-collection",  # high, low, low
        "update-mirror",  # medium
    ]  # fmt: skip
    lifelines = of(reopening, P0)
    assert (lifelines.step, lifelines.earliest, lifelines.exact) == ("plan", reopening.clock.now(), True)
    assert lifelines.votes == {
        Role.INCIDENT_COMMANDER: ("commander",),
        Role.NETWORK_ENGINEER: ("eng-1", "eng-2", "eng-3", "eng-4"),
    }


def test_what_it_says_can_be_opened_opens_and_nothing_else_does() -> None:
    reopening = after_the_cut()
    reopening.evidence(P0)
    openable = {opening.stage for opening in seen(reopening).openings}
    assert openable == {P0}
    for stage in reopening.policy.stages:
        if stage.name not in openable:
            with pytest.raises(Refused):
                reopening.stages.plan("eng-1", stage.name)
    reopening.open(P0)
    assert of(reopening, P0).step == "done"
    assert "predecessor-not-open" not in rules(of(reopening, P1))


def test_each_step_on_the_way_to_open_is_told() -> None:
    reopening = after_the_cut()
    reopening.evidence(P0)
    reopening.stages.plan("eng-1", P0)
    assert of(reopening, P0).step == "vote"
    assert of(reopening, P0).votes[Role.NETWORK_ENGINEER] == ("eng-2", "eng-3", "eng-4")  # not the proposer
    reopening.vote("eng-2", P0)
    assert of(reopening, P0).votes == {Role.INCIDENT_COMMANDER: ("commander",)}
    reopening.vote("commander", P0)
    assert (of(reopening, P0).step, of(reopening, P0).votes) == ("apply", {})


def new_keys(reopening: Reopening) -> None:
    reopening.allowed_signers += "# a key that was stolen is out\n"
    reopening.ratify()


def new_policy(reopening: Reopening) -> None:
    reopening.policy = reopening.policy.model_copy(update={"ratification": {Role.NETWORK_ENGINEER: 2}})
    reopening.ratify()


def one_partner_less(reopening: Reopening) -> None:
    reopening.stages.do(SayPartnerReady("eng-1", "efs", False))


def no_care(reopening: Reopening) -> None:
    reopening.append(E.CHECK_RAN, {"results": [{"purpose": "care", "about": "offices-to-record", "check": "failed"}]})


def go_on(reopening: Reopening, votes: tuple[str, ...]) -> None:
    """As if nothing had happened since."""
    if "commander" not in votes:
        reopening.vote("commander", P0)
    reopening.stages.apply("eng-1", P0)


@pytest.mark.parametrize("votes", [("eng-2",), ("eng-2", "commander")])
@pytest.mark.parametrize(
    ("since", "step", "advice"),
    [
        (new_keys, "plan", "orchestrator stage plan P0-lifelines"),
        (new_policy, "plan", "orchestrator stage plan P0-lifelines"),
        (one_partner_less, "plan", "--partner hub-sante --partner national-services"),
        (no_care, "not-yet", "orchestrator stage show P0-lifelines"),
    ],
)
def test_what_would_be_refused_since_the_plan_was_made_is_not_said_to_be_the_next_step(
    since: Callable[[Reopening], None], step: str, advice: str, votes: tuple[str, ...]
) -> None:
    reopening = after_the_cut()
    reopening.evidence(P0)
    reopening.stages.plan("eng-1", P0)
    for person in votes:
        reopening.vote(person, P0)
    assert of(reopening, P0).step == ("apply" if "commander" in votes else "vote")
    since(reopening)
    found = of(reopening, P0)
    assert found.step == step
    assert advice in found.advice
    assert "--partner efs" not in found.advice
    with pytest.raises(Refused):
        go_on(reopening, votes)


def test_a_stage_that_no_layer_holds_back_is_not_said_to_be_openable() -> None:
    reopening = after_the_cut(profile="vendors")
    reopening.evidence(P0)
    found = of(reopening, P0)
    assert (found.step, found.openings, rules(found)) == ("not-yet", (), {"nothing-is-cut"})
    with pytest.raises(UsageError):
        reopening.stages.plan("eng-1", P0)


def test_a_partner_is_held_back_alone_and_with_all_flows_to_them() -> None:
    reopening = after_the_cut(P0, P1, P3)
    reopening.evidence(P5)
    found = of(reopening, P5)
    assert {opening.flow for opening in found.openings} == {"sms", "payment", "outside-labs"}
    other = after_the_cut(P0, P1, P3)
    other.stages.do(AttachEvidence("rssi", "test-transaction", DOCUMENT, P5))
    found = of(other, P5)
    assert {opening.flow for opening in found.openings} == {"sms", "payment"}
    assert set(found.held) == {("outside-labs", "lab-north"), ("outside-labs", "lab-south")}
    assert found.advice == "orchestrator stage plan P5-patients-and-payments --partner sms-operator --partner acquirer"
    other.stages.plan("eng-1", P5, ["sms-operator", "acquirer"])
    for person in ("eng-2", "owner-sms"):
        other.vote(person, P5)
    assert other.apply(P5).state == "partially-open"
    assert set(of(other, P5).held) == {("outside-labs", "lab-north"), ("outside-labs", "lab-south")}  # deferred


# --- how early ------------------------------------------------------------------------------------------------------


def without_overlay(reopening: Reopening) -> Reopening:
    reopening.policy = reopening.policy.model_copy(update={"rehearsal": None})
    return reopening


def test_the_earliest_time_goes_through_the_predecessors() -> None:
    reopening = without_overlay(Reopening())
    reopening.ratify()
    reopening.cut()
    now, hour = reopening.clock.now(), timedelta(hours=1)
    steps = {item.stage.name: item for item in seen(reopening).stages}
    assert steps[P0].earliest == now + 24 * hour  # evidence usually takes a day
    assert steps[P1].earliest == now + (24 + 4) * hour  # and P0 is observed for 4 h
    assert steps[P2].earliest == now + 72 * hour  # attestations usually take three days: longer than P1 needs
    assert steps["P4-images"].earliest == now + (72 + 24) * hour
    assert steps["P7-public"].earliest == now + (72 + 24 + 24 + 7 * 24) * hour  # P4 is observed, then open for 7 days
    assert not any(item.exact for item in steps.values())
    quickest = steps[P2].quickest
    assert quickest is not None
    assert quickest.unmet.rule == "gate-missing:directory-trusted"


def test_a_wait_is_exact() -> None:
    reopening = after_the_cut(P0, P1, P2, P3, "P4-images", P5)
    reopening.policy = reopening.policy.model_copy(
        update={"rehearsal": reopening.policy.rehearsal.model_copy(update={"predecessor_open_for": timedelta(hours=5)})}  # type: ignore[union-attr]
    )
    reopening.ratify()
    reopening.evidence("P7-public")
    found = of(reopening, "P7-public")
    opened = datetime.fromisoformat(reopening.status("P4-images").opened_at)
    waits = [lack for lack in found.lacks if lack.stage == "P4-images"]
    assert [lack.lifted_at for lack in waits] == [opened + timedelta(hours=5)]
    assert waits[0].exact
    assert (found.earliest, found.exact) == (opened + timedelta(hours=5), True)


def test_what_never_opens_says_why_and_takes_what_follows_with_it() -> None:
    reopening = after_the_cut()
    over = datetime(2026, 1, 1, tzinfo=UTC)
    declared = reopening.policy.stage(P6)
    gates = tuple(
        gate.model_copy(update={"window": gate.window.model_copy(update={"not_after": over})}) if isinstance(gate, WindowGate) else gate
        for gate in declared.gates
    )
    changed = declared.model_copy(update={"gates": gates})
    stages = tuple(changed if stage.name == P6 else stage for stage in reopening.policy.stages)
    reopening.policy = reopening.policy.model_copy(update={"stages": stages})
    reopening.ratify()
    windows, lift = of(reopening, P6), of(reopening, P8)
    assert windows.unreachable
    assert (windows.earliest, lift.earliest) == (None, None)
    assert P6 in lift.unreachable
    assert of(reopening, P5).unreachable == ""


# --- what holds back everything ---------------------------------------------------------------------------------------


def test_before_any_cut_there_is_nothing_to_reopen() -> None:
    reopening = Reopening()
    reopening.ratify()
    found = seen(reopening)
    assert [lack.unmet.rule for lack in found.everywhere] == ["nothing-is-cut"]
    assert found.openings == ()
    assert all(item.at is None or item.obligation.due for item in due(reopening).values())


def test_a_cut_that_is_not_verified_holds_everything() -> None:
    reopening = Reopening()
    reopening.ratify()
    reopening.cut(verified=False)
    reopening.evidence(P0)
    found = seen(reopening)
    assert [lack.unmet.rule for lack in found.everywhere] == ["posture"]
    assert found.openings == ()
    assert of(reopening, P0).step == "plan"  # a plan and its votes can be made meanwhile


def test_one_stage_at_a_time() -> None:
    reopening = after_the_cut(P0, P1, approved=P2)
    reopening.evidence(P3)
    assert {opening.stage for opening in seen(reopening).openings} == {P2, P3}

    def stops(_seconds: float) -> None:
        reopening.stages.runner._stopping.set()

    reopening.wait = stops
    reopening.stages = reopening.server()
    assert reopening.apply(P2).state == StageState.OBSERVING
    found = seen(reopening)
    (lack,) = found.everywhere
    assert (lack.unmet.rule, found.openings) == ("another-stage-runs", ())
    assert lack.lifted_at == datetime.fromisoformat(reopening.status(P2).since) + timedelta(seconds=2)
    assert of(reopening, P2).step == "wait"
    assert of(reopening, P3).step == "plan"


def test_a_quorum_that_nobody_can_fill_now_is_told() -> None:
    reopening = after_the_cut()
    people = tuple(person for person in reopening.policy.people if person.name != "commander")
    reopening.policy = reopening.policy.model_copy(update={"people": people})
    reopening.ratify()
    reopening.evidence(P0)
    found = of(reopening, P0)
    assert rules(found) == {"votes-missing"}
    assert "1 incident-commander" in found.lacks[0].unmet.message
    assert found.openings == ()


# --- obligations ----------------------------------------------------------------------------------------------------


def test_obligations_count_from_the_first_cut_off_and_the_overdue_come_first() -> None:
    reopening = after_the_cut()
    first = reopening.clock.now()
    reopening.clock.wait(timedelta(hours=30).total_seconds())
    reopening.cut()  # a second cut-off of the same incident
    found = obligations(reopening.stages.state(), reopening.clock.now())
    names = [item.obligation.name for item in found]
    assert names[:3] == ["cert-sante-report", "outside-results", "nis2-early-warning"]
    assert [item.overdue for item in found[:4]] == [True, True, True, False]
    assert found[2].at == first + timedelta(hours=24)
    assert found[2].left == timedelta(hours=-6)
    dated = [item.at for item in found if not item.overdue and item.at is not None]
    assert dated == sorted(dated)
    assert due(reopening)["mssante-certificate"].at == datetime(2026, 9, 15, 8, 0, tzinfo=UTC)


def test_a_report_is_fulfilled_by_its_evidence_and_a_queue_by_its_stage() -> None:
    reopening = after_the_cut()
    assert not due(reopening)["cnil-notification"].fulfilled
    reopening.stages.do(AttachEvidence("rssi", "cnil-notification", DOCUMENT))
    assert due(reopening)["cnil-notification"].fulfilled
    queue = due(reopening)["sender-queues"]
    assert [(flow.flow, flow.stage, flow.is_open) for flow in queue.flows] == [("mail-in", P1, False)]
    reopening.open(P0, P1)
    assert due(reopening)["sender-queues"].fulfilled
    assert due(reopening)["revocation-lists-expire"].fulfilled
    assert not due(reopening)["mssante-queues"].fulfilled
    reopening.cut()
    assert not due(reopening)["sender-queues"].fulfilled  # closed again


# --- as people meet it ------------------------------------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut(P0)) as served:
        yield served


def test_the_api_answers_for_everybody_who_may_read(api: Api) -> None:
    answer: dict[str, Any] = api.get("auditor", "/v1/next").json()
    assert [item["stage"] for item in answer["stages"]] == [stage.name for stage in api.reopening.policy.stages]
    assert answer["ordered_by"]["fr"].startswith("criticité")
    mail = next(item for item in answer["stages"] if item["stage"] == P1)
    assert mail["quickest"]["rule"] == "gate-missing:mail-relay-rebuilt"
    assert mail["quickest"]["takes_s"] > 0
    text = as_text(answer)
    assert "REHEARSAL · EXERCICE" in text
    assert "Nothing can be opened now · Rien ne peut être ouvert maintenant" in text
    assert "→ orchestrator evidence add mail-relay-rebuilt" in text
    assert "Notifier la violation de données à la CNIL" in text
    one = as_text(answer, P2)
    assert one.count("→") >= len(next(item for item in answer["stages"] if item["stage"] == P2)["lacks"])
    assert P3 not in one


def test_the_order_is_told_with_what_can_be_opened(api: Api) -> None:
    api.reopening.evidence(P1)
    text = as_text(api.get("rssi", "/v1/next").json())
    assert "1. mail-in → everyone  [P1-inbound-mail]  care medium, volume high, risk high" in text
    assert "order: care, highest first" in text
    assert "next: plan: orchestrator stage plan P1-inbound-mail" in text
