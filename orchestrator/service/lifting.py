"""Lifting the layer (being written)."""

from __future__ import annotations

import threading

from orchestrator.domain.state import SiteState
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal
from orchestrator.service.turn import Turn


def lifts(state: SiteState, stage: str) -> bool:
    """Whether the stage's plan lifts the layer."""
    plan = state.stage(stage).plan
    return plan is not None and plan.lifts


class Lifting:
    def __init__(self, collaborators: Collaborators, journal: Journal, stage: str, stopping: threading.Event, turn: Turn) -> None:
        self._with, self._journal, self._stage, self._stopping, self._turn = collaborators, journal, stage, stopping, turn

    def run(self) -> None:
        raise NotImplementedError

    def observe(self) -> None:
        raise NotImplementedError
