"""The ports: what the service needs of the outside world, in at most five methods each. The docstrings are the contract.

Adapters turn every foreign exception into one of `orchestrator.errors`, in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # the emergency command imports this module: nothing of pydantic (0.15 s) before the layer lies
    from orchestrator.dialects.base import Script
    from orchestrator.domain.events import Event, Head, NewEvent
    from orchestrator.domain.probes import Probe, ProbeResult
    from orchestrator.domain.signers import Verified


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, timezone-aware, UTC."""
        ...


class Log(Protocol):
    """The append-only log. The only evidence; state is computed from it."""

    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        """Appends all or none, in one transaction, durable (fsync) on return; returns the new head.

        `expected` is the number of events the caller has seen; raises Stale when the log has grown since.
        Raises LogUnavailable when it cannot be written (disk full, read-only, locked beyond the time-out).
        """
        ...

    def read(self, start: int = 0) -> Iterator[Event]:
        """Events with sequence number >= start, in order. Raises LogUnavailable."""
        ...

    def head(self) -> Head:
        """The size and Merkle root (RFC 6962) of the log now."""
        ...


@dataclass(frozen=True)
class Held:
    """A lease as it stands. `beat` grows with every renewal; nobody holds it when `holder` is empty. `term` grows with every
    change of its holder. `gone`: the holder's process is known to have ended."""

    holder: str
    term: int
    beat: int
    gone: bool = False


class Lease(Protocol):
    """Who of several servers acts on one log. Never evidence: it may be lost, and is then nobody's.

    No wall clock is compared: who waits for it watches `beat` on a monotonic clock of its own. All methods raise LogUnavailable.
    """

    def seen(self) -> Held | None:
        """As it stands now; None when nobody ever held it, or it was lost."""
        ...

    def acquire(self, holder: str, instead_of: Held | None) -> Held | None:
        """Takes it if it still is exactly `instead_of`; None when somebody was faster, or its holder has renewed it since."""
        ...

    def renew(self, held: Held) -> Held | None:
        """Beats once more; None when it is no longer ours, and nothing is written."""
        ...

    def release(self, held: Held) -> None:
        """Nobody holds it any more, if it still is ours. Idempotent."""
        ...


class Volatile(Protocol):
    """Small texts that servers of one log share and may lose: tokens, challenges, answers to be repeated. Never evidence.

    `kind` and `key` are ours and short; `value` is a text. Nothing is found at or after its `until` (UTC, by `now`).
    All methods raise LogUnavailable.
    """

    def put(self, kind: str, key: str, value: str, *, until: datetime) -> None:
        """Kept until then, instead of what was there. Seen by every server of the log when it returns."""
        ...

    def get(self, kind: str, key: str, *, now: datetime) -> str | None:
        """What is kept under this name, if its time is not over."""
        ...

    def take(self, kind: str, key: str, *, now: datetime) -> str | None:
        """The same, and takes it away: of several that take it at once, one gets it."""
        ...

    def all(self, kind: str, *, now: datetime) -> tuple[tuple[str, str], ...]:
        """Every key and value of a kind whose time is not over, in the order of the keys."""
        ...

    def clear(self, *, now: datetime) -> None:
        """Forgets everything whose time is over."""
        ...


class Credential(StrEnum):
    """Two keys on every device: one may only subtract, the other is unlocked for each apply."""

    CUT = "cut"
    OPEN = "open"


@dataclass(frozen=True)
class Target:
    """How to reach one device: management address, account, pinned host keys (OpenSSH lines `type base64`)."""

    device: str
    platform: str
    address: str
    user: str
    host_keys: tuple[str, ...] = ()
    port: int = 22


class DeviceStep(StrEnum):
    """The outcome of one step on one device (invariant 7): never "probably"."""

    APPLIED = "applied"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outcome:
    """What one device answered. `output` is everything it printed; `detail` explains a failure to a person."""

    device: str
    step: DeviceStep
    output: str
    seconds: float
    detail: str = ""


class Devices(Protocol):
    """Runs scripts on devices. Knows connections, never policy."""

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        """Runs each target's scripts in order on one session, targets in parallel; yields per target as it ends, one
        outcome per script that was tried. The first script that is not `applied` ends that target's list.

        Never raises for a device: refused (it answered no: bad exit status, error text, wrong host key, authentication
        refused, connection refused) or unknown (no answer within `deadline_s`, session lost midway) is an outcome.
        Host keys are always checked. `verb` names the playbook where the adapter uses one. Not idempotent by itself.
        """
        ...


class Signatures(Protocol):
    """SSH signatures (SSHSIG) against the ratified `allowed_signers`."""

    def verify(self, namespace: str, message: bytes, signature: str, *, at: datetime) -> str:
        """The person whose key made this armoured signature over `message` in `namespace`, the key being valid at `at`.

        Raises NotAuthenticated (rule `signature`) for a bad or non-canonical signature, a wrong namespace, an unknown,
        expired or revoked key.
        """
        ...

    def verified(self, namespace: str, message: bytes, signature: str, *, at: datetime) -> Verified:
        """The same, with the key's fingerprint and what a security key says about its user."""
        ...

    def sign(self, namespace: str, message: bytes) -> str:
        """Signs as the site (the orchestrator's own key); returns the armoured SSHSIG."""
        ...


class Probes(Protocol):
    def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
        """Runs all probes, in parallel, one session per vantage point; one result per probe, in the same order.

        Never raises for a vantage point that cannot be reached: its probes are `inconclusive`.
        """
        ...


Posture = Literal["normal", "isolating", "isolated", "partially-isolated", "restoring", "surveillance"]
