"""Deadlines on devices, renewed while their approved end is further away than what a platform holds (or has been moved).

The same fenced `confirm` with the new remaining time: intent before it, read-back after it. What a device has closed by itself
is never opened again by this: its stage is suspended, and needs a new plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from orchestrator.domain import expiry
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.plan import DevicePlan
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.errors import DeviceRefused, IllegalTransition
from orchestrator.ports import DeviceStep
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.deadlines import TimeIsUp, UntilThen, until_then
from orchestrator.service.device_steps import DeviceSteps, Expectation, without_held
from orchestrator.service.fencing import fence_what_hangs
from orchestrator.service.journal import Journal

HOLDS = LETS_THROUGH | {StageState.OBSERVING}


class _Moved(Exception):
    """A cut-off came, or the stage was closed or extended, while this was at work."""


def to_be_renewed(state: SiteState, status: StageStatus, journal: Journal) -> list[DevicePlan]:
    """The stage's devices whose deadline is to be renewed, or must have passed although the stage is to be open longer."""
    if status.state not in HOLDS or not status.ends_at or not expiry.closes(status) or status.plan is None:
        return []
    ends, now = moment(status.ends_at), journal.now()
    found = []
    for part in status.plan.devices:
        deadline = state.device(part.device).deadlines.get(status.name)
        if deadline and now < ends and (expiry.renewal_due(deadline, ends, now) or expiry.closed_early(deadline, ends, now)):
            found.append(part)
    return found


def renew(collaborators: Collaborators, journal: Journal, stage: str) -> None:
    """Raises DeviceError for a device that cannot be read or refuses: it closes by itself, and this is tried again before."""
    state = journal.state()
    status = state.stage(stage)
    parts = to_be_renewed(state, status, journal)
    # What a device has never answered may still arrive, hours late, and would close as much too late: fenced before another is sent.
    late_ones = fence_what_hangs(collaborators, journal, stage, [part.device for part in parts])
    parts = [part for part in parts if part.device not in late_ones]
    state = journal.state()
    epoch = state.epoch

    def guard() -> None:
        now = journal.state()
        if now.epoch != epoch or now.stage(stage).state not in HOLDS or now.stage(stage).ends_at != status.ends_at:
            raise _Moved

    steps = DeviceSteps(collaborators, journal, stage, guard)
    seen = steps.read([part.device for part in parts])
    closed = [name for name, found in seen.items() if not isinstance(found, str) and _expected(state, stage, name).differences(found)]
    if closed:
        _suspend(journal, stage, closed)
        return
    unread = [f"{name}: {why}" for name, why in late_ones.items()]
    unread += [f"{name}: {found}" for name, found in seen.items() if isinstance(found, str)]
    known = {name: found for name, found in seen.items() if isinstance(found, Observed)}
    steps.record_found({name: found for name, found in known.items() if state.device(name).step is not DeviceStepState.APPLIED})
    late = {name: _late(state, status, name) for name in known}
    try:
        _send(collaborators, journal, steps, [part for part in parts if part.device in known], moment(status.ends_at), late)
    except (_Moved, TimeIsUp):
        return
    if unread:
        raise DeviceRefused("; ".join(unread))


def _send(
    collaborators: Collaborators, journal: Journal, steps: DeviceSteps, parts: list[DevicePlan], ends: datetime, late: Mapping[str, int]
) -> None:
    if not parts:
        return
    state = journal.state()
    then = until_then(collaborators, parts, ends, late)
    changes = [(part, without_held(part.change, state.device(part.device), steps.stage)) for part in parts]
    outcomes = steps.change("confirm", changes, 0, then)
    expected = {part.device: _expected(state, steps.stage, part.device, then) for part in parts}
    steps.read_back(expected, settles={part.device: part.change for part in parts}, action="confirm", then=then)
    refused = [f"{name}: {outcome.detail}" for name, outcome in outcomes.items() if outcome.step is not DeviceStep.APPLIED]
    if refused:
        raise DeviceRefused("; ".join(refused))
    journal.decide(
        lambda state, now: [
            EventMaker(state, ORCHESTRATOR, now)(
                E.DEADLINE_RENEWED,
                {"sent_s": then.seconds[name], "closes_at": state.device(name).deadlines[steps.stage].closes_at, "ends_at": stamp(ends)},
                stage=steps.stage,
                device=name,
            )
            for name in then.seconds
            if steps.stage in state.device(name).deadlines
        ]
    )


def _late(state: SiteState, status: StageStatus, device: str) -> int:
    deadline = state.device(device).deadlines[status.name]
    return deadline.late_s + expiry.late_by(deadline, moment(status.ends_at))


def _expected(state: SiteState, stage: str, name: str, then: UntilThen | None = None) -> Expectation:
    """Nothing but that the stage's own openings are there, with a deadline; what else lies there is the watch's business."""
    device = state.device(name)
    elements = frozenset(device.openings.get(stage, ())) & device.ending()
    return Expectation(
        {}, None, frozenset(), frozenset(),
        released=frozenset(device.releases.get(stage, ())), only_present=elements,
        left=then.left(name, elements) if then is not None and elements else {},
    )  # fmt: skip


def _suspend(journal: Journal, stage: str, devices: list[str]) -> None:
    """What is left of it on other devices is closed with all that a suspended stage leaves behind."""
    reason = f"{', '.join(sorted(devices))} closed by itself before the end: nobody was there to renew it"
    try:
        journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.STAGE_SUSPENDED, {"reason": reason}, stage=stage)])
    except IllegalTransition:
        return
