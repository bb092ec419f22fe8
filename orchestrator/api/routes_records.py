"""What people put on record: evidence, attestations, the logbook."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from orchestrator.api.access import Person, TheStages
from orchestrator.api.schemas import AttestationRequest, EvidenceRequest, LogbookRequest
from orchestrator.domain.commands import AttachEvidence, EnterLogbook, RecordAttestation
from orchestrator.domain.events import EventType

router = APIRouter(prefix="/v1", tags=["records"])


@router.post("/evidence", status_code=201)
def evidence_add(given: EvidenceRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """The document itself stays where it is; the log keeps its SHA-256."""
    command = AttachEvidence(person, given.kind, given.document_sha256, given.stage, given.application, given.note)
    return asdict(stages.do(command).evidence[-1])


@router.get("/evidence")
def evidence_list(person: Person, stages: TheStages) -> list[dict[str, Any]]:
    return [asdict(piece) for piece in stages.read(person).evidence]


@router.post("/attestations", status_code=201)
def attestation_add(given: AttestationRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """What a partner says of their remediation, and whether it is accepted."""
    accepted = given.state == "accepted"
    command = RecordAttestation(person, given.partner, accepted, given.document_sha256, given.valid_until, given.note)
    return asdict(stages.do(command).attestations[given.partner])


@router.get("/attestations")
def attestation_list(person: Person, stages: TheStages) -> list[dict[str, Any]]:
    return [asdict(attestation) for attestation in stages.read(person).attestations.values()]


@router.post("/logbook", status_code=201)
def logbook_add(given: LogbookRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """A free entry: a decision, an accepted risk, a communication."""
    state = stages.do(EnterLogbook(person, given.text, given.stage))
    return {"text": given.text, "stage": given.stage, "by": person, "log_size": state.seq + 1}


@router.get("/logbook")
def logbook_list(person: Person, stages: TheStages) -> list[dict[str, Any]]:
    stages.read(person)
    entries = (event for event in stages.collaborators.log.read() if event.type is EventType.LOGBOOK_ENTERED)
    return [{"seq": event.seq, "at": event.at, "by": event.actor, "stage": event.stage, "text": event.body["text"]} for event in entries]
