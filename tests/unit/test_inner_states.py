"""The two state machines within a stage, a flow with a partner and a device step: every (state, move) pair."""

from __future__ import annotations

import pytest

from orchestrator.domain import conversation_states, device_step_states
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.errors import IllegalTransition

# Written by hand a second time, so that a slip in a table shows: what is not here is refused.
NOTHING_LIES = ("closed", "deferred", "reisolated", "suspended", "ended")
LIES = ("opening", "open", "closing", "unknown")
CONVERSATION = {
    **{(state, "in the plan"): "planned" for state in (*NOTHING_LIES, "planned")},
    **{(state, "left out of the plan"): "deferred" for state in (*NOTHING_LIES, "planned")},
    **{
        (state, move): state
        for state in NOTHING_LIES
        for move in (
            "being laid", "verified and lasting", "the plan is dropped", "being closed", "read back closed", "a device is unknown",
            "closed alone", "cut off", "its time is over",
        )
    },
    ("planned", "being laid"): "opening",
    ("suspended", "being laid"): "opening",
    **{("planned", move): "planned" for move in ("verified and lasting", "being closed", "closed alone")},
    **{
        ("planned", move): "closed"
        for move in ("the plan is dropped", "read back closed", "a device is unknown", "cut off", "its time is over")
    },
    **{(state, "being closed"): "closing" for state in LIES},
    **{(state, "a device is unknown"): "unknown" for state in LIES},
    **{(state, "cut off"): "suspended" for state in LIES},
    **{(state, "its time is over"): "ended" for state in ("opening", "open", "unknown")},
    **{(state, "verified and lasting"): "open" for state in ("opening", "open")},
    ("opening", "the plan is dropped"): "closed",
    ("open", "closed alone"): "reisolated",
    ("closing", "read back closed"): "closed",
}  # fmt: skip
STEPS = ("untouched", "intended", "sent", "applied", "refused", "unknown")
DEVICE_STEP = {
    **{(state, "intent to close"): "intended" for state in STEPS},
    **{(state, "read back as expected"): "applied" for state in STEPS},
    **{(state, "read back otherwise"): "refused" for state in STEPS},
    **{(state, "could not be read back"): "unknown" for state in STEPS},
    **{(state, "intent to open or confirm"): "intended" for state in ("untouched", "intended", "sent", "applied")},
    **{(state, "answered: done"): "sent" for state in STEPS if state != "untouched"},
    **{(state, "answered: refused"): "refused" for state in STEPS if state != "untouched"},
    **{(state, "no answer"): "unknown" for state in STEPS if state != "untouched"},
}


@pytest.mark.parametrize("state", list(ConversationState))
@pytest.mark.parametrize("move", list(conversation_states.Move))
def test_every_pair_of_a_flow_with_a_partner(state: ConversationState, move: conversation_states.Move) -> None:
    expected = CONVERSATION.get((state.value, move.value))
    if expected is None:
        with pytest.raises(IllegalTransition) as refusal:
            conversation_states.after(state, move, "SMS with the operator")
        assert refusal.value.rule == "illegal-transition"
        assert "SMS with the operator" in str(refusal.value)
    else:
        assert conversation_states.after(state, move) == expected


@pytest.mark.parametrize("state", list(DeviceStepState))
@pytest.mark.parametrize("move", list(device_step_states.Move))
def test_every_pair_of_a_device_step(state: DeviceStepState, move: device_step_states.Move) -> None:
    expected = DEVICE_STEP.get((state.value, move.value))
    if expected is None:
        with pytest.raises(IllegalTransition) as refusal:
            device_step_states.after(state, move, "fw-ext")
        assert refusal.value.rule == "illegal-transition"
        assert "fw-ext" in str(refusal.value)
    else:
        assert device_step_states.after(state, move) == expected


def test_only_a_read_back_makes_applied() -> None:
    into = {move for (_, move), after in DEVICE_STEP.items() if after == "applied"}
    assert into == {"read back as expected"}


def test_nothing_is_opened_from_refused_or_unknown() -> None:
    for state in (DeviceStepState.REFUSED, DeviceStepState.UNKNOWN):
        assert device_step_states.Move.INTEND_TO_OPEN not in device_step_states.TABLE[state]
