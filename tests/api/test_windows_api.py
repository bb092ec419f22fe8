"""Windows, extensions and planned re-cuts through the API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from orchestrator.domain.making import stamp
from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut
from tests.service.test_expiry import MAIL, opened
from tests.service.test_windows import BEFORE, P6

HOUR = timedelta(hours=1)


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut(*BEFORE)) as served:
        yield served


def test_a_window_is_shown_in_both_times_and_voted_on(api: Api) -> None:
    api.reopening.evidence(P6)
    body = {"partners": ["vendor-1"], "window": {"starts": "2026-06-24T12:00", "ends": "2026-06-24T11:30:00Z"}}
    answer = api.post("eng-1", f"/v1/stages/{P6}/plan", body)
    assert answer.status_code == 201, answer.text
    window = answer.json()["window"]
    assert window == {
        "starts": "2026-06-24T10:00:00.000Z",
        "ends": "2026-06-24T11:30:00.000Z",
        "timezone": "Europe/Paris",
        "starts_local": "2026-06-24T12:00:00+02:00",
        "ends_local": "2026-06-24T13:30:00+02:00",
    }
    assert api.vote("eng-2", P6).status_code == 201
    assert api.vote("rssi", P6).json()["state"] == "approved"
    refused = api.post("eng-1", f"/v1/stages/{P6}/apply")
    assert (refused.status_code, refused.json()["rule"]) == (409, "window-not-begun")
    step = next(item for item in api.get("auditor", "/v1/next").json()["stages"] if item["stage"] == P6)
    assert (step["step"], [lack["rule"] for lack in step["lacks"]]) == ("wait", ["window-not-begun"])


@pytest.mark.parametrize(
    ("window", "status"),
    [
        ({"starts": "2026-10-25T02:30", "ends": "2026-10-25T05:00"}, 400),  # twice, when summer time ends
        ({"starts": "soon", "ends": "later"}, 400),
        ({"starts": "now", "ends": ""}, 400),
        ({"starts": "now"}, 422),
        ({"starts": "2026-06-24T07:00:00Z", "ends": "2026-06-24T12:00:00Z"}, 409),
    ],
)
def test_windows_that_are_none(api: Api, window: dict[str, str], status: int) -> None:
    answer = api.post("eng-1", f"/v1/stages/{P6}/plan", {"partners": ["vendor-1"], "window": window})
    assert answer.status_code == status, answer.text


def test_an_end_and_its_extension() -> None:
    with api_on(opened(30 * HOUR, "alarm")) as api:
        clock = api.reopening.clock
        end = api.get("auditor", "/v1/posture").json()["ends"][0]
        assert (end["stage"], end["kind"], end["passed"]) == (MAIL, "alarm", False)
        until = stamp(clock.now() + 40 * HOUR)
        asked = api.post("rssi", f"/v1/stages/{MAIL}/extensions", {"until": until, "reason": "still needed"})
        assert (asked.status_code, asked.json()["state"]) == (201, "requested")
        assert api.get("auditor", "/v1/next").json()["ends"][0]["extension_requested"] == "E1"
        refused = api.post("rssi", "/v1/extensions/E1/grant")
        assert (refused.status_code, refused.json()["rule"]) == (403, "extension-needs-a-second-person")
        assert api.post("commander", "/v1/extensions/E1/grant").json()["granted_by"] == "commander"
        assert api.get("auditor", f"/v1/stages/{MAIL}").json()["end"]["at"] == until
        clock.wait(41 * 3600)
        api.tokens.clear()  # they last a quarter of an hour
        line = next(item for item in api.get("auditor", "/v1/stages").json() if item["stage"] == MAIL)
        assert line["end_passed"] is True
        assert api.get("auditor", "/v1/extensions").json()[0]["id"] == "E1"


def test_a_re_cut_is_scheduled_listed_and_cancelled(api: Api) -> None:
    at = stamp(api.reopening.clock.now() + HOUR)
    refused = api.post("eng-1", "/v1/recuts", {"at": at, "profile": "total", "reason": "eviction"})
    assert (refused.status_code, refused.json()["rule"]) == (403, "role")
    made = api.post("rssi", "/v1/recuts", {"at": at, "profile": "total", "reason": "eviction"})
    assert (made.status_code, made.json()["id"], made.json()["asks"]) == (201, "C1", False)
    assert [item["id"] for item in api.get("auditor", "/v1/posture").json()["recuts"]] == ["C1"]
    assert api.post("rssi", "/v1/recuts/C1/cancel", {"reason": ""}).status_code == 400
    assert api.post("rssi", "/v1/recuts/C1/cancel", {"reason": "put off"}).json()["state"] == "cancelled"
    assert [item["state"] for item in api.get("auditor", "/v1/recuts").json()] == ["cancelled"]
    assert api.post("rssi", "/v1/recuts/C9/cancel", {"reason": "put off"}).status_code == 404
