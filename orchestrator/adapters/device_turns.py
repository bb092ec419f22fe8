"""Whose turn it is on a device: one session of ours at a time, whichever adapter it goes by, and not too many per platform.

An opening waits for every other session on its device, a cut among them. **A cut never waits for an opening**, and for
another cut, or a full platform, at most CUT_PATIENCE_S: what the cut key sends only subtracts and the device takes it in
one transaction, so that to meet there is no harm, and to wait is.

This is the order within one process. Another process or server is held off by the log's lease and by the epoch.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.errors import InputError
from orchestrator.ports import Credential, Target

CUT_PATIENCE_S = 2.0
HELD = "another session of ours holds this device, or too many of its platform are open"


@dataclass(frozen=True)
class Limit:
    """How many devices of one platform have a session of ours at the same time, and why so many."""

    opening: int
    cutting: int
    why: str


_SSHD = "one OpenSSH session per device; sshd takes 10 unauthenticated at once (sshd_config: MaxStartups), so this machine is the limit"
LIMITS: Mapping[str, Limit] = {
    "nftables": Limit(64, 64, _SSHD),
    "iptables": Limit(64, 64, _SSHD),
    "openvswitch": Limit(64, 64, _SSHD),
    "host": Limit(64, 64, _SSHD),
    "frr": Limit(16, 64, "lines go through a terminal, where more than a handful of Netmiko workers broke some devices (netmiko 1655)"),
}
OTHERS = Limit(5, 64, "a platform that nobody has measured: Ansible's own `forks` (5), and Netmiko's handful (netmiko 1655)")


def limits_with(text: str) -> dict[str, Limit]:
    """LIMITS changed by `frr=4,nftables=32` (openings at a time; a cut keeps its own). Raises InputError."""
    found = dict(LIMITS)
    for item in filter(None, (part.strip() for part in text.split(","))):
        platform, _, number = item.partition("=")
        if not platform or not (number.isascii() and number.isdigit()) or int(number) < 1:
            raise InputError(f"ORCHESTRATOR_LIMITS: {item!r} is no limit", advice="write platform=number, e.g. frr=4,nftables=32")
        found[platform] = Limit(int(number), found.get(platform, OTHERS).cutting, "set by ORCHESTRATOR_LIMITS")
    return found


_Waiting = TypeVar("_Waiting")


class DeviceTurns:
    """Shared by all adapters of one process; safe to use from many threads."""

    def __init__(self, limits: Mapping[str, Limit] = LIMITS) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._on_device: Counter[tuple[str, Credential]] = Counter()
        self._on_platform: Counter[tuple[str, Credential]] = Counter()

    def take(
        self, waiting: dict[Target, _Waiting], credential: Credential, *, since: float, expires: float, most: float = math.inf
    ) -> dict[Target, _Waiting]:
        """Those of `waiting` whose turn it is, at most `most`, removed from it; waits until there is one.

        Empty when nobody waits any more or `expires` has passed. `since` is when they began to wait (both are times of
        `time.monotonic()`). Each one taken must be given back by `leave`.
        """
        with self._changed:
            while waiting:
                taken: dict[Target, _Waiting] = {}
                now = time.monotonic()
                for target in list(waiting):
                    if len(taken) < most and self._is_free(target, credential, now - since):
                        self._on_device[target.device, credential] += 1
                        self._on_platform[target.platform, credential] += 1
                        taken[target] = waiting.pop(target)
                if taken or now >= expires:
                    return taken
                patience = since + CUT_PATIENCE_S - now if credential is Credential.CUT else math.inf
                self._changed.wait(min(expires - now, max(patience, 0.01)))
            return {}

    def leave(self, target: Target, credential: Credential) -> None:
        """Gives a turn back."""
        with self._changed:
            self._on_device[target.device, credential] -= 1
            self._on_platform[target.platform, credential] -= 1
            self._changed.notify_all()

    def _is_free(self, target: Target, credential: Credential, waited_s: float) -> bool:
        limit = self._limits.get(target.platform, OTHERS)
        if credential is Credential.CUT:
            crowded = self._on_platform[target.platform, credential] >= limit.cutting
            return waited_s >= CUT_PATIENCE_S or not (crowded or self._on_device[target.device, credential])
        held = any(self._on_device[target.device, other] for other in Credential)
        return not held and self._on_platform[target.platform, credential] < limit.opening
