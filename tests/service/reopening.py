"""A hospital that has been cut off, in memory, and the people who reopen it: tests read as a history of commands.

Everything is real but the hospital: the policy and inventory of the project, SSH signatures; the log is kept where `kept` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.adapters import sshsig
from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.memory_lease import MemoryLease
from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.adapters.site_key import public_line
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.cli.demo_lifting import DOCUMENT as DOCUMENT
from orchestrator.cli.demo_lifting import asks_for_care, lifting
from orchestrator.domain.digests import inventory_digest, policy_digest
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import stamp, without_floats
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.domain.profiles import layers_of
from orchestrator.domain.state import StageStatus
from orchestrator.domain.statement import NAMESPACE
from orchestrator.ports import Target
from orchestrator.service.care import probe_care
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.planning import Planner
from orchestrator.service.stages import Choice, Stages
from orchestrator.simulation.dialect import dialect_for
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes
from tests.service.kept import Kept, in_memory, kept, kept_by

PLANNER = Planner(dialect_for)  # it remembers plans from one test to the next, and makes the same ones
OWNERS = {"P4-images": ("owner-imaging-portal",), "P5-patients-and-payments": ("owner-sms",)}


@cache
def valmont() -> tuple[Site, Policy]:
    root = Path(__file__).parents[2]
    return read_inventory(root / "inventory/valmont.yml").site, read_policy(root / "policies/valmont", rehearsal=True).policy


@cache
def key_of(person: str) -> Ed25519PrivateKey:
    """Made for this run; the same person keeps the same key within it."""
    del person  # it is the cache's key
    return Ed25519PrivateKey.generate()


@dataclass
class ManualClock:
    """Time goes on when somebody waits."""

    time: datetime = datetime(2026, 6, 24, 8, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Reopening:
    """`stages` is the service under test; the other members say what people and the world do."""

    clock: ManualClock = field(default_factory=ManualClock)
    kept: Kept = field(default_factory=kept)
    epoch: int = 40
    wait: Callable[[float], None] | None = None  # instead of the clock's
    take_in: Callable[[], object] = bool
    probes: SimulatedProbes | None = None  # instead of the hospital's
    lease: MemoryLease | None = None  # None: this server is alone
    started: list[tuple[str, str, str]] = field(default_factory=list)  # emergency commands: (profile, reason, by)

    def __post_init__(self) -> None:
        self.log: MemoryLog = self.kept.log
        self.site, self.policy = valmont()
        self.hospital = SimulatedHospital(self.site, now=lambda: self.clock.time.timestamp())
        people = [person.name for person in self.policy.people]
        self.allowed_signers = "".join(f"{name} {public_line(key_of(name))}\n" for name in people)
        self.stages = self.server()

    def server(self, name: str = "this server") -> Stages:
        """A server on this log, as after a start. Several of them share `lease`."""
        return Stages(
            Collaborators(
                log=self.log,
                clock=self.clock,
                signatures=lambda text: SshSignatures(text, key_of("the site")),
                devices_by_platform=lambda _platform: self.hospital,
                reader=self.hospital,
                probes=self.probes or SimulatedProbes(self.hospital),
                dialect_for=dialect_for,
                target_for=lambda device: Target(device.name, device.platform, str(device.management), device.user),
                take_in=self.take_in,
                wait=self.wait or self.clock.wait,
                raise_epoch=self.raise_epoch,
                lease=self.lease,
                volatile=self.kept.volatile,
                server=name,
                elapsed=lambda: self.clock.time.timestamp(),
                start_cutoff=lambda profile, reason, by: self.started.append((profile, reason, by)),
            ),
            PLANNER,
        )

    # --- the world ----------------------------------------------------------------------------------------------

    def raise_epoch(self, known: int) -> int:
        self.epoch = max(self.epoch, known) + 1
        return self.epoch

    def append(self, type_: E, body: dict[str, object], device: str | None = None, actor: str = "emergency") -> None:
        self.log.append([NewEvent(type_, stamp(self.clock.now()), actor, body, device=device)])

    def ratify(self) -> None:
        body = {
            "policy": without_floats(self.policy.model_dump(mode="json")),
            "inventory": without_floats(self.site.model_dump(mode="json")),
            "policy_digest": policy_digest(self.policy),
            "inventory_digest": inventory_digest(self.site),
            "allowed_signers": self.allowed_signers,
        }
        self.append(E.POLICY_RATIFIED, body, actor="orchestrator")

    def cut(self, profile: str = "total", *, verified: bool = True) -> None:
        """The layer laid on every device of the profile, and recorded as the emergency command records it."""
        self.epoch += 1
        layers = layers_of(self.site, self.policy, profile)
        self.append(E.CUTOFF_ORDERED, {"epoch": self.epoch, "profile": profile, "devices": [layer.device for layer in layers]})
        for layer in layers:
            machine = self.hospital.machines[layer.device]
            dialect = self.hospital.dialect_for(machine.declared.platform)
            machine.execute(dialect.lay(layer).filled(epoch=self.epoch).text, may_open=False)
            machine.execute(dialect.persist(layer).text, may_open=False)
            observed = machine.observed()
            body = {
                "epoch": self.epoch,
                "step": "applied",
                "laid": True,
                "slots": dict(observed.slots),
                "fingerprint": observed.fingerprint,
            }
            self.append(E.CUTOFF_APPLIED, body, device=layer.device)
        self.append(E.CUTOFF_VERIFIED if verified else E.CUTOFF_PARTIAL, {"epoch": self.epoch})

    def reaches(self, start: str, address: str, port: int) -> bool:
        """Whether a new TCP conversation from this host is answered."""
        return self.hospital.reaches(start, ip_address(address), 6, port)[0]

    # --- the people ---------------------------------------------------------------------------------------------

    def status(self, stage: str) -> StageStatus:
        return self.stages.state().stage(stage)

    def evidence(self, stage: str) -> None:
        """Everything that a stage waits for: evidence, attestations, readiness, reports; care is probed."""
        declared = self.policy.stage(stage)
        for command in lifting(self.policy, declared, self.clock.now()):
            self.stages.do(command)
        if asks_for_care(declared):
            probe_care(self.stages, "rssi")

    def sign(self, person: str, stage: str, choice: Choice = "approve", reason: str = "") -> tuple[str, str]:
        statement = self.stages.vote_statement(person, stage, choice, reason)
        return statement, sshsig.sign(key_of(person), NAMESPACE, statement.encode())

    def vote(self, person: str, stage: str, choice: Choice = "approve", reason: str = "") -> None:
        self.stages.vote(person, stage, *self.sign(person, stage, choice, reason))

    def approve(self, stage: str) -> None:
        """Evidence, a plan by eng-1, and every vote that the stage asks for."""
        self.evidence(stage)
        self.stages.plan("eng-1", stage)
        candidates = {
            "network-engineer": ("eng-2", "eng-3"),
            "security-officer": ("rssi",),
            "incident-commander": ("commander",),
            "director": ("director-duty",),
            "application-owner": OWNERS.get(stage, ()),
        }
        for role, count in self.policy.stage(stage).votes.items():
            for person in candidates[role][:count]:
                self.vote(person, stage)

    def apply(self, stage: str) -> StageStatus:
        """Applies and waits for the end of it."""
        self.stages.apply("eng-1", stage)
        assert self.stages.runner.wait(60)
        assert self.stages.runner.failures == []
        return self.status(stage)

    def open(self, *stages: str) -> None:
        for stage in stages:
            self.approve(stage)
            status = self.apply(stage)
            assert status.state == "open", status.detail

    def copy(self) -> Reopening:
        """Another hospital with the same history, in the same condition."""
        twin = Reopening(clock=ManualClock(self.clock.time), epoch=self.epoch)
        twin.log.append([NewEvent(e.type, e.at, e.actor, e.body, e.stage, e.device) for e in self.log.read()])
        for name, machine in twin.hospital.machines.items():
            like = self.hospital.machines[name]
            machine.slots, machine.boots, machine.opened = dict(like.slots), dict(like.boots), dict(like.opened)
            machine.released, machine.boots_released, machine.epoch = dict(like.released), set(like.boots_released), like.epoch
        return twin


@cache
def _history(profile: str, opened: tuple[str, ...], approved: str | None) -> Reopening:
    """Made once for all tests: they work on copies."""
    if approved is not None:
        reopening = _history(profile, opened, None).copy()
        reopening.approve(approved)
    elif opened:
        reopening = _history(profile, opened[:-1], opened[-1]).copy()
        status = reopening.apply(opened[-1])
        assert status.state == "open", status.detail
    else:
        reopening = Reopening()
        reopening.ratify()
        reopening.cut(profile)
    return reopening


def after_the_cut(*opened: str, profile: str = "total", approved: str | None = None) -> Reopening:
    """A ratified policy, a verified cut-off, these stages open, and one approved."""
    with kept_by(in_memory):  # it outlives the test
        history = _history(profile, opened, approved)
    return history.copy()
