"""What an exercise hands in so that a stage's gates hold: fixtures, but handed in by the commands that are used in earnest.

Of an `any_of`, the first alternative. A care assertion is asked by the server itself, and a window only opens by time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from orchestrator.domain.attestations import AttestationState, Way
from orchestrator.domain.commands import AttachEvidence, Command, RecordAttestation, ReportMonitor, SayPartnerReady
from orchestrator.domain.gates import (
    AllOf,
    AnyOf,
    AttestationGate,
    CareGate,
    EradicationGate,
    EvidenceGate,
    Gate,
    NoAlertGate,
    PartnerReadyGate,
    SingleGate,
)
from orchestrator.domain.making import stamp
from orchestrator.domain.policy import Policy, Stage

DOCUMENT = "0" * 63 + "1"  # the digest of a fixture: rehearsal evidence has no document behind it
WHO = "rssi"
VALID = timedelta(days=30)


def chosen(gates: Sequence[Gate]) -> Iterator[SingleGate]:
    """The single gates that are enough."""
    for gate in gates:
        if isinstance(gate, AllOf):
            yield from chosen(gate.all_of)
        elif isinstance(gate, AnyOf):
            yield from chosen(gate.any_of[:1])
        else:
            yield gate


def asks_for_care(stage: Stage) -> bool:
    """Whether the server must be asked to probe the care assertions."""
    return any(isinstance(gate, CareGate) for gate in chosen(stage.gates))


def lifting(policy: Policy, stage: Stage, now: datetime) -> Iterator[Command]:
    """The commands after which the gates of the stage hold, windows and care excepted."""
    concerned = _partners(policy, stage)
    for gate in chosen(stage.gates):
        about = [partner for partner in concerned if not gate.partners or partner in gate.partners]
        if isinstance(gate, EvidenceGate):
            yield AttachEvidence(WHO, gate.evidence, DOCUMENT, stage.name)
        elif isinstance(gate, EradicationGate):
            yield from (AttachEvidence(WHO, "eradication", DOCUMENT, zone=zone) for zone in gate.eradication)
        elif isinstance(gate, PartnerReadyGate):
            yield from (SayPartnerReady(WHO, partner, True) for partner in about)
        elif isinstance(gate, AttestationGate):
            yield from (_accepted(partner, gate.attestation, now) for partner in about)
        elif isinstance(gate, NoAlertGate):
            needed = min(gate.no_alert, policy.rehearsal.no_alert) if policy.rehearsal else gate.no_alert
            since = now - max(needed, timedelta(minutes=1))
            yield ReportMonitor(WHO, gate.monitor, stamp(since), stamp(now), 0, gate.coverage, DOCUMENT)
    for partner in concerned:
        if policy.partner(partner).attestation:
            yield _accepted(partner, "theirs", now)
        if policy.partner(partner).our_attestation:
            yield _accepted(partner, "ours", now)


def words(command: Command) -> list[str]:
    """The same as a person types it."""
    if isinstance(command, AttachEvidence):
        about = ["--zone", command.zone] if command.zone else ["--stage", command.stage or ""]
        return ["evidence", "add", command.kind, *about, "--sha256", command.document_sha256]
    if isinstance(command, SayPartnerReady):
        return ["partner", "ready", command.partner]
    if isinstance(command, RecordAttestation):
        way = ["--way", command.way, "--accepted", "--days", str(VALID.days)]
        return ["attestation", "add", command.partner, *way, "--sha256", command.document_sha256]
    if isinstance(command, ReportMonitor):
        period = ["--since", command.since, "--until", command.until, "--alerts", str(command.alerts)]
        return ["monitor", "report", command.monitor, *period, "--coverage", *command.coverage, "--sha256", command.document_sha256]
    raise TypeError(f"{type(command).__name__} lifts no gate")


def _accepted(partner: str, way: Way, now: datetime) -> RecordAttestation:
    return RecordAttestation(WHO, partner, AttestationState.ACCEPTED, DOCUMENT, stamp(now + VALID), way=way, at_once=True)


def _partners(policy: Policy, stage: Stage) -> list[str]:
    named = {partner for flow in stage.flows for partner in policy.flow(flow).partners}
    return sorted(named if stage.partners is None else named & set(stage.partners))
