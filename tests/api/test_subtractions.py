"""Re-isolations and the block list over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut

CARE = "P2-care-exchange"
REASON = "an indicator of compromise"


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut("P0-lifelines", "P1-inbound-mail", CARE)) as served:
        yield served


def settled(api: Api) -> None:
    assert api.reopening.stages.reisolating.wait(60)


def test_a_partner_is_isolated_again_by_one_person(api: Api) -> None:
    answer = api.post("owner-mail", "/v1/reisolations", {"what": "partner", "name": "sister", "reason": REASON})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == "/v1/reisolations/R1"
    settled(api)
    shown = api.get("auditor", "/v1/reisolations/R1").json()
    assert (shown["by"], shown["done"], shown["checked"], shown["owed"], shown["leaks"]) == ("owner-mail", True, "successful", {}, [])
    assert shown["stages"][CARE] == {"state": "partially-open", "conversations": [["dicom-in", "sister"], ["dicom-out", "sister"]]}
    assert {"stage": "P1-inbound-mail", "flow": "mail-in", "partner": "everyone", "where": "block list"} in shown["takes"]
    assert shown["block"]["networks"] == ["192.0.2.140/32", "2001:db8:60::140/128"]
    assert api.get("auditor", "/v1/reisolations").json() == [shown]
    assert api.get("auditor", f"/v1/stages/{CARE}").json()["state"] == "partially-open"


def test_what_is_refused(api: Api) -> None:
    body = {"what": "partner", "name": "sister", "reason": REASON}
    assert api.post("auditor", "/v1/reisolations", body).status_code == 403
    assert api.http.post("/v1/reisolations", json=body).status_code == 401
    assert api.post("eng-1", "/v1/reisolations", {**body, "name": "nobody"}).status_code == 404
    assert api.post("eng-1", "/v1/reisolations", {**body, "what": "planet"}).status_code == 422
    assert api.post("eng-1", "/v1/reisolations", {**body, "reason": ""}).status_code == 422
    assert api.get("eng-1", "/v1/reisolations/R9").status_code == 404
    assert api.get("eng-1", "/v1/reisolations").json() == []


def test_addresses_are_blocked_by_one_and_taken_off_by_two(api: Api) -> None:
    answer = api.post("eng-1", "/v1/blocks", {"networks": ["198.51.100.10"], "reason": REASON})
    assert answer.status_code == 202, answer.text
    assert answer.json()["made"]["id"] == "B1"
    settled(api)
    shown = api.get("auditor", "/v1/blocks").json()
    assert shown["networks"] == ["198.51.100.10/32"]
    states = {device["device"]: device["state"] for device in shown["devices"]}
    assert (states["fw-ext"], states["rtr-isp"]) == ("as listed", "cannot")
    asked = api.post("rssi", "/v1/blocks/removals", {"networks": ["198.51.100.10"], "reason": "given back"})
    assert (asked.status_code, asked.json()["id"], asked.json()["granted_by"]) == (201, "U1", None)
    refused = api.post("rssi", "/v1/blocks/removals/U1/grant")
    assert (refused.status_code, refused.json()["rule"]) == (403, "unblock-needs-a-second-person")
    assert api.post("commander", "/v1/blocks/removals/U1/grant").status_code == 202
    settled(api)
    assert api.get("auditor", "/v1/blocks").json()["networks"] == []
    assert [one["granted_by"] for one in api.get("auditor", "/v1/blocks/removals").json()] == ["commander"]
    assert api.reopening.reaches("internet-host", "203.0.113.22", 25)


@pytest.mark.parametrize(
    ("network", "status", "rule"),
    [("10.20.250.0/24", 409, "block-management"), ("198.51.100.35", 409, "block-vital"), ("somewhere", 400, "bad-request")],
)
def test_blocks_that_are_refused_say_their_rule(api: Api, network: str, status: int, rule: str) -> None:
    answer = api.post("eng-1", "/v1/blocks", {"networks": [network], "reason": REASON})
    assert (answer.status_code, answer.json()["rule"]) == (status, rule)
    assert answer.json()["advice"]
