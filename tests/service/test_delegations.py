"""Who stands in for whom: delegations and turns of duty give places in a quorum, and never two for one authority."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from orchestrator.adapters import sshsig
from orchestrator.domain import eligibility
from orchestrator.domain.delegating import NAMESPACE, Lending
from orchestrator.domain.events import EventType as E
from orchestrator.domain.people import Delegation, Duty, Person
from orchestrator.domain.policy_words import Role
from orchestrator.domain.statement import NAMESPACE as VOTES
from orchestrator.errors import NotAllowed, NotAuthenticated, Refused, Stale, UnknownName, UsageError
from orchestrator.service.delegations import Delegations
from tests.service.reopening import Reopening, after_the_cut, key_of

LIFELINES, MAIL, PAYMENTS = "P0-lifelines", "P1-inbound-mail", "P5-patients-and-payments"
DAY = timedelta(days=1)


def refused(rule: str, kind: type[Refused] = Refused) -> pytest.RaisesExc[Refused]:
    return pytest.raises(kind, check=lambda refusal: refusal.rule == rule)


def with_delegation(reopening: Reopening, giver: str, taker: str, *roles: Role, applications: tuple[str, ...] = ()) -> Reopening:
    """Ratified anew with one delegation more, which runs for two days from now."""
    now = reopening.clock.now()
    made = Delegation(
        name=f"{giver}-away",
        giver=giver,
        taker=taker,
        roles=roles,
        applications=applications,
        starts=now,
        ends=now + 2 * DAY,
        reason="leave",
    )
    reopening.policy = reopening.policy.model_copy(update={"delegations": (*reopening.policy.delegations, made)})
    reopening.ratify()
    return reopening


def with_deputy(reopening: Reopening) -> Reopening:
    """The commander is away, and the director on duty acts for them."""
    return with_delegation(reopening, "commander", "director-duty", Role.INCIDENT_COMMANDER)


def planned(reopening: Reopening, stage: str = LIFELINES, proposer: str = "eng-1") -> Reopening:
    reopening.evidence(stage)
    reopening.stages.plan(proposer, stage)
    return reopening


def lending(
    reopening: Reopening, giver: str, taker: str, *roles: Role, lasts: timedelta = DAY, applications: tuple[str, ...] = ()
) -> Lending:
    now = reopening.clock.now()
    return Lending(giver, taker, roles, applications, now, now + lasts, "called away")


def grant(reopening: Reopening, what: Lending, *, by: str | None = None, handed_in_by: str | None = None) -> str:
    """Signs and hands in; returns the delegation's name."""
    service = Delegations(reopening.stages)
    text = service.statement(what)
    signature = sshsig.sign(key_of(by or what.giver), NAMESPACE, text.encode())
    return service.grant(handed_in_by or what.giver, text, signature).name


# --- delegations of the policy --------------------------------------------------------------------------------------


def test_a_delegate_votes_instead_of_the_giver_and_the_log_says_so() -> None:
    reopening = planned(with_deputy(after_the_cut()))
    reopening.vote("director-duty", LIFELINES)
    reopening.vote("eng-2", LIFELINES)
    assert reopening.status(LIFELINES).state == "approved"
    cast, approved = (next(e for e in reopening.log.read() if e.type is kind) for kind in (E.VOTE_CAST, E.STAGE_APPROVED))
    assert cast.body["lent"] == {"commander": ["incident-commander"]}
    assert approved.body["by_authority_of"] == {"director-duty": "commander"}
    assert reopening.apply(LIFELINES).state == "open"


def test_a_delegation_counts_while_it_runs_and_a_vote_counts_with_the_roles_of_its_time() -> None:
    reopening = planned(with_deputy(after_the_cut()))
    reopening.clock.wait((2 * DAY - timedelta(hours=1)).total_seconds())
    reopening.evidence(LIFELINES)
    reopening.stages.plan("eng-1", LIFELINES)
    reopening.vote("director-duty", LIFELINES)
    reopening.clock.wait(7200)  # the delegation is over, the vote stays
    with refused("role-cannot-vote", NotAllowed):
        statement = reopening.stages.vote_statement("director-duty", LIFELINES, "deny", "too late")
        reopening.stages.vote("director-duty", LIFELINES, statement, sshsig.sign(key_of("director-duty"), VOTES, statement.encode()))
    reopening.vote("eng-2", LIFELINES)
    assert reopening.apply(LIFELINES).state == "open"


def test_who_proposes_has_lent_nothing_for_the_plan() -> None:
    reopening = planned(with_deputy(after_the_cut()), proposer="commander")
    with refused("delegation-used", NotAllowed):
        reopening.vote("director-duty", LIFELINES)


def test_who_votes_has_lent_nothing_before_or_after() -> None:
    reopening = planned(with_delegation(after_the_cut(), "eng-2", "commander", Role.NETWORK_ENGINEER))
    reopening.vote("eng-2", LIFELINES)
    reopening.vote("commander", LIFELINES)  # as commander: eng-2's authority is used by eng-2
    assert reopening.status(LIFELINES).state == "approved"
    other = planned(with_deputy(after_the_cut()))
    other.vote("director-duty", LIFELINES)
    other.vote("commander", LIFELINES)  # back early: one place, not two
    declared = other.policy.stage(LIFELINES)
    given = eligibility.voters(other.stages.state(), declared, other.status(LIFELINES))
    assert given["director-duty"].roles == frozenset()
    assert other.status(LIFELINES).state == "awaiting-approval"
    other.vote("eng-2", LIFELINES)
    assert other.status(LIFELINES).state == "approved"


def test_a_delegate_never_votes_on_their_own_plan() -> None:
    reopening = planned(with_delegation(after_the_cut(), "eng-2", "director-duty", Role.NETWORK_ENGINEER), proposer="director-duty")
    with refused("proposer-cannot-vote", NotAllowed):
        reopening.vote("director-duty", LIFELINES)


def test_what_was_lent_is_not_lent_on() -> None:
    reopening = with_delegation(with_deputy(after_the_cut()), "director-duty", "owner-mail", Role.INCIDENT_COMMANDER)
    state, now = reopening.stages.state(), reopening.clock.now()
    assert eligibility.roles_of(state, "director-duty", now) == {Role.DIRECTOR, Role.INCIDENT_COMMANDER}
    assert eligibility.roles_of(state, "owner-mail", now) == {Role.APPLICATION_OWNER}


def test_an_application_owner_lends_their_applications_and_no_others() -> None:
    reopening = with_delegation(after_the_cut(), "owner-sms", "director-duty", Role.APPLICATION_OWNER, applications=("sms-reminders",))
    state, now = reopening.stages.state(), reopening.clock.now()
    payments, images = (reopening.policy.stage(name) for name in (PAYMENTS, "P4-images"))
    assert eligibility.standing_on(state, payments, "director-duty", now).roles == {Role.APPLICATION_OWNER}
    assert eligibility.standing_on(state, images, "director-duty", now).roles == frozenset()


def test_a_person_without_a_role_acts_in_their_turn_of_duty_only() -> None:
    reopening = after_the_cut()
    now = reopening.clock.now()
    turn = {"person": "night-shift", "starts": now + timedelta(hours=1), "ends": now + timedelta(hours=9)}
    duty = Duty.model_validate({"name": "on-call", "title": {"en": "x", "fr": "x"}, "role": "network-engineer", "turns": [turn]})
    people = (*reopening.policy.people, Person(name="night-shift", title="Engineer of the night"))
    reopening.policy = reopening.policy.model_copy(update={"people": people, "duties": (duty,)})
    reopening.ratify()
    with refused("role", NotAllowed):
        reopening.stages.plan("night-shift", LIFELINES)
    reopening.clock.wait(7200)
    reopening.stages.plan("night-shift", LIFELINES)
    assert reopening.status(LIFELINES).proposer == "night-shift"
    reopening.clock.wait(8 * 3600)
    with refused("role", NotAllowed):
        reopening.stages.plan("night-shift", LIFELINES)


# --- granted in the crisis ------------------------------------------------------------------------------------------


def test_a_signed_delegation_is_handed_in_by_anybody_and_counts_at_once() -> None:
    reopening = planned(after_the_cut())
    name = grant(reopening, lending(reopening, "commander", "director-duty", Role.INCIDENT_COMMANDER), handed_in_by="owner-mail")
    event = next(e for e in reopening.log.read() if e.type is E.DELEGATION_GRANTED)
    assert (event.actor, event.body["handed_in_by"], event.body["name"]) == ("commander", "owner-mail", name)
    reopening.vote("director-duty", LIFELINES)
    reopening.vote("eng-2", LIFELINES)
    assert reopening.apply(LIFELINES).state == "open"


@pytest.mark.parametrize("by", ["commander", "rssi"])
def test_it_is_taken_back_at_once(by: str) -> None:
    reopening = planned(after_the_cut())
    name = grant(reopening, lending(reopening, "commander", "director-duty", Role.INCIDENT_COMMANDER))
    service = Delegations(reopening.stages)
    with refused("delegation-not-yours", NotAllowed):
        service.revoke("director-duty", name, "no")
    service.revoke(by, name, "back again")
    with refused("role-cannot-vote", NotAllowed):
        reopening.vote("director-duty", LIFELINES)
    with refused("delegation-known"):
        service.revoke(by, name, "once more")
    with pytest.raises(UnknownName):
        service.revoke(by, "grant-of-nobody", "")


def test_one_of_the_policy_is_taken_back_as_well() -> None:
    reopening = planned(with_deputy(after_the_cut()))
    Delegations(reopening.stages).revoke("rssi", "commander-away", "their key is lost")
    reopening.ratify()  # a ratification does not bring it back
    reopening.stages.plan("eng-1", LIFELINES)
    with refused("role-cannot-vote", NotAllowed):
        reopening.vote("director-duty", LIFELINES)


def test_what_cannot_be_lent() -> None:
    reopening = with_deputy(after_the_cut())
    for what, rule in (
        (lending(reopening, "eng-2", "director-duty", Role.SECURITY_OFFICER), "delegation-authority"),
        (lending(reopening, "director-duty", "eng-2", Role.INCIDENT_COMMANDER), "delegation-authority"),  # lent to them
        (lending(reopening, "owner-sms", "eng-2", Role.APPLICATION_OWNER, applications=("mail",)), "delegation-authority"),
        (lending(reopening, "eng-2", "eng-2", Role.NETWORK_ENGINEER), "delegation-taker"),
        (lending(reopening, "eng-2", "auditor", Role.NETWORK_ENGINEER), "delegation-taker"),
        (lending(reopening, "eng-2", "nobody", Role.NETWORK_ENGINEER), "unknown-person"),
        (lending(reopening, "eng-2", "rssi", Role.NETWORK_ENGINEER, lasts=7 * DAY + timedelta(minutes=1)), "delegation-time"),
        (lending(reopening, "eng-2", "rssi", Role.NETWORK_ENGINEER, lasts=-DAY), "delegation-time"),
    ):
        with refused(rule):
            Delegations(reopening.stages).statement(what)


def test_a_statement_is_its_givers_of_this_policy_and_used_once() -> None:
    reopening = after_the_cut()
    what = lending(reopening, "commander", "director-duty", Role.INCIDENT_COMMANDER)
    service = Delegations(reopening.stages)
    with refused("signature", NotAuthenticated):
        grant(reopening, what, by="director-duty")
    text = service.statement(what)
    with refused("signature", NotAuthenticated):  # a vote's signature is none
        service.grant("commander", text, sshsig.sign(key_of("commander"), VOTES, text.encode()))
    longer = json.loads(text)
    longer["ends"] = "2026-09-01T00:00:00.000Z"
    forged = json.dumps(longer, sort_keys=True, separators=(",", ":"))
    with refused("delegation-time"):
        service.grant("commander", forged, sshsig.sign(key_of("commander"), NAMESPACE, forged.encode()))
    with pytest.raises(UsageError, match="canonical"):
        service.grant("commander", text + " ", sshsig.sign(key_of("commander"), NAMESPACE, (text + " ").encode()))
    signature = sshsig.sign(key_of("commander"), NAMESPACE, text.encode())
    service.grant("commander", text, signature)
    with refused("delegation-known"):
        service.grant("commander", text, signature)
    assert sum(event.type is E.DELEGATION_GRANTED for event in reopening.log.read()) == 1


def test_it_is_bound_to_the_policy_in_force() -> None:
    reopening = after_the_cut()
    service = Delegations(reopening.stages)
    text = service.statement(lending(reopening, "commander", "director-duty", Role.INCIDENT_COMMANDER))
    with_delegation(reopening, "eng-2", "eng-3", Role.NETWORK_ENGINEER)
    with refused("digest-moved", Stale):
        service.grant("commander", text, sshsig.sign(key_of("commander"), NAMESPACE, text.encode()))


def test_it_ends_when_the_keys_are_ratified_anew_and_not_with_the_policy_alone() -> None:
    reopening = after_the_cut()
    grant(reopening, lending(reopening, "commander", "director-duty", Role.INCIDENT_COMMANDER))
    reopening.clock.wait(60)
    reopening.ratify()
    assert Role.INCIDENT_COMMANDER in eligibility.roles_of(reopening.stages.state(), "director-duty", reopening.clock.now())
    lines = reopening.allowed_signers.splitlines()
    reopening.allowed_signers = "".join(line + "\n" for line in lines if not line.startswith("commander "))
    reopening.ratify()  # the commander's key was stolen
    assert eligibility.roles_of(reopening.stages.state(), "director-duty", reopening.clock.now()) == {Role.DIRECTOR}


def test_a_later_ratification_of_the_same_keys_does_not_bring_it_back_for_the_time_between() -> None:
    reopening = after_the_cut()
    grant(reopening, lending(reopening, "commander", "director-duty", Role.INCIDENT_COMMANDER))
    reopening.allowed_signers += "# a key that was stolen is out\n"
    reopening.ratify()
    reopening.clock.wait(60)
    between = reopening.clock.now()
    reopening.clock.wait(60)
    reopening.ratify()
    assert eligibility.roles_of(reopening.stages.state(), "director-duty", between) == {Role.DIRECTOR}


def test_it_lends_nothing_before_it_is_in_the_log() -> None:
    reopening = after_the_cut()
    before = reopening.clock.now()
    earlier: datetime = before - DAY
    grant(reopening, Lending("commander", "director-duty", (Role.INCIDENT_COMMANDER,), (), earlier, before + DAY, "since yesterday"))
    state = reopening.stages.state()
    assert Role.INCIDENT_COMMANDER not in eligibility.roles_of(state, "director-duty", before - timedelta(seconds=1))
    assert Role.INCIDENT_COMMANDER in eligibility.roles_of(state, "director-duty", before)
