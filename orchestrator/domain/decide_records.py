"""The decisions about what people put on record: evidence, attestations, partners' readiness, monitors' reports, the logbook."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from orchestrator.domain import attestations, conditions
from orchestrator.domain.attestations import ACCEPTED, AttestationState
from orchestrator.domain.attestations import AttestationState as S
from orchestrator.domain.commands import AttachEvidence, EnterLogbook, RecordAttestation, ReportMonitor, SayPartnerReady
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.gates import NoAlertGate, single_gates
from orchestrator.domain.making import EventMaker, stamp
from orchestrator.domain.state import SiteState, moment
from orchestrator.errors import UnknownName, UsageError

LOGBOOK_KINDS = ("note", "decision", "accepted-risk-of-acting", "accepted-risk-of-not-acting", "communication", "shift-handover")
ERADICATION = "eradication"  # the kind of evidence that names a zone
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,30}")


def evidence(state: SiteState, command: AttachEvidence, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """EvidenceAttached."""
    ratified = conditions.in_force(state)
    if command.stage is not None:
        conditions.declared(state, command.stage)
    if command.application is not None:
        _known(command.application, (item.name for item in ratified.policy.applications), "application")
    if not _KIND.fullmatch(command.kind):
        raise UsageError(
            f"{command.kind!r} is no kind of evidence", advice="lower-case words with hyphens, as the gates of the stages name them"
        )
    if (command.kind == ERADICATION) != (command.zone is not None):
        raise UsageError(
            "evidence of the kind `eradication` names its zone, and no other kind does",
            advice="orchestrator evidence add eradication --zone ZONE …",
        )
    if command.zone is not None:
        _known(command.zone, (zone.name for zone in ratified.site.zones), "zone")
    body = {
        "kind": command.kind,
        "application": command.application,
        "document_sha256": sha256(command.document_sha256),
        "note": command.note,
        **({"zone": command.zone} if command.zone is not None else {}),
    }
    return (make(E.EVIDENCE_ATTACHED, body, stage=command.stage),)


def attestation(state: SiteState, command: RecordAttestation, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """AttestationRecorded: one, or with `at_once` one for each state on the way. Raises IllegalTransition."""
    _known_partner(state, command.partner)
    before = state.attestation(command.partner, command.way)
    current = before.state_at(now) if before is not None else attestations.INITIAL
    kept = before.document_sha256 if before is not None else ""
    what = f"the attestation of {command.partner}" if command.way == "theirs" else f"our attestation to {command.partner}"
    steps = _steps(current, command, kept)
    for to in steps:
        current = attestations.after(current, to, what)
    reservation = command.reservation.strip()
    if (command.state is S.RESERVED) != bool(reservation):
        raise UsageError(
            "a reservation is said in words where it is accepted with one, and nowhere else",
            advice="--state accepted-with-reservation --reservation TEXT",
        )
    until = stamp(_end(command.valid_until, now)) if command.state in ACCEPTED else ""
    document = _document(command, steps, kept)
    return tuple(
        make(
            E.ATTESTATION_RECORDED,
            {
                "partner": command.partner,
                "way": command.way,
                "state": to.value,
                "document_sha256": document,
                "valid_until": until if to is command.state else "",
                "reservation": reservation if to is command.state else "",
                "note": command.note,
            },
        )
        for to in steps
    )


def _steps(current: AttestationState, command: RecordAttestation, kept: str) -> tuple[AttestationState, ...]:
    """The states to record. A new document is received first, whatever the shortest way is."""
    if not command.at_once:
        return (command.state,)
    steps = attestations.way_to(current, command.state)
    if command.document_sha256 not in ("", kept) and S.RECEIVED not in steps:
        steps = (*attestations.way_to(current, S.RECEIVED), *attestations.way_to(S.RECEIVED, command.state))
    return steps or (command.state,)


def _document(command: RecordAttestation, steps: tuple[AttestationState, ...], kept: str) -> str:
    """The digest of the document that is meant; what is verified or accepted is what was received."""
    if S.RECEIVED in steps:
        return sha256(command.document_sha256)
    if command.state is S.REQUESTED:
        return ""
    document = sha256(command.document_sha256) if command.document_sha256 else kept
    if command.state in (S.VERIFIED, *ACCEPTED) and document != kept:
        raise UsageError("this is not the document that was received", advice="record it as received first: --state received --file FILE")
    return document


def partner_ready(state: SiteState, command: SayPartnerReady, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """PartnerReady, also for the contrary: `ready` says which."""
    _known_partner(state, command.partner)
    return (make(E.PARTNER_READY, {"partner": command.partner, "ready": command.ready, "note": command.note}),)


def monitor_report(state: SiteState, command: ReportMonitor, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """MonitorReported. A monitor speaks of the past only, and of zones that exist."""
    ratified = conditions.in_force(state)
    gates = (gate for stage in ratified.policy.stages for gate in single_gates(stage.gates))
    _known(command.monitor, (gate.monitor for gate in gates if isinstance(gate, NoAlertGate)), "monitor")
    for zone in command.coverage:
        _known(zone, (known.name for known in ratified.site.zones), "zone")
    since, until = time(command.since), time(command.until)
    if not since < until <= now:
        raise UsageError("a report speaks of a time that has passed", advice="--since before --until, neither in the future")
    if command.alerts < 0 or not command.coverage:
        raise UsageError("a report says how many alerts (0 or more) in which zones", advice="--alerts 0 --coverage ZONE …")
    body = {
        "monitor": command.monitor,
        "since": stamp(since),
        "until": stamp(until),
        "alerts": command.alerts,
        "coverage": sorted(set(command.coverage)),
        "document_sha256": sha256(command.document_sha256),
        "note": command.note,
    }
    return (make(E.MONITOR_REPORTED, body),)


def logbook(state: SiteState, command: EnterLogbook, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """LogbookEntered."""
    if command.stage is not None:
        conditions.declared(state, command.stage)
    if not command.text.strip():
        raise UsageError("the entry is empty")
    if command.kind not in LOGBOOK_KINDS:
        raise UsageError(f"{command.kind!r} is no kind of entry", advice=f"one of: {', '.join(LOGBOOK_KINDS)}")
    return (make(E.LOGBOOK_ENTERED, {"text": command.text, "kind": command.kind}, stage=command.stage),)


def time(text: str) -> datetime:
    """A time with its zone, of the years 2000 to 2099: the ends of the calendar cannot be reckoned with. Raises UsageError."""
    try:
        found = moment(text)
    except ValueError:
        raise UsageError(f"{text!r} is no RFC 3339 time", advice="for example 2026-07-01T12:00:00Z") from None
    if not 2000 <= found.year < 2100:
        raise UsageError(f"{text!r} is not of this century", advice="for example 2026-07-01T12:00:00Z")
    if found.tzinfo is None:
        raise UsageError(f"{text!r} has no time zone", advice="for example 2026-07-01T12:00:00Z")
    return found


def sha256(text: str) -> str:
    """The digest of a document. Raises UsageError."""
    if not _SHA256.fullmatch(text):
        raise UsageError("a document is named by its SHA-256, 64 lower-case hexadecimal digits", advice="sha256sum FILE")
    return text


def _end(text: str, now: datetime) -> datetime:
    until = time(text)
    if until <= now:
        raise UsageError("the attestation has expired already")
    return until


def _known_partner(state: SiteState, partner: str) -> None:
    _known(partner, (item.name for item in conditions.in_force(state).policy.partners), "partner")


def _known(name: str, names: Iterable[str], what: str) -> None:
    known = sorted(set(names))
    if name not in known:
        raise UnknownName(f"there is no {what} {name!r}", advice=f"there is {', '.join(known) or 'none'}")
