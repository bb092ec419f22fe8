"""Resuming and lifting over HTTP and from the command line: every verb exists in both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.text_archive import TextArchive
from orchestrator.cli.lift import lines
from orchestrator.cli.stage_next import as_text
from orchestrator.cli.stage_text import of_stage, to_be_signed
from orchestrator.domain.plain_text import shown
from tests.api.server import Api, api_on
from tests.service.reopening import after_the_cut
from tests.service.test_lift import LIFELINES, LIFT, OTHERS

REASON = {"reason": "the sensor's provider confirms a test"}


@pytest.fixture
def api() -> Iterator[Api]:
    reopening = after_the_cut(LIFELINES)
    with api_on(reopening) as found:
        yield found


def test_a_false_alarm_is_declared_voted_on_and_resumed(api: Api) -> None:
    assert api.get("rssi", "/v1/next").json()["resume"] is None
    assert api.post("rssi", "/v1/stages/resume/plan").json()["rule"] == "false-alarm-missing"
    api.reopening.cut()
    before = api.get("rssi", "/v1/next").json()
    assert before["resume"]["stages"] == [LIFELINES]
    assert before["resume"]["lacks"][0]["rule"] == "false-alarm-missing"
    assert "orchestrator false-alarm" in as_text(before)
    assert api.post("eng-1", "/v1/false-alarm", REASON).json()["rule"] == "role"
    assert api.post("commander", "/v1/false-alarm", {"reason": ""}).status_code == 422
    declared = api.post("commander", "/v1/false-alarm", REASON)
    assert declared.status_code == 201
    assert declared.json()["resume"]["stages"] == [LIFELINES]
    assert "orchestrator stage plan resume" in as_text(api.get("rssi", "/v1/next").json())
    planned = api.post("eng-1", "/v1/stages/resume/plan")
    assert planned.status_code == 201
    assert [item["stage"] for item in planned.json()["plan"]["resumes"]] == [LIFELINES]
    assert f"resumes {LIFELINES} as it was" in of_stage(planned.json())
    statement = json.loads(api.get("rssi", "/v1/stages/resume/vote-statement").json()["statement"])
    assert f"resumes {LIFELINES}" in to_be_signed(statement, planned.json())
    for person in ("commander", "eng-2", "rssi"):
        assert api.vote(person, "resume").status_code == 201
    assert api.post("eng-1", "/v1/stages/resume/apply").status_code == 202
    assert api.reopening.stages.runner.wait(30)
    ended = api.get("rssi", "/v1/stages/resume").json()
    assert ended["state"] == "ended"
    assert api.get("rssi", f"/v1/stages/{LIFELINES}").json()["state"] == "open"
    assert [line["stage"] for line in api.get("rssi", "/v1/stages").json()][-1] == "resume"
    assert api.get("rssi", "/v1/next").json()["resume"] is None
    assert api.post("eng-1", "/v1/stages/resume/plan").json()["rule"] == "resume-used"


def test_a_lift_is_planned_its_differences_accepted_by_name_and_shown(api: Api) -> None:
    assert api.post("eng-1", f"/v1/stages/{LIFT}/plan").json()["rule"] == "predecessor-not-open"
    for stage in OTHERS:
        assert api.post("rssi", f"/v1/stages/{stage}/defer", {"reason": "not before spring"}).json()["state"] == "deferred"
    planned = api.post("eng-1", f"/v1/stages/{LIFT}/plan")
    assert planned.status_code == 201, planned.json()
    assert planned.json()["plan"]["lift"]["guards"]
    text = of_stage(planned.json())
    assert "beyond the matrix at fw-ext wan0" in text
    assert "left closed: P7-public is deferred: not before spring" in text
    seen = api.get("auditor", "/v1/lift").json()
    assert {item["passed"] for item in seen["differences"]} == {None}
    name = seen["differences"][0]["name"]
    assert api.post("eng-1", "/v1/lift/accept", {"names": [name], "reason": "as before"}).json()["rule"] == "role"
    accepted = api.post("director-duty", "/v1/lift/accept", {"names": [name], "reason": "as before"})
    assert accepted.status_code == 201
    assert [item["name"] for item in accepted.json()["accepted"]] == [name]
    assert "accepted by director-duty: as before" in shown("\n".join(lines(accepted.json())))
    withdrawn = api.post("director-duty", "/v1/lift/withdraw", {"names": [name], "reason": "a mistake"})
    assert withdrawn.json()["accepted"] == []
    assert seen["devices"]["fw-ext"] == "laid"


def test_texts_are_kept_under_their_digest_once(tmp_path: Path) -> None:
    archive = TextArchive(tmp_path / "site-rules")
    name = archive.keep("table inet filter\n")
    assert archive.keep("table inet filter\n") == name
    assert (tmp_path / name).read_text(encoding="utf-8") == "table inet filter\n"
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "site-rules").iterdir()] == [name.partition("/")[2]]
