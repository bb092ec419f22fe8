"""What is said when a stage has been verified and observed: open, or partially open; and what that makes of its stage when
it is a supplement."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.stage_names import base, is_supplement, supplements
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState

Conversation = tuple[str, str]


def opened(state: SiteState, stage: str, now: datetime) -> tuple[NewEvent, ...]:
    """StageOpened or StagePartiallyOpened; of a supplement that completes its stage, that of the stage as well."""
    make = EventMaker(state, ORCHESTRATOR, now)
    status = state.stage(stage)
    body: dict[str, object] = {"plan_digest": status.plan_digest}
    if status.plan is not None and status.plan.window is not None:
        body["ends_at"] = status.plan.window.ends
    if is_supplement(stage):
        parent = state.stage(base(stage))
        found = [make(E.STAGE_OPENED, body, stage=stage)]
        if parent.state is StageState.PARTIALLY_OPEN and not _left(state, parent.name, also=stage):
            completed = {"plan_digest": parent.plan_digest, "completed_by": stage}
            found.append(make(E.STAGE_OPENED, completed, stage=parent.name))
        return tuple(found)
    type_ = E.STAGE_PARTIALLY_OPENED if _left(state, stage, also=stage) else E.STAGE_OPENED
    return (make(type_, body, stage=stage),)


def open_conversations(state: SiteState, stage: str, also: str = "") -> frozenset[Conversation]:
    """What the stage and its supplements let through; `also` counts the one of this name as open already."""
    found = set()
    for name in (stage, *supplements(stage, state.stages)):
        status = state.stage(name)
        if name == also or status.state in LETS_THROUGH:
            wanted = (ConversationState.OPENING, ConversationState.OPEN) if name == also else (ConversationState.OPEN,)
            found |= {pair for pair, held in status.conversations.items() if held in wanted}
    return frozenset(found)


def _left(state: SiteState, stage: str, also: str) -> frozenset[Conversation]:
    """What the stage declares and nobody has opened."""
    return frozenset(state.stage(stage).conversations) - open_conversations(state, stage, also)


def to_be_planned(state: SiteState, stage: str) -> str:
    """The name under which the stage is planned now: its own, or, while it is partially open, that of a supplement."""
    if is_supplement(stage) or state.stage(stage).state is not StageState.PARTIALLY_OPEN:
        return stage
    made = supplements(stage, state.stages)
    if made and state.stage(made[-1]).state not in LETS_THROUGH:
        return made[-1]
    return f"{stage}+{len(made) + 2}"
