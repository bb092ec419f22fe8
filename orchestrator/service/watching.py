"""The verbs of the drift watch, for people: look now, repair."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.domain import duties, eligibility
from orchestrator.domain.drift_status import DriftStatus
from orchestrator.domain.duties import Verb
from orchestrator.errors import NotActing, UnknownName
from orchestrator.service.drift import watched
from orchestrator.service.drift_repair import Repaired
from orchestrator.service.stages import Stages

WAITS_S = 45.0  # for whoever asked; what takes longer goes on without them


@dataclass(frozen=True)
class Watching:
    stages: Stages

    def look(self, actor: str, device: str | None = None) -> tuple[frozenset[str], dict[str, DriftStatus]]:
        """Which devices were read just now, and what stands on each; of the others what the log says was found last."""
        drift = self.stages.runner.drift
        known = drift.known(actor, device)
        try:
            now = drift.look(None if device is None else [device])
        except NotActing:
            now = {}  # the server that acts looks; this one tells
        return frozenset(now), {**known, **now}

    def repair(self, actor: str, devices: Collection[str] | None = None) -> dict[str, Repaired] | None:
        """Of these devices, or all; None when it goes on longer than anybody waits. Raises NotAllowed, UnknownName, NotActing."""
        state = self.stages.state()
        duties.require(Verb.DRIFT_REPAIR, eligibility.roles_of(state, actor, self.stages.journal.now()))
        self.stages.journal.require_acting()
        if unknown := sorted(set(devices or ()) - set(watched(state))):
            raise UnknownName(f"{unknown[0]} holds no layer by the log", advice="orchestrator drift")
        runner = self.stages.runner
        return runner.ask(lambda: runner.repair.repair(devices, by=actor), WAITS_S)
