"""Writes that are sent again, writes about what has moved, reads of what is known already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from orchestrator.adapters.memory_volatile import MemoryVolatile
from orchestrator.api.repeats import KIND
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import ORCHESTRATOR
from tests.api.server import Api, api_on
from tests.service.reopening import DOCUMENT, Reopening, after_the_cut

STAGE = "P0-lifelines"
WRITES: tuple[tuple[str, str, dict[str, Any]], ...] = (  # in this order; what one refuses, the others do not need
    ("rssi", "/v1/logbook", {"text": "we wait"}),
    ("rssi", "/v1/evidence", {"kind": "cut-verified", "document_sha256": DOCUMENT}),
    ("rssi", "/v1/attestations", {"partner": "sister", "state": "requested"}),
    ("rssi", "/v1/partners/ready", {"partner": "sister", "ready": True}),
    ("rssi", "/v1/monitor-reports",
     {"monitor": "detection", "since": "2026-06-24T06:00:00Z", "alerts": 0, "coverage": ["core"], "document_sha256": DOCUMENT}),
    ("rssi", "/v1/care/probe", {}),
    ("rssi", "/v1/waivers",
     {"stage": STAGE, "gate": "owner-named", "reason": "x", "accepted_risk": "y", "until": "2026-06-25T00:00:00Z"}),
    ("director-duty", "/v1/waivers/W1/grant", {}),
    ("rssi", "/v1/waivers/W1/end", {"reason": "not needed"}),
    ("eng-1", f"/v1/stages/{STAGE}/plan", {}),
    ("eng-1", f"/v1/stages/{STAGE}/cancel", {"reason": "planned again later"}),
    ("commander", "/v1/recuts", {"at": "2026-06-30T00:00:00Z", "profile": "total", "reason": "as feared"}),
    ("rssi", "/v1/recuts/C1/cancel", {"reason": "put off"}),
    ("rssi", "/v1/blocks", {"networks": ["203.0.113.200/32"], "reason": "an indicator"}),
    ("rssi", "/v1/blocks/removals", {"networks": ["203.0.113.200/32"], "reason": "it was ours"}),
    ("commander", "/v1/blocks/removals/U1/grant", {}),
    ("rssi", "/v1/reisolations", {"what": "partner", "name": "sister", "reason": "an indicator"}),
    ("rssi", "/v1/false-alarm", {"reason": "a test of the sensor"}),
)  # fmt: skip


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut()) as served:
        yield served


def send(api: Api, person: str, path: str, body: object, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.http.post(path, json=body, headers={**api._as(person), **named})


def entries(reopening: Reopening) -> int:
    return sum(event.type is E.LOGBOOK_ENTERED for event in reopening.log.read())


def test_a_write_that_is_repeated_is_answered_again_and_done_once(api: Api) -> None:
    first = send(api, "rssi", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1")
    again = send(api, "rssi", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1")
    assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (201, first.content, "true")
    assert "idempotent-replayed" not in first.headers
    assert entries(api.reopening) == 1
    assert send(api, "commander", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1").status_code == 201, "a key is one person's"
    assert entries(api.reopening) == 2


def test_every_write_that_is_repeated_on_another_server_gives_the_same_answer_and_writes_nothing(api: Api) -> None:
    reopening = api.reopening
    there = Reopening(clock=reopening.clock, kept=reopening.kept)
    there.hospital = reopening.hospital
    there.stages = there.server("another")
    with api_on(there, volatile=MemoryVolatile()) as other:
        other.tokens = {}
        done: list[tuple[int, httpx.Response]] = []
        for number, (person, path, body) in enumerate(WRITES):
            first = send(api, person, path, body, Idempotency_Key=f"k{number}")
            assert first.is_success, (path, first.text)
            assert reopening.stages.reisolating.wait(30)
            done.append((number, first))
            other._as(person)
        size = reopening.log.head().size
        for number, first in done:
            person, path, body = WRITES[number]
            again = send(other, person, path, body, Idempotency_Key=f"k{number}")
            assert (again.status_code, again.headers.get("idempotent-replayed")) == (first.status_code, "true"), (path, again.text)
            assert again.headers.get("location") == first.headers.get("location")
            assert again.json() == first.json(), path
        written = [event.type for event in reopening.log.read(size) if event.actor != ORCHESTRATOR]
        assert written == [], "servers may write what they see by themselves; nobody's command is there twice"


def test_the_same_key_with_another_request_is_refused(api: Api) -> None:
    send(api, "rssi", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1")
    same = {"text": "we wait"}
    for path, body in (("/v1/logbook", {"text": "other"}), ("/v1/logbook?x=1", same), ("/v1/care/probe", same)):
        answer = send(api, "rssi", path, body, Idempotency_Key="k1")
        assert (answer.status_code, answer.json()["rule"]) == (422, "idempotency-key")
    assert entries(api.reopening) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "k k", "clé"])
def test_a_key_that_is_none(api: Api, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode(), b"Authorization": api._as("rssi")["Authorization"].encode()}
    answer = api.http.post("/v1/logbook", json={"text": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["rule"]) == (400, "bad-request")
    assert entries(api.reopening) == 0


def test_a_refusal_is_not_kept(api: Api) -> None:
    assert send(api, "eng-1", f"/v1/stages/{STAGE}/cancel", {"reason": "x"}, Idempotency_Key="k1").status_code == 409
    api.post("eng-1", f"/v1/stages/{STAGE}/plan")
    assert send(api, "eng-1", f"/v1/stages/{STAGE}/cancel", {"reason": "x"}, Idempotency_Key="k1").status_code == 200


def test_who_has_no_rights_any_more_is_not_told_even_their_own_answer(api: Api) -> None:
    send(api, "eng-4", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1")
    policy = api.reopening.policy
    api.reopening.policy = policy.model_copy(update={"people": tuple(p for p in policy.people if p.name != "eng-4")})
    api.reopening.ratify()
    assert send(api, "eng-4", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1").status_code == 403


def test_without_a_token_a_key_opens_nothing(api: Api) -> None:
    send(api, "rssi", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1")
    assert api.http.post("/v1/logbook", json={"text": "we wait"}, headers={"Idempotency-Key": "k1"}).status_code == 401


def test_kept_answers_may_be_lost() -> None:
    class Lost(MemoryVolatile):
        def get(self, kind: str, key: str, *, now: datetime) -> str | None:
            return None if kind == KIND else super().get(kind, key, now=now)

    reopening = after_the_cut()
    with api_on(reopening, volatile=Lost()) as api:
        first = send(api, "rssi", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1")
        send(api, "rssi", "/v1/logbook", {"text": "something else"})
        again = send(api, "rssi", "/v1/logbook", {"text": "we wait"}, Idempotency_Key="k1")
        assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
        assert entries(reopening) == 2


# --- what has moved ---------------------------------------------------------------------------------------------------


def test_a_write_about_what_has_moved_is_refused(api: Api) -> None:
    path = f"/v1/stages/{STAGE}"
    api.post("eng-1", f"{path}/plan")
    seen = api.get("eng-1", path).headers["etag"]
    api.post("eng-2", f"{path}/plan")
    refused = send(api, "eng-1", f"{path}/cancel", {"reason": "not what I saw"}, If_Match=seen)
    assert (refused.status_code, refused.json()["rule"]) == (412, "if-match")
    assert api.get("eng-1", path).json()["state"] == "planned"
    now = api.get("eng-1", path).headers["etag"]
    assert send(api, "eng-1", f"{path}/cancel", {"reason": "what I saw"}, If_Match=f'"0-1", {now}').status_code == 200


def test_the_version_does_not_move_with_what_is_shown_beside_it(api: Api) -> None:
    path = f"/v1/stages/{STAGE}"
    api.post("eng-1", f"{path}/plan")
    seen = api.get("eng-1", path).headers["etag"]
    api.post("rssi", "/v1/evidence", {"kind": "cut-verified", "document_sha256": DOCUMENT})
    now = api.get("eng-1", path).headers["etag"]
    assert now != seen, "another answer"
    assert now.partition("-")[0] == seen.partition("-")[0], "the same version"


def test_if_match_of_anything_and_of_nothing(api: Api) -> None:
    path = f"/v1/stages/{STAGE}/plan"
    assert send(api, "eng-1", path, {}, If_Match="P0").status_code == 400
    assert send(api, "eng-1", path, {}, If_Match='"7-x"').status_code == 412
    assert send(api, "eng-1", "/v1/logbook", {"text": "x"}, If_Match='"7-x"').status_code == 412
    assert send(api, "eng-1", path, {}, If_Match="*").status_code == 201


def test_what_is_known_is_not_sent_again(api: Api) -> None:
    for path in ("/v1/stages", f"/v1/stages/{STAGE}", "/v1/people"):
        seen = api.get("auditor", path)
        known = api.http.get(path, headers={**api._as("auditor"), "If-None-Match": seen.headers["etag"]})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", seen.headers["etag"])
        other = api.http.get(path, headers={**api._as("auditor"), "If-None-Match": '"0-0"'})
        assert json.loads(other.content) == seen.json()


def test_every_answer_has_the_id_of_its_request(api: Api) -> None:
    assert api.http.get("/v1/health", headers={"X-Request-ID": "my-request-1"}).headers["x-request-id"] == "my-request-1"
    made = {api.http.get("/v1/nothing", headers={"X-Request-ID": given}).headers["x-request-id"] for given in ("", "x y", "x" * 65)}
    assert len(made) == 3
    assert not made & {"", "x y", "x" * 65}
