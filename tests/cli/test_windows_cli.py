"""A planned re-cut and a window as people type them, each command a process of its own, against a server process."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp
from tests.api.state_directory import cut_off_in
from tests.lab.small_device import eventually

OK, BAD_INPUT, REFUSED = 0, 3, 4


def test_a_re_cut_is_started_by_the_server_and_recorded(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ("rssi", "eng-1"))

    def run(person: str, *words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words, "--as", person)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def events(*types: E) -> list[str]:
        with SqliteLog(tmp_path / "log.sqlite", read_only=True) as log:
            return [event.type.value for event in log.read() if event.type in types]

    cuts = len(events(E.CUTOFF_ORDERED))
    with state.serving():
        for person in ("rssi", "eng-1"):
            run(person, "login", "--key", str(state.keys / person))
        assert run("rssi", "recut", "list") == "none\n"
        schedule = ("recut", "schedule", "--profile", "total", "--reason", "eviction day")
        assert "role" in run("eng-1", *schedule, "--at", "2099-01-01T00:00", expect=REFUSED)
        assert "(2099-01-01T04:00:00+01:00)" in run("rssi", *schedule, "--at", "2099-01-01T04:00")
        assert "re-cut    C1 scheduled" in state.orchestrator("status").stdout
        assert "cancelled" in run("rssi", "recut", "cancel", "C1", "--reason", "too late")
        made = json.loads(run("rssi", *schedule, "--at", stamp(datetime.now(UTC) + timedelta(seconds=3)), "--json"))
        assert eventually(lambda: events(E.RECUT_STARTED) == ["RecutStarted"], 30)
        assert eventually(lambda: len(events(E.CUTOFF_ORDERED)) == cuts + 1, 60)
        assert eventually(lambda: events(E.CUTOFF_VERIFIED, E.CUTOFF_PARTIAL)[cuts:] != [], 60)
        assert f"{made['id']} started" in run("rssi", "recut", "list")
    with SqliteLog(tmp_path / "log.sqlite", read_only=True) as log:
        ordered = [event.body for event in log.read() if event.type is E.CUTOFF_ORDERED][-1]
    assert (ordered["profile"], ordered["by"]) == ("total", "rssi")
    assert ordered["reason"] == f"planned re-cut {made['id']}: eviction day"


def test_windows_and_extensions_are_refused_with_their_rules(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ("rssi", "eng-1"))

    def run(person: str, *words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words, "--as", person)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    with state.serving():
        for person in ("rssi", "eng-1"):
            run(person, "login", "--key", str(state.keys / person))
        dated = ("--from", "now", "--until", stamp(datetime.now(UTC) + timedelta(hours=1)))
        assert "window-not-asked" in run("eng-1", "stage", "plan", "P0-lifelines", *dated, expect=REFUSED)
        assert "a start and an end" in run("eng-1", "stage", "plan", "P0-lifelines", "--from", "now", expect=BAD_INPUT)
        assert "--reason" in run("rssi", "stage", "extend", "P0-lifelines", "--until", "2099-01-01T00:00", expect=BAD_INPUT)
        asked = ("stage", "extend", "P0-lifelines", "--until", "2099-01-01T00:00", "--reason", "longer")
        assert "no-end" in run("rssi", *asked, expect=REFUSED)
        assert "there is no extension" in run("rssi", "stage", "extend", "P0-lifelines", "--grant", "E7", expect=BAD_INPUT)
