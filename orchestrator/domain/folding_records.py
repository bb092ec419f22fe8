"""What people and monitors put on record, folded into the state: evidence, attestations, readiness, reports, care, waivers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain import attestations, waivers
from orchestrator.domain.attestations import AttestationState
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.probes import Check, Purpose
from orchestrator.domain.state import (
    Attestation,
    CareResult,
    Counted,
    Evidence,
    MonitorReport,
    PartnerReadiness,
    SiteState,
    Witnessed,
    moment,
)
from orchestrator.domain.waivers import Waiver

_WORST_LAST = (Check.SUCCESSFUL, Check.INCONCLUSIVE, Check.FAILED)


def _evidence_attached(state: SiteState, event: Event) -> SiteState:
    body = event.body
    evidence = Evidence(
        body["kind"], event.stage, body.get("application"), body["document_sha256"], body.get("note", ""),
        event.actor, event.at, event.seq, _rehearsal(event), body.get("zone"), body.get("difference"),
    )  # fmt: skip
    return replace(state, evidence=(*state.evidence, evidence))


def _attestation_recorded(state: SiteState, event: Event) -> SiteState:
    """Events without a `way` are of before there was a table: they said accepted or refused, of theirs, from anywhere."""
    body = event.body
    way, to = body.get("way", "theirs"), AttestationState(body["state"])
    if "way" in body:
        before = state.attestation(body["partner"], way)
        standing = before.state_at(moment(event.at)) if before is not None else attestations.INITIAL
        attestations.after(standing, to, f"the attestation of {body['partner']}")
    attestation = Attestation(
        body["partner"], to, body["document_sha256"], body["valid_until"], body.get("note", ""),
        event.actor, event.at, event.seq, _rehearsal(event), way, body.get("reservation", ""),
    )  # fmt: skip
    return replace(state, attestations={**state.attestations, (attestation.partner, way): attestation})


def _partner_ready(state: SiteState, event: Event) -> SiteState:
    body = event.body
    said = PartnerReadiness(body["partner"], body["ready"], body.get("note", ""), event.actor, event.at, event.seq, _rehearsal(event))
    return replace(state, readiness={**state.readiness, said.partner: said})


def _partner_witnessed(state: SiteState, event: Event) -> SiteState:
    body = event.body
    seen = tuple((one["flow"], one["service"], one["saw"], one["words"]) for one in body["seen"])
    found = Witnessed(
        str(event.stage), body["plan_digest"], body["partner"], body["witness"], seen, body["seen_at"], event.actor, event.at,
        event.seq, _rehearsal(event),
    )  # fmt: skip
    return replace(state, witnessed={**state.witnessed, (found.stage, found.partner): found})


def _monitor_reported(state: SiteState, event: Event) -> SiteState:
    body = event.body
    report = MonitorReport(
        body["monitor"], body["since"], body["until"], body["alerts"], tuple(body["coverage"]), body["document_sha256"],
        body.get("note", ""), event.actor, event.at, event.seq, _rehearsal(event),
    )  # fmt: skip
    return replace(state, monitor_reports=(*state.monitor_reports, report))


def _check_ran(state: SiteState, event: Event) -> SiteState:
    """The care assertions among the results; of several probes of one (two families) the worst answer counts."""
    worst: dict[str, Check] = {}
    for result in event.body.get("results", ()):
        if result.get("purpose") == Purpose.CARE and result.get("about"):
            name = str(result["about"])
            worst[name] = max(worst.get(name, Check.SUCCESSFUL), Check(result["check"]), key=_WORST_LAST.index)
    found = {name: CareResult(name, check, event.at, event.seq, _rehearsal(event)) for name, check in worst.items()}
    return replace(state, care={**state.care, **found}) if found else state


def _counters_read(state: SiteState, event: Event) -> SiteState:
    name, body = str(event.stage), event.body
    counted = {device: Counted(found["openings"], found["counting"], found["packets"]) for device, found in body["counted"].items()}
    counted.update({device: Counted(unread=why) for device, why in body["unread"].items()})
    return replace(state, stages={**state.stages, name: replace(state.stage(name), counted=counted)})


def _waiver_requested(state: SiteState, event: Event) -> SiteState:
    body = event.body
    waiver = Waiver(
        body["waiver"], str(event.stage), body["gate"], body.get("partner"), body["reason"], body["accepted_risk"], body["until"],
        event.actor, event.at, event.seq, rehearsal=_rehearsal(event),
    )  # fmt: skip
    return replace(state, waivers={**state.waivers, waiver.id: waiver})


def _waiver_granted(state: SiteState, event: Event) -> SiteState:
    waiver = state.waivers[event.body["waiver"]]
    return _with_waiver(state, replace(_moved(waiver, event), granted_by=event.actor, granted_at=event.at))


def _waiver_ended(state: SiteState, event: Event) -> SiteState:
    waiver = state.waivers[event.body["waiver"]]
    ended = replace(_moved(waiver, event), ended_by=event.actor, ended_at=event.at, ended_because=event.body.get("reason", ""))
    return _with_waiver(state, ended)


def _moved(waiver: Waiver, event: Event) -> Waiver:
    return replace(waiver, state=waivers.after(waiver.state, event.type, waiver.id))


def _with_waiver(state: SiteState, waiver: Waiver) -> SiteState:
    return replace(state, waivers={**state.waivers, waiver.id: waiver})


def _rehearsal(event: Event) -> bool:
    return event.body.get("rehearsal") is True


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.EVIDENCE_ATTACHED: _evidence_attached,
    E.ATTESTATION_RECORDED: _attestation_recorded,
    E.PARTNER_READY: _partner_ready,
    E.PARTNER_WITNESSED: _partner_witnessed,
    E.MONITOR_REPORTED: _monitor_reported,
    E.CHECK_RAN: _check_ran,
    E.COUNTERS_READ: _counters_read,
    E.WAIVER_REQUESTED: _waiver_requested,
    E.WAIVER_GRANTED: _waiver_granted,
    E.WAIVER_ENDED: _waiver_ended,
}
