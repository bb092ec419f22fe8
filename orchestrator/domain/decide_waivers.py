"""The decisions about waivers: one person requests, another grants, anybody who decides ends it."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import conditions, waivers
from orchestrator.domain.authorities import two_authorities
from orchestrator.domain.commands import EndWaiver, GrantWaiver, RequestWaiver
from orchestrator.domain.decide_records import time
from orchestrator.domain.duties import Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.gates import single_gates
from orchestrator.domain.making import EventMaker, stamp
from orchestrator.domain.policy import Stage
from orchestrator.domain.policy_words import Role
from orchestrator.domain.state import SiteState, moment
from orchestrator.domain.waivers import LONGEST, Waiver
from orchestrator.errors import NotAllowed, Refused, Stale, UnknownName, UsageError


def request(state: SiteState, command: RequestWaiver, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """WaiverRequested. Raises Refused (rules `cannot-be-waived`, `waiver-too-long`), UnknownName, UsageError."""
    stage = conditions.declared(state, command.stage)
    _require_waivable(stage, command.gate)
    concerned = tuple(dict.fromkeys(partner for _, partner in conditions.conversations(state, stage) if partner is not None))
    if command.partner is not None and command.partner not in concerned:
        raise UnknownName(f"{stage.name} opens to no partner {command.partner!r}", advice=f"it opens to {', '.join(concerned) or 'nobody'}")
    until = time(command.until)
    if not now < until <= now + LONGEST:
        raise Refused(
            f"a waiver ends within {LONGEST.days} days, and not in the past",
            rule="waiver-too-long",
            advice="request another when it ends, if it must be",
        )
    if not command.reason.strip() or not command.accepted_risk.strip():
        raise UsageError("a waiver says its reason and the risk that is accepted", advice="--reason TEXT --risk TEXT")
    body = {
        "waiver": f"W{len(state.waivers) + 1}",
        "gate": command.gate,
        "partner": command.partner,
        "reason": command.reason.strip(),
        "accepted_risk": command.accepted_risk.strip(),
        "until": stamp(until),
    }
    return (make(E.WAIVER_REQUESTED, body, stage=stage.name),)


def grant(state: SiteState, command: GrantWaiver, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """WaiverGranted, by another person than who requested it. Raises NotAllowed (rule `waiver-needs-a-second-person`)."""
    waiver = _known(state, command.waiver)
    waivers.after(waiver.state, E.WAIVER_GRANTED, waiver.id)
    if waiver.seq < conditions.keys_since(state, waiver.requested_by):
        message = f"the people's keys have been ratified anew since {waiver.id} was requested"
        raise Stale(message, rule="digest-moved", advice="request it again")
    if not two_authorities(state, Verb.WAIVER, waiver.requested_by, moment(waiver.requested_at), command.actor, now):
        raise NotAllowed(
            f"{waiver.id} was requested by {waiver.requested_by}: who asks does not grant, nor does a deputy by the same authority",
            rule="waiver-needs-a-second-person",
            advice="another security officer, commander or director grants it",
        )
    if now >= time(waiver.until):
        raise Stale(f"{waiver.id} would have ended at {waiver.until}", rule="expired", advice="request it again")
    _require_waivable(conditions.declared(state, waiver.stage), waiver.gate)
    return (make(E.WAIVER_GRANTED, _about(waiver), stage=waiver.stage),)


def end(state: SiteState, command: EndWaiver, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """WaiverEnded: taken back, not granted, or not needed any more."""
    waiver = _known(state, command.waiver)
    waivers.after(waiver.state, E.WAIVER_ENDED, waiver.id)
    return (make(E.WAIVER_ENDED, {**_about(waiver), "reason": command.reason}, stage=waiver.stage),)


def _about(waiver: Waiver) -> dict[str, object]:
    return {"waiver": waiver.id, "gate": waiver.gate, "partner": waiver.partner}


def _known(state: SiteState, waiver: str) -> Waiver:
    """Of a rehearsal, in a rehearsal only."""
    found = state.waivers.get(waiver)
    if found is None or not state.counts(found.rehearsal):
        known = ", ".join(known.id for known in state.waivers.values() if state.counts(known.rehearsal))
        raise UnknownName(f"there is no waiver {waiver!r}", advice=f"there is {known or 'none'}")
    return found


def _require_waivable(stage: Stage, gate: str) -> None:
    """Every gate of that id may be waived. Votes, predecessors and partners' attestations are no gates."""
    meant = [item for item in single_gates(stage.gates) if item.id == gate]
    if meant and all(item.may_be_waived for item in meant):
        return
    names = ", ".join(dict.fromkeys(item.id for item in single_gates(stage.gates) if item.may_be_waived)) or "none"
    what = gate.partition(":")[0]
    never = {"vote", "votes", "attestation-missing", "predecessor-not-open", *(role.value for role in Role)}
    if meant or what in never or gate in {needed.stage for needed in stage.requires}:
        raise Refused(f"{gate} of {stage.name} cannot be waived", rule="cannot-be-waived", advice=f"what can be: {names}")
    raise UnknownName(f"{stage.name} has no gate {gate!r}", advice=f"what can be waived: {names}")
