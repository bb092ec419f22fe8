"""`false-alarm`, `stage defer` and `lift` as people type them, each a process of its own, against a server process."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.stage_next import resume as as_next
from orchestrator.cli.status import resumable
from tests.api.state_directory import cut_off_in

OK, REFUSED = 0, 4


def test_what_people_type_after_a_false_alarm_and_before_a_lift(tmp_path: Path) -> None:
    people = ("eng-1", "commander", "rssi")
    state = cut_off_in(tmp_path, people)

    def run(person: str, *words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words, "--as", person)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    with state.serving():
        for person in people:
            run(person, "login", "--key", str(state.keys / person))
        assert "[false-alarm-missing]" in run("eng-1", "stage", "plan", "resume", expect=REFUSED)
        assert "[role]" in run("eng-1", "false-alarm", "--reason", "a test", expect=REFUSED)
        assert "there is nothing to resume" in run("commander", "false-alarm", "--reason", "a test of the sensor")
        assert "[already-declared]" in run("rssi", "false-alarm", "--reason", "again", expect=REFUSED)
        assert "[nothing-to-resume]" in run("eng-1", "stage", "plan", "resume", expect=REFUSED)
        assert "P7-public is deferred: not this year" in run("rssi", "stage", "defer", "P7-public", "--reason", "not this year")
        waits = run("eng-1", "stage", "plan", "P8-lift", expect=REFUSED)
        assert "[predecessor-not-open]" in waits
        assert "orchestrator stage defer P0-lifelines" in waits
        assert "fw-ext: laid" in run("eng-1", "lift", "show")
        assert "accepted now: offices-to-internet" in run("rssi", "lift", "accept", "offices-to-internet", "--reason", "as before")
        assert "accepted now: none" in run("rssi", "lift", "withdraw", "offices-to-internet", "--reason", "not this year")
        assert "P7-public" not in run("rssi", "stage", "show", "P8-lift").partition("waits:")[0]


def test_status_says_what_one_vote_could_resume_and_until_when() -> None:
    assert resumable({"resume": None}) == []
    resume = {"stages": ["P0-lifelines", "P1-inbound-mail"], "left_out": [], "until": None, "lacks": ["false-alarm-missing"]}
    assert resumable({"resume": resume}) == [
        "resume    P0-lifelines, P1-inbound-mail: if it was a false alarm: orchestrator false-alarm --reason TEXT"
    ]
    declared = {**resume, "until": "2026-06-24T20:00:00+00:00", "lacks": []}
    assert resumable({"resume": declared})[0].endswith("until 2026-06-24T20:00:00+00:00: orchestrator stage plan resume")
    assert "not now (indicator-open)" in resumable({"resume": {**declared, "lacks": ["indicator-open"]}})[0]
    left_out = {**declared, "stages": [], "left_out": ["P0-lifelines: not all of its plan was open: ecmo with sister"]}
    assert resumable({"resume": left_out}) == ["resume    not P0-lifelines: not all of its plan was open: ecmo with sister"]
    assert "can be resumed as it was" in as_next(left_out)[0]
    assert "not that way: P0-lifelines: not all" in as_next(left_out)[1]
