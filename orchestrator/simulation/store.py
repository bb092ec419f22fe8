"""A simulated hospital that outlives its process: one JSON file, locked while somebody acts on it.

So that the emergency command, the server and the probes, each a process of its own, meet the same hospital.
Deadlines are kept on the wall clock here, since a monotonic clock means nothing to the next process.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.dialects.base import Script
from orchestrator.domain.address_text import KnownPrefix
from orchestrator.domain.layer import Element, Layer, TrackedConnection
from orchestrator.domain.network import Model, Site
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.ports import Credential, Outcome, Target
from orchestrator.simulation.device import Fault, SimulatedDevice
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes


class SavedMachine(Model):
    """A simulated device at rest: everything that it holds, in a form that can be kept."""

    slots: tuple[Layer, ...]
    boots: tuple[Layer, ...]
    opened: tuple[tuple[Element, float | None], ...]
    released: tuple[tuple[str, float | None], ...]
    boots_released: tuple[str, ...]
    epoch: int | None
    blocked: tuple[KnownPrefix, ...] = ()
    loosened_until: float | None = None
    site_rules: str = ""
    tracked: tuple[TrackedConnection, ...]
    faults: tuple[Fault, ...]


class StoredHospital:
    """Implements the ports Devices and Probes; each call loads, acts and saves under an exclusive lock."""

    def __init__(self, site: Site, path: Path) -> None:
        self._site = site
        self._path = path

    @contextmanager
    def opened(self) -> Iterator[SimulatedHospital]:
        """The hospital as it stands; what is changed inside the block is saved."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            hospital = SimulatedHospital(self._site, now=time.time)
            for name, saved in json.loads(file.read() or "{}").items():
                restore(hospital.machines[name], SavedMachine.model_validate(saved))
            yield hospital
            text = json.dumps({name: at_rest(machine).model_dump(mode="json") for name, machine in hospital.machines.items()})
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        with self.opened() as hospital:
            outcomes = list(hospital.run(scripts, credential=credential, deadline_s=deadline_s, verb=verb))
        yield from outcomes


class StoredProbes:
    """The port Probes on a stored hospital."""

    def __init__(self, hospital: StoredHospital) -> None:
        self._hospital = hospital

    def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
        with self._hospital.opened() as hospital:
            return SimulatedProbes(hospital).run(probes, deadline_s=deadline_s)


def at_rest(machine: SimulatedDevice) -> SavedMachine:
    """What the device holds now."""
    return SavedMachine(
        slots=tuple(machine.slots.values()),
        boots=tuple(machine.boots.values()),
        opened=tuple(machine.opened.items()),
        released=tuple(machine.released.items()),
        boots_released=tuple(sorted(machine.boots_released)),
        epoch=machine.epoch,
        blocked=machine.blocked,
        loosened_until=machine.loosened_until,
        site_rules=machine.site_rules,
        tracked=tuple(machine.tracked),
        faults=tuple(sorted(machine.faults)),
    )


def restore(machine: SimulatedDevice, saved: SavedMachine) -> None:
    """Makes the device hold exactly this."""
    machine.slots = {layer.slot: layer for layer in saved.slots}
    machine.boots = {layer.slot: layer for layer in saved.boots}
    machine.opened = dict(saved.opened)
    machine.released = dict(saved.released)
    machine.boots_released = set(saved.boots_released)
    machine.epoch = saved.epoch
    machine.blocked, machine.loosened_until = saved.blocked, saved.loosened_until
    machine.site_rules = saved.site_rules
    machine.tracked = list(saved.tracked)
    machine.faults = set(saved.faults)
