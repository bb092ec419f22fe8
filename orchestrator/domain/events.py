"""Events: what happened, in the past tense, as the log keeps it.

An event's `body` is a JSON object (strings, integers, booleans, null, arrays, objects; no floats, so that its
canonical form, RFC 8785, is the same in every language). Durations are integers of milliseconds, `*_ms`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.domain.canonical import canonical
from orchestrator.domain.merkle import EMPTY_ROOT, leaf_hash
from orchestrator.errors import InputError

Json = Any  # a JSON value; the log refuses anything else


class EventType(StrEnum):
    INCIDENT_DECLARED = "IncidentDeclared"
    POLICY_RATIFIED = "PolicyRatified"
    DELEGATION_GRANTED = "DelegationGranted"
    DELEGATION_REVOKED = "DelegationRevoked"
    CUTOFF_ORDERED = "CutoffOrdered"
    CUTOFF_APPLIED = "CutoffApplied"
    CUTOFF_VERIFIED = "CutoffVerified"
    CUTOFF_PARTIAL = "CutoffPartial"
    CUTOFF_REQUESTED = "CutoffRequested"  # through the API: the emergency command is started for it
    CUTOFF_RATIFIED = "CutoffRatified"  # afterwards, by an authority
    CUTOFF_CONTESTED = "CutoffContested"
    DEVICE_DISTRUSTED = "DeviceDistrusted"
    DEVICE_TRUSTED = "DeviceTrusted"
    MANUAL_ACT_ATTESTED = "ManualActAttested"
    SESSIONS_RECORDED = "SessionsRecorded"
    STAGE_PLANNED = "StagePlanned"
    EVIDENCE_ATTACHED = "EvidenceAttached"
    ATTESTATION_RECORDED = "AttestationRecorded"
    PARTNER_READY = "PartnerReady"
    PARTNER_WITNESSED = "PartnerWitnessed"  # what a partner's contact saw of a stage from their side, with their signature
    MONITOR_REPORTED = "MonitorReported"
    WAIVER_REQUESTED = "WaiverRequested"
    WAIVER_GRANTED = "WaiverGranted"
    WAIVER_ENDED = "WaiverEnded"
    VOTE_CAST = "VoteCast"
    VOTES_VOIDED = "VotesVoided"
    STAGE_APPROVED = "StageApproved"
    STAGE_DENIED = "StageDenied"
    STAGE_CANCELLED = "StageCancelled"
    STAGE_STALE = "StageStale"
    STAGE_EXPIRED = "StageExpired"
    STAGE_APPLYING = "StageApplying"
    DEVICE_CHANGE_INTENDED = "DeviceChangeIntended"
    DEVICE_CHANGED = "DeviceChanged"
    DEVICE_READ_BACK = "DeviceReadBack"
    STAGE_VERIFYING = "StageVerifying"
    CHECK_RAN = "CheckRan"
    COUNTERS_READ = "CountersRead"  # what devices counted through the openings of a stage while it was probed
    STAGE_OBSERVING = "StageObserving"
    STAGE_OPENED = "StageOpened"
    STAGE_REVERTING = "StageReverting"
    STAGE_REVERTED = "StageReverted"
    STAGE_FAILED = "StageFailed"
    STAGE_SUSPENDED = "StageSuspended"
    STAGE_PARTIALLY_OPENED = "StagePartiallyOpened"  # verified and lasting, for some of its flows and partners
    STAGE_NARROWED = "StageNarrowed"  # some of its flows and partners were closed again (`conversations`)
    STAGE_ENDED = "StageEnded"  # its window or approved time is over
    STAGE_DEFERRED = "StageDeferred"  # left closed by a decision, for those who wait for it
    STAGE_RESUMED = "StageResumed"  # after a false alarm, by the votes of the resumption
    EPOCH_RAISED = "EpochRaised"  # by a re-isolation or a takeover; a cut-off raises it by its own events
    DEVICE_FENCED = "DeviceFenced"
    REISOLATION_ORDERED = "ReisolationOrdered"
    REISOLATION_CHECKED = "ReisolationChecked"  # what the negative probes said when all of it was closed
    OPENING_HANDED_OVER = "OpeningHandedOver"  # a released guard, from the stage that closes to one that needs it as well
    BLOCKLIST_APPLIED = "BlocklistApplied"
    BLOCKLIST_DEVICE_APPLIED = "BlocklistDeviceApplied"
    UNBLOCK_REQUESTED = "UnblockRequested"
    UNBLOCK_GRANTED = "UnblockGranted"
    FALSE_ALARM_DECLARED = "FalseAlarmDeclared"
    WINDOW_ANNOUNCED = "WindowAnnounced"
    EXPIRY_WARNED = "ExpiryWarned"
    EXPIRY_PASSED = "ExpiryPassed"
    EXTENSION_REQUESTED = "ExtensionRequested"
    EXTENSION_GRANTED = "ExtensionGranted"
    DEADLINE_RENEWED = "DeadlineRenewed"
    RECUT_SCHEDULED = "RecutScheduled"
    RECUT_CANCELLED = "RecutCancelled"
    RECUT_STARTED = "RecutStarted"
    DRIFT_DETECTED = "DriftDetected"
    DRIFT_REPAIRED = "DriftRepaired"
    SURROUNDINGS_NOTED = "SurroundingsNoted"  # a device's own configuration, beside our layer: digests that drift compares with
    DEVICE_STILL_UNKNOWN = "DeviceStillUnknown"  # tried again (`tries` times by now), and it still cannot be read back
    RECOVERED = "Recovered"  # what a server found and did when it began to act
    SERVER_ACTS = "ServerActs"  # which server acts on this log from now on
    LAYER_LIFTED = "LayerLifted"
    SURVEILLANCE_ENDED = "SurveillanceEnded"
    SESSION_OPENED = "SessionOpened"
    SESSION_CLOSED = "SessionClosed"
    SESSIONS_REVOKED = "SessionsRevoked"  # every session of a person, at once
    LOGIN_FAILED = "LoginFailed"  # a sample of them: nobody can fill the log with refusals
    KEY_REVOKED = "KeyRevoked"
    PEOPLE_CHANGE_REQUESTED = "PeopleChangeRequested"  # of a person's keys, signed by enough others; in force after a delay
    PEOPLE_CHANGE_STOPPED = "PeopleChangeStopped"
    PEOPLE_CHANGE_IN_FORCE = "PeopleChangeInForce"
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


GENESIS = "0" * 64  # what the first event gives as its `previous`
EMPTY_HEAD = Head(0, EMPTY_ROOT.hex())
_AT = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z")
_EXACT = 2**53 - 1  # beyond it an integer is not the same number in every JSON reader


def hashable(event: Event) -> dict[str, Json]:
    """What is hashed of an event: all of it except its own hash."""
    return {
        "seq": event.seq,
        "previous": event.previous,
        "type": event.type.value,
        "at": event.at,
        "actor": event.actor,
        "stage": event.stage,
        "device": event.device,
        "body": event.body,
    }


def event_bytes(event: Event) -> bytes:
    """The canonical JSON of `hashable(event)`: the leaf of the Merkle tree."""
    return canonical(hashable(event))


def event_bytes_of(seq: int, previous: str, type_: str, at: str, actor: str, stage: str | None, device: str | None, body: str) -> bytes:
    """The same bytes from a stored row whose `body` is canonical JSON text already; ten times faster.

    For strings, `json.dumps` without ASCII escapes is the RFC 8785 form. If `body` is not canonical, the bytes are not
    those that were hashed, so a changed row does not verify. Raises ValueError for a lone surrogate.
    """
    text = (
        f'{{"actor":{_quote(actor)},"at":{_quote(at)},"body":{body},"device":{_quote(device)},'
        f'"previous":{_quote(previous)},"seq":{seq},"stage":{_quote(stage)},"type":{_quote(type_)}}}'
    )
    return text.encode("utf-8")


def _quote(value: str | None) -> str:
    return json.dumps(value, ensure_ascii=False)


def event_hash(event: Event) -> str:
    """SHA-256(0x00 || event_bytes), hex: the leaf hash of RFC 6962."""
    return leaf_hash(event_bytes(event)).hex()


def exported(event: Event) -> dict[str, Json]:
    """One line of `events.jsonl`: what is hashed, and the hash."""
    return {**hashable(event), "hash": event.hash}


def seal(new: NewEvent, seq: int, previous: str) -> Event:
    """The event as a log holds it: checked, its body copied into plain JSON, numbered, chained and hashed.

    Raises InputError for a time that is not RFC 3339 UTC with milliseconds, a body that is not JSON, a float or an
    integer beyond 2**53 - 1.
    """
    if not _AT.fullmatch(new.at):
        raise InputError(f"the time of an event must look like 2026-06-23T21:04:05.123Z, not {new.at!r}")
    if not isinstance(new.body, Mapping):
        raise InputError("the body of an event must be a JSON object")
    bare = Event(EventType(new.type), new.at, new.actor, plain(new.body), new.stage, new.device, seq, previous)
    try:
        sealed = event_hash(bare)
    except ValueError as error:  # a lone surrogate in a string
        raise InputError(f"event {new.type}: {error}") from error
    return Event(bare.type, bare.at, bare.actor, bare.body, bare.stage, bare.device, seq, previous, sealed)


def plain(value: Json, path: str = "body") -> Json:
    """The value as plain dicts, lists and strings. Raises InputError, with the path, for what an event may not hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InputError(f"{path}: the keys of an event's objects must be strings")
        return {str.__str__(key): plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item, f"{path}[{number}]") for number, item in enumerate(value)]
    raise InputError(
        f"{path}: {value!r} cannot be in an event",
        advice="use strings, integers up to 2**53 - 1, booleans, null, arrays and objects; durations as integer milliseconds",
    )


def from_exported(line: str) -> Event:
    """The event of one exported (or spooled) line. Raises ValueError when it is not one; does not verify its hash."""
    value = json.loads(line)
    try:
        return Event(
            type=EventType(value["type"]),
            at=value["at"],
            actor=value["actor"],
            body=value["body"],
            stage=value["stage"],
            device=value["device"],
            seq=value["seq"],
            previous=value["previous"],
            hash=value["hash"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event: {error}") from error
