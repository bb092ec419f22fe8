"""What a cut-off is given: what the person asked for, and everything that it touches. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.service.cutoff_lay import LAY_DEADLINE_S, WAVE_WAITS_S
from orchestrator.service.cutoff_record import INTENT_WAITS_S

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from orchestrator.dialects.base import Dialect
    from orchestrator.domain.events import NewEvent
    from orchestrator.domain.network import Prefix
    from orchestrator.ports import Devices, Log, Probes


@dataclass(frozen=True)
class Order:
    """What the person asked for. All of it may be empty."""

    profile: str | None = None
    reason: str = ""
    by: str = ""


class Files(Protocol):
    """What a cut-off keeps in the state directory, best effort: every method may raise OSError, and nothing stops for it."""

    def raise_epoch(self, at_least: int) -> int:
        """The larger of `at_least` and one more than the last epoch known, which it becomes. An epoch that cannot be
        kept is returned all the same."""
        ...

    def save_progress(self, epoch: int, progress: Mapping[str, Any]) -> None:
        """What `orchestrator status` reads; replaced whole."""
        ...

    def save_sessions(self, epoch: int, device: str, listing: str) -> str:
        """Durable on return; returns the file's name."""
        ...

    def baseline(self) -> Mapping[str, Any] | None:
        """What `orchestrator probe --save-baseline` wrote; None when it never did. Raises ValueError when it is broken."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """All that a cut-off touches. The callables are called when they are needed, so that what is slow or broken there
    costs or hurts nobody before."""

    candidates: Sequence[tuple[str, Path]]  # packs to try, in order: (what to call it, file)
    verify: Callable[[dict[str, Any], str], None]
    render: Callable[[str | None], dict[str, Any]]  # a pack's body from the files on disk, with at least this profile (None: the default)
    devices: Callable[[], Devices]
    probes: Callable[[Mapping[str, Any]], Probes]  # given the pack's body, which says where the vantage points are
    dialect: Callable[[str], Dialect]
    log: Callable[[], Log]
    spool: Callable[[Sequence[NewEvent]], None]
    files: Files
    now: Callable[[], datetime]
    elapsed: Callable[[], float]  # seconds since the command was started
    intent_waits_s: float = INTENT_WAITS_S  # after that the intent goes to the spool; the cut goes on meanwhile
    merge: Callable[[], object] | None = None  # what was spooled into the log, as late; raises when the log still cannot be written
    blocklist: Callable[[], Sequence[Prefix]] = tuple  # of the log; may raise anything, and may hang
    wait: Callable[[float], object] = time.sleep
    ask_name: Callable[[], str] = str  # called once, after the cut; bounded by itself; empty for no answer
    wave_waits_s: float = WAVE_WAITS_S
    lay_deadline_s: float = LAY_DEADLINE_S
