"""Each kind of gate: what holds it back, what lifts it, and what does not although it looks like it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.attestations import AttestationState as A
from orchestrator.domain.commands import AttachEvidence, RecordAttestation, ReportMonitor, SayPartnerReady
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.errors import Refused, UnknownName, UsageError
from orchestrator.service.care import probe_care
from orchestrator.simulation.hospital import SimulatedProbes
from tests.service.gated import STAGE, gate, gated, lacking, later, rules
from tests.service.reopening import DOCUMENT, Reopening, after_the_cut

CARE, IMAGES, PAYMENTS = "P2-care-exchange", "P4-images", "P5-patients-and-payments"


def evidence(reopening: Reopening, kind: str, stage: str | None = STAGE, **more: str) -> None:
    reopening.stages.do(AttachEvidence("rssi", kind, DOCUMENT, stage, **more))


# --- evidence, eradication ----------------------------------------------------------------------------------------------


def test_evidence_is_lifted_by_its_kind_and_grows_old() -> None:
    reopening = gated(gate(evidence="scanned", fresh="7d", takes="2h"))
    (unmet,) = lacking(reopening)
    assert (unmet.rule, unmet.takes, unmet.exact) == ("gate-missing:scanned", timedelta(hours=2), False)
    assert "orchestrator evidence add scanned --stage P0-lifelines" in unmet.advice
    evidence(reopening, "scan")
    evidence(reopening, "scanned", "P1-inbound-mail")
    assert rules(reopening) == ["gate-missing:scanned"]
    evidence(reopening, "scanned")
    assert rules(reopening) == []
    later(reopening, days=7)
    assert rules(reopening) == []
    later(reopening, seconds=1)
    assert "too old" in lacking(reopening)[0].message


def test_evidence_of_one_application_lifts_the_gate_for_its_flows_only() -> None:
    reopening = gated(gate(evidence="scanned"))
    evidence(reopening, "scanned", application="blood-supply")
    (unmet,) = lacking(reopening)
    assert (unmet.flows, set(unmet.partners)) == (
        (), {"hub-sante", "national-services", "health-pki", "detection-provider", "anssi", "update-publisher"}
    )  # fmt: skip


def test_a_gate_holds_back_exactly_what_it_is_confined_to() -> None:
    reopening = gated(gate(evidence="tested", flows=["samu-hub"]), gate(evidence="called", partners=["efs"]))
    one, other = lacking(reopening)
    assert (one.flows, one.partners) == ((), ("hub-sante",))  # the same: nobody else is on that flow, nor they on another
    assert (other.flows, other.partners) == ((), ("efs",))


def test_eradication_counts_zone_by_zone() -> None:
    reopening = gated(gate(eradication=["lab", "dental"], flows=["outside-labs"]), stage=PAYMENTS)
    (unmet,) = lacking(reopening, PAYMENTS)
    assert (unmet.rule, unmet.takes) == ("gate-missing:eradication", timedelta(days=7))
    assert (unmet.flows, unmet.partners) == ((), ("lab-north", "lab-south"))
    evidence(reopening, "eradication", None, zone="lab")
    (unmet,) = lacking(reopening, PAYMENTS)
    assert "for dental" in unmet.message
    assert "--zone dental" in unmet.advice
    evidence(reopening, "eradication", None, zone="dental")
    assert rules(reopening, PAYMENTS) == []


@pytest.mark.parametrize(
    ("kind", "zone", "error"), [("eradication", "", UsageError), ("scanned", "lab", UsageError), ("eradication", "labs", UnknownName)]
)
def test_evidence_that_names_a_zone_it_should_not_or_none(kind: str, zone: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        evidence(after_the_cut(), kind, None, **({"zone": zone} if zone else {}))


def test_an_eradication_of_before_there_were_zones_lifts_nothing() -> None:
    reopening = gated(gate(eradication=["lab"]))
    reopening.append(E.EVIDENCE_ATTACHED, {"kind": "eradication", "document_sha256": DOCUMENT}, actor="rssi")
    assert rules(reopening) == ["gate-missing:eradication"]


# --- partners -----------------------------------------------------------------------------------------------------------


def test_a_partner_is_ready_by_their_own_word_for_a_time() -> None:
    reopening = gated(gate(partner_ready="24h", partners=["hub-sante", "efs"]))
    assert {unmet.partners for unmet in lacking(reopening)} == {("hub-sante",), ("efs",)}
    reopening.stages.do(SayPartnerReady("commander", "efs", True))
    reopening.stages.do(SayPartnerReady("commander", "anssi", True))  # somebody else
    (unmet,) = lacking(reopening)
    assert (unmet.partners, unmet.advice) == (("hub-sante",), "orchestrator partner ready hub-sante")
    reopening.stages.do(SayPartnerReady("commander", "hub-sante", True))
    assert rules(reopening) == []
    reopening.stages.do(SayPartnerReady("commander", "efs", False, "their firewall was replaced"))
    assert "not open" in lacking(reopening)[0].message
    later(reopening, hours=25)
    assert len(lacking(reopening)) == 2
    with pytest.raises(UnknownName):
        reopening.stages.do(SayPartnerReady("commander", "efs-paris", True))


def test_whoever_is_not_reached_is_deferred_and_the_others_open() -> None:
    reopening = after_the_cut()
    reopening.evidence(STAGE)
    reopening.stages.do(SayPartnerReady("rssi", "efs", False))
    reopening.stages.plan("eng-1", STAGE)
    with pytest.raises(Refused) as refusal:
        reopening.vote("eng-2", STAGE)
    assert refusal.value.rule == "gate-missing:partner-ready"
    others = {"hub-sante", "national-services", "health-pki", "detection-provider", "anssi", "update-publisher"}
    reopening.stages.plan("eng-1", STAGE, others)
    reopening.vote("eng-2", STAGE)
    reopening.vote("commander", STAGE)
    assert reopening.apply(STAGE).state == "partially-open"


@pytest.mark.parametrize("way", ["theirs", "ours"])
def test_an_attestation_gate_wants_it_accepted_and_valid_whatever_the_way(way: Any) -> None:
    reopening = gated(gate(attestation=way, partners=["sister"]), stage=CARE)
    rule = f"gate-missing:attestation-{way}"

    def record(state: A, **more: Any) -> None:
        reopening.stages.do(RecordAttestation("rssi", "sister", state, way=way, **more))

    until = stamp(reopening.clock.now() + timedelta(days=3))
    steps: list[tuple[A, dict[str, str], str]] = [
        (A.REQUESTED, {}, "--state received"),
        (A.RECEIVED, {"document_sha256": DOCUMENT}, "--state verified"),
        (A.VERIFIED, {}, "--state accepted"),
    ]
    assert rules(reopening, CARE) == [rule]
    for state, more, then in steps:
        record(state, **more)
        (unmet,) = lacking(reopening, CARE)
        assert unmet.rule == rule
        assert then in unmet.advice
    record(A.ACCEPTED, valid_until=until)
    assert rules(reopening, CARE) == []
    later(reopening, days=3)
    assert "has expired" in lacking(reopening, CARE)[0].message
    record(A.ACCEPTED, document_sha256=DOCUMENT, valid_until=stamp(reopening.clock.now() + timedelta(days=3)), at_once=True)
    assert rules(reopening, CARE) == []
    record(A.REVOKED)
    assert "was revoked" in lacking(reopening, CARE)[0].message


def test_an_acceptance_with_reservation_counts_unless_the_gate_says_not() -> None:
    strict = gate(attestation="theirs", reservations=False, partners=["sister"])
    reopening = gated(gate(attestation="theirs", partners=["sister", "ght-2"]), strict, stage=CARE)
    until = stamp(reopening.clock.now() + timedelta(days=3))
    for partner in ("sister", "ght-2"):
        reopening.stages.do(RecordAttestation("rssi", partner, A.RESERVED, DOCUMENT, until, reservation="one segment unseen", at_once=True))
    (unmet,) = lacking(reopening, CARE)
    assert unmet.partners == ("sister",)
    assert "one segment unseen" in unmet.message


def test_what_a_partners_entry_asks_for_both_ways_is_asked_without_a_gate() -> None:
    reopening = after_the_cut("P0-lifelines", "P1-inbound-mail")
    reopening.evidence(CARE)
    reopening.stages.do(RecordAttestation("rssi", "mssante-operator", A.REVOKED, way="ours"))
    reopening.stages.plan("eng-1", CARE)
    with pytest.raises(Refused) as refusal:
        reopening.vote("eng-2", CARE)
    assert refusal.value.rule == "attestation-missing:mssante-operator:ours"
    assert "our attestation of remediation to mssante-operator was revoked" in str(refusal.value)


# --- the monitor --------------------------------------------------------------------------------------------------------

QUIET = gate(no_alert="72h", monitor="detection", coverage=["dmz-in", "core"], fresh="24h")


def report(
    reopening: Reopening, since_h: float, until_h: float = 0, alerts: int = 0, coverage: tuple[str, ...] = ("core", "dmz-in")
) -> None:
    """The monitor speaks of the time from so many hours ago to so many hours ago."""
    now = reopening.clock.now()
    since, until = (stamp(now - timedelta(hours=hours)) for hours in (since_h, until_h))
    reopening.stages.do(ReportMonitor("rssi", "detection", since, until, alerts, coverage, DOCUMENT))


def test_the_silence_of_a_monitor_is_inconclusive_and_holds() -> None:
    reopening = gated(QUIET, earnest=True)
    (unmet,) = lacking(reopening)
    assert unmet.rule == "gate-inconclusive:no-alert"
    assert "orchestrator monitor report detection" in unmet.advice
    evidence(reopening, "no-alert")
    assert rules(reopening) == ["gate-inconclusive:no-alert"]
    report(reopening, 73)
    assert rules(reopening) == []
    later(reopening, hours=24)
    assert rules(reopening) == []
    later(reopening, minutes=1)
    (unmet,) = lacking(reopening)
    assert unmet.rule == "gate-inconclusive:no-alert"
    assert "has said nothing since" in unmet.message


@pytest.mark.parametrize(
    ("reports", "rule"),
    [
        ([(100, 50), (50, 0)], None),  # two reports that meet are one period
        ([(100, 50), (60, 0)], None),
        ([(100, 50), (49, 0)], "gate-inconclusive:no-alert"),  # an hour of silence between them
        ([(71, 0)], "gate-inconclusive:no-alert"),
        ([(100, 25)], "gate-inconclusive:no-alert"),
        ([(100, 0, 0, ("core",))], "gate-inconclusive:no-alert"),  # nobody watched the DMZ
        ([(100, 0), (20, 10, 1)], "gate-missing:no-alert"),
        ([(100, 0), (20, 10, 1, ("core", "lab"))], "gate-missing:no-alert"),  # it may have been in the core
        ([(100, 0), (20, 10, 1, ("lab",))], None),
        ([(200, 150, 3), (150, 0)], None),
        ([(200, 70, 3), (70, 0)], "gate-missing:no-alert"),
    ],
)
def test_what_a_monitor_says_counts_without_a_gap_without_an_alert_and_where_it_watched(reports: list[Any], rule: str | None) -> None:
    reopening = gated(QUIET, earnest=True)
    for given in reports:
        report(reopening, *given)
    assert rules(reopening) == ([rule] if rule else [])


def test_after_an_alert_the_wait_is_exact() -> None:
    reopening = gated(QUIET, earnest=True)
    report(reopening, 30, 10, alerts=2)
    report(reopening, 10, 0)
    (unmet,) = lacking(reopening)
    assert (unmet.rule, unmet.takes, unmet.exact) == ("gate-missing:no-alert", timedelta(hours=62), True)
    later(reopening, hours=62)
    assert rules(reopening) == ["gate-inconclusive:no-alert"]  # it has said nothing of the 62 hours
    report(reopening, 62)
    assert rules(reopening) == []


def test_the_rehearsal_shortens_the_time_and_not_the_need_of_a_word() -> None:
    reopening = gated(QUIET)
    assert rules(reopening) == ["gate-inconclusive:no-alert"]
    report(reopening, 1 / 60)
    assert rules(reopening) == []


@pytest.mark.parametrize(
    ("monitor", "since_h", "until_h", "alerts", "coverage", "error"),
    [
        ("detections", 2, 1, 0, ("core",), UnknownName),
        ("detection", 2, 1, 0, ("cores",), UnknownName),
        ("detection", 1, 2, 0, ("core",), UsageError),
        ("detection", 2, -1, 0, ("core",), UsageError),
        ("detection", 2, 1, -1, ("core",), UsageError),
        ("detection", 2, 1, 0, (), UsageError),
    ],
)
def test_reports_that_nobody_can_have_meant(
    monitor: str, since_h: float, until_h: float, alerts: int, coverage: tuple[str, ...], error: type[Exception]
) -> None:
    reopening = gated(QUIET)
    since, until = (stamp(reopening.clock.now() - timedelta(hours=hours)) for hours in (since_h, until_h))
    with pytest.raises(error):
        reopening.stages.do(ReportMonitor("rssi", monitor, since, until, alerts, coverage, DOCUMENT))


# --- care ---------------------------------------------------------------------------------------------------------------


def test_care_is_probed_by_the_server_and_grows_old() -> None:
    reopening = gated(gate(care=["emergency-to-record"], fresh="1h"))
    assert rules(reopening) == ["gate-inconclusive:care"]
    assert lacking(reopening)[0].advice == "orchestrator care probe"
    probe_care(reopening.stages, "eng-1")
    (ran,) = (event for event in reopening.log.read() if event.type is E.CHECK_RAN)
    assert (ran.actor, ran.stage, ran.body["rehearsal"]) == ("eng-1", None, True)
    assert rules(reopening) == []
    later(reopening, hours=1, seconds=1)
    assert rules(reopening) == ["gate-inconclusive:care"]


@pytest.mark.parametrize(("passed", "rule"), [(False, "gate-missing:care"), (None, "gate-inconclusive:care")])
def test_care_that_fails_holds_and_care_that_cannot_be_told_too(passed: bool | None, rule: str) -> None:
    reopening = gated(gate(care=["offices-to-record", "emergency-to-record"], fresh="1h"))

    class Ill(SimulatedProbes):
        """One of two families gives no answer, or the wrong one."""

        def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
            results = super().run(probes, deadline_s=deadline_s)
            last = [result for result in results if result.probe.about == "emergency-to-record"][-1]
            return tuple(result.model_copy(update={"passed": passed}) if result is last else result for result in results)

    reopening.probes = Ill(reopening.hospital)
    probe_care(reopening.server(), "eng-1")
    assert rules(reopening) == [rule]
    assert "offices-to-record" not in lacking(reopening)[0].message


def test_care_probed_before_a_cut_off_says_nothing_of_the_time_after_it() -> None:
    reopening = gated(gate(care=["emergency-to-record"], fresh="1h"))
    probe_care(reopening.stages, "eng-1")
    later(reopening, minutes=1)
    reopening.cut()
    assert rules(reopening) == ["gate-inconclusive:care"]
    probe_care(reopening.stages, "eng-1")
    assert rules(reopening) == []


def test_the_worst_answer_of_both_families_counts() -> None:
    reopening = gated(gate(care=["emergency-to-record"], fresh="1h"))
    results = [
        {"purpose": "care", "about": "emergency-to-record", "check": check} for check in ("successful", "inconclusive", "successful")
    ]
    reopening.append(E.CHECK_RAN, {"when": "before", "results": results, "rehearsal": True}, actor="orchestrator")
    assert rules(reopening) == ["gate-inconclusive:care"]


# --- time ---------------------------------------------------------------------------------------------------------------


def test_a_predecessor_may_be_a_gate_and_its_wait_is_exact() -> None:
    reopening = gated(gate(predecessor="P0-lifelines", open_for="2h"), stage="P1-inbound-mail", earnest=True)
    assert rules(reopening, "P1-inbound-mail") == ["gate-missing:predecessor:P0-lifelines"]
    reopening.evidence(STAGE)
    reopening.wait = reopening.clock.wait
    reopening.open(STAGE)
    (unmet,) = lacking(reopening, "P1-inbound-mail")
    assert unmet.exact
    assert unmet.takes == timedelta(hours=2)
    later(reopening, hours=2)
    assert rules(reopening, "P1-inbound-mail") == []


def test_a_window_opens_by_time_only() -> None:
    """It is Wednesday, 10:00 in Paris."""
    reopening = gated(gate(window={"days": ["wed"], "opens": "22:00", "closes": "06:00"}))
    (unmet,) = lacking(reopening)
    assert (unmet.rule, unmet.takes, unmet.exact) == ("gate-missing:window", timedelta(hours=12), True)
    later(reopening, hours=12)
    assert rules(reopening) == []
    later(reopening, hours=8)
    assert lacking(reopening)[0].takes == timedelta(days=7) - timedelta(hours=8)


# --- joined -------------------------------------------------------------------------------------------------------------


def test_of_alternatives_every_one_is_named_and_the_quickest_speaks() -> None:
    slow = {"all_of": [gate(evidence="rebuilt", takes="2d"), gate(evidence="checked", takes="4d")]}
    reopening = gated({"any_of": [slow, gate(evidence="scanned", takes="3d")]})
    (unmet,) = lacking(reopening)
    assert (unmet.rule, unmet.takes) == ("gate-missing:scanned", timedelta(days=3))
    assert unmet.message == (
        "one of: The gate: its evidence is missing and The gate: its evidence is missing; or The gate: its evidence is missing"
    )
    assert [unmet.advice.index(kind) for kind in ("scanned", "rebuilt", "checked")] == sorted(
        unmet.advice.index(kind) for kind in ("scanned", "rebuilt", "checked")
    )
    evidence(reopening, "rebuilt")
    (unmet,) = lacking(reopening)
    assert unmet.rule == "gate-missing:scanned"
    evidence(reopening, "checked")
    assert rules(reopening) == []


def test_an_alternative_for_one_partner_lifts_it_for_that_partner_only() -> None:
    reopening = gated({"any_of": [gate(partner_ready="24h"), gate(evidence="reached", partners=["efs"])]})
    for partner in ("hub-sante", "national-services", "health-pki", "detection-provider", "anssi"):
        reopening.stages.do(SayPartnerReady("rssi", partner, True))
    assert {unmet.partners for unmet in lacking(reopening)} == {("efs",), ("update-publisher",)}
    evidence(reopening, "reached")
    assert {unmet.partners for unmet in lacking(reopening)} == {("update-publisher",)}


def test_what_was_said_in_a_rehearsal_counts_in_a_rehearsal_only() -> None:
    gates = (
        gate(evidence="scanned"), gate(partner_ready="24h", partners=["efs"]), gate(care=["emergency-to-record"], fresh="1h"),
        gate(no_alert="1h", monitor="detection", coverage=["core"], fresh="24h"), gate(eradication=["lab"]),
    )  # fmt: skip
    reopening = gated(*gates)
    evidence(reopening, "scanned")
    evidence(reopening, "eradication", None, zone="lab")
    reopening.stages.do(SayPartnerReady("rssi", "efs", True))
    report(reopening, 2)
    probe_care(reopening.stages, "rssi")
    assert rules(reopening) == []
    reopening.policy = reopening.policy.model_copy(update={"rehearsal": None})
    reopening.ratify()
    assert rules(reopening) == [
        "gate-missing:scanned",
        "gate-missing:partner-ready",
        "gate-inconclusive:care",
        "gate-inconclusive:no-alert",
        "gate-missing:eradication",
    ]
