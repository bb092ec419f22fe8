"""The chapters of the demo. Every word of the summary is measured or read back in this run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.cli.demo_hospital import DemoHospital
from orchestrator.cli.demo_lifting import WHO, asks_for_care, lifting, words
from orchestrator.cli.demo_people import People
from orchestrator.cli.demo_story import ROOT, Story, StoryBroken
from orchestrator.domain.policy import Policy, Stage

REFUSED = 4  # exit_codes.REFUSED


def tell(hospital: DemoHospital, directory: Path, *, stages: Sequence[str], profile: str) -> dict[str, Any]:
    """Tells chapters 2 to 8; returns the summary. Raises StoryBroken."""
    telling = _Telling(hospital, directory, profile)
    telling.ratify()
    telling.before()
    telling.cut()
    with telling.server():
        telling.reopen(stages)
        telling.who_reaches_the_portal(stages[-1])
    telling.evidence()
    return telling.summary


class _Telling:
    def __init__(self, hospital: DemoHospital, directory: Path, profile: str) -> None:
        self._hospital, self._directory, self._profile = hospital, directory, profile
        self._story = Story(hospital.prefix, hospital.environment)
        self._policy: Policy = read_policy(ROOT / "policies" / "valmont", rehearsal=True).policy
        self._people = People(self._policy.people, directory / "people")
        self._logged_in: set[str] = set()
        self.summary: dict[str, Any] = {"hospital": hospital.kind, "rehearsal": True}

    # 2

    def ratify(self) -> None:
        story, people = self._story, self._people
        story.chapter("2. The policy is ratified by its genesis people", "La politique est ratifiée")
        signers = self._hospital.state / "allowed_signers"
        signers.write_text(people.allowed_signers(), encoding="utf-8")
        story.run("policy", "check")
        statement = self._directory / "ratification.json"
        story.run("policy", "ratify", "--rehearsal", "--statement-out", str(statement))
        words = []
        for person in people.quorum(self._policy.ratification, genesis=True):
            words += ["--signature", f"{person}={people.sign(person, 'policy-ratification@v1', statement)}"]
        story.run("policy", "ratify", "--rehearsal", "--statement", str(statement), *words)

    # 3

    def before(self) -> None:
        self._story.chapter("3. Before the cut: everything flows", "Avant la coupure : tout passe")
        self._story.tell(self._hospital.start_traffic())
        self._story.run("probe", "--save-baseline", lines=0, expect=None)
        baseline = json.loads((self._hospital.state / "baseline.json").read_text(encoding="utf-8"))
        passing = sum(answer is True for answer in baseline["passed"].values())
        self._story.tell(f"{passing} of {len(baseline['passed'])} probes pass: what the cut must stop, and the care that must go on")

    # 4

    def cut(self) -> None:
        story = self._story
        story.chapter("4. One command cuts the hospital off", "Une commande coupe l'hôpital d'internet")
        started_ns = time.monotonic_ns()
        story.run("cutoff", "--profile", self._profile, "--by", "eng-1", "--reason", "rehearsal: encrypted files on three hosts")
        seconds = self._hospital.stop_traffic(started_ns)
        story.tell(f"time to cut, from the start of the command to the last packet at a receiver: {seconds:.2f} s")
        last = json.loads(story.run("status", "--json", quiet=True))["last_cutoff"]
        probes = last["probes"]
        care = [result for result in probes["results"] if result["purpose"] == "care"]
        self.summary |= {
            "cut_verified": last["verified"],
            "time_to_cut_s": round(seconds, 3),
            "internal_available": bool(care) and all(result["passed"] for result in care),
            "established_flows_before": sum(device["outside_before"] or 0 for device in last["devices"]),
            "established_flows_left": sum(device["outside_left"] or 0 for device in last["devices"]),
            "probes_total": probes["total"],
            "negative_probes_blocked": probes["counted"],
        }

    # 5

    @contextmanager
    def server(self) -> Iterator[None]:
        """`orchestrator serve` on its Unix socket, for as long as the block lasts."""
        socket = self._hospital.state / "api.sock"
        with (self._directory / "serve.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                self._story.arguments("serve"), cwd=ROOT, env=self._story.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                for _ in range(200):
                    if socket.exists() or process.poll() is not None:
                        break
                    time.sleep(0.1)
                if not socket.exists():
                    raise StoryBroken(f"the server did not start:\n{(self._directory / 'serve.log').read_text(encoding='utf-8')[-2000:]}")
                yield
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    def reopen(self, stages: Sequence[str]) -> None:
        story = self._story
        story.chapter("5. People approve, stage after stage", "Les paliers, un à un, sur vote")
        story.tell("Everyone logs in by signing a challenge with their own SSH key: no password, no directory.")
        story.tell("The imaging portal first? Its predecessors are not open:")
        self._gates(self._policy.stage(stages[-1]))
        self._as("eng-1", "stage", "plan", stages[-1], expect=REFUSED)
        for name in stages:
            self._open(self._policy.stage(name), first=name == stages[0], canary_only=name == stages[-1])
        last = "partially-open" if self._policy.stage(stages[-1]).canary else "open"  # the canary partner alone
        self.summary["stage_open"] = self._state_of(stages[-1], last) and stages[-1]

    def _open(self, stage: Stage, *, first: bool, canary_only: bool) -> None:
        story = self._story
        story.chapter(f"   {stage.name}: {stage.title.en}", stage.title.fr)
        self._gates(stage)
        proposer = "eng-4"
        only = ("--partner", stage.canary.partner) if canary_only and stage.canary else ()
        if only:
            story.tell(f"{stage.canary.partner if stage.canary else ''} alone first; the other partners are deferred.")
        self._as(proposer, "stage", "plan", stage.name, *only)
        owners = {self._policy.application(self._policy.flow(flow).application).owner for flow in stage.flows}
        voters = self._people.quorum(stage.votes, besides={proposer}, owners=owners)
        if first:
            story.tell("The proposer votes for their own plan:")
            self._vote(proposer, stage, expect=REFUSED)
            story.tell("One vote is not enough:")
            self._vote(voters[0], stage)
            self._as(proposer, "stage", "apply", stage.name, "--wait", expect=REFUSED)
            voters = voters[1:]
        for person in voters:
            self._vote(person, stage)
        self._as(proposer, "stage", "apply", stage.name, "--wait")

    def _vote(self, person: str, stage: Stage, expect: int = 0) -> None:
        key = str(self._people.key(person))
        self._as(person, "stage", "vote", stage.name, "--key", key, "--yes", expect=expect, last=2 if expect else 1)

    def _gates(self, stage: Stage) -> None:
        """What the gates wait for is a fixture in a rehearsal, handed in by the commands that are used in earnest."""
        for command in lifting(self._policy, stage, datetime.now(UTC)):
            self._as(WHO, *words(command), quiet=True)
        if asks_for_care(stage):
            self._as(WHO, "care", "probe", quiet=True)

    def _as(self, person: str, *words: str, expect: int | None = 0, quiet: bool = False, lines: int = 12, last: int = 0) -> str:
        if person not in self._logged_in:
            self._logged_in.add(person)
            self._story.run("login", "--as", person, "--key", str(self._people.key(person)), quiet=True)
        return self._story.run(*words, "--as", person, expect=expect, quiet=quiet, lines=lines, last=last)

    def _state_of(self, stage: str, wanted: str) -> bool:
        shown = json.loads(self._as("auditor", "stage", "show", stage, "--json", quiet=True))
        if shown["state"] != wanted:
            raise StoryBroken(f"{stage} is {shown['state']}, not {wanted}")
        return True

    # 6

    def who_reaches_the_portal(self, stage: str) -> None:
        self._story.chapter("6. Who reaches the imaging portal now", "Qui atteint le portail d'imagerie")
        shown = json.loads(self._as("auditor", "stage", "show", stage, "--json", quiet=True))
        for line in shown["plan"]["becomes_possible"]:
            self._story.tell(f"{line['source']} → {line['destination']} {line['service']}  ({line['partner']})")
        self._story.run("status")

    # 7

    def evidence(self) -> None:
        story = self._story
        story.chapter("7. The log is exported and verified; a tampered copy is refused", "L'export, vérifié ; une copie falsifiée, refusée")
        bundle = self._directory / "export"
        story.run("audit", "export", "--out", str(bundle), lines=12)
        story.run("audit", "verify", str(bundle), "--trusted-key", str(self._hospital.state / "site_key.pub"), lines=12)
        story.tell("The same with the verifier inside the export, in an isolated Python that has nothing of ours:")
        alone = _verifier(bundle, "--trusted-key", str(self._hospital.state / "site_key.pub"), "--json")
        verdict = json.loads(alone.stdout or "{}")
        story.tell(f"{verdict.get('verdict')}: {verdict.get('events')} events")
        copy = self._directory / "tampered"
        shutil.copytree(bundle, copy)
        lines = (copy / "events.jsonl").read_text(encoding="utf-8").splitlines()
        middle = len(lines) // 2
        lines[middle] = lines[middle].replace('"at":"20', '"at":"19', 1)
        (copy / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        story.tell(f"Somebody changes event {middle} of a copy:")
        refused = _verifier(copy, "--trusted-key", str(self._hospital.state / "site_key.pub"))
        for line in (refused.stdout + refused.stderr).splitlines()[:4]:
            story.tell(f"  {line}")
        self.summary |= {
            "audit_events": verdict.get("events"),
            "audit_verified": alone.returncode == 0,
            "tampered_copy_refused": refused.returncode not in (0, None) and str(middle) in refused.stdout + refused.stderr,
        }
        if not (self.summary["audit_verified"] and self.summary["tampered_copy_refused"]):
            raise StoryBroken(f"the verifier said: {alone.stdout}{alone.stderr}{refused.stdout}")


def _verifier(bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The stand-alone verifier that lies in the bundle, in a Python without site-packages."""
    command = [sys.executable, "-I", "-S", str(bundle / "verify.py"), str(bundle), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)
