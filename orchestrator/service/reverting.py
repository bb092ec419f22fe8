"""Closing a stage again: in reverse order, coarse devices before the flow devices behind them, each one read back.

Closing only subtracts: it needs no votes, no epoch and, if the log cannot be written, not even the log.

What is closed is what the log says that the stage holds, its plan's part or more: a guard that another stage needs as well is
handed over to that one first. What it takes from others is said by name, and what stays open because others hold it as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

from orchestrator.domain import conditions
from orchestrator.domain.decide_reisolation import handed_over
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.owed import handing_over, held_by, kept_for, taken_from, whole
from orchestrator.domain.plan import DevicePlan, RenderedScript
from orchestrator.domain.stage_names import base
from orchestrator.domain.state import DeviceStatus, SiteState
from orchestrator.domain.undeclared import undeclared
from orchestrator.errors import DeviceError, IllegalTransition, LogUnavailable
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps, Expectation, without_held
from orchestrator.service.fencing import fence_what_hangs
from orchestrator.service.journal import Journal
from orchestrator.service.putting_back import put_back

_ATTEMPTS = 3
_PAUSE_S = 2.0


def revert(collaborators: Collaborators, journal: Journal, stage: str) -> None:
    """From `reverting` to `reverted`, or to `failed` when a device is not as it was before."""
    heirs = list(handing_over(journal.state(), stage))
    _hand_over(journal, stage)
    state = journal.state()
    takes = taken_from(state, whole(state, stage))
    said = [f"it took something from {held.flow} with {held.partner} ({held.stage}) on {device}" for held, device in takes]
    stays = kept_for(state, stage)
    said += [f"{device} keeps what it shares with {held.flow} with {held.partner} ({held.stage}) open" for held, device in stays]
    said += [f"{device} keeps {', '.join(guards)} released for {heir}" for device, heir, guards in heirs]
    problems = close_and_read_back(collaborators, journal, stage, strict=True)
    type_, why = (E.STAGE_FAILED, problems) if problems else (E.STAGE_REVERTED, [_why(journal, stage), *said])
    body: dict[str, object] = {"reason": "; ".join(why)[:1000]}
    if takes:
        body["takes"] = [[*held, device] for held, device in takes]
    if stays:
        body["stays"] = [[*held, device] for held, device in stays]
    try:
        journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, stage=stage)])
    except IllegalTransition:
        return  # a cut-off came in the meantime: the stage is suspended, and what we closed stays closed


def close_and_read_back(
    collaborators: Collaborators, journal: Journal, stage: str, *, strict: bool, only: Collection[str] | None = None
) -> list[str]:
    """Closes what the log says the stage has, or may have, on each device. Returns what is not as it should be.

    `strict`: a device must read back as it was without the stage; otherwise (after a cut-off, which has laid layers of its
    own) it must only not hold anything of the stage. What the stage names `back_first` is closed on every device before the rest.
    A device that never answered what was sent to open it is fenced as well: until that is read back, it stays unknown.
    `only`: on these devices; the others cannot be read.
    """
    plan = journal.state().stage(stage).plan
    if plan is not None and plan.lifts:
        return put_back(collaborators, journal, stage, only)
    steps = DeviceSteps(collaborators, journal, stage, lambda: None)
    _hand_over(journal, stage)
    problems: list[str] = []
    devices = [device for device in _parts(collaborators, journal.state(), stage) if only is None or device.device in only]
    problems += _unplanned_and_gone(journal.state(), stage, devices, only)
    _close_first(journal, steps, devices)
    for order in sorted({device.order for device in devices}, reverse=True):
        group = [device for device in devices if device.order == order]
        problems += _close(collaborators, journal, steps, group, strict=strict)
    return problems


def _hand_over(journal: Journal, stage: str) -> None:
    with contextlib.suppress(LogUnavailable):
        journal.decide(lambda state, now: handed_over(state, EventMaker(state, ORCHESTRATOR, now), stage))


def _parts(collaborators: Collaborators, state: SiteState, stage: str) -> list[DevicePlan]:
    """The devices of the plan, and those on which the log says that the stage holds more than that."""
    status = state.stage(stage)
    parts = {part.device: part for part in (status.plan.devices if status.plan is not None else ())}
    for device in state.devices.values():
        held, part = held_by(status, device), parts.get(device.name)
        known = set(part.change.elements) if part is not None else set()
        more = tuple(item for item in held.openings if item.element not in known) if held is not None else ()
        ports = tuple(port for port in held.releases if part is None or port not in part.change.releases) if held is not None else ()
        if (more or ports) and not undeclared(state, [device.name]):
            change = DeviceChange(
                device=device.name,
                openings=(*(part.change.openings if part is not None else ()), *more),
                releases=(*(part.change.releases if part is not None else ()), *ports),
            )
            parts[device.name] = _rendered(collaborators, state, change)
    return list(parts.values())


def _unplanned_and_gone(state: SiteState, stage: str, parts: Sequence[DevicePlan], only: Collection[str] | None) -> list[str]:
    """Devices where the stage holds something, without a part of its plan, that are in the inventory no more: why they stay open."""
    planned = {part.device for part in parts}
    names = [device.name for device in state.devices.values() if device.name not in planned and _concerned(device, stage)]
    return list(undeclared(state, [name for name in names if only is None or name in only]).values())


def _rendered(collaborators: Collaborators, state: SiteState, change: DeviceChange) -> DevicePlan:
    """A part that nobody has voted on: only its closing is ever sent."""
    platform = conditions.in_force(state).site.device(change.device).platform
    close = collaborators.dialect_for(platform).close(change)
    text = RenderedScript(kind=close.kind, command=close.command, text=close.text)
    order = 1 if change.releases else 0
    return DevicePlan(device=change.device, platform=platform, order=order, change=change, open=text, confirm=text, close=text)


def _close_first(journal: Journal, steps: DeviceSteps, devices: Sequence[DevicePlan]) -> None:
    """The openings of the flows that go back first, all devices at once; the round that follows covers what fails here."""
    state = journal.state()
    declared = state.ratified.policy.stages_by_name.get(base(steps.stage)) if state.ratified is not None else None
    first = frozenset(declared.back_first) if declared is not None else frozenset()
    parts = []
    for plan in devices if first else ():
        held = without_held(plan.change, state.device(plan.device), steps.stage)
        chosen = tuple(opening for opening in held.openings if opening.flow in first)
        if chosen and _concerned(state.device(plan.device), steps.stage):
            parts.append((plan, DeviceChange(device=plan.device, openings=chosen)))
    if not parts:
        return
    steps.change("close", parts, confirm_s=0)
    expected = {
        plan.device: Expectation({}, None, frozenset(), frozenset(), only_absent=frozenset(change.elements)) for plan, change in parts
    }
    with contextlib.suppress(DeviceError):
        steps.read_back(expected, settles={}, action="close-first")


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
        parts = [(plan, changes[plan.device]) for plan in left if not changes[plan.device].is_empty]
        if parts:  # where others hold all of it there is nothing to send; it is read back all the same
            steps.change("close", parts, confirm_s=0)
        unfenced = fence_what_hangs(collaborators, journal, steps.stage, list(changes))
        state = journal.state()
        expected = {name: _expected(state, name, change, steps, strict=strict) for name, change in changes.items()}
        try:
            steps.read_back(expected, settles={plan.device: plan.change for plan in left}, action="close", unread=unfenced)
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
        ending, guards = device.ending(but=steps.stage), device.ending_guards(but=steps.stage)
        return Expectation(
            device.slots, device.epoch, others, ending, newest=state.epoch,
            shut=frozenset(change.releases), released=released, ending=ending, ending_guards=guards,
        )  # fmt: skip
    return Expectation(device.slots, None, others, frozenset(), shut=frozenset(change.releases), only_absent=frozenset(change.elements))


def _why(journal: Journal, stage: str) -> str:
    return journal.state().stage(stage).detail
