"""The decisions about incidents: declaring one, ordering and judging cut-offs, trust in devices, what was done by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain import conditions
from orchestrator.domain.commands import Command
from orchestrator.domain.decide_records import sha256, time
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import EventMaker, stamp
from orchestrator.domain.state import SiteState
from orchestrator.errors import NotAllowed, Refused, UnknownName, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class DeclareIncident(Command):
    name: str
    title: str


@dataclass(frozen=True)
class OrderCutoff(Command):
    """Empty `profile`: the policy's default one."""

    profile: str
    reason: str


@dataclass(frozen=True)
class JudgeCutoff(Command):
    epoch: int
    ratified: bool
    reason: str


@dataclass(frozen=True)
class DistrustDevice(Command):
    device: str
    reason: str


@dataclass(frozen=True)
class TrustDevice(Command):
    device: str
    reason: str
    document_sha256: str


@dataclass(frozen=True)
class AttestManualAct(Command):
    """`done_at` RFC 3339; the document is optional."""

    device: str
    act: str
    done_at: str
    document_sha256: str = ""


def declare(state: SiteState, command: DeclareIncident, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """IncidentDeclared. Raises UsageError, Refused (rule `incident-known`)."""
    if not _NAME.fullmatch(command.name):
        raise UsageError(f"{command.name!r} is no name of an incident", advice="letters, digits and . _ -, for example 2026-INC-4")
    if any(known.name == command.name for known in state.incidents.declared):
        raise Refused(f"there is an incident {command.name} already", rule="incident-known", advice="give it another name")
    return (make(E.INCIDENT_DECLARED, {"incident": command.name, "title": _said(command.title, "title")}),)


def order_cutoff(state: SiteState, command: OrderCutoff, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """CutoffRequested: the emergency command that is started for it records the cut-off itself. Raises UnknownName."""
    policy = conditions.in_force(state).policy
    profile = command.profile or policy.default_profile
    if profile not in policy.profiles_by_name:
        raise UnknownName(f"there is no profile {profile!r}", advice=f"there is {', '.join(policy.profiles_by_name)}")
    return (make(E.CUTOFF_REQUESTED, {"profile": profile, "reason": _said(command.reason, "reason")}),)


def judge(state: SiteState, command: JudgeCutoff, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """CutoffRatified or CutoffContested. Raises UnknownName, NotAllowed (rule `cutoff-own`)."""
    known = state.incidents.cuts.get(command.epoch)
    if known is None or not state.counts(known.rehearsal):
        epochs = ", ".join(str(one.epoch) for one in state.incidents.cuts.values() if state.counts(one.rehearsal))
        raise UnknownName(f"there is no cut-off of epoch {command.epoch}", advice=f"there is {epochs or 'none'}")
    if known.by == command.actor:
        raise NotAllowed("you ordered this cut-off yourself", rule="cutoff-own", advice="somebody else ratifies or contests it")
    kind = E.CUTOFF_RATIFIED if command.ratified else E.CUTOFF_CONTESTED
    return (make(kind, {"epoch": known.epoch, "profile": known.profile, "reason": _said(command.reason, "reason")}),)


def distrust(state: SiteState, command: DistrustDevice, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """DeviceDistrusted: nothing is opened on it from now on. It stays closed as it is. Nothing when it is so already."""
    _known_device(state, command.device)
    if command.device in state.incidents.distrusted:
        return ()
    return (make(E.DEVICE_DISTRUSTED, {"reason": _said(command.reason, "reason")}, device=command.device),)


def trust(state: SiteState, command: TrustDevice, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """DeviceTrusted, by somebody else than who distrusted it. Raises UnknownName, NotAllowed (rule `trust-needs-a-second-person`)."""
    said = state.incidents.distrusted.get(command.device)
    if said is None:
        raise UnknownName(f"nobody distrusts {command.device!r}", advice="orchestrator device list")
    if said.by == command.actor:
        raise NotAllowed("you distrusted it yourself", rule="trust-needs-a-second-person", advice="somebody else looks at it too")
    body = {"reason": _said(command.reason, "reason"), "document_sha256": sha256(command.document_sha256)}
    return (make(E.DEVICE_TRUSTED, body, device=command.device),)


def manual_act(state: SiteState, command: AttestManualAct, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """ManualActAttested. Raises UnknownName, UsageError."""
    _known_device(state, command.device)
    done_at = time(command.done_at)
    if done_at > now:
        raise UsageError("what is attested has been done", advice="give the time at which it was done")
    body = {"act": _said(command.act, "act"), "done_at": stamp(done_at)}
    if command.document_sha256:
        body["document_sha256"] = sha256(command.document_sha256)
    return (make(E.MANUAL_ACT_ATTESTED, body, device=command.device),)


def _known_device(state: SiteState, device: str) -> None:
    names = sorted(known.name for known in conditions.in_force(state).site.devices)
    if device not in names:
        raise UnknownName(f"there is no device {device!r}", advice=f"there is {', '.join(names)}")


def _said(text: str, what: str) -> str:
    if not text.strip():
        raise UsageError(f"the {what} is empty")
    return text.strip()
