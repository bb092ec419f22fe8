"""`stage next` and `delegation` as people type them, each a process of its own, against a server process."""

from __future__ import annotations

import json
from pathlib import Path

from tests.api.state_directory import cut_off_in

OK, BAD_INPUT, REFUSED = 0, 3, 4


def test_what_next_and_who_stands_in(tmp_path: Path) -> None:
    people = ("commander", "rssi", "director-duty")
    state = cut_off_in(tmp_path, people)

    def run(person: str, *words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words, "--as", person)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    with state.serving():
        for person in people:
            run(person, "login", "--key", str(state.keys / person))
        told = run("rssi", "stage", "next")
        assert "Nothing can be opened now" in told
        assert "at the earliest:" in told
        assert "Obligations · Échéances" in told
        assert "→ orchestrator evidence add owner-named" in run("rssi", "stage", "next", "P0-lifelines")
        assert "there is no stage" in run("rssi", "stage", "next", "P99", expect=BAD_INPUT)
        lifelines = json.loads(run("rssi", "stage", "next", "--json"))["stages"][0]
        assert lifelines["votes"]["incident-commander"] == ["commander"]

        key = ("--key", str(state.keys / "commander"), "--reason", "called away")
        grant = ("delegation", "grant", "director-duty", "--role", "incident-commander")
        assert "there is no terminal" in run("commander", *grant, *key, expect=BAD_INPUT)
        made = json.loads(run("commander", *grant, *key, "--hours", "12", "--yes", "--json"))
        assert (made["giver"], made["taker"], made["runs"]) == ("commander", "director-duty", True)
        assert run("director-duty", "whoami") == "director-duty: director, incident-commander\n"
        lifelines = json.loads(run("rssi", "stage", "next", "--json"))["stages"][0]
        assert lifelines["votes"]["incident-commander"] == ["commander", "director-duty"]
        assert "delegation-authority" in run(
            "director-duty", "delegation", "grant", "rssi", "--role", "incident-commander", *key, "--yes", expect=REFUSED
        )
        assert "rssi-2026: rssi → rssi-deputy, security-officer" in run("rssi", "delegation", "list")
        assert "delegation-not-yours" in run("director-duty", "delegation", "revoke", made["delegation"], expect=REFUSED)
        assert "taken back" in run("rssi", "delegation", "revoke", made["delegation"], "--reason", "back again")
        assert run("director-duty", "whoami") == "director-duty: director\n"
