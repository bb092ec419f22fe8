"""What people see of the state, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from orchestrator.api import views_windows
from orchestrator.domain import conditions, eligibility, ends_told
from orchestrator.domain.events import Event, hashable
from orchestrator.domain.gate_answers import statuses
from orchestrator.domain.making import stamp
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Stage
from orchestrator.domain.resumption import Outlook
from orchestrator.domain.state import Attestation, DeviceStatus, SiteState, StageStatus
from orchestrator.domain.statement import expiry
from orchestrator.domain.unmet import Unmet
from orchestrator.domain.votes import missing
from orchestrator.domain.waivers import Waiver

Json = dict[str, Any]


def posture(state: SiteState, now: datetime) -> Json:
    cutoff = state.last_cutoff
    return {
        "site": state.ratified.site.name if state.ratified else None,
        "posture": state.posture.value,
        "since": state.posture_since or None,
        "epoch": state.epoch,
        "rehearsal": state.rehearsal,
        "policy_digest": state.ratified.policy_digest if state.ratified else None,
        "inventory_digest": state.ratified.inventory_digest if state.ratified else None,
        "ends": views_windows.all_ends(state, now),
        "recuts": [views_windows.recut(state, item, now) for item in state.recuts.values() if not item.ended_at],
        "last_cutoff": {"profile": cutoff.profile, "epoch": cutoff.epoch, "at": cutoff.at, "verdict": cutoff.verdict} if cutoff else None,
        "waivers": [waiver(state, standing, now) for standing in state.waivers_in_force(now)],
        "drift": drift(state),
        "server": state.watched.server.name if state.watched.server else None,
        "log_size": state.seq + 1,
    }


def drift(state: SiteState) -> list[Json]:
    """In short, what was found last and stands: `GET /v1/drift` says what it is."""
    return [
        {"device": status.device, "since": status.since, "found": len(status.found), "more": any(item.more for item in status.found)}
        for status in state.watched.drift.values()
        if status.found
    ]


def stage_line(state: SiteState, stage: Stage, now: datetime) -> Json:
    status = state.stage(stage.name)
    return {
        "stage": stage.name,
        "title": stage.title.model_dump(),
        "state": status.state.value,
        "since": status.since or None,
        "detail": status.detail,
        "votes": len(status.approvals),
        "votes_needed": sum(stage.votes.values()),
        "requires": [needed.stage for needed in stage.requires],
        "ends_at": status.ends_at or None,
        "end_passed": ends_told.has_passed(status, now),
        "window": views_windows.window(state, status.plan),
        "waivers": [waiver(state, standing, now) for standing in state.waivers_in_force(now, stage.name)],
        "rehearsal": state.rehearsal,
    }


def stage(state: SiteState, declared: Stage, now: datetime) -> Json:
    """Everything about one stage but the scripts of its plan."""
    status = state.stage(declared.name)
    lacking = missing(declared.votes, eligibility.voters(state, declared, status))
    return {
        **stage_line(state, declared, now),
        "flows": list(declared.flows),
        "partners": list(conditions.partners(state, declared)),
        "quorum": {role.value: count for role, count in declared.votes.items()},
        "still_needed": {role.value: count for role, count in lacking.items()},
        "cast": [
            {"person": vote.person, "choice": vote.choice, "roles": list(vote.roles), "reason": vote.reason, "at": vote.at}
            for vote in status.votes.values()
        ],
        "gates": gates(state, declared, now),
        "unmet": [unmet(item) for item in conditions.unmet(state, declared, now)],
        "opened_at": status.opened_at or None,
        "conversations": [
            {"flow": flow, "partner": partner, "state": held.value} for (flow, partner), held in sorted(status.conversations.items())
        ],
        "counted": [{"device": device, **asdict(found)} for device, found in sorted(status.counted.items())],
        **views_windows.of_stage(state, status, now),
        "plan": _plan_in_short(status, status.plan) if status.plan else None,
    }


def unmet(item: Unmet) -> Json:
    """`flows` and `partners` that it holds back (empty: all of the stage); `takes_s` null when nobody can say."""
    return {
        "rule": item.rule,
        "message": item.message,
        "advice": item.advice,
        "flows": list(item.flows),
        "partners": list(item.partners),
        "takes_s": round(item.takes.total_seconds()) if item.takes is not None else None,
        "exact": item.exact,
    }


def gates(state: SiteState, declared: Stage, now: datetime) -> list[Json]:
    """Every single gate with its answer; null when nothing that is opened now asks for it."""
    asked = conditions.gates(state, declared, now)
    return [
        {
            "gate": status.gate.id,
            "kind": status.gate.kind,
            "title": status.gate.title.model_dump(),
            "answer": status.answer.value if status.answer is not None else None,
            "lacks": list(status.lacks),
            "waivers": [standing.id for standing in status.waivers],
            "may_be_waived": status.gate.may_be_waived,
        }
        for status in statuses(asked, declared, conditions.asked_for(state, declared))
    ]


def waiver(state: SiteState, waiver: Waiver, now: datetime) -> Json:
    """`in_force`: whether it stands for its gate now."""
    return {**asdict(waiver), "state": waiver.state.value, "in_force": waiver in state.waivers_in_force(now)}


def attestation(attestation: Attestation, now: datetime) -> Json:
    """As last recorded; `expired` when its time is over."""
    return {**asdict(attestation), "state": attestation.state_at(now).value}


def resume(found: Outlook | None) -> Json | None:
    """Whether what the last cut-off closed can be resumed; null when there is nothing to resume."""
    if found is None:
        return None
    lacks = [unmet(item) for item in found.lacks]
    until = stamp(found.until) if found.until is not None else None
    return {"stages": list(found.stages), "left_out": list(found.left_out), "until": until, "lacks": lacks}


def _plan_in_short(status: StageStatus, plan: Plan) -> Json:
    return {
        "digest": status.plan_digest,
        "proposer": status.proposer,
        "planned_at": status.planned_at,
        "expires": stamp(expiry(status)),
        "rehearsal": plan.rehearsal,
        "becomes_possible": [line.model_dump(mode="json") for line in plan.becomes_possible],
        "devices": [
            {
                "device": device.device,
                "order": device.order,
                "openings": len(device.change.openings),
                "releases": list(device.change.releases),
            }
            for device in plan.devices
        ],
        "probes": len(plan.probes),
        "unprobed": list(plan.unprobed),
        "confirm_window_s": plan.confirm_window_s,
        "observation_s": plan.observation_s,
        "resumes": [{"stage": item.stage, "plan_digest": item.plan_digest} for item in plan.resumes],
        "left_out": list(plan.left_out),
        "lift": plan.lift.model_dump(mode="json") if plan.lift is not None else None,
        "on_expiry": plan.on_expiry,
        "open_for_s": plan.open_for_s,
    }


def plan(status: StageStatus) -> Json:
    """The whole plan, scripts included: what its digest is taken of."""
    assert status.plan is not None
    return {**_plan_in_short(status, status.plan), "plan": status.plan.hashed()}


def device(status: DeviceStatus, name: str, platform: str) -> Json:
    return {
        "device": name,
        "platform": platform,
        "step": status.step or None,
        "since": status.since or None,
        "epoch": status.epoch,
        "slots": dict(status.slots),
        "openings": {stage: len(elements) for stage, elements in status.openings.items()},
        "releases": {stage: list(ports) for stage, ports in status.releases.items()},
        "pending": sorted(status.pending),
        "fingerprint": status.fingerprint or None,
    }


def event(event: Event) -> Json:
    return {**hashable(event), "hash": event.hash}
