"""Step 5 of the cut-off: the layer on all devices, far waves before near ones. Standard library only.

A wave starts when the wave before it is done or has had its two seconds: a dead device holds nothing up, its session
goes on in the background until its own deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError
from orchestrator.ports import Credential, DeviceStep, Outcome

if TYPE_CHECKING:
    from orchestrator.ports import Devices
    from orchestrator.service.cutoff_pack import Cut

WAVE_WAITS_S = 2.0
LAY_DEADLINE_S = 10.0
RETRY_WITHIN_S = 4.0  # a session lost early is tried once more; one that ran into its deadline is not

Report = Callable[["Cut", tuple[Outcome, ...]], None]


class Laying:
    """Lays and reads back. `report` is called once per device, from the wave's thread, as its answer comes."""

    def __init__(
        self, devices: Callable[[], Devices], cuts: Sequence[Cut], report: Report, *, wave_waits_s: float = WAVE_WAITS_S,
        deadline_s: float = LAY_DEADLINE_S,
    ) -> None:  # fmt: skip
        self._devices, self._cuts, self._report = devices, cuts, report
        self._wave_waits_s, self._deadline_s = wave_waits_s, deadline_s
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Returns when every wave has been sent off and the last one is done or has had its time."""
        for _, wave in groupby(self._cuts, key=lambda cut: cut.wave):
            self._threads.append(self._start(self._wave, list(wave)))
            self._threads[-1].join(self._wave_waits_s)

    def wait(self) -> None:
        """Returns when every device has answered or run into its deadline."""
        for thread in self._threads:
            thread.join(3 * self._deadline_s)

    def _wave(self, cuts: list[Cut]) -> None:
        retries = [self._start(self._attempt, [cut], True) for cut in self._attempt(cuts, False)]
        for thread in retries:
            thread.join()

    def _start(self, work: Callable[..., object], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        return thread

    def _attempt(self, cuts: list[Cut], last: bool) -> list[Cut]:
        """Reports what is settled; returns the devices whose session was lost early, unless this is the `last` attempt."""
        missing = {cut.device: cut for cut in cuts}
        lost: list[Cut] = []
        started = time.monotonic()
        try:
            scripts = {cut.target: (cut.lay, cut.read_back) for cut in cuts}
            for outcomes in self._devices().run(scripts, credential=Credential.CUT, deadline_s=self._deadline_s, verb="cutoff"):
                cut = missing.pop(outcomes[0].device)
                early = sum(outcome.seconds for outcome in outcomes) < RETRY_WITHIN_S
                if outcomes[-1].step is DeviceStep.UNKNOWN and early and not last:
                    lost.append(cut)
                else:
                    self._report(cut, outcomes)
            detail = "the session ended without an answer"
        except Exception as failure:  # a fault of this machine must leave no device without an outcome
            detail = Exception.__str__(failure) if isinstance(failure, OrchestratorError) else f"{type(failure).__name__}: {failure}"
        for cut in missing.values():
            self._report(cut, (Outcome(cut.device, DeviceStep.UNKNOWN, "", time.monotonic() - started, detail),))
        return lost
