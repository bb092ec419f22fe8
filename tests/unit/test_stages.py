"""The two state machines: every (state, event) pair, and the documents that show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.domain import conversation_states, device_step_states, posture, stages
from orchestrator.domain.events import EventType
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.stages import StageState
from orchestrator.domain.transitions import mermaid
from orchestrator.errors import IllegalTransition

# Written by hand a second time, so that a slip in the table shows: state → event → new state, all else is refused.
ENDS = ("reverted", "suspended", "stale", "denied", "cancelled", "expired", "ended", "deferred")
PASSING = ("open", "partially-open")
LEGAL = {
    ("draft", "StagePlanned"): "planned",
    ("draft", "CutoffOrdered"): "draft",
    **{(state, "StagePlanned"): "planned" for state in ("planned", "awaiting-approval", "approved", *ENDS)},
    **{(state, "VotesVoided"): "planned" for state in ("planned", "awaiting-approval", "approved")},
    **{(state, "VotesVoided"): state for state in ENDS},
    **{(state, "CutoffOrdered"): state for state in ENDS},
    **{(state, "StageDeferred"): "deferred" for state in ("draft", *ENDS)},
    ("suspended", "StageResumed"): "applying",
    ("planned", "VoteCast"): "awaiting-approval",
    ("awaiting-approval", "VoteCast"): "awaiting-approval",
    ("approved", "VoteCast"): "approved",
    **{
        (state, event): after
        for state in ("planned", "awaiting-approval", "approved")
        for event, after in (
            ("StageApproved", "approved"),
            ("StageDenied", "denied"),
            ("StageCancelled", "cancelled"),
            ("StageExpired", "expired"),
            ("StageStale", "stale"),
            ("CutoffOrdered", "stale"),
        )
    },
    ("approved", "StageApplying"): "applying",
    ("applying", "StageStale"): "stale",
    ("applying", "StageVerifying"): "verifying",
    ("verifying", "StageObserving"): "observing",
    ("observing", "StageOpened"): "open",
    ("observing", "StagePartiallyOpened"): "partially-open",
    ("partially-open", "StageOpened"): "open",
    **{(state, "StageNarrowed"): "partially-open" for state in PASSING},
    **{(state, "StageEnded"): "ended" for state in ("observing", *PASSING, "failed")},
    **{(state, "StageReverting"): "reverting" for state in ("applying", "verifying", "observing", *PASSING, "failed")},
    **{(state, "StageFailed"): "failed" for state in ("applying", "verifying", "observing", *PASSING, "reverting")},
    ("reverting", "StageReverted"): "reverted",
    **{
        (state, event): "suspended"
        for state in ("applying", "verifying", "observing", *PASSING, "reverting", "failed")
        for event in ("StageSuspended", "CutoffOrdered")
    },
}
POSTURES = {
    **{(state.value, "CutoffOrdered"): "isolating" for state in SitePosture},
    ("isolating", "CutoffVerified"): "isolated",
    ("isolated", "CutoffVerified"): "isolated",
    ("partially-isolated", "CutoffVerified"): "isolated",
    ("restoring", "CutoffVerified"): "restoring",
    **{(state, "CutoffPartial"): "partially-isolated" for state in ("isolating", "isolated", "partially-isolated", "restoring")},
    **{(state, event): "restoring" for state in ("isolated", "restoring") for event in ("StageApplying", "StageResumed")},
    **{(state, "LayerLifted"): "surveillance" for state in ("isolated", "partially-isolated", "restoring")},
    ("surveillance", "SurveillanceEnded"): "normal",
}


@pytest.mark.parametrize("state", list(StageState))
@pytest.mark.parametrize("event", list(EventType))
def test_every_pair_of_a_stage(state: StageState, event: EventType) -> None:
    expected = LEGAL.get((state.value, event.value))
    if expected is None:
        with pytest.raises(IllegalTransition) as refusal:
            stages.after(state, event, "P4-images")
        assert refusal.value.rule == "illegal-transition"
        assert "P4-images" in str(refusal.value)
    else:
        assert stages.after(state, event) == expected


@pytest.mark.parametrize("state", list(SitePosture))
@pytest.mark.parametrize("event", list(EventType))
def test_every_pair_of_the_posture(state: SitePosture, event: EventType) -> None:
    expected = POSTURES.get((state.value, event.value))
    if expected is None:
        with pytest.raises(IllegalTransition):
            posture.after(state, event)
    else:
        assert posture.after(state, event) == expected


S = TypeVar("S")


def _reached(table: Mapping[S, Mapping[EventType, S]], initial: S, without: EventType | None = None) -> set[S]:
    reached, front = {initial}, [initial]
    while front:
        for event, target in table[front.pop()].items():
            if event is not without and target not in reached:
                reached.add(target)
                front.append(target)
    return reached


def test_every_state_is_reached() -> None:
    assert _reached(stages.TABLE, stages.INITIAL) == set(StageState)
    assert _reached(posture.TABLE, posture.INITIAL) == set(SitePosture)


def test_nothing_is_applied_or_open_without_approval() -> None:
    """`suspended` alone can be resumed: it was approved and open before, and the resumption has votes of its own."""
    reached = _reached(stages.TABLE, stages.INITIAL, without=EventType.STAGE_APPROVED)
    assert reached.isdisjoint({StageState.APPLYING, StageState.VERIFYING, StageState.OBSERVING, *stages.LETS_THROUGH})


DIAGRAMS = {
    "stage": mermaid(stages.TABLE, stages.INITIAL),
    "posture": mermaid(posture.TABLE, posture.INITIAL),
    "conversation": mermaid(conversation_states.TABLE, conversation_states.INITIAL),
    "device step": mermaid(device_step_states.TABLE, device_step_states.INITIAL),
}


@pytest.mark.parametrize("machine", DIAGRAMS)
def test_the_documentation_shows_the_tables(machine: str) -> None:
    text = Path("docs/stages.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{DIAGRAMS[machine]}```" in text
