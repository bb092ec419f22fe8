"""The plan of a resumption: the stages that were open, in the order in which they had been opened, each with its digest.

Each stage's plan is made again as if those before it were open already, which is what it was made beside then. Another digest
(a wider cut-off has laid more, the policy was ratified anew) leaves the stage out by name, and so does a gate that does not
hold any more: the others are resumed without it, and it goes the usual way.
"""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import conditions, decide_resume, resumption
from orchestrator.domain.false_alarms import Interrupted
from orchestrator.domain.plan import Plan, Resumed
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.state import SiteState
from orchestrator.errors import InputError, Refused
from orchestrator.service.planning import Planner


def resumption_plan(planner: Planner, state: SiteState, now: datetime) -> Plan:
    """Raises Refused: what holds back any resumption (`decide_resume.require_now`), and `nothing-to-resume`."""
    asked, ratified = conditions.declared(state, RESUME), conditions.in_force(state)
    decide_resume.require_now(state, now)
    chosen: list[Plan] = []
    resumed: list[Resumed] = []
    left_out: list[str] = []
    for item in resumption.candidates(state):
        beside = resumption.with_openings(state, [state.stage(one.stage) for one in resumed])
        beside = resumption.as_if_open(beside, [one.stage for one in resumed])
        lacking = resumption.lack_of(state, item, now) or _unmet(beside, item, now) or _moved(planner, beside, item)
        voted = state.stage(item.stage).plan
        if lacking or voted is None:
            left_out.append(f"{item.stage}: {lacking}")
            continue
        chosen.append(voted)
        resumed.append(Resumed(stage=item.stage, plan_digest=item.plan_digest))
    if not chosen:
        why = "; ".join(left_out) or "no stage was open when the cut-off came"
        raise Refused(f"nothing can be resumed: {why}", rule="nothing-to-resume", advice="plan the stages anew: orchestrator stage next")
    return Plan(
        site=ratified.site.name,
        stage=RESUME,
        flows=tuple(dict.fromkeys(flow for plan in chosen for flow in plan.flows)),
        partners=tuple(dict.fromkeys(partner for plan in chosen for partner in plan.partners)),
        policy_digest=ratified.policy_digest,
        inventory_digest=ratified.inventory_digest,
        rehearsal=state.rehearsal,
        devices=(),
        becomes_possible=tuple(dict.fromkeys(line for plan in chosen for line in plan.becomes_possible)),
        probes=(),
        unprobed=tuple(dict.fromkeys(text for plan in chosen for text in plan.unprobed)),
        confirm_window_s=max(plan.confirm_window_s for plan in chosen),
        observation_s=max(plan.observation_s for plan in chosen),
        expires_after_s=round(asked.plan_expiry.total_seconds()),
        resumes=tuple(resumed),
        left_out=tuple(left_out),
    )


def _moved(planner: Planner, beside: SiteState, item: Interrupted) -> str:
    """Why its plan is not the one that was voted on; empty when it is, to the byte."""
    status = beside.stage(item.stage)
    try:
        fresh = planner.plan(beside, item.stage, status.plan.partners if status.plan is not None else None)
    except (Refused, InputError) as refusal:
        return f"it cannot be planned as it was: {str(refusal).partition(chr(10))[0]}"
    return (
        ""
        if fresh.digest == item.plan_digest
        else "its plan made now is another one (what lies on the devices, or what is ratified, has moved)"
    )


def _unmet(beside: SiteState, item: Interrupted, now: datetime) -> str:
    lacking = next(iter(conditions.unmet(beside, conditions.declared(beside, item.stage), now)), None)
    return "" if lacking is None else lacking.message
