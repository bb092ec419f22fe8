"""What people see of the state, as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.domain import conditions, eligibility
from orchestrator.domain.events import Event, hashable
from orchestrator.domain.making import stamp
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Stage
from orchestrator.domain.state import DeviceStatus, SiteState, StageStatus
from orchestrator.domain.statement import expiry
from orchestrator.domain.votes import missing

Json = dict[str, Any]


def posture(state: SiteState) -> Json:
    cutoff = state.last_cutoff
    return {
        "site": state.ratified.site.name if state.ratified else None,
        "posture": state.posture.value,
        "since": state.posture_since or None,
        "epoch": state.epoch,
        "rehearsal": state.rehearsal,
        "policy_digest": state.ratified.policy_digest if state.ratified else None,
        "inventory_digest": state.ratified.inventory_digest if state.ratified else None,
        "last_cutoff": {"profile": cutoff.profile, "epoch": cutoff.epoch, "at": cutoff.at, "verdict": cutoff.verdict} if cutoff else None,
        "log_size": state.seq + 1,
    }


def stage_line(state: SiteState, stage: Stage) -> Json:
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
        "rehearsal": state.rehearsal,
    }


def stage(state: SiteState, declared: Stage, now: datetime) -> Json:
    """Everything about one stage but the scripts of its plan."""
    status = state.stage(declared.name)
    lacking = missing(declared.votes, eligibility.voters(state, declared, status))
    return {
        **stage_line(state, declared),
        "flows": list(declared.flows),
        "partners": list(conditions.partners(state, declared)),
        "quorum": {role.value: count for role, count in declared.votes.items()},
        "still_needed": {role.value: count for role, count in lacking.items()},
        "cast": [
            {"person": vote.person, "choice": vote.choice, "roles": list(vote.roles), "reason": vote.reason, "at": vote.at}
            for vote in status.votes.values()
        ],
        "unmet": [
            {"rule": unmet.rule, "message": unmet.message, "advice": unmet.advice} for unmet in conditions.unmet(state, declared, now)
        ],
        "opened_at": status.opened_at or None,
        "plan": _plan_in_short(status, status.plan) if status.plan else None,
    }


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
