"""What a partner's contact signs of an open stage: handed in, verified, on record, and counted by the gate of a later stage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from orchestrator.adapters import sshsig
from orchestrator.adapters.site_key import public_line
from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import fold
from orchestrator.domain.gates import Gate
from orchestrator.domain.people import Person
from orchestrator.domain.policy_words import Role
from orchestrator.domain.statement import NAMESPACE as VOTE
from orchestrator.domain.witness import NAMESPACE, Saw, read_witness
from orchestrator.errors import IllegalTransition, NotAuthenticated, Refused, UnknownName, UsageError
from tests.service.gated import TITLE, rules
from tests.service.reopening import Reopening, after_the_cut, key_of
from tests.service.test_execution import LIFELINES, MAIL

CONTACT = "contact-efs"
_GATES: TypeAdapter[tuple[Gate, ...]] = TypeAdapter(tuple[Gate, ...])


def with_contact(*, open_it: bool = True, **gate: Any) -> Reopening:
    """P0 open, a contact who speaks for the blood service, and P1 waiting for what they see of P0."""
    reopening = after_the_cut()
    contact = Person(name=CONTACT, title="Duty desk of the blood service", roles=(Role.PARTNER_CONTACT,), speaks_for=("efs",))
    asked = {"partner_witness": LIFELINES, "contacts_of": ["efs"], "title": TITLE, **gate}
    mail = reopening.policy.stage(MAIL).model_copy(update={"gates": _GATES.validate_python([asked])})
    stages = tuple(mail if stage.name == MAIL else stage for stage in reopening.policy.stages)
    reopening.policy = reopening.policy.model_copy(update={"stages": stages, "people": (*reopening.policy.people, contact)})
    reopening.allowed_signers += f'{CONTACT} namespaces="{NAMESPACE}" {public_line(key_of(CONTACT))}\n'
    reopening.ratify()
    if open_it:
        reopening.open(LIFELINES)
    return reopening


def said(reopening: Reopening, saw: Saw = "passes", *, minutes_ago: float = 0, **flows: Saw) -> str:
    at = (reopening.clock.now() - timedelta(minutes=minutes_ago)).astimezone(UTC).isoformat().replace("+00:00", "Z")
    return reopening.stages.witness_statement("eng-1", LIFELINES, "efs", CONTACT, {"": saw, **flows}, at)


def hand_in(reopening: Reopening, statement: str, *, key: str = CONTACT, namespace: str = NAMESPACE, person: str = "eng-1") -> None:
    reopening.stages.witness(person, LIFELINES, statement, sshsig.sign(key_of(key), namespace, statement.encode()))


def refused(reopening: Reopening, statement: str, **how: Any) -> str:
    with pytest.raises(Refused) as refusal:
        hand_in(reopening, statement, **how)
    assert not [event for event in reopening.log.read() if event.type is E.PARTNER_WITNESSED]
    return refusal.value.rule


def test_what_the_contact_signs_lifts_the_gate_of_the_next_stage_and_is_on_record_with_its_signature() -> None:
    reopening = with_contact()
    assert rules(reopening, MAIL) == [f"gate-inconclusive:partner-witness:{LIFELINES}"]
    statement = said(reopening)
    hand_in(reopening, statement)
    assert rules(reopening, MAIL) == []
    event = next(event for event in reopening.log.read() if event.type is E.PARTNER_WITNESSED)
    assert (event.actor, event.stage, event.body["witness"], event.body["statement"]) == ("eng-1", LIFELINES, CONTACT, statement)
    at = datetime.fromisoformat(event.at)
    signatures = reopening.stages.signatures()
    assert signatures.verify(NAMESPACE, event.body["statement"].encode(), event.body["signature"], at=at) == CONTACT
    assert fold(reopening.log.read()).witnessed == reopening.stages.state().witnessed, "the log alone says so"


@pytest.mark.parametrize(("saw", "answer"), [("blocked", "gate-missing"), ("cannot-tell", "gate-inconclusive")])
def test_what_they_do_not_see_pass_holds(saw: Saw, answer: str) -> None:
    reopening = with_contact()
    hand_in(reopening, said(reopening, saw))
    assert rules(reopening, MAIL) == [f"{answer}:partner-witness:{LIFELINES}"]


def test_a_later_no_counts_and_an_earlier_yes_cannot_be_handed_in_again_over_it() -> None:
    reopening = with_contact()
    earlier = said(reopening)
    hand_in(reopening, earlier)
    reopening.clock.wait(60)
    hand_in(reopening, said(reopening, "blocked"))
    assert rules(reopening, MAIL) == [f"gate-missing:partner-witness:{LIFELINES}"]
    with pytest.raises(Refused) as refusal:
        hand_in(reopening, earlier)
    assert refusal.value.rule == "witness-time"
    assert rules(reopening, MAIL) == [f"gate-missing:partner-witness:{LIFELINES}"]


def test_only_their_own_key_in_this_namespace_counts() -> None:
    reopening = with_contact()
    assert refused(reopening, said(reopening), key="rssi") == "signature"
    assert refused(reopening, said(reopening), key="a stranger") == "signature"
    assert refused(reopening, said(reopening), namespace=VOTE) == "signature"
    told = said(reopening)
    signature = sshsig.sign(key_of(CONTACT), NAMESPACE, told.encode())
    with pytest.raises(NotAuthenticated):
        reopening.stages.witness("eng-1", LIFELINES, told.replace("passes", "blocked"), signature)


def test_a_key_that_was_not_valid_when_they_saw_it_does_not_count() -> None:
    reopening = with_contact()
    since = (reopening.clock.now() + timedelta(minutes=1)).strftime("%Y%m%d%H%M%SZ")
    line = f'{CONTACT} namespaces="{NAMESPACE}"'
    reopening.allowed_signers = reopening.allowed_signers.replace(line, f'{CONTACT} valid-after="{since}",namespaces="{NAMESPACE}"')
    reopening.ratify()
    early = said(reopening)
    reopening.clock.wait(120)
    assert refused(reopening, early) == "signature"
    hand_in(reopening, said(reopening))


def test_time_plan_and_log_bind_it() -> None:
    reopening = with_contact()
    assert refused(reopening, said(reopening, minutes_ago=240)) == "witness-time"
    assert refused(reopening, said(reopening, minutes_ago=-10)) == "witness-time"
    whole = read_witness(said(reopening))
    assert refused(reopening, whole.model_copy(update={"plan_digest": "a" * 64}).text()) == "digest-moved"
    head = whole.log_head.model_copy(update={"root": "b" * 64})
    assert refused(reopening, whole.model_copy(update={"log_head": head}).text()) == "log-head"
    for_another = reopening.stages
    with pytest.raises(UnknownName):
        for_another.witness_statement("eng-1", LIFELINES, "hub-sante", CONTACT, {}, whole.seen_at)
    strange = whole.seen[0].model_copy(update={"service": "tcp/1"})
    with pytest.raises(UsageError, match="does not open"):
        hand_in(reopening, whole.model_copy(update={"seen": (strange,)}).text())


def test_a_contact_speaks_for_their_own_partner_only_and_has_no_access() -> None:
    reopening = with_contact()
    whole = read_witness(said(reopening))
    assert refused(reopening, whole.model_copy(update={"partner": "hub-sante"}).text()) == "role"
    assert refused(reopening, said(reopening), person=CONTACT) == "role"
    with pytest.raises(Refused):
        reopening.stages.read(CONTACT)


def test_before_it_is_open_there_is_nothing_to_see() -> None:
    reopening = with_contact(open_it=False)
    with pytest.raises(IllegalTransition) as refusal:
        said(reopening)
    assert refusal.value.rule == "nothing-to-see"


def test_what_is_too_old_or_of_a_plan_before_does_not_count() -> None:
    reopening = with_contact(fresh="1h")
    hand_in(reopening, said(reopening))
    reopening.clock.wait(3601)
    assert rules(reopening, MAIL) == [f"gate-inconclusive:partner-witness:{LIFELINES}"]
    hand_in(reopening, said(reopening))
    assert rules(reopening, MAIL) == []
    reopening.stages.revert("eng-1", LIFELINES, "once more")
    assert reopening.stages.runner.wait(10)
    reopening.open(LIFELINES)
    assert rules(reopening, MAIL) == [f"gate-inconclusive:partner-witness:{LIFELINES}"], "it was closed in between"
    hand_in(reopening, said(reopening))
    assert rules(reopening, MAIL) == []
    reopening.allowed_signers += f"somebody {public_line(key_of('somebody'))}\n"
    reopening.ratify()
    assert rules(reopening, MAIL) == [f"gate-inconclusive:partner-witness:{LIFELINES}"], "the keys were ratified anew"
