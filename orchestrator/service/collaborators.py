"""What the stages' service works with: ports, and the few functions that the wiring gives it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.dialects.base import Dialect
from orchestrator.dialects.surroundings import SNAPSHOT_ONLY, Surroundings
from orchestrator.domain.network import Device
from orchestrator.domain.secrets_masked import PATTERNS_ONLY, Masking
from orchestrator.errors import EnvironmentMissing
from orchestrator.ports import Clock, Devices, Lease, Log, Probes, Signatures, Target, Volatile


def _next_second(known: int) -> int:
    return max(int(time.time()), known + 1)


def _no_cutoff(profile: str, _reason: str, _by: str) -> None:
    raise EnvironmentMissing("this server cannot start the emergency command", advice=f"orchestrator cutoff --profile {profile}")


@dataclass(frozen=True)
class Collaborators:
    """`devices_by_platform` chooses who changes a platform (nftables: Ansible; others: Netmiko); `reader` reads devices
    back, on sessions of its own: what changed a device is not asked whether it did.

    `signatures` verifies with the text of an `allowed_signers` file: the ratified one. `target_for` knows the devices'
    host keys. `take_in` brings into the log what the emergency command could not write there; it is asked before every
    look at the state, and raises LogUnavailable. `raise_epoch` gives an epoch that is larger than the given one and than
    every one before, those of emergency commands included (they share its file). `start_cutoff` (profile, reason, by whom) starts
    the emergency command as a process of its own and returns. `wait` sleeps for that many seconds
    (tests and drills give another). `lease` says which server acts on the log (None: this one alone), `server` is what it is
    called there, `elapsed` the monotonic clock that it is watched on. `surroundings_for` reads what lies beside the layer.
    `volatile` keeps tokens, challenges and answers to be repeated, shared by the servers of the log (None: in this process).
    `masking` takes secrets out of what devices print, before it is written into an event.
    `archive` keeps a text for good and says under which name (empty: it is not kept); the same text has the same name.
    """

    log: Log
    clock: Clock
    signatures: Callable[[str], Signatures]
    devices_by_platform: Callable[[str], Devices]
    reader: Devices
    probes: Probes
    dialect_for: Callable[[str], Dialect]
    target_for: Callable[[Device], Target]
    take_in: Callable[[], object] = bool
    wait: Callable[[float], object] = time.sleep
    raise_epoch: Callable[[int], int] = _next_second
    archive: Callable[[str], str] = lambda _text: ""
    start_cutoff: Callable[[str, str, str], object] = _no_cutoff
    device_deadline_s: float = 60.0
    masking: Masking = PATTERNS_ONLY
    lease: Lease | None = None
    volatile: Volatile | None = None
    server: str = "this server"
    elapsed: Callable[[], float] = time.monotonic
    surroundings_for: Callable[[str], Surroundings] = lambda _platform: SNAPSHOT_ONLY
    probe_deadline_s: float = 30.0
