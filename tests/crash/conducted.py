"""A simulated hospital and its servers, all in one process and conducted: what the races are run on."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

import rfc8785

from orchestrator.adapters.memory_lease import MemoryLease
from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.dialects.base import Script
from orchestrator.domain.events import Event, Head, NewEvent
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.domain.profiles import layers_of
from orchestrator.errors import LogUnavailable, NotActing
from orchestrator.ports import Credential, DeviceStep, Held, Outcome, Target
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.stages import Stages
from orchestrator.simulation.device import Fault
from orchestrator.simulation.dialect import dialect_for
from orchestrator.simulation.hospital import SimulatedProbes
from tests.crash.approved import Approved, Fact
from tests.crash.campaign import kept, questions
from tests.crash.monitor import Monitor
from tests.crash.turns import CONDUCTED, ConductedLock, Conductor, Killed
from tests.service.reopening import PLANNER, Reopening, key_of


@dataclass
class Server:
    """One server. Once it is not `alive`, nothing that its threads do has an effect; one that hangs is alive."""

    name: str
    stages: Stages
    alive: bool = True


@dataclass
class _Ports:
    """Log, devices, probes and waiting of one server, with a stop before and after each."""

    hospital: ConductedHospital
    alive: Callable[[], bool]

    def _stop(self, where: str) -> None:
        self.hospital.conductor.stop_here(where)
        if threading.current_thread().name in CONDUCTED and not self.alive():
            raise Killed

    # Log
    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        self._stop(f"before {events[0].type.value}")
        head = self.hospital.log.append(events, expected=expected)
        self.hospital.look(f"after {events[0].type.value}")
        self._stop(f"after {events[0].type.value}")
        return head

    def read(self, start: int = 0) -> Iterator[Event]:
        return self.hospital.log.read(start)

    def head(self) -> Head:
        return self.hospital.log.head()

    # Clock
    def now(self) -> datetime:
        return self.hospital.now

    def wait(self, seconds: float) -> None:
        self._stop("before waiting")
        self.hospital.pass_time(timedelta(seconds=seconds))

    # Devices
    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        for target, texts in scripts.items():
            self._stop(f"before {verb} on {target.device}")
            if self.hospital.hanging and credential is Credential.OPEN:
                self.hospital.on_their_way.append(lambda texts=texts, target=target: self._arrive(target, texts, deadline_s, verb))  # type: ignore[misc]
                yield (Outcome(target.device, DeviceStep.UNKNOWN, "", deadline_s, "no answer"),)
                continue
            outcomes = next(self.hospital.world.hospital.run({target: texts}, credential=credential, deadline_s=deadline_s, verb=verb))
            self.hospital.look(f"after {verb} on {target.device}")
            self._stop(f"after {verb} on {target.device}")
            yield outcomes

    def _arrive(self, target: Target, texts: Sequence[Script], deadline_s: float, verb: str) -> None:
        list(self.hospital.world.hospital.run({target: texts}, credential=Credential.OPEN, deadline_s=deadline_s, verb=verb))


@dataclass
class _Probes:
    ports: _Ports

    def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
        self.ports._stop("before probing")
        return SimulatedProbes(self.ports.hospital.world.hospital).run(probes, deadline_s=deadline_s)


@dataclass
class _Lease:
    """The lease as one server reaches it; a dead one reaches nothing."""

    lease: MemoryLease
    alive: Callable[[], bool]

    def seen(self) -> Held | None:
        return self.lease.seen()

    def acquire(self, holder: str, instead_of: Held | None) -> Held | None:
        return self.lease.acquire(holder, instead_of) if self.alive() else None

    def renew(self, held: Held) -> Held | None:
        return self.lease.renew(held) if self.alive() else None

    def release(self, held: Held) -> None:
        if self.alive():
            self.lease.release(held)


@dataclass
class ConductedHospital:
    """`world` is the hospital, its log and its people; `server` the one that people talk to."""

    world: Reopening
    conductor: Conductor = field(default_factory=Conductor)

    def __post_init__(self) -> None:
        self.log: MemoryLog = self.world.log
        self.hanging = False  # sessions with the open key do not answer, and what was sent arrives later
        self.on_their_way: list[Callable[[], None]] = []
        self.late: list[NewEvent] = []  # what an emergency command could not write to the log
        self.approved = Approved()
        self._follow()
        self.monitor = Monitor(self.world.hospital, self.approved, kept=kept(), questions=questions())
        self._chain = _Chain(self.log)
        self._cutting: Iterator[None] | None = None
        self.servers: list[Server] = []
        self.lease = MemoryLease()
        self.start()
        self.beat()
        while ready := self.conductor.ready():
            self.conductor.go(ready[0])

    @property
    def now(self) -> datetime:
        return self.world.clock.time

    @property
    def server(self) -> Server:
        return self.servers[-1]

    @property
    def stages(self) -> Stages:
        return self.server.stages

    def start(self, name: str = "server-1") -> Server:
        """Another server on this log. It acts as soon as it gets the lease (`beat`), and then takes up what it finds."""
        made: list[Server] = []
        ports = _Ports(self, lambda: made[0].alive)
        stages = Stages(
            Collaborators(
                log=ports,
                clock=ports,
                signatures=lambda text: SshSignatures(text, key_of("the site")),
                devices_by_platform=lambda _platform: ports,
                reader=ports,
                probes=_Probes(ports),
                dialect_for=dialect_for,
                target_for=lambda device: Target(device.name, device.platform, str(device.management), device.user),
                take_in=self._take_in,
                wait=ports.wait,
                raise_epoch=self.world.raise_epoch,
                lease=_Lease(self.lease, lambda: made[0].alive),
                server=name,
                elapsed=lambda: self.now.timestamp(),
            ),
            PLANNER,
        )
        made.append(Server(name, stages))
        stages.runner._turn._lock = ConductedLock(self.conductor, lambda: made[0].alive)  # type: ignore[assignment]
        stages.runner.drift._looking = ConductedLock(self.conductor, lambda: made[0].alive)  # type: ignore[assignment]
        self.servers.append(made[0])
        self.world.stages = stages
        return made[0]

    def beat(self) -> None:
        """Each living server renews its lease, or tries for it."""
        for server in self.servers:
            if server.alive:
                with suppress(LogUnavailable):
                    server.stages.runner.acting.turn()
        self.adopt()

    def adopt(self) -> None:
        for server in self.servers:
            self.conductor.adopt(server.stages)

    def kill(self, server: Server | None = None) -> None:
        """The process ends: every thread of it ends at its next stop, and its lease is seen to be without a holder."""
        server = server or self.server
        self.adopt()
        server.alive = False
        held = self.lease.seen()
        if held is not None and held.holder == server.stages.runner.acting._holder:
            self.lease.end()
        for _ in range(1000):
            own = self.conductor.of(server.stages)
            threads = [thread for thread in self.conductor.ready() if thread in own]
            if not threads:
                return
            self.conductor.go(threads[0])
        raise AssertionError("a killed server does not die")

    def deliver(self) -> None:
        """What hung in a session arrives now."""
        arriving, self.on_their_way = self.on_their_way, []
        for arrive in arriving:
            arrive()
            self.look("when a late command arrived")

    # --- time and the emergency command ------------------------------------------------------------------------

    def pass_time(self, span: timedelta) -> None:
        end = self.now + span
        while (deadline := self.monitor.next_deadline(self.now.timestamp())) is not None:
            moment = datetime.fromtimestamp(deadline, self.now.tzinfo)
            if moment > end:
                break
            self.world.clock.time = moment
            self.look("when a deadline passed")
        self.world.clock.time = end
        self.look("when time had passed")

    def cut(self, profile: str, *, spooled: bool) -> None:
        """Begins an emergency cut-off, in a process of its own; `cut_on` lets it go on."""
        self._cutting = self._cut(profile, spooled)

    def cut_on(self) -> bool:
        """One step of the running cut-off; False when none runs."""
        if self._cutting is None:
            return False
        if next(self._cutting, "over") == "over":
            self._cutting = None
        return True

    @property
    def cutting(self) -> bool:
        return self._cutting is not None

    def _cut(self, profile: str, spooled: bool) -> Iterator[None]:
        epoch = self.world.raise_epoch(0)
        layers = layers_of(self.world.site, self.world.policy, profile)
        self._record(E.CUTOFF_ORDERED, {"epoch": epoch, "profile": profile, "devices": [layer.device for layer in layers]}, None, spooled)
        yield
        done = True
        for layer in layers:
            machine = self.world.hospital.machines[layer.device]
            if machine.faults & {Fault.HANG, Fault.CONNECTION_REFUSED, Fault.COMMAND_FAILS}:
                body: dict[str, object] = {"epoch": epoch, "step": "unknown", "laid": False, "slots": {}, "fingerprint": ""}
                done = False
            else:
                machine.execute(dialect_for(machine.declared.platform).lay(layer).filled(epoch=epoch).text, may_open=False)
                machine.execute(dialect_for(machine.declared.platform).persist(layer).text, may_open=False)
                self.monitor.laid(layer.device)
                self.look(f"after laying on {layer.device}")
                yield
                seen = machine.observed()
                body = {"epoch": epoch, "step": "applied", "laid": True, "slots": dict(seen.slots), "fingerprint": seen.fingerprint}
            self._record(E.CUTOFF_APPLIED, body, layer.device, spooled)
            yield
        self._record(E.CUTOFF_VERIFIED if done else E.CUTOFF_PARTIAL, {"epoch": epoch}, None, spooled)

    def _record(self, type_: E, body: dict[str, object], device: str | None, spooled: bool) -> None:
        event = NewEvent(type_, stamp(self.now), "emergency", body, device=device)
        if spooled or self.log.unavailable:
            self.late.append(event)
        else:
            self.log.append([event])
        self.look(f"after {type_.value}")

    def _take_in(self) -> None:
        """As the spool is: in its own order, marked as late."""
        if self.late and not self.log.unavailable:
            self.log.append([NewEvent(e.type, e.at, e.actor, {**e.body, "late": True}, e.stage, e.device) for e in self.late])
            self.late.clear()

    # --- what is judged ----------------------------------------------------------------------------------------

    def look(self, when: str) -> None:
        self._follow()
        self.monitor.look(when, self.now)

    def judge(self) -> None:
        """After each step: invariants 1, 2, 5, 6 and 9. Raises AssertionError."""
        self.look("after a step")
        self._chain.follow(self.log)
        found = [*self.monitor.open_uncovered, *self.monitor.wrong, *self.approved.faults, *self._chain.faults]
        assert not found, "; ".join(found[:3])
        foreseen = (Killed, LogUnavailable, NotActing)  # a run ends when the log cannot be written: the devices close by themselves
        for server in self.servers:
            every = [*server.stages.runner.failures, *server.stages.reisolating.failures]
            failures = [failure for failure in every if not isinstance(failure, foreseen)]
            assert not failures, repr(failures[0])

    def _follow(self) -> None:
        for event in self.log.read(self.approved.size):
            self.approved.take(Fact(event.seq, event.type.value, event.at, event.actor, event.stage, event.device, event.body))


class _Chain:
    """The hash chain, computed here once more: nothing that was appended ever changes or goes (invariant 6)."""

    _verified: ClassVar[dict[str, list[str]]] = {}  # histories that many runs begin with: last hash → all hashes

    def __init__(self, log: MemoryLog) -> None:
        self._hashes: list[str] = []
        self.faults: list[str] = []
        last = next(log.read(log.head().size - 1)).hash
        if last not in self._verified:
            self.follow(log)
            self._verified[last] = self._hashes
        self._hashes = list(self._verified[last])

    def follow(self, log: MemoryLog) -> None:
        if log.head().size < len(self._hashes):
            self.faults.append(f"the log has shrunk to {log.head().size} events")
        if self._hashes and next(log.read(len(self._hashes) - 1)).hash != self._hashes[-1]:
            self.faults.append(f"event {len(self._hashes) - 1} is another one now")
        for event in log.read(len(self._hashes)):
            previous = self._hashes[-1] if self._hashes else "0" * 64
            content = {
                "seq": event.seq, "previous": previous, "type": event.type.value, "at": event.at, "actor": event.actor,
                "stage": event.stage, "device": event.device, "body": json.loads(json.dumps(event.body)),
            }  # fmt: skip
            if hashlib.sha256(b"\0" + rfc8785.dumps(content)).hexdigest() != event.hash:
                self.faults.append(f"event {event.seq} does not carry its own hash")
            self._hashes.append(event.hash)
