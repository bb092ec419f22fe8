"""Every refusal on the way to an opening, with the name of its rule; what is refused leaves no vote behind."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from orchestrator.adapters import sshsig
from orchestrator.domain.attestations import AttestationState
from orchestrator.domain.commands import AttachEvidence, RecordAttestation
from orchestrator.domain.events import EventType as E
from orchestrator.domain.gates import EvidenceGate
from orchestrator.domain.statement import NAMESPACE
from orchestrator.errors import IllegalTransition, NotAllowed, NotAuthenticated, Refused, Stale, UnknownName, UsageError
from tests.service.reopening import DOCUMENT, Reopening, after_the_cut, key_of

LIFELINES, MAIL, CARE, IMAGES = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P4-images"


def planned(stage: str = LIFELINES, *opened: str) -> Reopening:
    reopening = after_the_cut(*opened)
    reopening.evidence(stage)
    reopening.stages.plan("eng-1", stage)
    return reopening


def refused(rule: str, kind: type[Refused] = Refused) -> pytest.RaisesExc[Refused]:
    return pytest.RaisesExc(kind, check=lambda error: error.rule == rule)


def test_the_proposers_own_vote() -> None:
    reopening = planned()
    with refused("proposer-cannot-vote", NotAllowed):
        reopening.vote("eng-1", LIFELINES)
    assert reopening.status(LIFELINES).votes == {}
    denied = [event for event in reopening.log.read() if event.type is E.ACCESS_DENIED]
    assert [(event.actor, event.body["rule"]) for event in denied] == [("eng-1", "proposer-cannot-vote")]


@pytest.mark.parametrize("person", ["rssi", "director-duty", "owner-imaging-portal"])
def test_a_role_that_the_stage_does_not_ask_for(person: str) -> None:
    with refused("role-cannot-vote", NotAllowed):
        planned().vote(person, LIFELINES)


def test_the_owner_of_another_application() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    reopening.evidence(IMAGES)
    reopening.stages.plan("eng-1", IMAGES)
    with refused("role-cannot-vote", NotAllowed):
        reopening.vote("owner-sms", IMAGES)
    reopening.vote("owner-imaging-portal", IMAGES)


def test_a_second_vote_of_the_same_person() -> None:
    reopening = planned()
    reopening.vote("eng-2", LIFELINES)
    with refused("already-voted", NotAllowed):
        reopening.vote("eng-2", LIFELINES)


def test_too_few_votes() -> None:
    reopening = planned()
    with refused("votes-missing") as refusal:
        reopening.stages.apply("eng-1", LIFELINES)
    assert "1 incident-commander, 1 network-engineer" in str(refusal.value)
    reopening.vote("eng-2", LIFELINES)
    with refused("votes-missing") as refusal:
        reopening.stages.apply("eng-1", LIFELINES)
    assert "1 incident-commander" in str(refusal.value)


def test_a_stage_whose_predecessor_is_not_open() -> None:
    with refused("predecessor-not-open"):
        after_the_cut().stages.plan("eng-1", MAIL)


def test_a_predecessor_that_was_closed_again() -> None:
    reopening = after_the_cut(LIFELINES, approved=MAIL)
    reopening.stages.revert("rssi", LIFELINES, "an indicator of compromise")
    assert reopening.stages.runner.wait(20)
    with pytest.raises(Refused) as refusal:
        reopening.stages.apply("eng-1", MAIL)
    assert refusal.value.rule in ("predecessor-not-open", "digest-moved")
    assert reopening.status(MAIL).state != "applying"


def test_evidence_that_is_missing_or_too_old() -> None:
    reopening = after_the_cut()
    reopening.stages.plan("eng-1", LIFELINES)
    with refused("gate-missing:cut-verified"):
        reopening.vote("eng-2", LIFELINES)
    reopening.evidence(LIFELINES)
    reopening.clock.wait(timedelta(hours=23).total_seconds())
    reopening.vote("eng-2", LIFELINES)
    reopening.clock.wait(timedelta(minutes=50).total_seconds())
    reopening.vote("commander", LIFELINES)
    reopening.stages.plan("eng-1", LIFELINES)
    reopening.clock.wait(timedelta(hours=1).total_seconds())
    with refused("gate-missing:cut-verified"):
        reopening.vote("eng-2", LIFELINES)


def test_evidence_for_another_stage_does_not_count() -> None:
    reopening = after_the_cut()
    reopening.stages.plan("eng-1", LIFELINES)
    for gate in (gate for gate in reopening.policy.stage(LIFELINES).gates if isinstance(gate, EvidenceGate)):
        reopening.stages.do(AttachEvidence("rssi", gate.evidence, DOCUMENT, MAIL))
    with refused("gate-missing:cut-verified"):
        reopening.vote("eng-2", LIFELINES)


@pytest.mark.parametrize("accepted", [False, None])
def test_a_partner_without_an_accepted_attestation(accepted: bool | None) -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    reopening.evidence(CARE)
    if accepted is None:
        reopening.clock.wait(timedelta(days=31).total_seconds())  # they all expire
        reopening.stages.do(AttachEvidence("rssi", "directory-trusted", DOCUMENT, CARE))
    else:
        reopening.stages.do(RecordAttestation("rssi", "sister", AttestationState.REFUSED, DOCUMENT, at_once=True))
    reopening.stages.plan("eng-1", CARE)
    with pytest.raises(Refused) as refusal:
        reopening.vote("eng-2", CARE)
    assert refusal.value.rule.startswith("attestation-missing:")
    assert "sister" in str(refusal.value)


def test_one_partner_that_refuses_is_deferred_and_the_others_open() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    reopening.evidence(CARE)
    reopening.stages.do(RecordAttestation("rssi", "ght-2", AttestationState.REFUSED, DOCUMENT, at_once=True))
    flows = (reopening.policy.flow(flow) for flow in reopening.policy.stage(CARE).flows)
    others = {partner for flow in flows for partner in flow.partners} - {"ght-2"}
    reopening.stages.plan("eng-1", CARE, others)
    for person in ("eng-2", "rssi"):
        reopening.vote(person, CARE)
    assert reopening.apply(CARE).state == "partially-open"
    assert not reopening.reaches("ght-2", "10.20.22.10", 104)
    assert reopening.reaches("sister", "10.20.22.10", 104)


def test_a_statement_about_an_earlier_plan_with_the_same_digest() -> None:
    reopening = planned()
    statement, signature = reopening.sign("eng-2", LIFELINES)
    digest = reopening.status(LIFELINES).plan_digest
    reopening.stages.cancel("commander", LIFELINES, "not now")
    reopening.stages.plan("eng-3", LIFELINES)
    assert reopening.status(LIFELINES).plan_digest == digest
    with refused("digest-moved", Stale):
        reopening.stages.vote("eng-2", LIFELINES, statement, signature)


def test_a_vote_on_another_stage() -> None:
    reopening = after_the_cut(LIFELINES)
    reopening.evidence(MAIL)
    reopening.stages.plan("eng-1", MAIL)
    statement, signature = reopening.sign("eng-2", MAIL)
    with pytest.raises((Stale, IllegalTransition)):
        reopening.stages.vote("eng-2", LIFELINES, statement, signature)


@pytest.mark.parametrize(
    ("member", "value", "rule"),
    [
        ("site", "another-hospital", "digest-moved"),
        ("plan_digest", "0" * 64, "digest-moved"),
        ("policy_digest", "0" * 64, "digest-moved"),
        ("becomes_possible_digest", "0" * 64, "digest-moved"),
        ("rehearsal", False, "digest-moved"),
        ("log_head", {"size": 1, "root": "0" * 64}, "log-head"),
        ("expires", "2031-01-01T00:00:00.000Z", "expired"),
        ("expires", "2020-01-01T00:00:00.000Z", "expired"),
        ("voter", "eng-3", "signature"),
    ],
)
def test_a_statement_that_was_changed_and_signed(member: str, value: object, rule: str) -> None:
    reopening = planned()
    statement = json.loads(reopening.stages.vote_statement("eng-2", LIFELINES, "approve", ""))
    text = json.dumps({**statement, member: value}, sort_keys=True, separators=(",", ":"))
    with refused(rule):
        reopening.stages.vote("eng-2", LIFELINES, text, sshsig.sign(key_of("eng-2"), NAMESPACE, text.encode()))
    assert reopening.status(LIFELINES).votes == {}


@pytest.mark.parametrize("text", ["", "{}", "null", "[" * 2000, '{"what":"vote"}', "\ud83c", '{"voter":"\\ud83c"}'])
def test_a_statement_that_is_none(text: str) -> None:
    reopening = planned()
    with pytest.raises(UsageError):
        reopening.stages.vote("eng-2", LIFELINES, text, sshsig.sign(key_of("eng-2"), NAMESPACE, text.encode(errors="replace")))


def test_a_statement_that_is_not_canonical() -> None:
    reopening = planned()
    text = json.dumps(json.loads(reopening.stages.vote_statement("eng-2", LIFELINES, "approve", "")), indent=1)
    with pytest.raises(UsageError, match="canonical"):
        reopening.stages.vote("eng-2", LIFELINES, text, sshsig.sign(key_of("eng-2"), NAMESPACE, text.encode()))


def test_a_login_signature_is_no_vote() -> None:
    reopening = planned()
    statement = reopening.stages.vote_statement("eng-2", LIFELINES, "approve", "")
    with refused("signature", NotAuthenticated):
        reopening.stages.vote("eng-2", LIFELINES, statement, sshsig.sign(key_of("eng-2"), "orchestrator-login@v1", statement.encode()))


def test_a_vote_can_be_handed_in_by_somebody_else() -> None:
    reopening = planned()
    reopening.stages.vote("eng-3", LIFELINES, *reopening.sign("eng-2", LIFELINES))
    (vote,) = (event for event in reopening.log.read() if event.type is E.VOTE_CAST)
    assert (vote.actor, vote.body["handed_in_by"]) == ("eng-2", "eng-3")


def test_a_denial_needs_a_reason_and_ends_the_plan() -> None:
    reopening = planned()
    with pytest.raises(UsageError):
        reopening.vote("eng-2", LIFELINES, "deny")
    reopening.vote("eng-2", LIFELINES, "deny", "the relay is not rebuilt")
    assert reopening.status(LIFELINES).state == "denied"
    assert "the relay is not rebuilt" in reopening.status(LIFELINES).detail
    reopening.stages.plan("eng-1", LIFELINES)
    assert reopening.status(LIFELINES).votes == {}


def test_votes_end_with_their_plan() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.clock.wait(timedelta(hours=24).total_seconds())
    with pytest.raises(Refused):
        reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.status(LIFELINES).state == "expired"


def test_a_new_ratification_makes_what_was_voted_on_stale() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    stage = reopening.policy.stage(LIFELINES)
    changed = stage.model_copy(update={"title": stage.title.model_copy(update={"en": "Other lifelines"})})
    stages = tuple(changed if item.name == LIFELINES else item for item in reopening.policy.stages)
    reopening.policy = reopening.policy.model_copy(update={"stages": stages})
    reopening.ratify()
    with refused("digest-moved", Stale):
        reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.status(LIFELINES).state == "stale"
    assert reopening.status(LIFELINES).votes == {}


def test_a_key_that_the_next_ratification_takes_out_votes_no_more() -> None:
    reopening = planned()
    statement, signature = reopening.sign("eng-2", LIFELINES)
    reopening.allowed_signers = "".join(line + "\n" for line in reopening.allowed_signers.splitlines() if not line.startswith("eng-2 "))
    reopening.ratify()
    with refused("signature", NotAuthenticated):
        reopening.stages.vote("eng-3", LIFELINES, statement, signature)


def test_votes_that_were_cast_before_the_keys_were_ratified_anew() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.allowed_signers = "".join(line + "\n" for line in reopening.allowed_signers.splitlines() if not line.startswith("eng-2 "))
    reopening.ratify()  # eng-2 had voted, and their key has been revoked since; policy and inventory are the same
    with refused("digest-moved", Stale):
        reopening.stages.apply("eng-1", LIFELINES)
    assert reopening.status(LIFELINES).state == "stale"
    assert reopening.status(LIFELINES).votes == {}
    reopening.stages.plan("eng-1", LIFELINES)
    reopening.vote("eng-3", LIFELINES)
    reopening.vote("commander", LIFELINES)
    assert reopening.apply(LIFELINES).state == "open"


def test_what_was_made_in_a_rehearsal_proves_nothing_afterwards() -> None:
    reopening = after_the_cut(LIFELINES)
    reopening.evidence(MAIL)
    reopening.policy = reopening.policy.model_copy(update={"rehearsal": None})
    reopening.ratify()
    reopening.clock.wait(timedelta(days=30).total_seconds())
    with refused("predecessor-not-open") as refusal:
        reopening.stages.plan("eng-1", MAIL)
    assert "rehearsal" in str(refusal.value)
    reopening.stages.revert("eng-1", LIFELINES, "the rehearsal is over")
    assert reopening.stages.runner.wait(20)
    reopening.stages.plan("eng-1", LIFELINES)
    with refused("gate-missing:cut-verified"):
        reopening.vote("eng-2", LIFELINES)
    reopening.open(LIFELINES)


@pytest.mark.parametrize("verified", [False, None])
def test_nothing_is_applied_before_a_verified_cut_off(verified: bool | None) -> None:
    reopening = Reopening()
    reopening.ratify()
    if verified is None:
        with refused("nothing-is-cut"):
            reopening.stages.plan("eng-1", LIFELINES)
        return
    reopening.cut(verified=False)
    reopening.approve(LIFELINES)
    with refused("posture", IllegalTransition):
        reopening.stages.apply("eng-1", LIFELINES)


def test_nothing_without_a_ratified_policy() -> None:
    with refused("not-ratified", NotAllowed):
        Reopening().stages.plan("eng-1", LIFELINES)


def test_a_cut_off_takes_the_votes_with_it() -> None:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.cut()
    assert reopening.status(LIFELINES).state == "stale"
    with pytest.raises(Refused):
        reopening.stages.apply("eng-1", LIFELINES)


def test_one_stage_at_a_time() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    reopening.approve("P3-outbound-mail")

    def stops(_seconds: float) -> None:
        reopening.stages.runner._stopping.set()

    reopening.wait = stops
    reopening.stages = reopening.server()
    assert reopening.apply("P3-outbound-mail").state == "observing"
    with pytest.raises(Refused) as refusal:
        reopening.stages.apply("eng-1", CARE)
    assert refusal.value.rule in ("another-stage-runs", "digest-moved")


def test_names_that_nobody_bears() -> None:
    reopening = after_the_cut()
    with pytest.raises(UnknownName):
        reopening.stages.plan("eng-1", "P9-nothing")
    with refused("unknown-person", NotAllowed):
        reopening.stages.plan("nobody", LIFELINES)
    with refused("role", NotAllowed):
        reopening.stages.plan("auditor", LIFELINES)
    with refused("predecessor-not-open"):
        reopening.stages.plan("eng-1", "P8-lift")
