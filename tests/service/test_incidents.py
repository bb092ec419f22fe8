"""What counts for this incident, and what was for an earlier one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.domain.commands import AttachEvidence
from orchestrator.domain.gates import EradicationGate, EvidenceGate
from tests.service.gated import STAGE, gate, later, rules
from tests.service.reopening import DOCUMENT, ManualClock, Reopening


def evidence(reopening: Reopening, kind: str, stage: str | None = STAGE, zone: str | None = None) -> None:
    reopening.stages.do(AttachEvidence("rssi", kind, DOCUMENT, stage, zone=zone))


def test_what_was_attached_before_this_incident_lifts_nothing() -> None:
    reopening = Reopening()
    gates = (EvidenceGate.model_validate(gate(evidence="secrets-rotated")), EradicationGate.model_validate(gate(eradication=["lab"])))
    changed = reopening.policy.stage(STAGE).model_copy(update={"gates": gates})
    stages = tuple(changed if item.name == STAGE else item for item in reopening.policy.stages)
    reopening.policy = reopening.policy.model_copy(update={"stages": stages})
    reopening.ratify()
    evidence(reopening, "secrets-rotated")
    evidence(reopening, "eradication", None, zone="lab")
    later(reopening, days=200)
    reopening.cut()
    assert rules(reopening) == ["gate-missing:secrets-rotated", "gate-missing:eradication"]
    evidence(reopening, "secrets-rotated")
    evidence(reopening, "eradication", None, zone="lab")
    later(reopening, hours=1)
    reopening.cut("internet")  # the same incident
    assert rules(reopening) == []


def test_a_clock_that_was_ahead_when_the_hospital_was_cut_voids_nothing_afterwards() -> None:
    reopening = Reopening(clock=ManualClock(datetime(2026, 6, 24, 9, 0, tzinfo=UTC)))
    reopening.ratify()
    reopening.cut()
    reopening.clock.time -= timedelta(hours=1)
    evidence(reopening, "cut-verified")
    state = reopening.stages.state()
    assert [state.of_this_incident(piece) for piece in state.evidence] == [True]
