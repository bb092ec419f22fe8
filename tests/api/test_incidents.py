"""The incident through the API: its name, cut-offs that one person orders and another judges, trust in devices, manual acts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.domain.events import EventType as E
from orchestrator.errors import LogUnavailable
from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut

P0 = "P0-lifelines"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut()) as served:
        yield served


def rule(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json().get("rule", "")  # type: ignore[attr-defined]


def test_an_incident_is_declared_once(api: Api) -> None:
    given = {"name": "2026-INC-4", "title": "ransom note on the file server"}
    assert rule(api.post("eng-1", "/v1/incidents", given)) == (403, "role")
    assert api.post("commander", "/v1/incidents", given).status_code == 201
    assert rule(api.post("rssi", "/v1/incidents", given)) == (409, "incident-known")
    assert api.post("rssi", "/v1/incidents", {**given, "name": "../etc"}).status_code == 400
    assert api.get("auditor", "/v1/incidents/2026-INC-4").json()["title"] == given["title"]
    assert api.get("auditor", "/v1/incidents/none").status_code == 404
    assert [one["by"] for one in api.get("auditor", "/v1/incidents").json()] == ["commander"]


def test_one_person_cuts_off_without_votes(api: Api) -> None:
    assert rule(api.post("auditor", "/v1/cutoffs", {"reason": "x"})) == (403, "role")
    assert rule(api.post("owner-sms", "/v1/cutoffs", {"reason": "x"})) == (403, "role")
    assert api.post("eng-1", "/v1/cutoffs", {"reason": "x", "profile": "nothing"}).status_code == 404
    assert api.reopening.started == []
    answer = api.post("eng-1", "/v1/cutoffs", {"reason": "it is back"})
    assert (answer.status_code, answer.json()["profile"]) == (202, "internet")
    assert api.reopening.started == [("internet", "it is back", "eng-1")]
    assert api.get("auditor", "/v1/events?type=CutoffRequested").json()["events"][0]["actor"] == "eng-1"


def test_a_full_log_stops_no_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.login("eng-1")
    api.login("auditor")

    def full(*_events: object, **_expected: object) -> None:
        raise LogUnavailable("the disk is full")

    monkeypatch.setattr(api.reopening.log, "append", full)
    assert api.post("auditor", "/v1/cutoffs", {"reason": "x"}).status_code == 403
    assert api.post("eng-1", "/v1/cutoffs", {"reason": "it is back", "profile": "total"}).status_code == 202
    assert api.reopening.started == [("total", "it is back", "eng-1")]


def test_a_cut_off_is_judged_afterwards_and_by_somebody_else(api: Api) -> None:
    (cut,) = api.get("auditor", "/v1/cutoffs").json()
    assert (cut["profile"], cut["verdict"], cut["judgements"]) == ("total", "verified", [])
    path = f"/v1/cutoffs/{cut['epoch']}"
    assert rule(api.post("eng-1", f"{path}/ratify", {"reason": "x"})) == (403, "role")
    assert api.post("director-duty", f"{path}/contest", {"reason": "nobody asked me"}).status_code == 201
    judged = api.post("commander", f"{path}/ratify", {"reason": "it was right"}).json()["judgements"]
    assert [(said["by"], said["ratified"]) for said in judged] == [("director-duty", False), ("commander", True)]
    assert api.post("commander", "/v1/cutoffs/1/ratify", {"reason": "x"}).status_code == 404
    api.reopening.epoch += 1

    api.reopening.append(E.CUTOFF_ORDERED, {"epoch": api.reopening.epoch, "profile": "total", "by": "rssi"})
    own = api.post("rssi", f"/v1/cutoffs/{api.reopening.epoch}/ratify", {"reason": "my own"})
    assert rule(own) == (403, "cutoff-own")


def test_nothing_is_opened_on_a_device_that_is_not_trusted(api: Api) -> None:
    planned = api.post("eng-1", f"/v1/stages/{P0}/plan")
    assert planned.status_code == 201, planned.text
    device = planned.json()["plan"]["devices"][0]["device"]
    assert api.post("eng-1", f"/v1/devices/{device}/distrust", {"reason": "an unknown key on it"}).status_code == 201
    assert rule(api.post("eng-1", f"/v1/stages/{P0}/plan")) == (409, "untrusted-device")
    given = {"reason": "rebuilt from the vendor's image", "document_sha256": DIGEST}
    assert rule(api.post("eng-1", f"/v1/devices/{device}/trust", given)) == (403, "role")
    assert api.post("rssi", f"/v1/devices/{device}/trust", {"reason": "because"}).status_code == 422
    assert api.post("rssi", f"/v1/devices/{device}/trust", given).status_code == 201
    assert api.post("eng-1", f"/v1/stages/{P0}/plan").status_code == 201
    assert api.post("rssi", f"/v1/devices/{device}/distrust", {"reason": "again"}).status_code == 201
    assert rule(api.post("rssi", f"/v1/devices/{device}/trust", given)) == (403, "trust-needs-a-second-person")
    assert [one["by"] for one in api.get("auditor", "/v1/devices/distrusted").json()] == ["rssi"]
    assert api.post("eng-1", "/v1/devices/nowhere/distrust", {"reason": "x"}).status_code == 404


def test_a_manual_act_is_on_record(api: Api) -> None:
    device = api.get("auditor", "/v1/devices").json()[0]["device"]
    given = {"device": device, "act": "pulled the cable of port 3", "done_at": "2026-06-24T07:30:00Z"}
    assert api.post("eng-2", "/v1/manual-acts", given).json()["done_at"] == "2026-06-24T07:30:00.000Z"
    assert api.post("eng-2", "/v1/manual-acts", {**given, "done_at": "2026-06-25T07:30:00Z"}).status_code == 400
    assert rule(api.post("auditor", "/v1/manual-acts", given)) == (403, "role")
    assert [one["act"] for one in api.get("auditor", "/v1/manual-acts").json()] == [given["act"]]


def test_the_logbook_has_kinds(api: Api) -> None:
    for kind in ("decision", "accepted-risk-of-not-acting", "shift-handover"):
        assert api.post("eng-1", "/v1/logbook", {"text": kind, "kind": kind, "stage": P0}).status_code == 201
    assert api.post("eng-1", "/v1/logbook", {"text": "plain"}).json()["kind"] == "note"
    assert api.post("eng-1", "/v1/logbook", {"text": "x", "kind": "rumour"}).status_code == 422
    assert [one["text"] for one in api.get("auditor", "/v1/logbook?kind=shift-handover").json()] == ["shift-handover"]
    assert len(api.get("auditor", f"/v1/logbook?stage={P0}").json()) == 3


def test_what_is_ratified_is_shown_with_its_state(api: Api) -> None:
    policy = api.get("auditor", "/v1/policy").json()
    assert (policy["site"], policy["default_profile"], policy["rehearsal"]) == ("chu-valmont", "internet", True)
    assert api.post("eng-1", f"/v1/stages/{P0}/plan").status_code == 201
    flows = {flow["name"]: flow for flow in api.get("auditor", "/v1/flows").json()}
    states = {held["state"] for flow in flows.values() for held in flow["conversations"] if held["stage"] == P0}
    assert states == {"planned"}
    assert api.vote("eng-2", P0, "deny", "not tonight").status_code == 201
    (vote,) = api.get("auditor", f"/v1/votes?stage={P0}").json()
    assert (vote["person"], vote["choice"]) == ("eng-2", "deny")
    assert api.get("auditor", "/v1/votes?stage=P1-inbound-mail").json() == []
    applications = api.get("auditor", "/v1/applications").json()
    assert {flow["name"] for one in applications for flow in one["flows"]} == set(flows)
    partner = api.get("auditor", "/v1/partners").json()[0]
    assert all(partner["name"] in flows[flow["name"]]["partners"] for flow in partner["flows"])
    assert api.get("auditor", "/v1/checks?limit=3").status_code == 200
