"""Which events somebody wants to see: by type, actor, and what they are about. What is not said is not asked for."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.events import Event, EventType


@dataclass(frozen=True)
class EventFilter:
    """Every member that is given must fit; of several types one does."""

    types: frozenset[EventType] = frozenset()
    stage: str | None = None
    device: str | None = None
    actor: str | None = None

    def fits(self, event: Event) -> bool:
        return (
            (not self.types or event.type in self.types)
            and self.stage in (None, event.stage)
            and self.device in (None, event.device)
            and self.actor in (None, event.actor)
        )
