"""`orchestrator reisolate` and `block` as people type them: with a server process, and with none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.folding import fold
from orchestrator.domain.state import SiteState
from orchestrator.simulation.store import StoredHospital
from tests.api.state_directory import ROOT, StateOnDisk, cut_off_in

OK, PARTIAL, BAD_INPUT, REFUSED, ENVIRONMENT = 0, 2, 3, 4, 5
WHY = ("--reason", "an indicator of compromise")


def site_state(state: StateOnDisk) -> SiteState:
    with SqliteLog(state.directory / "log.sqlite", read_only=True) as log:
        return fold(log.read())


def epochs(state: StateOnDisk) -> set[int | None]:
    site = read_inventory(ROOT / "inventory/valmont.yml").site
    with StoredHospital(site, state.directory / "hospital.json").opened() as hospital:
        return {machine.epoch for machine in hospital.machines.values()}


def test_with_a_server(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ("rssi", "commander"))

    def run(person: str, *words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words, "--as", person)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    with state.serving():
        for person in ("rssi", "commander"):
            run(person, "login", "--key", str(state.keys / person))
        told = run("rssi", "reisolate", "--partner", "sister", *WHY)
        assert "R1: partner sister isolated again by rssi" in told
        assert "nothing of it was open, running or voted on" in told
        assert "closed on every device; probes:" in told
        assert "there is no zone 'admin'" in run("rssi", "reisolate", "--zone", "admin", *WHY, expect=BAD_INPUT)
        assert "B1 blocked: 198.51.100.66/32" in run("rssi", "block", "198.51.100.66", *WHY)
        assert "[block-management]" in run("rssi", "block", "10.20.250.1", *WHY, expect=REFUSED)
        assert "cannot: behind it stand" in run("rssi", "block", "list")
        assert "block grant U1" in run("rssi", "block", "remove", "198.51.100.66", "--reason", "given back")
        assert "[unblock-needs-a-second-person]" in run("rssi", "block", "grant", "U1", expect=REFUSED)
        assert "U1 granted" in run("commander", "block", "grant", "U1")
        assert json.loads(run("rssi", "block", "list", "--json"))["networks"] == []


def test_without_a_server_it_acts_on_the_state_directory(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ())
    done = state.orchestrator("reisolate", "--partner", "sister", *WHY, "--as", "the engineer on call", "--json")
    assert done.returncode == OK, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert (answer["by"], answer["done"], answer["owed"]) == ("the engineer on call", True, {})
    assert epochs(state) == {answer["epoch"]}
    blocked = state.orchestrator("block", "198.51.100.66", *WHY)
    assert blocked.returncode == OK, blocked.stdout + blocked.stderr
    assert "acting on the state directory" in blocked.stderr
    after = site_state(state)
    assert [str(network) for network in after.blocklist] == ["198.51.100.66/32"]
    assert after.device("fw-ext").blocked == after.blocklist
    assert state.orchestrator("block", "list").returncode == BAD_INPUT, "a list asks the server, and for a login"


@pytest.mark.parametrize(
    "words", [("reisolate", "--partner", "a", "--zone", "b"), ("reisolate", "--reason", "x"), ("block",), ("block", "remove")]
)
def test_words_that_cannot_be_understood(tmp_path: Path, words: tuple[str, ...]) -> None:
    state = StateOnDisk(tmp_path)
    assert state.orchestrator(*words).returncode == BAD_INPUT
