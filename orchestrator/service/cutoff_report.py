"""What a cut-off reports: one line per device, the verdict, and the same as JSON. Standard library only.

All times are seconds since the command was started (start-up included); in events and JSON, `*_ms` are integers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.ports import DeviceStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.service.cutoff_instead import Standing

ALIKE_SHOWN = 5


@dataclass
class DeviceReport:
    """One device. `applied` only when it was read back with exactly the layer, and boots with it."""

    device: str
    guards: tuple[str, ...]
    step: DeviceStep = DeviceStep.UNKNOWN
    seconds: float = 0.0  # until the layer lay (or the device said no, or its deadline passed)
    laid: bool = False
    detail: str = "no answer yet"
    tracked: int = 0  # connections that it tracked right after the drop
    outside_before: int = 0  # of these, outside the permitted set
    outside_left: int = 0
    sessions_sha256: str = ""
    fingerprint: str = ""
    further: bool = False  # closed because another device did not take its layer

    @property
    def key(self) -> str:
        return f"{self.device}[{', '.join(self.guards)}]" if self.further else self.device

    @property
    def line(self) -> str:
        told = f" — {self.detail}" if self.step is not DeviceStep.APPLIED else ""
        return f"{self.device:<12} {self.step.value:<8} {self.seconds:6.2f} s — {', '.join(self.guards)}{told}"

    def as_json(self) -> dict[str, Any]:
        body = asdict(self)
        body["guards"], body["step"] = list(self.guards), self.step.value
        body["seconds_ms"] = round(1000 * body.pop("seconds"))
        return body


@dataclass
class ProbeReport:
    """What the probes said, and what of it counts: a negative probe counts only if the same one passed before the cut."""

    total: int = 0
    negative: int = 0
    blocked: int = 0  # negative probes that were blocked
    counted: int = 0  # of these, the ones that passed in the baseline
    leaking: list[str] = field(default_factory=list)
    care_failed: list[str] = field(default_factory=list)
    kept_failed: list[str] = field(default_factory=list)
    inconclusive: list[str] = field(default_factory=list)
    baseline: str = ""  # when it was saved; empty: there is none
    results: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Verdict:
    """Everything that the command says at its end, and that the last event holds."""

    epoch: int
    site: str
    profile: str
    reason: str
    by: str
    pack: dict[str, Any]
    rehearsal: bool = False
    dry_run: bool = False
    finished: bool = False
    devices: dict[str, DeviceReport] = field(default_factory=dict)
    probes: ProbeReport = field(default_factory=ProbeReport)
    confirmation: ProbeReport | None = None
    laid_s: float | None = None
    verified_s: float | None = None
    confirmed_s: float | None = None
    manual: list[str] = field(default_factory=list)
    standing: Standing | None = None  # of the separation, when a device is not `applied`
    warnings: list[str] = field(default_factory=list)
    recorded: str = "log"  # or `spool`, or `nowhere`

    @property
    def established_before(self) -> int:
        return sum(report.outside_before for report in self.devices.values())

    @property
    def established_left(self) -> int:
        return sum(report.outside_left for report in self.devices.values())

    @property
    def open_points(self) -> list[str]:
        """What stands between this cut-off and `verified`: nothing here means that it is."""
        points = [
            f"{report.device}: {', '.join(report.guards)} — {report.step.value}: {report.detail}"
            for report in self.devices.values()
            if report.step is not DeviceStep.APPLIED
        ]
        if self.standing is not None and self.standing.path:
            points.append(f"the path that is left: {self.standing.path}")
        if self.established_left:
            points.append(f"{self.established_left} tracked connections outside the permitted set are left")
        for probes in (self.probes, self.confirmation or ProbeReport()):
            points += [f"open: {leak}" for leak in probes.leaking]
            points += [f"care does not work: {care}" for care in probes.care_failed]
            points += [f"cannot be told: {probe}" for probe in probes.inconclusive]
        if not self.probes.blocked:
            points.append("no probe from a vantage point was blocked: the devices say that it is closed, nothing else does")
        return list(dict.fromkeys(points))

    @property
    def by_hand(self) -> list[str]:
        """The manual steps that are left: those of devices that are not `applied`, and those of no device."""
        done = {report.device for report in self.devices.values() if report.step is DeviceStep.APPLIED}
        done -= {report.device for report in self.devices.values() if report.step is not DeviceStep.APPLIED}
        return [] if self.verified else [step for step in self.manual if step.partition(":")[0] not in done]

    @property
    def verified(self) -> bool:
        return self.finished and not self.open_points

    def as_json(self) -> dict[str, Any]:
        """JSON without floats: what `--json` prints, what `status` reads and what the last event holds."""
        return {
            "verb": "cutoff", "epoch": self.epoch, "site": self.site, "profile": self.profile, "reason": self.reason, "by": self.by,
            "pack": self.pack, "rehearsal": self.rehearsal, "finished": self.finished, "verified": self.verified,
            "outcome": ("verified" if self.verified else "partial") if self.finished else "running",
            "devices": [report.as_json() for report in self.devices.values()],
            "established_flows_before": self.established_before, "established_flows_left": self.established_left,
            "probes": self.probes.as_json(), "confirmation": self.confirmation.as_json() if self.confirmation else None,
            "laid_ms": _ms(self.laid_s), "verified_ms": _ms(self.verified_s), "confirmed_ms": _ms(self.confirmed_s),
            "instead": self.standing.as_json() if self.standing else None,
            "open": self.open_points if self.finished else [], "manual": self.by_hand if self.finished else [], "warnings": self.warnings,
            "recorded": self.recorded,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The verdict, for people."""
        head = "CUT OFF AND VERIFIED" if self.verified else "CUT OFF, IN PART: see what is open"
        if not any(report.laid for report in self.devices.values()):
            head = "NOT CUT OFF: no device took the layer"
        probes, known = self.probes, f"{self.established_before} outside the permitted set, {self.established_left} left"
        lines = [
            f"{'REHEARSAL — ' if self.rehearsal else ''}{head} — {self.site}, profile {self.profile}, epoch {self.epoch}",
            f"  devices   {sum(r.step is DeviceStep.APPLIED for r in self.devices.values())} of {len(self.devices)} applied"
            f", the last layer laid at {self.laid_s or 0:.2f} s",
            f"  sessions  {known}",
            f"  probes    {probes.total}: {probes.blocked} of {probes.negative} negative ones blocked, {probes.counted} of them proved "
            f"(they passed before the cut), {len(probes.care_failed)} care assertions failed",
        ]
        if self.verified and self.verified_s is not None:
            later = f", confirmed at t + {self.confirmed_s - self.verified_s:.1f} s" if self.confirmed_s is not None else ""
            lines.append(f"  verified at {self.verified_s:.1f} s{later}")
        lines += [f"  open      {point}" for point in shortened(self.open_points)]
        lines += self.standing.lines(self.profile) if self.standing else []
        lines += [f"  by hand   {step}" for step in self.by_hand]
        lines += [f"  warning   {warning}" for warning in self.warnings]
        return lines


def shortened(points: Sequence[str]) -> list[str]:
    """For a terminal: of what begins alike (`cannot be told`, `care does not work`), the first few and how many more."""
    told: list[str] = []
    alike: dict[str, int] = {}
    for point in points:
        kind = point.partition(":")[0]
        alike[kind] = alike.get(kind, 0) + 1
        if alike[kind] <= ALIKE_SHOWN:
            told.append(point)
    return told + [f"{kind}: {count - ALIKE_SHOWN} more (--json has all of them)" for kind, count in alike.items() if count > ALIKE_SHOWN]


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)
