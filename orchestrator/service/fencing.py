"""Fencing devices: after a takeover, a re-isolation or a recovery no command of an older epoch opens anything there any more.

A fence only subtracts, so the cut key sends it. What the device answers is not believed: it is read back.
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.domain import conditions
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.state import SiteState
from orchestrator.domain.undeclared import undeclared
from orchestrator.errors import DeviceError, LogUnavailable
from orchestrator.ports import Credential, DeviceStep, Outcome
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal


def without_fence(state: SiteState) -> tuple[str, ...]:
    """Devices that hold a layer by the log, and have not been read back at the epoch that the last raise asks of them."""
    return tuple(
        device.name for device in state.devices.values() if device.slots and (device.epoch is None or device.epoch < state.fence_epoch)
    )


def fence(collaborators: Collaborators, journal: Journal, names: Collection[str]) -> dict[str, str]:
    """Fences these devices, in parallel, at the epoch in force; records DeviceFenced for each. Returns those that are not
    fenced, with the reason: they are owed it still. Raises LogUnavailable."""
    state = journal.state()
    epoch = state.epoch
    holding = [name for name in names if state.device(name).slots]
    if not holding:
        return {}
    gone = undeclared(state, holding)
    known = [name for name in holding if name not in gone]
    site = conditions.in_force(state).site
    targets = {
        collaborators.target_for(site.device(name)): (
            collaborators.dialect_for(site.device(name).platform).fence().filled(epoch=epoch),
            collaborators.dialect_for(site.device(name).platform).read_back(),
        )
        for name in known
    }
    found: dict[str, tuple[DeviceStep, str]] = {name: (DeviceStep.UNKNOWN, why) for name, why in gone.items()}
    run = collaborators.reader.run
    for answers in run(targets, credential=Credential.CUT, deadline_s=collaborators.device_deadline_s, verb="fence") if targets else ():
        name = answers[0].device
        found[name] = _judged(collaborators, site.device(name).platform, answers, epoch)
    journal.decide(
        lambda state, now: [
            EventMaker(state, ORCHESTRATOR, now)(
                E.DEVICE_FENCED, {"epoch": epoch, "step": step.value, "detail": detail[:400]}, device=name
            )
            for name, (step, detail) in found.items()
        ]
    )  # fmt: skip
    return {name: detail or step.value for name, (step, detail) in found.items() if step is not DeviceStep.APPLIED}


def raise_and_fence(collaborators: Collaborators, journal: Journal, names: Collection[str], *, why: str) -> dict[str, str]:
    """A new epoch, in the log first, and these devices fenced at it. Returns those that are not, as `fence`. Raises LogUnavailable."""
    epoch = collaborators.raise_epoch(journal.state().epoch)
    body = {"epoch": epoch, "why": why, "devices": sorted(names)}
    journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.EPOCH_RAISED, body)])
    return fence(collaborators, journal, names)


def fence_what_hangs(collaborators: Collaborators, journal: Journal, stage: str, among: Collection[str]) -> dict[str, str]:
    """Of these devices, those that never answered what was sent to open the stage there: a new epoch, so that it opens nothing when
    it arrives after all. Returns those that are not fenced, with the reason. Without a log none is: closing does not wait for it."""
    state = journal.state()
    names = [name for name in among if stage in state.device(name).hanging and state.device(name).slots]
    if not names:
        return {}
    try:
        missing = raise_and_fence(collaborators, journal, names, why="unknown")
    except LogUnavailable as without:
        missing = dict.fromkeys(names, str(without))
    return {name: f"what it has not answered may still arrive, for it is not fenced: {why}" for name, why in missing.items()}


def _judged(collaborators: Collaborators, platform: str, answers: tuple[Outcome, ...], epoch: int) -> tuple[DeviceStep, str]:
    """Fenced is what reads back at this epoch, or a newer one."""
    last = answers[-1]
    if last.step is not DeviceStep.APPLIED or len(answers) < 2:
        return (DeviceStep.UNKNOWN if last.step is DeviceStep.APPLIED else last.step), last.detail
    try:
        seen = collaborators.dialect_for(platform).parse(last.output)
    except DeviceError as error:
        return DeviceStep.UNKNOWN, str(error)
    if seen.epoch is None or seen.epoch < epoch:
        return DeviceStep.REFUSED, f"it is still at epoch {seen.epoch}"
    return DeviceStep.APPLIED, ""
