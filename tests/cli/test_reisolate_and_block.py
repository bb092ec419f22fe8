"""`orchestrator reisolate` and `block` as people type them: with a server process, and with none."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.folding import fold
from orchestrator.domain.state import SiteState
from orchestrator.domain.subtractions import Reisolation
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
        assert "closed    R1" not in state.orchestrator("status").stdout, "nothing was open, and no device is owed anything"
        assert "there is no zone 'admin'" in run("rssi", "reisolate", "--zone", "admin", *WHY, expect=BAD_INPUT)
        assert "B1 blocked: 198.51.100.66/32" in run("rssi", "block", "198.51.100.66", *WHY)
        assert "[block-management]" in run("rssi", "block", "10.20.250.1", *WHY, expect=REFUSED)
        assert "cannot: behind it stand" in run("rssi", "block", "list")
        assert "block grant U1" in run("rssi", "block", "remove", "198.51.100.66", "--reason", "given back")
        assert "[unblock-needs-a-second-person]" in run("rssi", "block", "grant", "U1", expect=REFUSED)
        assert "U1 granted" in run("commander", "block", "grant", "U1")
        assert json.loads(run("rssi", "block", "list", "--json"))["networks"] == []


def test_status_tells_of_a_re_isolation_as_long_as_it_says_something() -> None:
    ordered = Reisolation("R1", "partner", "gps", "an indicator", "rssi", "2026-06-24T08:00:00.000Z", 9, 7, {})
    for nothing in ("successful", "inconclusive"):
        assert replace(ordered, checked=nothing).found_nothing
    assert not ordered.found_nothing, "its probes have not answered yet"
    inconclusive = replace(ordered, checked="inconclusive")
    for something in (
        replace(ordered, checked="failed", leaks=("gp still reaches 203.0.113.20",)),
        replace(inconclusive, stages={"P4-images": (("portal", "gps"),)}),
        replace(inconclusive, takes=(("P1-inbound-mail", "mail-in", "everyone", "block list"),)),
        replace(inconclusive, blocks="B1"),
        replace(inconclusive, notes=("the layer keeps samu with hub: it still passes",)),
    ):
        assert not something.found_nothing


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
    assert state.orchestrator("block", "list").returncode == REFUSED, "a list asks the server, and for a login"


def test_a_server_that_hangs_is_not_waited_for_and_who_is_not_logged_in_is_told_the_way_without_it(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ())
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(state.socket))
        hanging.listen()
        nobody = state.orchestrator("reisolate", "--partner", "sister", *WHY)
        assert nobody.returncode == REFUSED
        assert "with its cut key: --here" in nobody.stderr
        state.tokens.mkdir(mode=0o700, parents=True)
        (state.tokens / "rssi").write_text("kept from before")
        done = state.orchestrator("reisolate", "--partner", "sister", *WHY, "--json")
    assert done.returncode == OK, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert (answer["id"], answer["done"], answer["owed"]) == ("R1", True, {})
    assert epochs(state) == {answer["epoch"]}


def test_a_block_before_any_layer_says_that_it_stops_nothing_yet_and_a_reason_is_asked_for(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, (), cut=False)
    for words in (("block", "198.51.100.66"), ("block", "remove", "198.51.100.66"), ("block", "list", "all", *WHY)):
        done = state.orchestrator(*words)
        assert done.returncode == BAD_INPUT, done.stdout + done.stderr
        assert "→ --reason TEXT" in done.stderr or "`block list`" in done.stderr
    done = state.orchestrator("block", "198.51.100.66", *WHY)
    assert done.returncode == OK, done.stdout + done.stderr
    assert "no device holds a layer: nothing is stopped yet" in done.stdout
    cut = state.orchestrator("cutoff", "--profile", "vendors", "--json")
    assert cut.returncode in (OK, PARTIAL), cut.stdout + cut.stderr
    site = read_inventory(ROOT / "inventory/valmont.yml").site
    with StoredHospital(site, state.directory / "hospital.json").opened() as hospital:
        held = {name: machine.blocked for name, machine in hospital.machines.items() if machine.slots}
    assert held, "a layer lies, and no server has ever run"
    assert {str(network) for networks in held.values() for network in networks} == {"198.51.100.66/32"}
    after = site_state(state)
    assert {after.device(name).blocked for name in held} == {after.blocklist}, "recorded: no server owes it any more"


@pytest.mark.parametrize(
    "words", [("reisolate", "--partner", "a", "--zone", "b"), ("reisolate", "--reason", "x"), ("block",), ("block", "remove")]
)
def test_words_that_cannot_be_understood(tmp_path: Path, words: tuple[str, ...]) -> None:
    state = StateOnDisk(tmp_path)
    assert state.orchestrator(*words).returncode == BAD_INPUT
