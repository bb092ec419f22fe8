"""What people put on record: evidence, attestations, readiness of partners, monitors' reports, care, the logbook."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from orchestrator.api import views
from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import (
    AttestationRequest,
    EvidenceRequest,
    LogbookKind,
    LogbookRequest,
    MonitorReportRequest,
    ReadinessRequest,
)
from orchestrator.domain.attestations import AttestationState
from orchestrator.domain.commands import AttachEvidence, EnterLogbook, RecordAttestation, ReportMonitor, SayPartnerReady
from orchestrator.domain.event_filter import EventFilter
from orchestrator.domain.events import EventType
from orchestrator.domain.making import stamp
from orchestrator.errors import UsageError
from orchestrator.service.care import probe_care

router = APIRouter(prefix="/v1", tags=["records"])
_Name = Annotated[str | None, Query(max_length=100)]


@router.post("/evidence", status_code=201)
def evidence_add(given: EvidenceRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """The document itself stays where it is; the log keeps its SHA-256."""
    command = AttachEvidence(person, given.kind, given.document_sha256, given.stage, given.application, given.note, given.zone)
    return asdict(stages.do(command).evidence[-1])


@router.get("/evidence")
def evidence_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """Everything that was attached, in its order."""
    return page.of((asdict(piece) for piece in stages.read(person).evidence), lambda item: item["seq"])


@router.post("/attestations", status_code=201)
def attestation_add(given: AttestationRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """One move of an attestation of remediation, a partner's or ours to them; with `at_once` the moves before it too."""
    try:
        wanted = AttestationState(given.state)
    except ValueError:
        known = ", ".join(state for state in AttestationState if state not in (AttestationState.NONE, AttestationState.EXPIRED))
        raise UsageError(f"{given.state!r} is no state of an attestation", advice=f"one of: {known}") from None
    command = RecordAttestation(
        person, given.partner, wanted, given.document_sha256 or "", given.valid_until or "", given.note,
        given.way, given.reservation, given.at_once,
    )  # fmt: skip
    state = stages.do(command)
    return views.attestation(state.attestations[given.partner, given.way], stages.journal.now())


@router.get("/attestations")
def attestation_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """The last of each partner and way; what has run out is `expired`."""
    return page.of(
        (views.attestation(attestation, stages.journal.now()) for attestation in stages.read(person).attestations.values()),
        lambda item: (item["partner"], item["way"]),
    )


@router.post("/partners/ready", status_code=201)
def partner_ready(given: ReadinessRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """The partner has said that they have opened their side, or that they have not."""
    return asdict(stages.do(SayPartnerReady(person, given.partner, given.ready, given.note)).readiness[given.partner])


@router.get("/partners/ready")
def partner_ready_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """What each partner has said last."""
    return page.of((asdict(said) for said in stages.read(person).readiness.values()), lambda item: item["partner"])


@router.post("/monitor-reports", status_code=201)
def monitor_report(given: MonitorReportRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """What a monitor says of a time that has passed."""
    until = given.until or stamp(stages.journal.now())
    command = ReportMonitor(
        person, given.monitor, given.since, until, given.alerts, tuple(given.coverage), given.document_sha256, given.note
    )  # fmt: skip
    return asdict(stages.do(command).monitor_reports[-1])


@router.get("/monitor-reports")
def monitor_report_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """What monitors have said, in the order in which it was reported."""
    return page.of((asdict(report) for report in stages.read(person).monitor_reports), lambda item: item["seq"])


@router.post("/care/probe", status_code=201)
def care_probe(person: Person, stages: TheStages) -> list[dict[str, Any]]:
    """The server asks every care assertion now, and records the answers."""
    return [asdict(result) for result in probe_care(stages, person).care.values()]


@router.get("/care")
def care_list(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """What each care assertion answered when it was last asked, by a stage or on demand."""
    return page.of((asdict(result) for result in stages.read(person).care.values()), lambda item: item["care"])


@router.post("/logbook", status_code=201)
def logbook_add(given: LogbookRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """A free entry: a decision, an accepted risk, a communication."""
    state = stages.do(EnterLogbook(person, given.text, given.stage, given.kind))
    return {"kind": given.kind, "text": given.text, "stage": given.stage, "by": person, "log_size": state.seq + 1}


@router.get("/logbook")
def logbook_list(
    person: Person, stages: TheStages, page: ThePage, kind: LogbookKind | None = None, stage: _Name = None, by: _Name = None
) -> list[dict[str, Any]]:
    """The entries of the logbook (main courante), in their order."""
    stages.read(person)
    entries = (
        {
            "seq": event.seq,
            "at": event.at,
            "by": event.actor,
            "stage": event.stage,
            "kind": event.body.get("kind", "note"),  # entries of before there were kinds
            "text": event.body["text"],
        }
        for event in stages.journal.events(EventFilter(frozenset({EventType.LOGBOOK_ENTERED}), stage, actor=by), page.position)
    )
    return page.of((entry for entry in entries if kind in (None, entry["kind"])), lambda item: item["seq"], begins_after=True)
