"""Further evidence of step 7: what the devices themselves have counted through the stage's openings while they were probed.

It opens and closes nothing: a counter that cannot be read, or stands still, is recorded and told. Nothing counted on a device
although probes came through means that they went another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain import conditions
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import Element, Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps, element_text
from orchestrator.service.journal import Journal
from orchestrator.service.parts import Part

_MOST = 20  # silent openings that are named


@dataclass(frozen=True)
class Counters:
    """Of the devices of one stage."""

    collaborators: Collaborators
    journal: Journal
    steps: DeviceSteps
    stage: str

    def read(self, parts: Sequence[Part]) -> None:
        """Records one CountersRead; nothing where no device of the stage counts. Raises LogUnavailable."""
        site = conditions.in_force(self.journal.state()).site
        asked = {
            part.plan.device: part.change.elements
            for part in parts
            if part.change.elements and self.collaborators.dialect_for(site.device(part.plan.device).platform).traits.counts
        }
        if not asked:
            return
        counted, unread = {}, {}
        for name, seen in self.steps.read(list(asked)).items():
            if isinstance(seen, str):
                unread[name] = seen
            else:
                counted[name] = _counted(asked[name], seen)
        body = {"counted": counted, "unread": unread}
        self.journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.COUNTERS_READ, body, stage=self.stage)])


def _counted(elements: Sequence[Element], seen: Observed) -> dict[str, object]:
    packets = dict(seen.counted)
    silent = [element_text(element) for element in elements if not packets.get(element)]
    return {
        "openings": len(elements),
        "counting": len(elements) - len(silent),
        "packets": sum(packets.get(element, 0) for element in elements),
        "silent": silent[:_MOST],
    }
