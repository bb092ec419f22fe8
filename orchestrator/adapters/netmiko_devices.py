"""Devices over Netmiko: many at once, one session each, an outcome for every script, never an exception for a device.

The emergency path and the switches and routers go this way. Threads are daemons: a device that hangs past its
deadline is given up (`unknown`), its session is cut, and the process can end.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.dialects.base import Script
from orchestrator.errors import DeviceError, DeviceRefused, DeviceUnknown, EnvironmentMissing
from orchestrator.ports import Credential, DeviceStep, Outcome, Target

if TYPE_CHECKING:
    from orchestrator.adapters.netmiko_session import Session

GRACE_S = 0.5  # a session notices its own deadline; this is for the one that does not


@dataclass
class _Job:
    target: Target
    scripts: Sequence[Script]
    session: Session | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    abandoned: bool = False


class NetmikoDevices:
    """Implements `ports.Devices`.

    `keys` are private key files, one per credential; they are read when first used, never logged, and no agent,
    password or other key is tried. `workers` bounds the sessions open at a time over all devices of one `run`.
    """

    def __init__(self, keys: Mapping[Credential, Path], *, workers: int = 64) -> None:
        self._keys = dict(keys)
        self._workers = workers
        self._loaded: dict[Credential, Any] = {}
        self._locks: dict[tuple[str, Credential], threading.Lock] = {}
        self._guard = threading.Lock()

    def run(
        self,
        scripts: Mapping[Target, Sequence[Script]],
        *,
        credential: Credential,
        deadline_s: float,
        verb: str,  # noqa: ARG002 (names a playbook elsewhere; here nothing is chosen by it)
    ) -> Iterator[tuple[Outcome, ...]]:
        """See `ports.Devices.run`. `deadline_s` counts from this call, for every target alike.

        Raises EnvironmentMissing when the credential's key cannot be read: that is this machine, not a device.
        """
        import orchestrator.adapters.netmiko_session  # noqa: F401 (once, here, not by each thread under the import lock)

        key = self._key(credential)
        started = time.monotonic()
        expires = started + deadline_s
        jobs = [_Job(target, tuple(listed)) for target, listed in scripts.items()]
        waiting: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        done: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        for _ in range(min(self._workers, len(jobs))):
            threading.Thread(target=self._work, args=(waiting, done, key, credential, expires), daemon=True).start()
        return self._collect(jobs, done, started, expires)

    def _collect(self, jobs: list[_Job], done: queue.SimpleQueue[_Job], started: float, expires: float) -> Iterator[tuple[Outcome, ...]]:
        pending = {id(job): job for job in jobs}
        while pending:
            try:
                job = done.get(timeout=max(0.0, expires + GRACE_S - time.monotonic()))
            except queue.Empty:
                break
            del pending[id(job)]
            yield tuple(job.outcomes)
        for job in pending.values():
            job.abandoned = True  # whatever its thread still finds out comes too late
            if job.session is not None:
                job.session.close()
            missing = Outcome(job.target.device, DeviceStep.UNKNOWN, "", time.monotonic() - started, "no answer within the deadline")
            yield (*job.outcomes, missing)

    def _work(
        self, waiting: queue.SimpleQueue[_Job], done: queue.SimpleQueue[_Job], key: Any, credential: Credential, expires: float
    ) -> None:
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            # A cut never waits for an opening on the same device: the lock is per credential, the epoch fences the rest.
            lock = self._lock(job.target.device, credential)
            if not lock.acquire(timeout=max(0.0, expires - time.monotonic())):
                job.outcomes.append(Outcome(job.target.device, DeviceStep.UNKNOWN, "", 0.0, "another session of ours holds this device"))
                done.put(job)
                continue
            try:
                _drive(job, key, expires)
            finally:
                lock.release()
                done.put(job)
                if job.session is not None:
                    job.session.close()

    def _lock(self, device: str, credential: Credential) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault((device, credential), threading.Lock())

    def _key(self, credential: Credential) -> Any:
        """The private key of the credential, read once: reading it for each of 100 devices costs more than one login."""
        with self._guard:
            if credential not in self._loaded:
                import paramiko  # here: start-up counts in the time to cut

                try:
                    self._loaded[credential] = paramiko.PKey.from_path(self._keys[credential])
                except KeyError:
                    raise EnvironmentMissing(f"no key file is configured for the {credential.value} key") from None
                except (OSError, ValueError, TypeError, paramiko.SSHException, paramiko.UnknownKeyType) as failure:
                    # The message of the library may quote the file: only its kind is passed on.
                    raise EnvironmentMissing(
                        f"the key {self._keys[credential]} cannot be read ({type(failure).__name__})",
                        advice="check the path, its permissions, and that the key is unlocked",
                    ) from None
            return self._loaded[credential]


def _drive(job: _Job, key: Any, expires: float) -> None:
    """Opens the session and runs the job's scripts in order, until one is not applied."""
    from orchestrator.adapters.netmiko_session import CommandFailed, Session

    step = time.monotonic()

    def outcome(result: DeviceStep, output: str, detail: str = "") -> None:
        nonlocal step
        now = time.monotonic()
        job.outcomes.append(Outcome(job.target.device, result, output, now - step, detail))
        step = now

    try:
        job.session = Session(job.target, key, expires=expires)
        for script in job.scripts:
            if job.abandoned:
                return
            outcome(DeviceStep.APPLIED, job.session.run(script))
    except CommandFailed as failure:
        outcome(DeviceStep.REFUSED, failure.output, str(failure))
    except DeviceRefused as failure:
        outcome(DeviceStep.REFUSED, "", str(failure))
    except (DeviceUnknown, DeviceError) as failure:
        outcome(DeviceStep.UNKNOWN, "", str(failure))
    except Exception as failure:  # a fault of ours must not look like a device that was cut
        outcome(DeviceStep.UNKNOWN, "", f"unexpected: {type(failure).__name__}: {failure}")
