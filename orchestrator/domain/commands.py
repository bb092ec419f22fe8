"""What people ask for. A command is plain data; `decide` answers with events or a refusal."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.plan import Plan


@dataclass(frozen=True)
class Command:
    actor: str  # the person who asks, as authenticated


@dataclass(frozen=True)
class PlanStage(Command):
    """`plan` was just made from the state that this is decided on."""

    plan: Plan


@dataclass(frozen=True)
class CastVote(Command):
    """`signer` is whose key signed `statement`, verified; `actor` is who hands it in (votes can be carried)."""

    stage: str
    statement: str
    signature: str
    signer: str


@dataclass(frozen=True)
class ApplyStage(Command):
    """`digest_now` is of the plan made again from the state that this is decided on."""

    stage: str
    digest_now: str


@dataclass(frozen=True)
class CancelStage(Command):
    stage: str
    reason: str


@dataclass(frozen=True)
class RevertStage(Command):
    stage: str
    reason: str


@dataclass(frozen=True)
class AttachEvidence(Command):
    kind: str
    document_sha256: str
    stage: str | None = None
    application: str | None = None
    note: str = ""


@dataclass(frozen=True)
class RecordAttestation(Command):
    """`accepted` says whether the partner's attestation of remediation is accepted; `valid_until` RFC 3339."""

    partner: str
    accepted: bool
    document_sha256: str
    valid_until: str
    note: str = ""


@dataclass(frozen=True)
class EnterLogbook(Command):
    text: str
    stage: str | None = None
