"""Waivers: two persons, a reason, an end; and what no waiver stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.api import views
from orchestrator.domain.commands import EndWaiver, GrantWaiver, RequestWaiver
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp
from orchestrator.domain.people import Delegation
from orchestrator.domain.policy_words import Role
from orchestrator.errors import IllegalTransition, NotAllowed, Refused, Stale, UnknownName, UsageError
from tests.service.gated import STAGE, gate, gated, lacking, later, rules
from tests.service.reopening import Reopening, after_the_cut

CARE = "P2-care-exchange"
SCANNED = gate(evidence="scanned")


def request(reopening: Reopening, gate: str = "scanned", by: str = "rssi", days: float = 7, stage: str = STAGE, **more: Any) -> str:
    until = stamp(reopening.clock.now() + timedelta(days=days))
    said = {"reason": "the scanner is in the cut zone", "accepted_risk": "a hole we do not see", **more}
    state = reopening.stages.do(RequestWaiver(by, stage, gate, until=until, **said))
    return list(state.waivers)[-1]


def waived(reopening: Reopening, gate: str = "scanned", **more: Any) -> str:
    waiver = request(reopening, gate, **more)
    reopening.stages.do(GrantWaiver("commander", waiver))
    return waiver


def test_it_stands_for_its_gate_once_another_person_has_granted_it_and_until_its_end() -> None:
    reopening = gated(SCANNED, gate(evidence="owner-named"))
    waiver = request(reopening)
    assert rules(reopening) == ["gate-missing:scanned", "gate-missing:owner-named"]
    reopening.stages.do(GrantWaiver("commander", waiver))
    assert rules(reopening) == ["gate-missing:owner-named"]
    assert [item.id for item in reopening.stages.state().waivers_in_force(reopening.clock.now())] == [waiver]
    later(reopening, days=7)
    assert rules(reopening) == ["gate-missing:scanned", "gate-missing:owner-named"]
    assert reopening.stages.state().waivers_in_force(reopening.clock.now()) == ()


def test_the_stage_is_voted_on_and_opened_with_it_and_the_log_says_whose_it_is() -> None:
    reopening = gated(SCANNED)
    reopening.stages.plan("eng-1", STAGE)
    with pytest.raises(Refused):
        reopening.vote("eng-2", STAGE)
    waived(reopening)
    reopening.vote("eng-2", STAGE)
    reopening.vote("commander", STAGE)
    assert reopening.apply(STAGE).state == "open"
    told = [(event.type, event.actor, event.body["rehearsal"]) for event in reopening.log.read() if event.type.value.startswith("Waiver")]
    assert told == [(E.WAIVER_REQUESTED, "rssi", True), (E.WAIVER_GRANTED, "commander", True)]


def test_a_waiver_that_ends_before_the_stage_is_applied_holds_it_back() -> None:
    reopening = gated(SCANNED)
    waiver = waived(reopening)
    reopening.stages.plan("eng-1", STAGE)
    reopening.vote("eng-2", STAGE)
    reopening.vote("commander", STAGE)
    reopening.stages.do(EndWaiver("eng-3", waiver, "the scanner is back"))
    with pytest.raises(Refused) as refusal:
        reopening.stages.apply("eng-1", STAGE)
    assert refusal.value.rule == "gate-missing:scanned"
    assert not reopening.reaches("record", "198.51.100.36", 443)


@pytest.mark.parametrize("by", ["rssi", "eng-2", "owner-samu", "auditor"])
def test_who_requests_does_not_grant_and_who_decides_nothing_of_the_kind_neither(by: str) -> None:
    reopening = gated(SCANNED)
    waiver = request(reopening)
    with pytest.raises(NotAllowed) as refusal:
        reopening.stages.do(GrantWaiver(by, waiver))
    assert refusal.value.rule == ("waiver-needs-a-second-person" if by == "rssi" else "role")
    assert rules(reopening) == ["gate-missing:scanned"]


@pytest.mark.parametrize(("asks", "grants"), [("rssi", "eng-2"), ("eng-2", "rssi")])
def test_a_deputy_by_the_same_authority_is_no_second_person(asks: str, grants: str) -> None:
    reopening = gated(SCANNED)
    day = datetime(2026, 6, 24, tzinfo=UTC)
    lent = Delegation(
        name="lent", giver="rssi", taker="eng-2", roles=(Role.SECURITY_OFFICER,), starts=day, ends=day + timedelta(days=9), reason="leave"
    )
    reopening.policy = reopening.policy.model_copy(update={"delegations": (lent,)})
    reopening.ratify()
    waiver = request(reopening, by=asks)
    with pytest.raises(NotAllowed) as refusal:
        reopening.stages.do(GrantWaiver(grants, waiver))
    assert refusal.value.rule == "waiver-needs-a-second-person"
    reopening.stages.do(GrantWaiver("commander", waiver))
    assert rules(reopening) == []


def test_two_deputies_by_one_authority_are_no_two_authorities() -> None:
    reopening = gated(SCANNED)
    day = datetime(2026, 6, 24, tzinfo=UTC)
    lent = tuple(
        Delegation(
            name=f"to-{taker}", giver="rssi", taker=taker, roles=(Role.SECURITY_OFFICER,),
            starts=day, ends=day + timedelta(days=9), reason="leave",
        )
        for taker in ("eng-2", "eng-3")
    )  # fmt: skip
    reopening.policy = reopening.policy.model_copy(update={"delegations": lent})
    reopening.ratify()
    waiver = request(reopening, by="eng-2")
    with pytest.raises(NotAllowed) as refusal:
        reopening.stages.do(GrantWaiver("eng-3", waiver))
    assert refusal.value.rule == "waiver-needs-a-second-person"
    reopening.stages.do(GrantWaiver("commander", waiver))
    assert rules(reopening) == []


def test_it_ends_when_the_peoples_keys_are_ratified_anew() -> None:
    reopening = gated(SCANNED)
    waived(reopening)
    asked = request(reopening)
    reopening.allowed_signers = reopening.allowed_signers.replace("rssi ", "somebody ", 1)
    reopening.ratify()
    assert rules(reopening) == ["gate-missing:scanned"]
    state, now = reopening.stages.state(), reopening.clock.now()
    assert [views.waiver(state, item, now)["in_force"] for item in state.waivers.values()] == [False, False]
    with pytest.raises(Stale) as refusal:
        reopening.stages.do(GrantWaiver("commander", asked))
    assert refusal.value.rule == "digest-moved"
    waived(reopening, by="director-duty")
    assert rules(reopening) == []


@pytest.mark.parametrize("days", [0, -1, 30.001, 400])
def test_it_has_an_end_within_thirty_days(days: float) -> None:
    with pytest.raises(Refused) as refusal:
        request(gated(SCANNED), days=days)
    assert refusal.value.rule == "waiver-too-long"


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("eradication", "cannot-be-waived"),
        ("care", "cannot-be-waived"),
        ("signed", "cannot-be-waived"),
        ("network-engineer", "cannot-be-waived"),
        ("votes", "cannot-be-waived"),
        ("predecessor-not-open", "cannot-be-waived"),
        ("P0-lifelines", "cannot-be-waived"),
        ("attestation-missing:efs", "cannot-be-waived"),
        ("scaned", UnknownName),
    ],
)
def test_what_no_waiver_stands_for(wanted: str, error: str | type[Exception]) -> None:
    stage = "P1-inbound-mail"
    gates = (SCANNED, gate(eradication=["lab"]), gate(care=["emergency-to-record"], fresh="1h"), gate(evidence="signed", waivable=False))
    reopening = gated(*gates, stage=stage)
    if isinstance(error, str):
        with pytest.raises(Refused) as refusal:
            request(reopening, wanted, stage=stage)
        assert refusal.value.rule == error
        assert "scanned" in refusal.value.advice
    else:
        with pytest.raises(error):
            request(reopening, wanted, stage=stage)
    assert reopening.stages.state().waivers == {}


def test_a_policy_that_no_longer_lets_the_gate_be_waived_has_the_last_word() -> None:
    reopening = gated(SCANNED)
    waived(reopening)
    stage = reopening.policy.stage(STAGE)
    strict = stage.model_copy(update={"gates": (stage.gates[0].model_copy(update={"waivable": False}),)})
    reopening.policy = reopening.policy.model_copy(
        update={"stages": tuple(strict if item.name == STAGE else item for item in reopening.policy.stages)}
    )
    reopening.ratify()
    assert rules(reopening) == ["gate-missing:scanned"]


@pytest.mark.parametrize("more", [{"reason": " "}, {"accepted_risk": ""}])
def test_it_says_why_and_what_is_risked(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        request(gated(SCANNED), **more)


def test_for_one_partner_it_stands_for_that_partner_only() -> None:
    reopening = gated(gate(partner_ready="24h", partners=["efs", "anssi"]))
    waived(reopening, "partner-ready", partner="efs")
    assert [unmet.partners for unmet in lacking(reopening)] == [("anssi",)]
    with pytest.raises(UnknownName):
        request(reopening, "partner-ready", partner="sister")


def test_an_attestation_gate_can_be_waived_and_what_the_partners_entry_asks_for_cannot() -> None:
    reopening = gated(gate(attestation="ours", partners=["sister"]), stage=CARE)
    waived(reopening, "attestation-ours", stage=CARE)
    assert rules(reopening, CARE) == []
    with pytest.raises(Refused) as refusal:
        request(reopening, "attestation-missing:sister", stage=CARE)
    assert refusal.value.rule == "cannot-be-waived"


def test_every_move_goes_through_the_table() -> None:
    reopening = gated(SCANNED)
    waiver = waived(reopening)
    with pytest.raises(IllegalTransition):
        reopening.stages.do(GrantWaiver("director-duty", waiver))
    reopening.stages.do(EndWaiver("rssi", waiver, "done"))
    for again in (GrantWaiver("director-duty", waiver), EndWaiver("rssi", waiver, "again")):
        with pytest.raises(IllegalTransition):
            reopening.stages.do(again)
    with pytest.raises(UnknownName):
        reopening.stages.do(GrantWaiver("commander", "W9"))
    late = request(reopening, days=1)
    later(reopening, days=2)
    with pytest.raises(Stale):
        reopening.stages.do(GrantWaiver("commander", late))


def test_a_waiver_of_a_rehearsal_stands_for_nothing_afterwards() -> None:
    reopening = gated(SCANNED)
    waiver = waived(reopening)
    asked = request(reopening)
    reopening.policy = reopening.policy.model_copy(update={"rehearsal": None})
    reopening.ratify()
    assert rules(reopening) == ["gate-missing:scanned"]
    assert reopening.stages.state().waivers[waiver].in_force(reopening.clock.now())
    with pytest.raises(UnknownName):
        reopening.stages.do(GrantWaiver("commander", asked))
    assert waived(reopening) not in (waiver, asked)
    assert rules(reopening) == []


def test_nobody_waives_in_a_hospital_whose_policy_says_nothing_of_it() -> None:
    with pytest.raises(UnknownName):
        request(after_the_cut(), "a-gate-of-nobody")
