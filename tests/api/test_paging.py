"""Lists in pages, and what is read nowhere else: each answer is as it is described (`described.py`)."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest

from orchestrator.adapters import sshsig
from orchestrator.adapters.site_key import public_line
from orchestrator.domain.delegating import NAMESPACE as DELEGATION
from orchestrator.domain.people_statement import NAMESPACE as PEOPLE
from orchestrator.domain.signers import fingerprint_of_text
from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut, key_of

STORES = ("memory",)
STAGE = "P0-lifelines"


@pytest.fixture
def api() -> Iterator[Api]:
    with api_on(after_the_cut()) as served:
        yield served


def pages(api: Api, path: str) -> list[httpx.Response]:
    """Of a list, from its first page to its last."""
    found = [api.get("auditor", path)]
    while "next" in found[-1].links:
        found.append(api.get("auditor", found[-1].links["next"]["url"]))
        assert len(found) < 100
    return found


@pytest.mark.parametrize("path", ["/v1/people", "/v1/devices", "/v1/stages", "/v1/flows", "/v1/partners", "/v1/applications"])
def test_the_pages_of_a_list_are_the_list(api: Api, path: str) -> None:
    whole = api.get("auditor", f"{path}?limit=1000").json()
    found = pages(api, f"{path}?limit=3")
    assert [len(page.json()) for page in found[:-1]] == [3] * (len(whole) // 3 - (len(whole) % 3 == 0))
    assert [item for page in found for item in page.json()] == whole


def test_what_is_added_meanwhile_is_neither_left_out_nor_shown_twice(api: Api) -> None:
    for number in range(5):
        api.post("rssi", "/v1/logbook", {"text": f"number {number}", "kind": "decision"})
    first = api.get("auditor", "/v1/logbook?limit=3&kind=decision&by=rssi")
    api.post("rssi", "/v1/logbook", {"text": "number 5", "kind": "decision"})
    api.post("commander", "/v1/logbook", {"text": "somebody else's", "kind": "decision"})
    rest = pages(api, first.links["next"]["url"])
    assert [item["text"] for page in (first, *rest) for item in page.json()] == [f"number {number}" for number in range(6)]


def test_a_cursor_serves_the_list_and_the_filters_that_it_was_made_for(api: Api) -> None:
    url = httpx.URL(api.get("auditor", "/v1/people?limit=3").links["next"]["url"])
    cursor = url.params["cursor"]
    strange = base64.urlsafe_b64encode(b"[1, 2]").decode()
    for path in (f"/v1/devices?cursor={cursor}", *(f"/v1/people?cursor={one}" for one in (cursor[:-4], strange, "%FF"))):
        answer = api.get("auditor", path)
        assert (answer.status_code, answer.json()["rule"]) == (400, "bad-request"), path
    assert api.get("auditor", "/v1/people?limit=0").status_code == 422
    assert api.get("auditor", "/v1/people?limit=1001").status_code == 422


def test_stages_by_their_state(api: Api) -> None:
    api.post("eng-1", f"/v1/stages/{STAGE}/plan")
    assert [line["stage"] for line in api.get("auditor", "/v1/stages?state=planned&state=open").json()] == [STAGE]
    assert api.get("auditor", "/v1/stages?state=lost").status_code == 422


def test_what_there_is_to_read(api: Api) -> None:
    api.reopening.evidence(STAGE)
    api.post("eng-1", f"/v1/stages/{STAGE}/plan")
    api.vote("eng-2", STAGE)
    for path in (
        "/v1/next", "/v1/lift", "/v1/votes", "/v1/checks", "/v1/delegations", "/v1/people/keys", "/v1/cutoffs", "/v1/policy",
        f"/v1/stages/{STAGE}/difference", "/v1/rules", "/v1/health", "/v1/events?type=VoteCast",
    ):  # fmt: skip
        answer = api.get("auditor", path)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json(), path
    for path in ("/v1/extensions", "/v1/recuts", "/v1/people/changes", "/v1/manual-acts", "/v1/devices/distrusted"):
        answer = api.get("auditor", path)
        assert (answer.status_code, answer.json()) == (200, []), path


def test_roles_are_lent_and_taken_back_over_http(api: Api) -> None:
    query = "taker=eng-2&role=director&minutes=60&reason=night"
    statement = api.get("director-duty", f"/v1/delegations/statement?{query}").json()["statement"]
    signature = sshsig.sign(key_of("director-duty"), DELEGATION, statement.encode())
    granted = api.post("eng-2", "/v1/delegations", {"statement": statement, "signature": signature})
    assert (granted.status_code, granted.json()["runs"]) == (201, True)
    name = granted.json()["delegation"]
    assert name in [item["delegation"] for item in api.get("auditor", "/v1/delegations").json()]
    revoked = api.post("director-duty", f"/v1/delegations/{name}/revoke", {"reason": "back"})
    assert (revoked.status_code, revoked.json()["runs"]) == (200, False)


def test_keys_are_changed_and_sessions_ended_over_http(api: Api) -> None:
    new = public_line(key_of("eng-2 new"))
    query = httpx.QueryParams({"action": "re-enrol", "person": "eng-2", "reason": "token lost", "key": new})
    asked = api.get("eng-1", f"/v1/people/statement?{query}").json()
    signatures = [sshsig.sign(key_of(name), PEOPLE, asked["statement"].encode()) for name in ("rssi", "commander", "eng-1")]
    made = api.post("rssi", "/v1/people/changes", {"statement": asked["statement"], "signatures": signatures})
    assert (made.status_code, made.json()["state"]) == (201, "pending")
    assert api.get("auditor", "/v1/people/changes").json() == [made.json()]
    stopped = api.post("rssi", f"/v1/people/changes/{made.json()['change']}/stop", {"reason": "it was found"})
    assert stopped.json()["state"] != "pending"
    old = str(fingerprint_of_text(f"x {public_line(key_of('eng-2'))}"))
    assert api.post("rssi", "/v1/people/eng-2/keys/revoke", {"fingerprint": old, "reason": "stolen"}).json()["revoked"] == old
    assert old in [key["fingerprint"] for key in api.get("auditor", "/v1/people/keys").json()["revoked"]]
    assert api.get("commander", "/v1/whoami").is_success
    assert api.post("rssi", "/v1/people/commander/sessions/revoke", {"reason": "a lost laptop"}).json()["sessions"] == 1
    assert api.get("commander", "/v1/whoami").status_code == 401
    assert api.post("rssi", "/v1/logout").json() == {"person": "rssi", "logged_out": True}
