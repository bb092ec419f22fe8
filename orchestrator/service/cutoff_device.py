"""Steps 6 and 7 of the cut-off on one device, once its layer lies: sessions, start-up configuration, read-back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.domain.layer import Observed
from orchestrator.ports import Credential, DeviceStep, Outcome
from orchestrator.service.cutoff_read_back import compared
from orchestrator.service.cutoff_sessions import Sessions, layers_on, slots_of, sorted_out

if TYPE_CHECKING:
    from orchestrator.dialects.base import Dialect, Script
    from orchestrator.domain.layer import Layer
    from orchestrator.ports import Devices
    from orchestrator.service.cutoff_pack import Cut
    from orchestrator.service.cutoff_report import DeviceReport

SESSIONS_DEADLINE_S = 5.0
FINISH_DEADLINE_S = 10.0


@dataclass
class FollowUp:
    """One device. `keep` makes the listing durable before anything is killed; `warn` tells people."""

    cut: Cut
    report: DeviceReport
    epoch: int
    body: Mapping[str, Any]  # of the pack
    devices: Devices
    dialect: Dialect
    keep: Callable[[str, Sessions], None]
    warn: Callable[[str], None]

    def run(self, first_read: Outcome | None) -> Mapping[str, str]:
        """Fills the report in; returns the slots found on the device. `first_read` is the read-back right after laying."""
        cut, report = self.cut, self.report
        layers = self._layers(first_read)
        kill = self._sessions(layers)  # 6
        last: Outcome | None = None
        if kill:
            outcomes = self._run([*kill, cut.persist, cut.read_back], FINISH_DEADLINE_S)
            if len(outcomes) >= len(kill) and outcomes[len(kill) - 1].step is DeviceStep.APPLIED:
                report.outside_left = len(sorted_out(self.dialect, outcomes[len(kill) - 1].output, layers).outside)
            last = outcomes[-1] if len(outcomes) == len(kill) + 2 else None
        if last is None or last.step is not DeviceStep.APPLIED:  # 7; also when what went before it in the session failed
            last = self._run([cut.persist, cut.read_back], FINISH_DEADLINE_S)[-1]
        if last.step is not DeviceStep.APPLIED:
            report.step, report.detail = last.step, f"laid; not made lasting or not read back: {last.detail}"
            return {}
        observed = self.dialect.parse(last.output)
        report.step, report.detail = compared(Observed.model_validate(cut.expected), observed, cut.guards)
        if report.step is DeviceStep.APPLIED and observed.epoch is not None and observed.epoch < self.epoch:
            report.step, report.detail = DeviceStep.REFUSED, f"its generation is {observed.epoch}: a late opening could still arrive"
        earlier = sorted(set(observed.slots) - set(cut.expected.get("slots", {})) - slots_of(self.body, str(cut.layer["profile"])))
        if earlier:
            self.warn(f"{cut.device}: an earlier layer stays in force there ({', '.join(earlier)}): a second cut-off opens nothing")
        report.fingerprint = observed.fingerprint
        return observed.slots

    def _layers(self, first_read: Outcome | None) -> tuple[Layer, ...]:
        slots: tuple[str, ...] = ()
        if first_read is not None and first_read.step is DeviceStep.APPLIED:
            slots = tuple(self.dialect.parse(first_read.output).slots)
        layers, unknown = layers_on(self.cut.device, slots, self.cut.layer, self.body)
        if unknown:
            self.warn(f"{self.cut.device}: an earlier layer lies there that this pack does not know: {', '.join(unknown)}")
        return layers

    def _sessions(self, layers: Sequence[Layer]) -> list[Script]:
        """Lists and records; returns what kills those outside and counts again (nothing when there is none)."""
        if self.cut.sessions is None:
            return []
        listing = self._run([self.cut.sessions], SESSIONS_DEADLINE_S)[0]
        if listing.step is not DeviceStep.APPLIED:
            self.warn(f"{self.cut.device}: its sessions were not recorded: {listing.detail}")
            return []
        sessions = sorted_out(self.dialect, listing.output, layers)
        self.report.tracked, self.report.outside_before = len(sessions.tracked), len(sessions.outside)
        self.report.outside_left = self.report.outside_before
        self.keep(listing.output, sessions)
        return [self.dialect.kill(sessions.outside), self.cut.sessions] if sessions.outside else []

    def _run(self, scripts: Sequence[Script], deadline_s: float) -> tuple[Outcome, ...]:
        work = {self.cut.target: scripts}
        for outcomes in self.devices.run(work, credential=Credential.CUT, deadline_s=deadline_s, verb="cutoff"):
            return outcomes
        return (Outcome(self.cut.device, DeviceStep.UNKNOWN, "", deadline_s, "the session ended without an answer"),)
