"""The dated list of obligations: what is overdue, what falls due next, and what has fulfilled it.

`after_cut` counts from the first cut-off of the incident. An obligation with flows is fulfilled when all of them are open
to all their partners (or were never cut); one without, when evidence of its name is attached after that cut-off
(`orchestrator evidence add cnil-notification --file FILE`).

Beside them, the ends of what is open: dated windows, what closes after a time, and alarms.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from orchestrator.domain import expiry
from orchestrator.domain.conditions import in_force
from orchestrator.domain.obligations import Obligation
from orchestrator.domain.policy import Policy
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState, StageStatus, moment

_LIE = LETS_THROUGH | {StageState.OBSERVING, StageState.FAILED}


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


@dataclass(frozen=True)
class End:
    """An opening that has an end. `kind`: `window` and `close` are on the devices; at the end of an `alarm` nothing happens, but
    that everybody is told (`passed`). `requested` names the extension that waits for a second person."""

    stage: str
    partners: tuple[str, ...]
    kind: Literal["window", "close", "alarm"]
    at: datetime
    left: timedelta
    warned_h: int
    passed: bool
    requested: str


def ends(state: SiteState, now: datetime) -> tuple[End, ...]:
    """Of what is open now, the nearest first: those that have passed come before all others."""
    found = [_end(state, status, now) for status in state.stages.values() if status.ends_at and status.state in _LIE]
    return tuple(sorted(found, key=lambda end: end.at))


def _end(state: SiteState, status: StageStatus, now: datetime) -> End:
    kind: Literal["window", "close", "alarm"] = "close" if expiry.closes(status) else "alarm"
    if status.plan is not None and status.plan.window is not None:
        kind = "window"
    requested = [
        item.id
        for item in state.extensions.values()
        if (item.stage, item.plan_digest, item.ends_at) == (status.name, status.plan_digest, status.ends_at) and not item.granted_by
    ]
    at = moment(status.ends_at)
    return End(
        status.name, status.plan.partners if status.plan is not None else (), kind, at, at - now, status.warned_h,
        passed=kind == "alarm" and at <= now, requested=requested[-1] if requested else "",
    )  # fmt: skip
