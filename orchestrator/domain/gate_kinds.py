"""Whether one single gate holds, by the state alone: one function per kind.

Each answers None when it holds, else what it lacks. Lacking and inconclusive are told apart: nobody has said anything
(a silent monitor, a probe without an answer, a vantage point never asked) is inconclusive, and opens as little as a no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestrator.domain import attestations, witnesses
from orchestrator.domain.attestations import AttestationState, Way
from orchestrator.domain.gates import (
    AttestationGate,
    CareGate,
    EradicationGate,
    EvidenceGate,
    NoAlertGate,
    PartnerReadyGate,
    PartnerWitnessGate,
    PredecessorGate,
    SingleGate,
    WindowGate,
)
from orchestrator.domain.policy import Policy
from orchestrator.domain.probes import Check
from orchestrator.domain.quiet import quiet
from orchestrator.domain.stage_names import base
from orchestrator.domain.stages import LETS_THROUGH
from orchestrator.domain.state import Evidence, SiteState, moment
from orchestrator.domain.weekly_window import opens_in, time_zone


class Answer(StrEnum):
    HOLDS = "holds"
    LACKING = "lacking"
    INCONCLUSIVE = "inconclusive"  # it holds back, as lacking does (invariant 8)


# What it usually takes where neither the gate nor a clock says so. A predecessor's time is its own business.
USUALLY: Mapping[str, timedelta] = {
    "evidence": timedelta(days=1),
    "attestation": timedelta(days=3),
    "partner-ready": timedelta(hours=4),
    "partner-witness": timedelta(hours=4),
    "no-alert": timedelta(hours=4),
    "eradication": timedelta(days=7),
    "care": timedelta(minutes=15),
}


@dataclass(frozen=True)
class Lack:
    """What one gate lacks. `takes` as in `Unmet`."""

    answer: Answer
    rule: str
    message: str
    advice: str
    takes: timedelta | None = None
    exact: bool = False


@dataclass(frozen=True)
class Asked:
    """For what a gate is asked: one conversation of a stage. `partner` is None for a stage that opens nothing itself."""

    state: SiteState
    policy: Policy
    stage: str
    application: str | None
    partner: str | None
    now: datetime


def lack(gate: SingleGate, asked: Asked) -> Lack | None:
    """What the gate lacks for this conversation; None when it holds. Waivers are not looked at here."""
    return _KINDS[type(gate)](gate, asked)


def _lacking(gate: SingleGate, what: str, advice: str, wait: timedelta | None = None) -> Lack:
    return _made(Answer.LACKING, f"gate-missing:{gate.id}", gate, what, advice, wait)


def _silent(gate: SingleGate, what: str, advice: str, wait: timedelta | None = None) -> Lack:
    return _made(Answer.INCONCLUSIVE, f"gate-inconclusive:{gate.id}", gate, what, advice, wait)


def _made(answer: Answer, rule: str, gate: SingleGate, what: str, advice: str, wait: timedelta | None) -> Lack:
    """`wait` is an exact time; else the gate's own `takes`, else the usual one of its kind."""
    takes = wait if wait is not None else gate.takes if gate.takes is not None else USUALLY.get(gate.kind)
    return Lack(answer, rule, f"{gate.title.en}: {what}", advice, takes, wait is not None)


# --- one function per kind ------------------------------------------------------------------------------------------


def _evidence(gate: EvidenceGate, asked: Asked) -> Lack | None:
    """Evidence of one application counts for the flows of that application only."""
    pieces = [piece for piece in _pieces(asked, gate.evidence) if piece.application in (None, asked.application)]
    if any(gate.fresh is None or asked.now <= moment(piece.at) + gate.fresh for piece in pieces):
        return None
    what = f"its evidence is too old (at most {_text(gate.fresh)})" if pieces else "its evidence is missing"
    return _lacking(gate, what, f"orchestrator evidence add {gate.evidence} --stage {asked.stage} --file FILE")


def _pieces(asked: Asked, kind: str) -> list[Evidence]:
    """Of this incident: secrets that were rotated after the last one, or a zone eradicated then, prove nothing today."""
    state = asked.state
    pieces = [
        e for e in state.evidence if e.kind == kind and e.stage in (None, base(asked.stage), asked.stage) and state.counts(e.rehearsal)
    ]
    return [e for e in pieces if state.of_this_incident(e)]


def _attestation(gate: AttestationGate, asked: Asked) -> Lack | None:
    if asked.partner is None:
        return _silent(gate, "it is about partners, and this stage opens to none", "correct the policy")
    found = attestation_lack(asked.state, asked.partner, gate.attestation, asked.now, reservations=gate.reservations)
    return None if found is None else _lacking(gate, *found)


def attestation_lack(state: SiteState, partner: str, way: Way, now: datetime, *, reservations: bool = True) -> tuple[str, str] | None:
    """What is the matter with an attestation, and what to do; None when it is accepted and valid."""
    recorded = state.attestation(partner, way)
    standing = recorded.state_at(now) if recorded is not None else attestations.INITIAL
    if standing is AttestationState.ACCEPTED or (standing is AttestationState.RESERVED and reservations):
        return None
    name = f"the attestation of remediation of {partner}" if way == "theirs" else f"our attestation of remediation to {partner}"
    what = {
        AttestationState.NONE: "is missing",
        AttestationState.REQUESTED: "was requested and has not come",
        AttestationState.RECEIVED: "has come and is not verified",
        AttestationState.VERIFIED: "is verified and not accepted",
        AttestationState.RESERVED: f"is accepted with a reservation only ({recorded.reservation if recorded else ''})",
        AttestationState.REFUSED: "was refused",
        AttestationState.EXPIRED: "has expired",
        AttestationState.REVOKED: "was revoked",
    }[standing]
    steps = attestations.way_to(standing, AttestationState.ACCEPTED)
    ours = " --way ours" if way == "ours" else ""
    command = f"orchestrator attestation add {partner}{ours} --state {steps[0]} --file FILE"
    then = f"; then {', '.join(steps[1:])}" if steps[1:] else ""
    return f"{name} {what}", f"{command}{then} (in one sitting: --accepted)"


def _partner_ready(gate: PartnerReadyGate, asked: Asked) -> Lack | None:
    if asked.partner is None:
        return _silent(gate, "it is about partners, and this stage opens to none", "correct the policy")
    said = asked.state.readiness.get(asked.partner)
    if said is not None and not asked.state.counts(said.rehearsal):
        said = None
    advice = f"orchestrator partner ready {asked.partner}"
    if said is None:
        return _lacking(gate, f"{asked.partner} has not said that they have opened their side", advice)
    if not said.ready:
        return _lacking(gate, f"{asked.partner} has said that their side is not open", advice)
    if asked.now > moment(said.at) + gate.partner_ready:
        return _lacking(gate, f"{asked.partner} said that they are ready longer than {_text(gate.partner_ready)} ago", advice)
    return None


def _predecessor(gate: PredecessorGate, asked: Asked) -> Lack | None:
    found = predecessor_lack(asked.state, gate.predecessor, gate.open_for, asked.now)
    return None if found is None else _lacking(gate, *found)


def predecessor_lack(state: SiteState, stage: str, open_for: timedelta, now: datetime) -> tuple[str, str, timedelta | None] | None:
    """What is the matter with a stage that must be open before, what to do, and the exact wait where it is one."""
    overlay = state.ratified.policy.rehearsal if state.ratified is not None else None
    needed = min(open_for, overlay.predecessor_open_for) if overlay else open_for
    before = state.stage(stage)
    if before.state not in LETS_THROUGH:
        return f"{stage} is {before.state}, not open", f"open {stage} first", None
    if before.plan is not None and not state.counts(before.plan.rehearsal):
        return f"{stage} was opened in a rehearsal", f"orchestrator stage revert {stage}, then open it with votes that count", None
    left = moment(before.opened_at) + needed - now
    return (f"{stage} has not been open for {_text(needed)} yet", "wait", left) if left > timedelta(0) else None


def _partner_witness(gate: PartnerWitnessGate, asked: Asked) -> Lack | None:
    """By the contacts that it names, else that of the conversation's partner; of a stage that opens to nobody itself, those of
    all that the earlier one opened to. Of several, the worst answer is said."""
    stage, state = gate.partner_witness, asked.state
    partners = gate.contacts_of or (witnesses.opened_to(state, stage) if asked.partner is None else (asked.partner,))
    found = [witnesses.lack_of(state, asked.policy, stage, partner, gate.fresh, asked.now) for partner in partners]
    if not partners:
        return _silent(gate, f"{stage} is open to nobody yet", f"open {stage} first")
    if blocked := next((what for check, what in found if check is Check.FAILED), None):
        return _lacking(gate, blocked, f"orchestrator check list {stage}")
    if unsaid := next((what for check, what in found if check is Check.INCONCLUSIVE), None):
        return _silent(gate, unsaid, f"orchestrator check statement {stage}; its contact signs; orchestrator check witness {stage}")
    return None


def _no_alert(gate: NoAlertGate, asked: Asked) -> Lack | None:
    """Under the rehearsal overlay a shorter period is enough; silence is still inconclusive."""
    overlay = asked.policy.rehearsal
    needed = min(gate.no_alert, overlay.no_alert) if overlay is not None else gate.no_alert
    reports = [report for report in asked.state.monitor_reports if report.monitor == gate.monitor and asked.state.counts(report.rehearsal)]
    said = quiet(reports, frozenset(gate.coverage), asked.now)
    zones = " ".join(gate.coverage)
    advice = f"orchestrator monitor report {gate.monitor} --since TIME --until TIME --alerts 0 --coverage {zones} --file FILE"
    if said.alert_until is not None and asked.now < said.alert_until + needed:
        wait = said.alert_until + needed - asked.now
        return _lacking(gate, f"{gate.monitor} reported an alert in a period that ended at {_stamp(said.alert_until)}", advice, wait)
    if said.until is None or said.since is None:
        return _silent(gate, f"{gate.monitor} has said nothing of {', '.join(gate.coverage)}", advice)
    if asked.now > said.until + gate.fresh:
        return _silent(gate, f"{gate.monitor} has said nothing since {_stamp(said.until)} (at most {_text(gate.fresh)} ago)", advice)
    if said.until - said.since < needed:
        left = said.since + needed - asked.now
        spoken = f"{gate.monitor} speaks of the time since {_stamp(said.since)} only, not of {_text(needed)}"
        return _silent(gate, spoken, advice, left if left > timedelta(0) else None)
    return None


def _eradication(gate: EradicationGate, asked: Asked) -> Lack | None:
    recorded = {piece.zone for piece in _pieces(asked, "eradication")}
    left = [zone for zone in gate.eradication if zone not in recorded]
    if not left:
        return None
    also = f"; also for {', '.join(left[1:])}" if left[1:] else ""
    advice = f"orchestrator evidence add eradication --zone {left[0]} --file FILE{also}"
    return _lacking(gate, f"no eradication is recorded for {', '.join(left)}", advice)


def _care(gate: CareGate, asked: Asked) -> Lack | None:
    """What was probed before the last cut-off says nothing of the time after it."""
    advice = "orchestrator care probe"
    failed, unknown = [], []
    cut = asked.state.last_cutoff
    for name in gate.care:
        result = asked.state.care.get(name)
        if result is None or not asked.state.counts(result.rehearsal):
            unknown.append(f"{name} was never probed")
        elif asked.now > moment(result.at) + gate.fresh or (cut is not None and moment(result.at) < moment(cut.at)):
            unknown.append(f"{name} was last probed at {result.at}")
        elif result.check is Check.FAILED:
            failed.append(f"{name} failed at {result.at}")
        elif result.check is Check.INCONCLUSIVE:
            unknown.append(f"{name} could not be probed at {result.at}")
    if failed:
        return _lacking(gate, "; ".join((*failed, *unknown)), advice)
    return _silent(gate, "; ".join(unknown), advice) if unknown else None


def _window(gate: WindowGate, asked: Asked) -> Lack | None:
    zone = time_zone(asked.policy.timezone)
    if zone is None:
        return _silent(gate, f"this machine does not know the time zone {asked.policy.timezone}", "install the tz database (tzdata)")
    wait = opens_in(gate.window, zone, asked.now)
    if wait is None:
        return _lacking(gate, "its last window has passed", "ratify a policy with another window")
    if wait > timedelta(0):
        return _lacking(gate, f"its next window opens at {(asked.now + wait).astimezone(zone):%a %d %b %H:%M}", "wait", wait)
    return None


_KINDS: Mapping[type[SingleGate], Callable[[Any, Asked], Lack | None]] = {
    EvidenceGate: _evidence,
    AttestationGate: _attestation,
    PartnerReadyGate: _partner_ready,
    PredecessorGate: _predecessor,
    PartnerWitnessGate: _partner_witness,
    NoAlertGate: _no_alert,
    EradicationGate: _eradication,
    CareGate: _care,
    WindowGate: _window,
}


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="minutes").replace("+00:00", "Z")


def _text(duration: timedelta | None) -> str:
    """`3 d`, `36 h`, `90 s`: the largest unit that says it exactly."""
    seconds = int(duration.total_seconds()) if duration is not None else 0
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
