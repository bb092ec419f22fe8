"""The events of a cut-off (steps 4, 6 and 10): docs/cutoff.md lists their fields."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.domain.events import EventType, NewEvent

if TYPE_CHECKING:
    from orchestrator.service.cutoff_pack import Cut
    from orchestrator.service.cutoff_report import DeviceReport, Verdict
    from orchestrator.service.cutoff_sessions import Sessions

ACTOR = "emergency"  # nobody has logged in; who says to have ordered it is `by`


class Events:
    """Of one cut-off; with the pack of a rehearsal every one of them says so."""

    def __init__(self, epoch: int, now: Callable[[], datetime], *, rehearsal: bool) -> None:
        self._epoch, self._now, self._rehearsal = epoch, now, rehearsal

    def ordered(self, verdict: Verdict, devices: list[str]) -> NewEvent:
        return self._event(
            EventType.CUTOFF_ORDERED,
            {"profile": verdict.profile, "reason": verdict.reason, "by": verdict.by, "pack": verdict.pack, "devices": devices},
        )  # fmt: skip

    def sessions(self, cut: Cut, sessions: Sessions, sha256: str, file: str) -> NewEvent:
        counts = {"tracked": len(sessions.tracked), "outside_permitted": len(sessions.outside)}
        return self._event(EventType.SESSIONS_RECORDED, {"sha256": sha256, "file": file, **counts}, cut.device)

    def applied(self, cut: Cut, report: DeviceReport, slots: Mapping[str, str]) -> NewEvent:
        """One per device, whatever it answered: `step` says what. `sent_sha256` is of the bytes that laid the layer."""
        body = {
            "step": report.step.value, "laid": report.laid, "guards": list(cut.guards), "slots": dict(slots), "detail": report.detail,
            "seconds_ms": round(1000 * report.seconds), "fingerprint": report.fingerprint,
            "sent_sha256": hashlib.sha256(f"{cut.lay.command}\n{cut.lay.text}".encode()).hexdigest(),
        }  # fmt: skip
        return self._event(EventType.CUTOFF_APPLIED, body, cut.device)

    def blocked(self, device: str, body: Mapping[str, Any]) -> NewEvent:
        """`body` is that of any read-back of a block list (`subtracting.block_body`)."""
        return self._event(EventType.BLOCKLIST_DEVICE_APPLIED, body, device)

    def ended(self, verdict: Verdict) -> NewEvent:
        kind = EventType.CUTOFF_VERIFIED if verdict.verified else EventType.CUTOFF_PARTIAL
        return self._event(kind, verdict.as_json())

    def _event(self, kind: EventType, body: Mapping[str, Any], device: str | None = None) -> NewEvent:
        at = self._now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        return NewEvent(kind, at, ACTOR, {"epoch": self._epoch, **body, "rehearsal": self._rehearsal}, device=device)
