"""What an export shows as opened was voted on: root on the server, who can write any event but sign for nobody, is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import sshsig
from orchestrator.adapters.site_key import public_line
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.domain.canonical import canonical
from orchestrator.domain.decide_people import Wish
from orchestrator.domain.delegating import NAMESPACE as DELEGATIONS
from orchestrator.domain.delegating import Lending
from orchestrator.domain.events import Event, NewEvent, exported
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp, without_floats
from orchestrator.domain.people_statement import NAMESPACE as PEOPLE
from orchestrator.domain.policy_words import Role
from orchestrator.domain.ratification import NAMESPACE as RATIFICATION
from orchestrator.domain.ratification import ratification_statement, ratified_body
from orchestrator.domain.signers import fingerprint_of_text
from orchestrator.domain.statement import NAMESPACE as VOTES
from orchestrator.export.bundle import About, Material, create_export
from orchestrator.export.verify import Broken, Keys, Openings, verify
from orchestrator.service.delegations import Delegations
from orchestrator.service.people import People
from tests.service.reopening import Reopening, after_the_cut, key_of

STAGE = "P0-lifelines"
VOTERS = ("rssi", "eng-1", "commander")


def ratify(reopening: Reopening, *voters: str) -> None:
    """As `orchestrator policy ratify` does it, signatures and all."""
    text = ratification_statement(reopening.site, reopening.policy, reopening.allowed_signers, reopening.log.head())
    votes = [{"person": name, "signature": sshsig.sign(key_of(name), RATIFICATION, text.encode())} for name in voters or VOTERS]
    body = ratified_body(reopening.site, reopening.policy, reopening.allowed_signers, text, votes)
    reopening.append(E.POLICY_RATIFIED, without_floats(body), actor="rssi")


def hospital() -> Reopening:
    reopening = Reopening()
    ratify(reopening)
    reopening.cut()
    return reopening


@pytest.fixture
def opened() -> Reopening:
    """One stage open by its votes, nothing else."""
    reopening = hospital()
    reopening.open(STAGE)
    return reopening


def report(reopening: Reopening, folder: Path) -> dict[str, Any]:
    """What the verifier says of an export that is made now, by a reviewer who knows the site's key."""
    site = public_line(key_of("the site"))
    signatures = SshSignatures(reopening.allowed_signers, key_of("the site"))
    about = About(reopening.site.name, "auditor")
    made = create_export(reopening.log, signatures, folder, about, Material(site), clock=reopening.clock)
    return verify(made.path, [site])


def root_writes(reopening: Reopening, *events: tuple[E, dict[str, Any]], stage: str | None = STAGE, actor: str = "orchestrator") -> None:
    """Straight into the log: root needs no server for it, and chains and signs with the site's key as the server does."""
    reopening.log.append([NewEvent(type_, stamp(reopening.clock.now()), actor, body, stage) for type_, body in events])


def planned(reopening: Reopening, stage: str = STAGE) -> dict[str, Any]:
    """The plan of an earlier opening, as root finds it in the log."""
    return dict(next(e.body for e in reopening.log.read() if e.type is E.STAGE_PLANNED and e.stage == stage))


def test_an_opening_with_its_votes_is_genuine(opened: Reopening, tmp_path: Path) -> None:
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], found["findings"], found["votes"]) == ("genuine", [], 2)


def opening(plan: dict[str, Any]) -> list[tuple[E, dict[str, Any]]]:
    digest = {"plan_digest": plan["plan_digest"]}
    return [
        (E.STAGE_APPROVED, {**digest, "places": {"commander": "incident-commander", "eng-2": "network-engineer"}}),
        (E.STAGE_APPLYING, {**digest, "epoch": 41}),
        (E.STAGE_VERIFYING, {}),
        (E.STAGE_OBSERVING, {}),
        (E.STAGE_OPENED, {"reason": "verified"}),
    ]


def test_root_without_keys_says_approved_and_nobody_voted(opened: Reopening, tmp_path: Path) -> None:
    plan = planned(opened)
    root_writes(opened, (E.STAGE_REVERTING, {}), (E.STAGE_REVERTED, {}), (E.STAGE_PLANNED, plan), *opening(plan))
    found = report(opened, tmp_path / "export")
    assert found["verdict"] == "broken"
    assert {(one["problem"], one["event"]) for one in found["findings"]} == {
        ("votes", event.seq) for event in list(opened.log.read())[-7:] if event.type in (E.STAGE_APPROVED, E.STAGE_APPLYING, E.STAGE_OPENED)
    }


def test_root_skips_the_approval_and_opens(opened: Reopening, tmp_path: Path) -> None:
    intent = {"action": "open", "epoch": 41, "change": None}
    root_writes(opened, (E.STAGE_REVERTING, {}), (E.STAGE_REVERTED, {}), (E.STAGE_PLANNED, planned(opened)))
    opened.log.append([NewEvent(E.DEVICE_CHANGE_INTENDED, stamp(opened.clock.now()), "orchestrator", intent, STAGE, "fw-ext")])
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], found["first"]["problem"]) == ("broken", "votes")


def test_root_hands_in_the_old_votes_again(opened: Reopening, tmp_path: Path) -> None:
    """Same plan, same digest: but they were signed before this plan was made."""
    votes = [(E.VOTE_CAST, dict(event.body)) for event in opened.log.read() if event.type is E.VOTE_CAST]
    plan = planned(opened)
    root_writes(opened, (E.STAGE_REVERTING, {}), (E.STAGE_REVERTED, {}), (E.STAGE_PLANNED, plan), *votes, *opening(plan))
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], found["first"]["problem"]) == ("broken", "votes")


def test_root_signs_votes_with_a_key_of_its_own(opened: Reopening, tmp_path: Path) -> None:
    plan = planned(opened)
    root_writes(opened, (E.STAGE_REVERTING, {}), (E.STAGE_REVERTED, {}), (E.STAGE_PLANNED, plan))
    head = opened.log.head()
    for name in ("eng-2", "commander"):
        statement = next(json.loads(e.body["statement"]) for e in opened.log.read() if e.type is E.VOTE_CAST and e.body["person"] == name)
        text = canonical({**statement, "log_head": {"size": head.size, "root": head.root}}).decode()
        signature = sshsig.sign(key_of("root"), VOTES, text.encode())
        body = {"person": name, "choice": "approve", "roles": ["network-engineer"], "plan_digest": plan["plan_digest"]}
        root_writes(opened, (E.VOTE_CAST, {**body, "statement": text, "signature": signature}), actor=name)
    root_writes(opened, *opening(plan))
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], found["first"]["problem"]) == ("broken", "signature")
    assert "not a signature of eng-2" in found["first"]["detail"]


def test_root_makes_itself_a_key_of_a_voters(opened: Reopening, tmp_path: Path) -> None:
    """A change of people whose signatures nobody gave; and one that is put in force without having been asked for."""
    key = public_line(key_of("root"))
    asked = {"change": "change-x", "action": "add-key", "person": "eng-2", "adds": [key], "removes": [], "reason": "x"}
    signed_by = [{"person": name, "fingerprint": "x", "signature": sshsig.sign(key_of("root"), PEOPLE, b"x")} for name in VOTERS]
    statement = canonical({"what": "people", **{key: asked[key] for key in ("action", "person", "adds", "removes")}}).decode()
    when = stamp(opened.clock.now() + timedelta(hours=1))
    body = {**asked, "in_force_at": when, "statement": statement, "signatures": signed_by}
    root_writes(opened, (E.PEOPLE_CHANGE_REQUESTED, body), stage=None)
    opened.clock.wait(3600)
    root_writes(opened, (E.PEOPLE_CHANGE_IN_FORCE, {"change": "change-x", "person": "eng-2", "adds": [key], "removes": []}), stage=None)
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], found["first"]["problem"], "signed on other keys" in found["first"]["detail"]) == (
        "broken",
        "signature",
        True,
    )


def test_root_puts_a_key_in_force_that_nobody_has_signed(opened: Reopening, tmp_path: Path) -> None:
    body = {"change": "change-y", "person": "eng-2", "adds": [public_line(key_of("root"))], "removes": []}
    root_writes(opened, (E.PEOPLE_CHANGE_IN_FORCE, body), stage=None)
    assert body["adds"][0] not in opened.stages.state().keys.effective
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], "nobody has signed" in found["first"]["detail"]) == ("broken", True)


def test_root_lends_itself_a_role(opened: Reopening, tmp_path: Path) -> None:
    now = opened.clock.now()
    lent = {"giver": "commander", "taker": "owner-mail", "roles": ["incident-commander"], "applications": []}
    body = {**lent, "starts": stamp(now), "ends": stamp(now + timedelta(days=1)), "reason": "x", "name": "grant-x"}
    text = canonical(body).decode()
    signature = sshsig.sign(key_of("root"), DELEGATIONS, text.encode())
    root_writes(opened, (E.DELEGATION_GRANTED, {**body, "statement": text, "signature": signature}), stage=None)
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], found["first"]["problem"]) == ("broken", "signature")
    assert "commander" in found["first"]["detail"]


def test_one_insider_and_root_ratify_no_policy(opened: Reopening, tmp_path: Path) -> None:
    ratify(opened, "eng-1")
    found = report(opened, tmp_path / "export")
    assert (found["verdict"], found["first"]["problem"]) == ("broken", "votes")
    assert "not ratified by those whom it takes" in found["first"]["detail"]


def test_a_vote_with_a_key_that_was_revoked_before_is_found(opened: Reopening, tmp_path: Path) -> None:
    mark = fingerprint_of_text(f"x {public_line(key_of('eng-2'))}")
    vote = next(dict(event.body) for event in opened.log.read() if event.type is E.VOTE_CAST and event.body["person"] == "eng-2")
    assert report(opened, tmp_path / "before")["findings"] == []
    root_writes(opened, (E.KEY_REVOKED, {"person": "eng-2", "fingerprint": mark, "reason": "stolen"}), stage=None, actor="rssi")
    assert report(opened, tmp_path / "after")["findings"] == []  # the vote from before stays good
    opened.clock.wait(10)
    root_writes(opened, (E.VOTE_CAST, vote), actor="eng-2")
    found = report(opened, tmp_path / "late")
    assert (found["verdict"], found["first"]["problem"]) == ("broken", "signature")


def test_changes_of_people_and_delegations_are_verified_and_stock_tools_agree(tmp_path: Path) -> None:
    import subprocess

    reopening = hospital()
    people = People(reopening.stages)
    text = people.statement("eng-1", Wish("re-enrol", "eng-2", (public_line(key_of("eng-2 new")),), (), "token lost"))
    people.request("rssi", text, [sshsig.sign(key_of(name), PEOPLE, text.encode()) for name in VOTERS])
    reopening.clock.wait(3600)
    now = reopening.clock.now()
    lent = Lending("commander", "director-duty", (Role.INCIDENT_COMMANDER,), (), now, now + timedelta(days=1), "away")
    said = Delegations(reopening.stages).statement(lent)
    Delegations(reopening.stages).grant("commander", said, sshsig.sign(key_of("commander"), DELEGATIONS, said.encode()))
    reopening.evidence(STAGE)
    reopening.stages.plan("eng-1", STAGE)
    for name, key in (("eng-2", "eng-2 new"), ("director-duty", "director-duty")):
        statement = reopening.stages.vote_statement(name, STAGE, "approve", "")
        reopening.stages.vote(name, STAGE, statement, sshsig.sign(key_of(key), VOTES, statement.encode()))
    assert reopening.apply(STAGE).state == "open"
    people.revoke("rssi", "director-duty", str(fingerprint_of_text(f"x {public_line(key_of('director-duty'))}")), "phone stolen")
    found = report(reopening, tmp_path / "export")
    assert (found["verdict"], found["findings"]) == ("genuine", [])
    stock = subprocess.run(["sh", tmp_path / "export" / "verify.sh"], capture_output=True, text=True, check=False)
    assert stock.returncode == 1, stock.stdout  # consistent; no key was given to it


# --- the verifier finds nothing wrong with what our own service does --------------------------------------------------


def verify_events(reopening: Reopening) -> list[Broken]:
    openings, found = Openings(), []
    for event in reopening.log.read():
        try:
            openings.follow(as_read(event))
        except Broken as broken:
            found.append(broken)
    return found


def as_read(event: Event) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(canonical(exported(event)))
    return line


def resumed(reopening: Reopening) -> None:
    from orchestrator.domain.commands import DeclareFalseAlarm

    reopening.cut()
    reopening.stages.do(DeclareFalseAlarm("commander", "nothing was found"))
    reopening.stages.plan("eng-1", "resume")
    assert reopening.policy.resume is not None
    for role, name in (
        (Role.SECURITY_OFFICER, "rssi"),
        (Role.INCIDENT_COMMANDER, "commander"),
        (Role.DIRECTOR, "director-duty"),
        (Role.NETWORK_ENGINEER, "eng-2"),
    ):
        if role in reopening.policy.resume.votes:
            reopening.vote(name, "resume")
    reopening.stages.apply("eng-1", "resume")
    assert reopening.stages.runner.wait(60)
    assert reopening.status(STAGE).state == "open", reopening.status(STAGE).detail


def closed_and_again(reopening: Reopening) -> None:
    reopening.stages.revert("eng-1", STAGE, "a test")
    assert reopening.stages.runner.wait(60)
    reopening.approve(STAGE)
    reopening.apply(STAGE)


@pytest.mark.parametrize("history", [resumed, closed_and_again])
def test_it_agrees_with_what_the_service_does(opened: Reopening, history: Callable[[Reopening], None]) -> None:
    history(opened)
    assert verify_events(opened) == []


def test_it_agrees_with_every_stage_of_the_way() -> None:
    reopening = after_the_cut("P0-lifelines", "P1-inbound-mail", approved="P2-care-exchange")
    found = verify_events(reopening)
    assert [str(one) for one in found] == ["the policy of event 0 was not ratified by those whom it takes"]  # these tests' short cut


# --- what was signed once is not used for something else --------------------------------------------------------------


def last_ratified(reopening: Reopening) -> dict[str, Any]:
    return json.loads(canonical(next(dict(e.body) for e in reopening.log.read() if e.type is E.POLICY_RATIFIED)))  # type: ignore[no-any-return]


def test_root_puts_another_policy_under_the_signatures(opened: Reopening) -> None:
    """The statement and its digests stay as they were signed; one person would be enough by the text that is shown."""
    body = last_ratified(opened)
    stage = next(one for one in body["policy"]["stages"] if one["name"] == STAGE)
    stage["votes"] = {"network-engineer": 1}
    root_writes(opened, (E.POLICY_RATIFIED, body), stage=None)
    assert ["is not the one that was signed" in str(one) for one in verify_events(opened)] == [True]


def test_root_ratifies_an_old_policy_again(opened: Reopening) -> None:
    root_writes(opened, (E.POLICY_RATIFIED, last_ratified(opened)), stage=None)
    assert ["was signed before the one that it follows" in str(one) for one in verify_events(opened)] == [True]


def test_a_policy_that_people_ratify_on_the_way_is_taken(opened: Reopening) -> None:
    ratify(opened)
    assert verify_events(opened) == []


def test_root_opens_what_was_reverted_by_the_votes_of_before(opened: Reopening) -> None:
    root_writes(opened, (E.STAGE_REVERTING, {}), (E.STAGE_REVERTED, {}), (E.STAGE_OPENED, {"reason": "verified"}))
    assert [str(one).endswith(f"opens {STAGE} without votes") for one in verify_events(opened)] == [True]


def test_root_resumes_once_more_by_a_resumption_of_before(opened: Reopening) -> None:
    resumed(opened)
    opened.cut()
    root_writes(opened, (E.STAGE_RESUMED, {"plan_digest": planned(opened)["plan_digest"], "epoch": 43}))
    assert [str(one).endswith(f"opens {STAGE} without votes") for one in verify_events(opened)] == [True]


@pytest.mark.parametrize("odd", [7, None, {"a": 1}, [[1]], "text"])
def test_a_change_of_keys_that_no_server_has_written_is_no_crash(odd: object) -> None:
    keys = Keys()
    for type_, body in (
        ("PolicyRatified", {"allowed_signers": odd}),
        ("PeopleChangeRequested", {"change": odd, "person": odd, "adds": odd, "removes": odd}),
        ("PeopleChangeInForce", {"change": odd}),
        ("KeyRevoked", {"fingerprint": odd}),
    ):
        keys.follow({"type": type_, "at": "2026-06-23T21:04:05.123Z", "seq": 1, "actor": "eng-1", "body": body})
    assert isinstance(keys.text, str)
