"""The dated list of obligations: what is overdue, what falls due next, and what has fulfilled it.

`after_cut` counts from the first cut-off of the incident. An obligation with flows is fulfilled when all of them are open
to all their partners (or were never cut); one without, when evidence of its name is attached after that cut-off
(`orchestrator evidence add cnil-notification --file FILE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.conditions import in_force
from orchestrator.domain.obligations import Obligation
from orchestrator.domain.policy import Policy
from orchestrator.domain.stages import LETS_THROUGH
from orchestrator.domain.state import SiteState, moment


@dataclass(frozen=True)
class DueFlow:
    """A flow whose reopening an obligation waits for, and the stage that opens it."""

    flow: str
    stage: str
    is_open: bool


@dataclass(frozen=True)
class Due:
    """`at` is None as long as nothing was cut. `left` is negative when it is overdue."""

    obligation: Obligation
    at: datetime | None
    left: timedelta | None
    flows: tuple[DueFlow, ...]
    fulfilled: bool

    @property
    def overdue(self) -> bool:
        return not self.fulfilled and self.left is not None and self.left < timedelta(0)


def obligations(state: SiteState, now: datetime) -> tuple[Due, ...]:
    """Overdue first, then by date; then those without a date yet, and those fulfilled last."""
    policy = in_force(state).policy
    since = moment(state.incident_since) if state.incident_since else None
    found = [_due(state, policy, item, since, now) for item in policy.obligations]
    far = datetime.max.replace(tzinfo=now.tzinfo)
    return tuple(sorted(found, key=lambda due: (due.fulfilled, due.at is None, due.at or far)))


def _due(state: SiteState, policy: Policy, item: Obligation, since: datetime | None, now: datetime) -> Due:
    at = item.due if item.after_cut is None else since + item.after_cut if since is not None else None
    flows = tuple(DueFlow(name, *_opened_by(state, policy, name)) for name in item.flows)
    if flows:
        fulfilled = all(flow.is_open for flow in flows)
    else:
        fulfilled = since is not None and any(
            piece.kind == item.name and state.of_this_incident(piece) and state.counts(piece.rehearsal) for piece in state.evidence
        )
    return Due(item, at, at - now if at is not None else None, flows, fulfilled)


def _opened_by(state: SiteState, policy: Policy, name: str) -> tuple[str, bool]:
    """The stage that opens the flow, and whether it is open to everybody whom it is meant for (kept flows always are)."""
    flow = policy.flow(name)
    stage = next((item for item in policy.stages if name in item.flows), None)
    kept = state.last_cutoff is None or flow.decisions.get(state.last_cutoff.profile) == "keep"
    if stage is None:
        return "", kept
    status = state.stage(stage.name)
    wanted = {partner for partner in flow.partners if stage.partners is None or partner in stage.partners}
    plan = status.plan
    is_open = status.state in LETS_THROUGH and plan is not None and name in plan.flows and wanted <= set(plan.partners)
    return stage.name, kept or is_open
