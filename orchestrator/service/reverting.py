"""Closing a stage again: in reverse order, coarse devices before the flow devices behind them, each one read back.

Closing only subtracts: it needs no votes, no epoch and, if the log cannot be written, not even the log.
"""

from __future__ import annotations

from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.plan import DevicePlan
from orchestrator.domain.state import DeviceStatus, SiteState
from orchestrator.errors import DeviceError, IllegalTransition
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps, Expectation, without_held
from orchestrator.service.journal import Journal

_ATTEMPTS = 3
_PAUSE_S = 2.0


def revert(collaborators: Collaborators, journal: Journal, stage: str) -> None:
    """From `reverting` to `reverted`, or to `failed` when a device is not as it was before."""
    problems = close_and_read_back(collaborators, journal, stage, strict=True)
    type_, body = (
        (E.STAGE_FAILED, {"reason": "; ".join(problems)[:1000]}) if problems else (E.STAGE_REVERTED, {"reason": _why(journal, stage)})
    )
    try:
        journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, stage=stage)])
    except IllegalTransition:
        return  # a cut-off came in the meantime: the stage is suspended, and what we closed stays closed


def close_and_read_back(collaborators: Collaborators, journal: Journal, stage: str, *, strict: bool) -> list[str]:
    """Closes what the log says the stage has, or may have, on each device. Returns what is not as it should be.

    `strict`: a device must read back as it was without the stage; otherwise (after a cut-off, which has laid layers of its
    own) it must only not hold anything of the stage.
    """
    steps = DeviceSteps(collaborators, journal, stage, lambda: None)
    plan = journal.state().stage(stage).plan
    problems: list[str] = []
    devices = plan.devices if plan else ()
    for order in sorted({device.order for device in devices}, reverse=True):
        group = [device for device in devices if device.order == order]
        problems += _close(collaborators, journal, steps, group, strict=strict)
    return problems


def _close(collaborators: Collaborators, journal: Journal, steps: DeviceSteps, group: list[DevicePlan], *, strict: bool) -> list[str]:
    """One group of devices, up to three times: a device may be busy, or may come back."""
    problem = ""
    for attempt in range(_ATTEMPTS):
        state = journal.state()
        left = [device for device in group if _concerned(state.device(device.device), steps.stage)]
        if not left:
            return []
        if attempt:
            collaborators.wait(_PAUSE_S)
        changes = {plan.device: without_held(plan.change, state.device(plan.device), steps.stage) for plan in left}
        steps.change("close", [(plan, changes[plan.device]) for plan in left], confirm_s=0)
        expected = {name: _expected(state, name, change, steps, strict=strict) for name, change in changes.items()}
        try:
            steps.read_back(expected, settles={plan.device: plan.change for plan in left}, action="close")
            return []
        except DeviceError as error:
            problem = str(error)
    return [problem]


def _concerned(device: DeviceStatus, stage: str) -> bool:
    """Whether anything of the stage lies there, or may."""
    return stage in device.pending or stage in device.openings or stage in device.releases


def _expected(state: SiteState, name: str, change: DeviceChange, steps: DeviceSteps, *, strict: bool) -> Expectation:
    device = state.device(name)
    others = device.held_by_others(steps.stage)
    released = device.released - set(change.releases)
    if strict:
        return Expectation(device.slots, device.epoch, others, frozenset(), shut=frozenset(change.releases), released=released)
    return Expectation(device.slots, None, others, frozenset(), shut=frozenset(change.releases), only_absent=frozenset(change.elements))


def _why(journal: Journal, stage: str) -> str:
    return journal.state().stage(stage).detail
