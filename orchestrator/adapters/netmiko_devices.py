"""Devices over Netmiko: many at once, one session each, an outcome for every script, never an exception for a device.

The emergency path and the switches and routers go this way. Threads are daemons: a device that hangs past its
deadline is given up (`unknown`), its session is cut, and the process can end.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.device_turns import HELD, DeviceTurns
from orchestrator.adapters.device_words import NO_ANSWER
from orchestrator.dialects.base import Script
from orchestrator.errors import DeviceError, DeviceRefused, DeviceUnknown, EnvironmentMissing
from orchestrator.ports import Credential, DeviceStep, Outcome, Target

if TYPE_CHECKING:
    from orchestrator.adapters.netmiko_session import Session

GRACE_S = 0.5  # a session notices its own deadline; this is for the one that does not
DEVICE_DEADLINE_S = 30.0


@dataclass
class _Job:
    target: Target
    scripts: Sequence[Script]
    expires: float = math.inf  # this device's own end, from the moment that its session begins
    session: Session | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    abandoned: bool = False


@dataclass
class _Run:
    """One call of `run`: who waits, and who has ended (None: somebody has begun)."""

    waiting: dict[Target, _Job]
    key: Any
    credential: Credential
    started: float
    expires: float
    done: queue.SimpleQueue[_Job | None] = field(default_factory=queue.SimpleQueue)


class NetmikoDevices:
    """Implements `ports.Devices`.

    `keys` are private key files, one per credential; they are read when first used, never logged, and no agent,
    password or other key is tried. `workers` bounds the sessions open at a time over all devices of one `run`.
    `device_deadline_s` is what one device has from the moment that its own session begins: a sick one does not use up
    the others' time. `turns` is shared with the other adapters of the process.
    """

    def __init__(
        self,
        keys: Mapping[Credential, Path],
        *,
        workers: int = 64,
        device_deadline_s: float = DEVICE_DEADLINE_S,
        turns: DeviceTurns | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._workers = workers
        self._device_deadline_s = device_deadline_s
        self._turns = turns or DeviceTurns()
        self._loaded: dict[Credential, Any] = {}
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
        jobs = {target: _Job(target, tuple(listed)) for target, listed in scripts.items()}
        run = _Run(dict(jobs), key, credential, started, started + deadline_s)
        for _ in range(min(self._workers, len(jobs))):
            threading.Thread(target=self._work, args=(run,), daemon=True).start()
        return self._collect(list(jobs.values()), run)

    def _collect(self, jobs: list[_Job], run: _Run) -> Iterator[tuple[Outcome, ...]]:
        pending = {id(job): job for job in jobs}
        while pending:
            next_end = min(min(job.expires, run.expires) for job in pending.values()) + GRACE_S
            try:
                job = run.done.get(timeout=max(0.0, next_end - time.monotonic()))
            except queue.Empty:
                for late in [job for job in pending.values() if min(job.expires, run.expires) + GRACE_S <= time.monotonic()]:
                    del pending[id(late)]
                    yield self._given_up(late, run)
                continue
            if job is not None and pending.pop(id(job), None) is not None:
                yield tuple(job.outcomes)

    def _given_up(self, job: _Job, run: _Run) -> tuple[Outcome, ...]:
        job.abandoned = True  # whatever its thread still finds out comes too late
        if job.session is not None:
            job.session.close()
        why = HELD if math.isinf(job.expires) else NO_ANSWER
        return (*job.outcomes, Outcome(job.target.device, DeviceStep.UNKNOWN, "", time.monotonic() - run.started, why))

    def _work(self, run: _Run) -> None:
        while taken := self._turns.take(run.waiting, run.credential, since=run.started, expires=run.expires, most=1):
            ((target, job),) = taken.items()
            try:
                job.expires = min(run.expires, time.monotonic() + self._device_deadline_s)
                run.done.put(None)
                _drive(job, run.key, job.expires)
            finally:
                self._turns.leave(target, run.credential)
                run.done.put(job)
                if job.session is not None:
                    job.session.close()

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
