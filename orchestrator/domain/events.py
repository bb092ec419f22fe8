"""Events: what happened, in the past tense, as the log keeps it.

An event's `body` is a JSON object (strings, integers, booleans, null, arrays, objects; no floats, so that its
canonical form, RFC 8785, is the same in every language). Durations are integers of milliseconds, `*_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = Any  # a JSON value; the log refuses anything else


class EventType(StrEnum):
    INCIDENT_DECLARED = "IncidentDeclared"
    POLICY_RATIFIED = "PolicyRatified"
    CUTOFF_ORDERED = "CutoffOrdered"
    CUTOFF_APPLIED = "CutoffApplied"
    CUTOFF_VERIFIED = "CutoffVerified"
    CUTOFF_PARTIAL = "CutoffPartial"
    SESSIONS_RECORDED = "SessionsRecorded"
    STAGE_PLANNED = "StagePlanned"
    EVIDENCE_ATTACHED = "EvidenceAttached"
    ATTESTATION_RECORDED = "AttestationRecorded"
    VOTE_CAST = "VoteCast"
    VOTES_VOIDED = "VotesVoided"
    STAGE_APPROVED = "StageApproved"
    STAGE_DENIED = "StageDenied"
    STAGE_CANCELLED = "StageCancelled"
    STAGE_STALE = "StageStale"
    STAGE_APPLYING = "StageApplying"
    DEVICE_CHANGE_INTENDED = "DeviceChangeIntended"
    DEVICE_CHANGED = "DeviceChanged"
    DEVICE_READ_BACK = "DeviceReadBack"
    STAGE_VERIFYING = "StageVerifying"
    CHECK_RAN = "CheckRan"
    STAGE_OBSERVING = "StageObserving"
    STAGE_OPENED = "StageOpened"
    STAGE_REVERTING = "StageReverting"
    STAGE_REVERTED = "StageReverted"
    STAGE_FAILED = "StageFailed"
    STAGE_SUSPENDED = "StageSuspended"
    LAYER_LIFTED = "LayerLifted"
    SESSION_OPENED = "SessionOpened"
    ACCESS_DENIED = "AccessDenied"
    EXPORT_CREATED = "ExportCreated"
    CHECKPOINT_SIGNED = "CheckpointSigned"
    SPOOL_MERGED = "SpoolMerged"
    LOGBOOK_ENTERED = "LogbookEntered"


@dataclass(frozen=True)
class NewEvent:
    """An event to be appended. `at` is RFC 3339 UTC with milliseconds (`2026-06-23T21:04:05.123Z`).

    `actor` is a person's id, `orchestrator`, or `emergency` (the local emergency command).
    `stage` and `device` are what it is about, when it is about one.
    """

    type: EventType
    at: str
    actor: str
    body: Mapping[str, Json]
    stage: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Event(NewEvent):
    """An event as the log holds it: `seq` from 0, `previous` and `hash` are SHA-256 in hex (RFC 6962 leaf hash)."""

    seq: int = -1
    previous: str = ""
    hash: str = ""


@dataclass(frozen=True)
class Head:
    """The log's size and its RFC 6962 Merkle root, hex."""

    size: int
    root: str
