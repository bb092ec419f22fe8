"""Fifty clients hand in votes on one stage at once, each over a connection of its own: exactly one outcome, no vote counted twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import httpx

from orchestrator.adapters import sshsig
from orchestrator.domain.events import EventType as E
from orchestrator.domain.rules import base
from orchestrator.domain.statement import NAMESPACE
from orchestrator.service.stages import Choice
from tests.api.server import Api, Json, api_on
from tests.service.reopening import Reopening, after_the_cut, key_of

STAGE = "P0-lifelines"
CLIENTS = 50
MESSENGERS = ("eng-1", "eng-2", "eng-3", "eng-4", "commander")


def planned() -> Reopening:
    reopening = after_the_cut()
    reopening.evidence(STAGE)
    reopening.stages.plan("eng-1", STAGE)
    return reopening


def vote(api: Api, person: str, choice: Choice = "approve", reason: str = "") -> Json:
    """Signed beforehand, handed in by whoever carries it."""
    text = api.reopening.stages.vote_statement(person, STAGE, choice, reason)
    return {"statement": text, "signature": sshsig.sign(key_of(person), NAMESPACE, text.encode())}


def at_once(api: Api, votes: Sequence[Json]) -> list[httpx.Response]:
    """Every vote by a client of its own, in the name of whoever carries it; all wait until all are there. Nobody asks anything
    before: a server ends a connection that is idle for some seconds, and a client that writes meanwhile gets no answer."""
    headers = [api._as(MESSENGERS[number % len(MESSENGERS)]) for number in range(len(votes))]
    answers: dict[int, httpx.Response] = {}
    gate = threading.Barrier(len(votes))

    def hand_in(number: int) -> None:
        with httpx.Client(base_url="http://orchestrator", transport=httpx.HTTPTransport(uds=api.socket), timeout=300) as http:
            gate.wait(120)
            answers[number] = http.post(f"/v1/stages/{STAGE}/votes", json=dict(votes[number]), headers=headers[number])

    threads = [threading.Thread(target=hand_in, args=(number,)) for number in range(len(votes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(400)
    assert len(answers) == len(votes), "everybody gets an answer"
    return [answers[number] for number in range(len(votes))]


def told(api: Api, answers: Sequence[httpx.Response]) -> Counter[str]:
    """How often each rule refused; every refusal is a problem with a rule that the API documents."""
    documented = api.http.get("/v1/rules").text
    for answer in answers:
        if answer.is_success:
            assert answer.status_code == 201
            continue
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.status_code in (403, 409, 412), answer.text
        assert f'"{base(answer.json()["rule"])}"' in documented, answer.text
    return Counter("recorded" if answer.is_success else answer.json()["rule"] for answer in answers)


def events(api: Api) -> list[tuple[E, str]]:
    decisive = (E.VOTE_CAST, E.STAGE_APPROVED, E.STAGE_DENIED)
    return [(event.type, event.actor) for event in api.reopening.log.read() if event.stage == STAGE and event.type in decisive]


def test_one_approval_and_every_voter_counted_once() -> None:
    voters, strangers = ("eng-2", "eng-3", "eng-4", "commander"), ("eng-1", "rssi")
    with api_on(planned()) as api:
        signed = {person: vote(api, person) for person in (*voters, *strangers)}
        wanted = [signed[voters[number % len(voters)]] for number in range(CLIENTS - len(strangers))]
        rules = told(api, at_once(api, [*wanted, *(signed[person] for person in strangers)]))
        found = events(api)
    assert rules == {
        "recorded": len(voters),
        "already-voted": len(wanted) - len(voters),
        "proposer-cannot-vote": 1,
        "role-cannot-vote": 1,
    }
    assert Counter(found) == {**{(E.VOTE_CAST, person): 1 for person in voters}, (E.STAGE_APPROVED, "orchestrator"): 1}
    assert api.reopening.status(STAGE).state == "approved"


def test_approvals_and_denials_at_once_end_in_one_denial() -> None:
    with api_on(planned()) as api:
        signed = [
            vote(api, "eng-2"),
            vote(api, "commander"),
            vote(api, "eng-3", "deny", "the relay is not rebuilt"),
            vote(api, "eng-4", "deny", "an indicator of compromise"),
        ]
        answers = at_once(api, [signed[number % len(signed)] for number in range(CLIENTS)])
        told(api, answers)
        found = [type_ for type_, _ in events(api)]
    recorded = sum(answer.is_success for answer in answers)
    assert recorded == found.count(E.VOTE_CAST) <= 3, "the second denial finds no plan any more"
    assert found.count(E.STAGE_DENIED) == 1
    assert found.count(E.STAGE_APPROVED) <= 1
    assert found[-1] is E.STAGE_DENIED, "no vote counts after it"
    assert api.reopening.status(STAGE).state == "denied"
