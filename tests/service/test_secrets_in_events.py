"""A device that prints a secret while it is changed, refuses or is read back: no event holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.events import EventType as E
from orchestrator.domain.secrets_masked import LEFT_OUT, Masking
from orchestrator.ports import DeviceStep, Outcome
from orchestrator.service.answers import TAIL, answer_body
from orchestrator.simulation.hospital import SimulatedHospital
from tests.service.reopening import Reopening, after_the_cut
from tests.service.test_execution import LIFELINES

SECRET = "Tr0ub4dor&3-x9"
CHATTER = f"! last change by ops\nsnmp-server community {SECRET} RO\nenable secret 5 $1$abcd${SECRET}\n" + "interface eth1\n" * 20


class Talkative(SimulatedHospital):
    """Says more than it was asked, in its answer to every change; refuses the confirmation."""

    def __init__(self, reopening: Reopening) -> None:
        self.__dict__.update(reopening.hospital.__dict__)

    def _execute(self, *arguments: Any, **named: Any) -> Outcome:
        answer = super()._execute(*arguments, **named)
        script: Script = next(argument for argument in arguments if isinstance(argument, Script))
        if '"verb": "confirm"' in script.text:
            return Outcome(answer.device, DeviceStep.REFUSED, CHATTER, answer.seconds, f"the last line was: enable password {SECRET}")
        if '"verb": "open"' in script.text:
            return Outcome(answer.device, answer.step, answer.output + CHATTER, answer.seconds, answer.detail)
        return answer


@pytest.fixture
def reverted() -> Reopening:
    reopening = after_the_cut(approved=LIFELINES)
    reopening.hospital = Talkative(reopening)
    reopening.stages = reopening.server()
    assert reopening.apply(LIFELINES).state == "reverted"
    return reopening


def test_what_a_device_says_of_itself_comes_into_no_event(reverted: Reopening) -> None:
    events = list(reverted.log.read())
    assert not [event for event in events if SECRET in str(event.body)]
    changed = [event.body for event in events if event.type is E.DEVICE_CHANGED]
    assert any(LEFT_OUT in str(body["output_tail"]) or "interface eth1" in str(body["output_tail"]) for body in changed)
    assert any(f"enable password {LEFT_OUT}" in str(body["detail"]) for body in changed)
    reverting = next(event for event in events if event.type is E.STAGE_REVERTING)
    assert f"enable password {LEFT_OUT}" in reverting.body["reason"], "the reason of the revert repeats the device"


def test_the_end_of_an_output_is_cut_after_its_secrets_are_out() -> None:
    """The first letters of the tail may be the end of a secret whose name lies before it."""
    for filled in range(TAIL - 30, TAIL + 30):
        printed = f"enable password {SECRET}\n" + "x" * filled
        body: Mapping[str, object] = answer_body("open", Outcome("fw", DeviceStep.APPLIED, printed, 0.1, ""), Masking())
        assert not any(SECRET[-size:] in str(body["output_tail"]) for size in range(4, len(SECRET)))
