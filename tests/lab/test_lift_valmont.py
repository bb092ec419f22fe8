"""The layer is lifted from the real rehearsal hospital, by votes: first a try that names what passes beyond the matrix and puts
everything back, then the lift, after which nothing of ours is anywhere and the site's own rules are as they were.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cut_hospital import ROOT, CutHospital
from tests.lab.small_device import eventually

pytestmark = pytest.mark.lab

LIFT = "P8-lift"
PEOPLE = ("eng-1", "commander", "rssi", "director-duty")
DOCUMENT = "ab" * 32
OK, PARTIAL = 0, 2


class Story:
    """Commands of people, each a process of its own."""

    def __init__(self, cut: CutHospital, uncut: dict[str, str]) -> None:
        self.cut, self.uncut = cut, uncut

    def key(self, person: str) -> str:
        return str(self.cut.directory / "people" / person)

    def say(self, person: str, *words: str, expect: int = OK) -> Any:
        done = self.cut.run(*words, "--as", person, "--json")
        assert done.returncode == expect, done.stdout[:1500] + done.stderr
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}

    def lift(self, expect: int) -> dict[str, Any]:
        self.say("eng-1", "stage", "plan", LIFT)
        for person in PEOPLE[1:]:
            self.say(person, "stage", "vote", LIFT, "--key", self.key(person), "--yes")
        found: dict[str, Any] = self.say("commander", "stage", "apply", LIFT, "--wait", expect=expect)
        return found


@pytest.fixture
def story(unwritten: CutHospital) -> Iterator[Story]:
    uncut = unwritten.snapshots()
    assert unwritten.cut("total", pack=unwritten.brief).code == OK
    server = subprocess.Popen(
        unwritten.command("serve"), cwd=ROOT, env=unwritten.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: (unwritten.state.root / "api.sock").exists() or server.poll() is not None, 30)
        found = Story(unwritten, uncut)
        for person in PEOPLE:
            unwritten.must("login", "--as", person, "--key", found.key(person))
        yield found
    finally:
        server.terminate()
        server.wait(60)
        unwritten.lift()


def test_the_layer_is_lifted_by_votes_and_leaves_nothing(unwritten: CutHospital, story: Story) -> None:
    stages = [item["stage"] for item in story.say("rssi", "stage", "list")]
    for stage in stages:
        if stage not in (LIFT, "resume"):
            story.say("rssi", "stage", "defer", stage, "--reason", "a rehearsal of the lift alone")
    story.say("rssi", "evidence", "add", "target-matrix-accepted", "--stage", LIFT, "--sha256", DOCUMENT)
    for zone in ("lab", "cardiology", "dental"):
        story.say("rssi", "evidence", "add", "eradication", "--zone", zone, "--sha256", DOCUMENT)

    tried = story.lift(expect=PARTIAL)
    assert tried["state"] == "reverted", tried["detail"]
    assert "nobody has accepted it by name" in tried["detail"]
    cut = [device["device"] for device in tried["plan"]["devices"]]
    assert all(unwritten.observed(device).present for device in cut)
    assert all(unwritten.observed(device).loosened_s is None for device in cut)

    seen = story.say("rssi", "lift", "show")
    assert {item["passed"] for item in seen["differences"]} == {True, False}
    pairs = sorted({item["name"].partition(":")[0] for item in seen["differences"]})
    story.say("director-duty", "lift", "accept", *pairs, "--reason", "as before the attack")
    lifted = story.lift(expect=OK)
    assert lifted["state"] == "open", lifted["detail"]
    assert story.cut.status()["posture"] == "normal"
    for device in cut:
        observed = unwritten.observed(device)
        assert not observed.present, device
        assert observed.boots_with == ()
        assert observed.loosened_s is None
    assert unwritten.snapshots() == story.uncut
