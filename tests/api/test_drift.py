"""The drift watch over HTTP, and what a server that does not act answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.adapters.memory_lease import MemoryLease
from orchestrator.simulation.device import Fault
from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut
from tests.service.test_drift import BY_HAND, TOLD
from tests.service.test_execution import LIFELINES
from tests.service.test_unknown import failed


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut(LIFELINES)) as api:
        yield api


def test_what_was_opened_by_hand_is_found_and_repaired(api: Api) -> None:
    machine = api.reopening.hospital.machines["fw-ext"]
    assert api.get("auditor", "/v1/drift").json()["drift"] is False
    machine.opened[BY_HAND] = None
    answer = api.get("auditor", "/v1/drift?device=fw-ext").json()
    assert answer["drift"] is True
    (device,) = answer["devices"]
    assert (device["device"], device["looked"]) == ("fw-ext", True)
    assert [(item["kind"], item["more"], item["appears"]) for item in device["found"]] == [("open", True, [TOLD])]
    assert [item["device"] for item in api.get("auditor", "/v1/posture").json()["drift"]] == ["fw-ext"]
    assert api.post("auditor", "/v1/drift/repair").status_code == 403
    assert api.post("eng-1", "/v1/drift/repair", {"devices": ["nosuch"]}).status_code == 404
    repaired = api.post("eng-1", "/v1/drift/repair", {"devices": ["fw-ext"]}).json()
    assert repaired == {"done": True, "devices": [{"device": "fw-ext", "did": ["closed 1 openings"], "left": []}]}
    assert BY_HAND not in machine.opened
    assert api.post("eng-1", "/v1/drift/repair").json() == {"done": True, "devices": []}
    event = api.get("auditor", "/v1/events?after=0&limit=1000").json()["events"][-1]
    assert (event["type"], event["body"]["by"]) == ("DriftRepaired", "eng-1")


def test_a_change_beside_the_layer_is_accepted_with_a_reason(api: Api) -> None:
    api.get("auditor", "/v1/drift")
    api.reopening.hospital.machines["vpn"].site_rules = "route to a new branch"
    (item,) = api.get("auditor", "/v1/drift?device=vpn").json()["devices"][0]["found"]
    assert (item["kind"], item["section"], item["more"]) == ("beside", "rules", False)
    acceptance = {"device": "vpn", "section": "rules", "reason": "the new branch"}
    assert api.post("eng-1", "/v1/drift/accept", {**acceptance, "reason": ""}).status_code == 422
    assert api.post("auditor", "/v1/drift/accept", acceptance).status_code == 403
    api.reopening.hospital.machines["vpn"].site_rules = "route to somewhere else"
    moved = api.post("eng-1", "/v1/drift/accept", acceptance)
    assert (moved.status_code, moved.json()["rule"]) == (409, "drift-moved")
    api.get("eng-1", "/v1/drift")
    assert api.post("eng-1", "/v1/drift/accept", acceptance).json()["found"] == []
    assert api.get("auditor", "/v1/drift").json()["drift"] is False


def test_no_such_device_and_nobody_asks_without_a_login(api: Api) -> None:
    assert api.get("auditor", "/v1/drift?device=nosuch").status_code == 404
    assert api.http.get("/v1/drift").status_code == 401


def test_a_stage_shows_which_device_is_unknown_since_when_and_how_often_it_was_tried() -> None:
    reopening = failed(Fault.HANG)
    since = reopening.stages.state().device("rtr-isp").since
    reopening.stages.runner.unknown.turn()
    reopening.stages.runner.wait(10)
    with api_on(reopening) as api:
        shown = api.get("auditor", f"/v1/stages/{LIFELINES}").json()
        assert shown["state"] == "failed"
        (one,) = shown["unknown"]
        assert (one["device"], one["since"], one["why"]) == ("rtr-isp", since, "unknown: no answer")
        assert one["tries"] >= 1


def test_a_server_that_does_not_act_answers_and_refuses_what_needs_devices() -> None:
    reopening = after_the_cut(LIFELINES)
    reopening.lease = MemoryLease()
    first = reopening.server("alpha")
    first.runner.acting.turn()
    first.runner.acting.wait(10)
    reopening.stages = reopening.server("beta")
    with api_on(reopening) as api:
        health = api.http.get("/v1/health").json()
        assert (health["server"], health["acts"], health["acting"]) == ("beta", False, "alpha")
        assert api.get("auditor", f"/v1/stages/{LIFELINES}").json()["state"] == "open"
        assert {device["looked"] for device in api.get("auditor", "/v1/drift").json()["devices"]} == {False}
        assert api.post("eng-1", "/v1/stages/P1-inbound-mail/plan").status_code in (201, 409), "it needs no device"
        for path in (f"/v1/stages/{LIFELINES}/revert", "/v1/drift/repair"):
            refused = api.post("eng-1", path, {})
            assert (refused.status_code, refused.json()["rule"]) == (409, "another-server-acts")
            assert "alpha acts on this log" in refused.json()["detail"]
        reopening.lease.end()
        reopening.stages.runner.acting.turn()
        reopening.stages.runner.acting.wait(10)
        assert api.http.get("/v1/health").json()["acts"] is True
        assert api.post("eng-1", f"/v1/stages/{LIFELINES}/revert", {}).status_code == 202
        assert reopening.stages.runner.wait(10)
        assert api.get("auditor", f"/v1/stages/{LIFELINES}").json()["state"] == "reverted"
