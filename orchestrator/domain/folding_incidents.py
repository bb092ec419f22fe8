"""Incidents, cut-offs and what was said of them, trust in devices, manual acts, folded into the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.incidents import CutRecord, Distrust, Incident, Judgement, ManualAct
from orchestrator.domain.state import SiteState


def cut(state: SiteState, event: Event) -> SiteState:
    """A cut-off's order or one of its outcomes; an outcome that came first, from the spool, makes its record."""
    body, cuts = event.body, dict(state.incidents.cuts)
    epoch = int(body["epoch"])
    known = cuts.get(epoch) or CutRecord(epoch, str(body.get("profile", "")), event.actor, "", event.at, rehearsal=_rehearsal(event))
    if event.type is E.CUTOFF_ORDERED:
        by = str(body.get("by") or event.actor)
        known = replace(known, profile=str(body.get("profile", "")), by=by, reason=str(body.get("reason") or ""), at=event.at)
    elif event.type in (E.CUTOFF_VERIFIED, E.CUTOFF_PARTIAL):
        known = replace(known, verdict="verified" if event.type is E.CUTOFF_VERIFIED else "partial")
    return _with(state, cuts={**cuts, epoch: known})


def _judged(state: SiteState, event: Event) -> SiteState:
    known = state.incidents.cuts[int(event.body["epoch"])]
    said = Judgement(event.type is E.CUTOFF_RATIFIED, str(event.body["reason"]), event.actor, event.at)
    return _with(state, cuts={**state.incidents.cuts, known.epoch: replace(known, judgements=(*known.judgements, said))})


def _declared(state: SiteState, event: Event) -> SiteState:
    """Events without an `incident` name none."""
    name = event.body.get("incident")
    if not isinstance(name, str):
        return state
    made = Incident(name, str(event.body.get("title", "")), event.actor, event.at, event.seq, _rehearsal(event))
    return _with(state, declared=(*state.incidents.declared, made))


def _distrusted(state: SiteState, event: Event) -> SiteState:
    made = Distrust(str(event.device), str(event.body["reason"]), event.actor, event.at, _rehearsal(event))
    return _with(state, distrusted={**state.incidents.distrusted, made.device: made})


def _trusted(state: SiteState, event: Event) -> SiteState:
    return _with(state, distrusted={name: kept for name, kept in state.incidents.distrusted.items() if name != event.device})


def _manual_act(state: SiteState, event: Event) -> SiteState:
    body = event.body
    made = ManualAct(
        str(event.device), body["act"], body["done_at"], event.actor, event.at, event.seq,
        body.get("document_sha256", ""), _rehearsal(event),
    )  # fmt: skip
    return _with(state, manual_acts=(*state.incidents.manual_acts, made))


def _with(state: SiteState, **changed: Any) -> SiteState:
    return replace(state, incidents=replace(state.incidents, **changed))


def _rehearsal(event: Event) -> bool:
    return event.body.get("rehearsal") is True


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.INCIDENT_DECLARED: _declared,
    E.CUTOFF_RATIFIED: _judged,
    E.CUTOFF_CONTESTED: _judged,
    E.DEVICE_DISTRUSTED: _distrusted,
    E.DEVICE_TRUSTED: _trusted,
    E.MANUAL_ACT_ATTESTED: _manual_act,
}
