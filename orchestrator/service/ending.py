"""The end of what was open until a time: read back that the device has closed by itself, close what has not, say so.

Only subtracts. A device that cannot be read back keeps its stage out of `ended`: it is `failed`, and tried again.
"""

from __future__ import annotations

from orchestrator.domain import expiry
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.stages import StageState
from orchestrator.errors import DeviceError, IllegalTransition
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps, Expectation, without_held
from orchestrator.service.journal import Journal
from orchestrator.service.reverting import close_and_read_back


def end(collaborators: Collaborators, journal: Journal, stage: str) -> None:
    """From `open`, `partially-open`, `observing` or `failed` to `ended`; to `failed` when a device is not known to be closed.

    Nothing to do for a stage that somebody closed, or whose end was moved, in the meantime.
    """
    status = journal.state().stage(stage)
    if status.state not in expiry.MAY_END or not expiry.is_over(status, journal.now()):
        return
    by_itself = _has_closed(collaborators, journal, stage)
    problems = [] if by_itself else close_and_read_back(collaborators, journal, stage, strict=False)
    if not problems:
        body: dict[str, object] = {"ends_at": status.ends_at, "closed_by": "the devices" if by_itself else "the orchestrator"}
        type_ = E.STAGE_ENDED
    elif status.state is StageState.FAILED:
        return  # said so already
    else:
        type_, body = E.STAGE_FAILED, {"reason": f"its time is over, and it is not known to be closed: {'; '.join(problems)}"[:1000]}
    try:
        journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, stage=stage)])
    except IllegalTransition:
        return  # a cut-off or a person was faster; what is closed stays closed


def _has_closed(collaborators: Collaborators, journal: Journal, stage: str) -> bool:
    """Whether every device that held something of the stage reads back without it; recorded, and settled where it does."""
    state = journal.state()
    plan = state.stage(stage).plan
    steps = DeviceSteps(collaborators, journal, stage, lambda: None)
    expected, settles = {}, {}
    for part in plan.devices if plan is not None else ():
        device = state.device(part.device)
        if stage in device.pending:
            return False  # more than its end may be the matter: it is closed
        if stage in device.openings or stage in device.releases:
            change = without_held(part.change, device, stage)
            expected[part.device] = Expectation(
                {}, None, frozenset(), frozenset(), shut=frozenset(change.releases), only_absent=frozenset(change.elements)
            )
            settles[part.device] = part.change
    if not expected:
        return True
    try:
        steps.read_back(expected, settles=settles, action="close")
    except DeviceError:
        return False
    return True
