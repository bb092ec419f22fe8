"""What people put on record, over HTTP: what is answered is what lists show afterwards, and every stage shows its gates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.server import Api, api_on
from tests.service.gated import STAGE, gate, gated
from tests.service.reopening import DOCUMENT

GATES = (
    gate(evidence="scanned", fresh="7d"),
    gate(partner_ready="24h", partners=["efs"]),
    gate(no_alert="1h", monitor="detection", coverage=["core"], fresh="24h"),
    gate(care=["emergency-to-record"], fresh="1h"),
    gate(eradication=["lab"]),
)


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(gated(*GATES)) as served:
        yield served


def created(api: Api, person: str, path: str, body: dict[str, Any] | None = None) -> Any:
    answer = api.post(person, path, body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def answers(api: Api) -> dict[str, str]:
    return {item["gate"]: item["answer"] for item in api.get("auditor", f"/v1/stages/{STAGE}").json()["gates"]}


def test_a_stage_shows_each_gate_what_it_lacks_for_whom_and_how_long(api: Api) -> None:
    shown = api.get("auditor", f"/v1/stages/{STAGE}").json()
    assert answers(api) == {
        "scanned": "lacking",
        "partner-ready": "lacking",
        "no-alert": "inconclusive",
        "care": "inconclusive",
        "eradication": "lacking",
    }
    ready = next(item for item in shown["unmet"] if item["rule"] == "gate-missing:partner-ready")
    assert (ready["partners"], ready["takes_s"], ready["exact"]) == (["efs"], 4 * 3600, False)
    assert {item["gate"]: item["may_be_waived"] for item in shown["gates"]}["care"] is False


def test_everything_is_lifted_and_listed_over_http(api: Api) -> None:
    created(api, "rssi", "/v1/evidence", {"kind": "scanned", "document_sha256": DOCUMENT, "stage": STAGE})
    zone = created(api, "rssi", "/v1/evidence", {"kind": "eradication", "document_sha256": DOCUMENT, "zone": "lab"})
    said = created(api, "commander", "/v1/partners/ready", {"partner": "efs", "ready": True, "note": "by telephone"})
    report = created(
        api, "rssi", "/v1/monitor-reports",
        {"monitor": "detection", "since": "2026-06-24T06:00:00Z", "alerts": 0, "coverage": ["core", "lab"], "document_sha256": DOCUMENT},
    )  # fmt: skip
    assert report["until"] == "2026-06-24T08:00:00.000Z", "the server's time when nothing else is said"
    care = created(api, "eng-2", "/v1/care/probe")
    assert {result["check"] for result in care} == {"successful"}
    assert set(answers(api).values()) == {"holds"}
    assert api.get("auditor", "/v1/evidence").json()[-1] == zone
    assert api.get("auditor", "/v1/partners/ready").json() == [said]
    assert api.get("auditor", "/v1/monitor-reports").json() == [report]
    assert api.get("auditor", "/v1/care").json() == care
    assert all(item["rehearsal"] for item in (zone, said, report, *care))


def test_an_attestation_over_http(api: Api) -> None:
    body = {"partner": "doctolib", "way": "ours", "document_sha256": DOCUMENT}
    assert created(api, "rssi", "/v1/attestations", {"partner": "doctolib", "way": "ours", "state": "requested"})["state"] == "requested"
    refused = api.post("rssi", "/v1/attestations", {**body, "state": "verified"}).json()
    assert (refused["status"], refused["rule"]) == (409, "illegal-transition")
    assert "received" in refused["advice"]
    assert api.post("rssi", "/v1/attestations", {**body, "state": "lost"}).status_code == 400
    accepted = created(
        api, "rssi", "/v1/attestations", {**body, "state": "accepted", "at_once": True, "valid_until": "2026-06-25T08:00:00Z"}
    )
    assert api.get("auditor", "/v1/attestations").json() == [accepted]
    api.reopening.clock.wait(24 * 3600)
    api.tokens.clear()  # they have run out too
    assert [item["state"] for item in api.get("auditor", "/v1/attestations").json()] == ["expired"]


def test_a_waiver_is_shown_everywhere_until_it_ends(api: Api) -> None:
    wanted = {"stage": STAGE, "gate": "scanned", "reason": "no scanner", "accepted_risk": "a hole", "until": "2026-06-26T08:00:00Z"}
    asked = created(api, "rssi", "/v1/waivers", wanted)
    assert (asked["state"], asked["in_force"], asked["requested_by"], asked["rehearsal"]) == ("requested", False, "rssi", True)
    refused = api.post("rssi", f"/v1/waivers/{asked['id']}/grant").json()
    assert (refused["status"], refused["rule"]) == (403, "waiver-needs-a-second-person")
    granted = created(api, "director-duty", f"/v1/waivers/{asked['id']}/grant")
    assert (granted["in_force"], granted["granted_by"]) == (True, "director-duty")
    line = next(item for item in api.get("auditor", "/v1/stages").json() if item["stage"] == STAGE)
    shown = api.get("auditor", f"/v1/stages/{STAGE}").json()
    assert line["waivers"] == shown["waivers"] == api.get("auditor", "/v1/posture").json()["waivers"] == [granted]
    assert next(item for item in shown["gates"] if item["gate"] == "scanned")["waivers"] == [asked["id"]]
    assert answers(api)["scanned"] == "holds"
    ended = created(api, "eng-2", f"/v1/waivers/{asked['id']}/end", {"reason": "the scanner is back"})
    assert (ended["in_force"], ended["ended_by"], ended["ended_because"]) == (False, "eng-2", "the scanner is back")
    assert api.get("auditor", "/v1/posture").json()["waivers"] == []
    assert api.get("auditor", "/v1/waivers").json() == [ended]
    assert answers(api)["scanned"] == "lacking"


@pytest.mark.parametrize("words", ["fine\n  plan opens nothing", "\x1b[2Jfine", "\u202eenif"])
def test_nobody_writes_over_what_a_voter_is_shown(api: Api, words: str) -> None:
    body = {"stage": STAGE, "gate": "scanned", "reason": "the scanner is cut off", "accepted_risk": words, "until": "2026-06-26T00:00:00Z"}
    for path, sent in (("/v1/waivers", body), ("/v1/evidence", {"kind": "scanned", "document_sha256": DOCUMENT, "note": words})):
        answer = api.post("rssi", path, sent)
        assert answer.status_code == 422
        assert "has no place here" in answer.json()["detail"]
    path = f"/v1/stages/{STAGE}/vote-statement"
    api.post("eng-1", f"/v1/stages/{STAGE}/plan")
    assert api.http.get(path, params={"choice": "deny", "reason": words}, headers=api._as("eng-2")).status_code == 422
    api.post("rssi", "/v1/logbook", {"text": "two\nlines"})
    assert api.get("rssi", "/v1/logbook").json()[-1]["text"] == "two\nlines"


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-06-26", "soon"])
def test_a_time_is_one_that_can_be_reckoned_with(api: Api, time: str) -> None:
    report = {"monitor": "detection", "since": time, "alerts": 0, "coverage": ["core"], "document_sha256": DOCUMENT}
    accepted = {"partner": "sister", "state": "accepted", "at_once": True, "document_sha256": DOCUMENT, "valid_until": time}
    for path, sent in (("/v1/monitor-reports", report), ("/v1/attestations", accepted)):
        answer = api.post("rssi", path, sent)
        assert (answer.status_code, answer.json()["advice"]) == (400, "for example 2026-07-01T12:00:00Z")
