"""People at work on the rehearsal hospital: their commands, each a process of its own, against one server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from orchestrator.cli.demo_lifting import asks_for_care, lifting, words
from orchestrator.cli.demo_people import People
from orchestrator.domain.policy import Policy
from tests.lab.cut_hospital import ROOT, CutHospital
from tests.lab.small_device import eventually

PROPOSER = "eng-4"


class Story:
    """Commands of people, each a process of its own, against one server."""

    def __init__(self, cut: CutHospital, policy: Policy) -> None:
        self.cut, self.policy = cut, policy
        self.people = People(policy.people, cut.directory / "people")
        self.known: set[str] = set()

    def say(self, person: str, *said: str) -> Any:
        if person not in self.known:
            self.cut.must("login", "--as", person, "--key", str(self.people.key(person)))
            self.known.add(person)
        return json.loads(self.cut.must(*said, "--as", person, "--json").splitlines()[-1])

    def open(self, stage: str) -> None:
        declared = self.policy.stage(stage)
        for command in lifting(self.policy, declared, datetime.now(UTC)):
            self.say(command.actor, *words(command))
        if asks_for_care(declared):
            self.say("rssi", "care", "probe")
        self.say(PROPOSER, "stage", "plan", stage)
        for person in self.people.quorum(declared.votes, besides={PROPOSER}, owners=set()):
            self.say(person, "stage", "vote", stage, "--key", str(self.people.key(person)), "--yes")
        self.say(PROPOSER, "stage", "apply", stage, "--wait")


@contextmanager
def serving(cut: CutHospital, policy: Policy) -> Iterator[Story]:
    """A server, and people who have not logged in yet; it is ended afterwards."""
    command = cut.command("serve")
    server = subprocess.Popen(command, cwd=ROOT, env=cut.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: (cut.state.root / "api.sock").exists() or server.poll() is not None, 30)
        yield Story(cut, policy)
    finally:
        server.terminate()
        try:
            server.wait(60)
        finally:
            server.kill()
            server.wait()
