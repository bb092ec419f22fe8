"""A partner's contact's statement over HTTP: made, signed elsewhere, handed in, listed, refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.adapters import sshsig
from orchestrator.domain.making import stamp
from orchestrator.domain.witness import NAMESPACE
from tests.api.server import Api, api_on
from tests.service.reopening import Reopening, key_of
from tests.service.test_execution import LIFELINES
from tests.service.test_partner_witness import CONTACT, with_contact


@pytest.fixture(scope="module")
def reopening() -> Reopening:
    return with_contact()


@pytest.fixture
def api(reopening: Reopening) -> Iterator[Api]:
    with api_on(reopening) as served:
        yield served


def made(api: Api, reopening: Reopening, **more: Any) -> str:
    body = {"partner": "efs", "witness": CONTACT, "seen_at": stamp(reopening.clock.now()), "saw": "passes", **more}
    answer = api.post("eng-1", f"/v1/stages/{LIFELINES}/witness-statement", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["statement"])


def test_what_is_handed_in_is_listed_with_what_it_says(api: Api, reopening: Reopening) -> None:
    text = made(api, reopening)
    body = {"statement": text, "signature": sshsig.sign(key_of(CONTACT), NAMESPACE, text.encode())}
    answer = api.post("eng-1", f"/v1/stages/{LIFELINES}/witnesses", body)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["witness"], answer.json()["check"], answer.json()["handed_in_by"]) == (CONTACT, "successful", "eng-1")
    assert api.get("auditor", f"/v1/stages/{LIFELINES}/witnesses").json() == [answer.json()]


def test_a_bad_signature_is_refused_by_its_rule(api: Api, reopening: Reopening) -> None:
    text = made(api, reopening)
    body = {"statement": text, "signature": sshsig.sign(key_of("rssi"), NAMESPACE, text.encode())}
    answer = api.post("eng-1", f"/v1/stages/{LIFELINES}/witnesses", body)
    assert (answer.status_code, answer.json()["rule"]) == (401, "signature")


def test_an_unknown_contact_or_flow_is_said(api: Api, reopening: Reopening) -> None:
    body = {"partner": "efs", "witness": "rssi", "seen_at": stamp(reopening.clock.now())}
    answer = api.post("eng-1", f"/v1/stages/{LIFELINES}/witness-statement", body)
    assert answer.status_code == 404, answer.text
    assert CONTACT in answer.json()["advice"]
