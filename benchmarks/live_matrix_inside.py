"""The part of the live matrix that runs where the orchestrator runs: in the admin namespace of the rehearsal hospital.

Real throughout: the policy is ratified by signatures, the cut-off is the emergency command, stages are planned, voted on
and applied by the service with its usual sessions, and the probes go over SSH to the vantage points.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from orchestrator.adapters import sshsig
from orchestrator.adapters.site_key import load_or_create_site_key
from orchestrator.cli.demo_lifting import asks_for_care, lifting
from orchestrator.cli.demo_people import People
from orchestrator.domain.layer import TCP, Element
from orchestrator.domain.network import Site
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.probe_matrix import Cell, computed, disagreements, expected, matrix
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.questions import Containment
from orchestrator.domain.ratification import NAMESPACE as RATIFICATION
from orchestrator.domain.state import SiteState
from orchestrator.domain.statement import NAMESPACE as VOTES
from orchestrator.lab.hospital import Hospital
from orchestrator.ports import Probes
from orchestrator.service.care import probe_care
from orchestrator.service.ratify import ratify, statement_now
from orchestrator.service.stages import Stages
from orchestrator.settings import StateDirectory, state_directory
from orchestrator.wiring import reopening
from orchestrator.wiring_cutoff import emergency_probes
from orchestrator.wiring_policy import files_on_disk, ratification

PROPOSER = "eng-4"
DOCUMENT = "0" * 63 + "1"  # the digest of a fixture: rehearsal evidence has no document behind it
DEADLINE_S = 30.0
ROUNDS, PAUSE_S = 3, 2.0  # a packet lost is no disagreement; one that gets through is, at once
APPLY_S = 240.0
# What a colleague opens by hand, to see that the matrix notices: a stranger to the web site, which no stage has opened yet.
BY_HAND = Element(source=ip_network("198.51.100.10/32"), destination=ip_network("10.20.11.20/32"), protocol=TCP, ports=(443, 443))
ON = "fw-ext"

Answers = Mapping[str, bool | None]


@dataclass
class Run:
    """What is known as the story goes on. `before` are the answers of the uncut hospital."""

    site: Site
    policy: Policy
    probes: Probes
    cells: tuple[Cell, ...]
    before: Answers = field(default_factory=dict)
    last: dict[str, bool] = field(default_factory=dict)  # what was expected of each cell the last time
    reports: list[dict[str, Any]] = field(default_factory=list)

    def compare(self, when: str, lies: Containment) -> None:
        """Asks everything, and writes down how the answers compare with the computation."""
        started = time.monotonic()
        if not self.before:
            self.before = self.ask({cell.probe.id: cell.way is not None for cell in self.cells}, rounds=2)
        wanted = {cell.probe.id: expected(cell, lies, self.before[cell.probe.id])[0] for cell in self.cells}
        answers = self.ask(wanted) if self.last else self.before
        wrong = disagreements(self.cells, lies, self.before, answers)
        changed = [name for name, passes in wanted.items() if self.last and self.last[name] != passes]
        self.last = wanted
        self.reports.append({
            "when": when, "probes": len(self.cells), "pass": sum(wanted.values()), "blocked": len(wanted) - sum(wanted.values()),
            "changed": len(changed), "disagreements": [str(item) for item in wrong], "seconds": round(time.monotonic() - started, 1),
        })  # fmt: skip
        told = {name: value for name, value in self.reports[-1].items() if name != "disagreements"}
        print(f"{when}: {told}, {len(wrong)} disagree", flush=True)
        for item in wrong[:20]:
            print(f"  {item}", flush=True)

    def ask(self, wanted: Mapping[str, bool], rounds: int = ROUNDS) -> dict[str, bool | None]:
        """Everything once; what should pass and did not, or could not be told, again. What passes is not asked again."""
        answers: dict[str, bool | None] = {}
        waiting = [cell.probe for cell in self.cells]
        for turn in range(rounds):
            if turn:
                time.sleep(PAUSE_S)
            for result in self.probes.run(waiting, deadline_s=DEADLINE_S):
                answers[result.probe.id] = result.passed
            waiting = [probe for probe in waiting if answers[probe.id] is None or (wanted[probe.id] and not answers[probe.id])]
            if not waiting:
                break
        return answers


def main(name: str, profile: str, chosen: Sequence[str]) -> int:
    state = state_directory()
    files = files_on_disk(rehearsal=True)
    site, policy = files.site, files.policy
    people = People(policy.people, state.root / "people")
    _ratify(state, site, policy, people)
    body = json.loads(state.cut_pack.read_text(encoding="utf-8"))["body"]
    run = Run(site, policy, emergency_probes(state, body), matrix(site, policy))
    run.compare("before the cut", Containment({}))
    _orchestrator("probe", "--save-baseline")
    _orchestrator("cutoff", "--profile", profile, "--by", "eng-1", "--reason", "rehearsal: the live matrix")
    service = reopening(state)
    _act(service)
    run.compare(f"cut off: {profile}", lies(service.state()))
    skipped: dict[str, Any] = {}
    control: dict[str, Any] = {}
    for stage in policy.stages:
        if stage.lifts or (chosen and stage.name not in chosen):
            continue
        if any(policy.flow(flow).on_expiry == "close" for flow in stage.flows):
            skipped[stage.name] = _computed_only(run, service, stage)
            continue
        _open(service, policy, people, stage)
        run.compare(stage.name, lies(service.state()))
        control = control or _control(run, lies(service.state()), Hospital(site, name))
    wrong = sum(len(report["disagreements"]) for report in run.reports)
    print(json.dumps({
        "profile": profile, "probes": len(run.cells), "disagreements": wrong, "runs": run.reports,
        "computed_only": skipped, "control": control,
    }))  # fmt: skip
    return 0


def lies(state: SiteState, plan: Plan | None = None) -> Containment:
    """What lies on the devices by the log; with `plan`, what would lie there once it is applied."""
    assert state.ratified is not None
    layers = layers_in_force(
        state.ratified.site, state.ratified.policy, {name: tuple(device.slots) for name, device in state.devices.items()}
    )
    more = {item.device: item.change for item in plan.devices} if plan is not None else {}
    opened = {name: (*state.device(name).opened, *(more[name].elements if name in more else ())) for name in layers}
    released = {name: {*state.device(name).released, *(more[name].releases if name in more else ())} for name in layers}
    return Containment(layers, opened, released)


def _control(run: Run, now: Containment, hospital: Hospital) -> dict[str, Any]:
    """A hole made by hand on a device: the matrix must name exactly the cells that it opens. It is closed again."""
    then = Containment(now.layers, {**now.opened, ON: (*now.opened.get(ON, ()), BY_HAND)}, now.released)
    opened = {cell.probe.id for cell in run.cells if expected(cell, then, run.before[cell.probe.id])[0]} - _passing(run.last)
    box = f"{{ {BY_HAND.source.network_address} . {BY_HAND.destination.network_address} . tcp . 443 }}"
    try:
        _by_hand(hospital, "add", box)
        answers = run.ask(run.last)
    finally:
        _by_hand(hospital, "delete", box)
    named = {item.cell.probe.id for item in disagreements(run.cells, now, run.before, answers)}
    print(f"control: a hole on {ON} made by hand opens {len(opened)} cells, the matrix names {len(named)}", flush=True)
    return {"opened_by_hand": len(opened), "named": len(named), "exactly": bool(opened) and named == opened}


def _passing(wanted: Mapping[str, bool]) -> set[str]:
    return {name for name, passes in wanted.items() if passes}


def _by_hand(hospital: Hospital, verb: str, box: str) -> None:
    done = hospital.exec(ON, ["nft", verb, "element", "inet", "containment", "open4", box])
    if done.returncode:
        raise RuntimeError(f"nft {verb} element on {ON}: {done.stderr}")


def _computed_only(run: Run, service: Stages, stage: Stage) -> dict[str, Any]:
    """A stage that closes by itself: which cells it would turn, and that they are conversations of its own flows."""
    state = service.state()
    now, then = lies(state), lies(state, service.planner.plan(state, stage.name))
    turned = [cell for cell in run.cells if computed(cell, now)[0] != computed(cell, then)[0]]
    inside = {address for flow in stage.flows for address in run.policy.flow(flow).addresses}
    own = [cell for cell in turned if cell.way is not None and any(s.destination[0] in inside for e in cell.way.sights.values() for s in e)]
    print(f"{stage.name}: opens for a time only, and is computed here, not applied: {len(turned)} cells would open", flush=True)
    return {"would_open": len(turned), "of_its_own_flows": len(own)}


def _ratify(state: StateDirectory, site: Site, policy: Policy, people: People) -> None:
    state.allowed_signers.write_text(people.allowed_signers(), encoding="utf-8")
    around = ratification(state)
    statement = statement_now(around, site, policy)
    signers = people.quorum(policy.ratification, genesis=True)
    signatures = {name: _signed(people, name, RATIFICATION, statement) for name in signers}
    ratify(around, site, policy, signatures=signatures, statement=statement, actor="orchestrator")


def _act(service: Stages) -> None:
    """Takes the lease, as `serve` does: who does not hold it applies nothing. Raises RuntimeError."""
    if not service.runner.acting.turn():
        raise RuntimeError("another server acts on this log")
    service.runner.acting.watch()


def _open(service: Stages, policy: Policy, people: People, stage: Stage) -> None:
    """Evidence and attestations, a plan, the votes it asks for, and applying it. Raises RuntimeError unless it is open then."""
    for command in lifting(policy, stage, datetime.now(UTC)):
        service.do(command)
    if asks_for_care(stage):
        probe_care(service, PROPOSER)
    service.plan(PROPOSER, stage.name)
    owners = {policy.application(policy.flow(flow).application).owner for flow in stage.flows}
    for person in people.quorum(stage.votes, besides={PROPOSER}, owners=owners):
        statement = service.vote_statement(person, stage.name, "approve", "")
        service.vote(person, stage.name, statement, _signed(people, person, VOTES, statement))
    service.apply(PROPOSER, stage.name)
    finished = service.runner.wait(APPLY_S)
    status = service.state().stage(stage.name)
    if not finished or status.state != "open":
        raise RuntimeError(f"{stage.name} is {status.state}: {status.detail}; {service.runner.failures}")


def _signed(people: People, person: str, namespace: str, text: str) -> str:
    return sshsig.sign(load_or_create_site_key(people.key(person)).private, namespace, text.encode("utf-8"))


def _orchestrator(*words: str) -> None:
    """The emergency command and its probes, as a person types them. Raises RuntimeError unless it ends with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], cwd=Path(__file__).parents[1], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"orchestrator {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    print(f"orchestrator {' '.join(words[:3])}: {done.stdout.splitlines()[-1] if done.stdout else ''}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
