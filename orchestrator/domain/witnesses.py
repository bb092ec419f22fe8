"""What partners' contacts have signed, as it counts: for the plan by which the stage is open, of every flow with the partner."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Policy
from orchestrator.domain.probes import Check
from orchestrator.domain.services import FlowService
from orchestrator.domain.stage_names import supplements
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.witness import Saw, Seen, verdict

CAN_BE_SEEN = LETS_THROUGH | {StageState.VERIFYING, StageState.OBSERVING}  # laid, and probed by us or about to be
_NAMES = {1: "icmp", 50: "esp", 58: "icmpv6"}


def lack_of(state: SiteState, policy: Policy, stage: str, partner: str, fresh: timedelta | None, now: datetime) -> tuple[Check, str]:
    """Whether what the stage opened to the partner was seen to pass, and what is the matter when it was not."""
    status = _opened_by(state, stage, partner)
    if status is None or status.plan is None:
        return Check.INCONCLUSIVE, f"{stage} is not open to {partner}"
    said = state.witnessed.get((status.name, partner))
    keys_since = state.ratified.keys_since if state.ratified is not None else -1
    since = max(status.planned_seq, keys_since)  # a plan made again, of the same digest, is another opening
    if said is None or said.plan_digest != status.plan_digest or said.seq <= since or not state.counts(said.rehearsal):
        return Check.INCONCLUSIVE, f"no contact of {partner} has signed what they see of {status.name}"
    if fresh is not None and now > moment(said.seen_at) + fresh:
        return Check.INCONCLUSIVE, f"{said.witness} saw it at {said.seen_at}, too long ago"
    found = verdict([_seen(one) for one in said.seen], flows_with(policy, status.plan, partner))
    what = {
        Check.SUCCESSFUL: "",
        Check.FAILED: f"{said.witness} does not see it pass: {', '.join(f'{one[0]} {one[1]}' for one in said.seen if one[2] == 'blocked')}",
        Check.INCONCLUSIVE: f"{said.witness} has not seen all that {status.name} opens to {partner}",
    }[found]
    return found, what


def flows_with(policy: Policy, plan: Plan, partner: str) -> tuple[tuple[str, str], ...]:
    """(flow, service) of everything that the plan opens to the partner, in its order."""
    flows = (policy.flow(name) for name in plan.flows if name in policy.flows_by_name)
    return tuple((flow.name, said(service)) for flow in flows if partner in flow.partners for service in flow.services)


def opened_to(state: SiteState, stage: str) -> tuple[str, ...]:
    """The partners that the stage and its supplements are open to."""
    plans = (status.plan for status in _statuses(state, stage) if status.plan is not None)
    return tuple(dict.fromkeys(partner for plan in plans for partner in plan.partners))


def said(service: FlowService) -> str:
    """`tcp/443`, `tcp/8000-8010`, `esp`: as a statement names it."""
    if service.ports is None:
        return _NAMES.get(service.protocol, f"protocol {service.protocol}")
    low, high = service.ports
    return f"{'tcp' if service.protocol == 6 else 'udp'}/{low}" + (f"-{high}" if high != low else "")


def _statuses(state: SiteState, stage: str) -> tuple[StageStatus, ...]:
    names = (stage, *supplements(stage, state.stages))
    return tuple(status for status in (state.stage(name) for name in names) if status.state in CAN_BE_SEEN)


def _opened_by(state: SiteState, stage: str, partner: str) -> StageStatus | None:
    found = [status for status in _statuses(state, stage) if status.plan is not None and partner in status.plan.partners]
    return found[-1] if found else None


def _seen(one: tuple[str, str, str, str]) -> Seen:
    saw: dict[str, Saw] = {"passes": "passes", "blocked": "blocked"}
    return Seen(flow=one[0], service=one[1], saw=saw.get(one[2], "cannot-tell"), words=one[3])
