"""A state directory as a server and commands of their own processes find it: log, simulated hospital, people's keys."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from orchestrator.adapters.postgres_log import PostgresLog
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import NewEvent
from orchestrator.simulation.store import StoredHospital
from tests.service.reopening import ManualClock, Reopening, key_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class StateOnDisk:
    """`log` is the address of a log in PostgreSQL; `hospital` the file of a simulated one that several machines act on."""

    directory: Path
    log: str = ""
    hospital: Path | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "api.sock"

    @property
    def tokens(self) -> Path:
        """Where commands keep who has logged in: `XDG_RUNTIME_DIR` is set below."""
        return self.directory / "orchestrator" / hashlib.sha256(os.fsencode(self.directory.absolute())).hexdigest()[:16]

    @property
    def keys(self) -> Path:
        return self.directory / "people"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "ORCHESTRATOR_STATE": str(self.directory),
            "ORCHESTRATOR_SIMULATION": str(self.hospital or self.directory / "hospital.json"),
            "ORCHESTRATOR_LOG": self.log,
            "XDG_RUNTIME_DIR": str(self.directory),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }

    def orchestrator(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator", *words]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    @contextmanager
    def serving(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """`orchestrator serve` as a process of its own, for as long as the block lasts."""
        command = [sys.executable, "-m", "orchestrator", "serve", *options]
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            for _ in range(600):
                if self.socket.exists() or process.poll() is not None:
                    break
                time.sleep(0.05)
            assert process.poll() is None, process.communicate()[0]
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()
                process.communicate()


def cut_off_in(directory: Path, people: Sequence[str], *, cut: bool = True, log: str = "", ready: str = "") -> StateOnDisk:
    """Ratified and, unless `cut` says otherwise, cut off just now; `people` have their private keys in `keys`. `log`: in that
    PostgreSQL. `ready`: a stage that has all that it waits for but a plan and votes."""
    state = StateOnDisk(directory, log)
    reopening = Reopening(clock=ManualClock(datetime.now(UTC)))
    reopening.ratify()
    if cut:
        reopening.cut()
    if ready:
        reopening.evidence(ready)
    head = directory / "log.head"
    with PostgresLog(log, head) if log else SqliteLog(directory / "log.sqlite", head_file=head) as kept:
        kept.append([NewEvent(e.type, e.at, e.actor, e.body, e.stage, e.device) for e in reopening.log.read()])
    with StoredHospital(reopening.site, directory / "hospital.json").opened() as hospital:
        for name, machine in hospital.machines.items():
            machine.slots, machine.epoch = reopening.hospital.machines[name].slots, reopening.hospital.machines[name].epoch
            machine.boots = reopening.hospital.machines[name].boots
    state.keys.mkdir(mode=0o700)
    for person in people:
        file = state.keys / person
        file.touch(0o600)
        file.write_bytes(key_of(person).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return state
