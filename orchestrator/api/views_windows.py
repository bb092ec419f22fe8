"""What people see of windows, ends, extensions and planned re-cuts, as JSON. Times in UTC, and as clocks on the site show them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from orchestrator.domain.due_dates import End, ends
from orchestrator.domain.extensions import Extension
from orchestrator.domain.making import stamp
from orchestrator.domain.plan import Plan
from orchestrator.domain.recuts import Recut
from orchestrator.domain.state import SiteState, StageStatus
from orchestrator.domain.windows import local

Json = dict[str, Any]


def timezone(state: SiteState) -> str:
    return state.ratified.policy.timezone if state.ratified is not None else "UTC"


def window(state: SiteState, plan: Plan | None) -> Json | None:
    """Of a plan: from when to when; null for one without a dated window."""
    if plan is None or plan.window is None:
        return None
    zone = timezone(state)
    starts, ends_at = plan.window.starts, plan.window.ends
    return {"starts": starts, "ends": ends_at, "timezone": zone, "starts_local": local(starts, zone), "ends_local": local(ends_at, zone)}


def end(state: SiteState, item: End) -> Json:
    return {
        "stage": item.stage,
        "partners": list(item.partners),
        "kind": item.kind,
        "at": stamp(item.at),
        "at_local": local(stamp(item.at), timezone(state)),
        "left_s": round(item.left.total_seconds()),
        "warned_h": item.warned_h or None,
        "passed": item.passed,
        "extension_requested": item.requested or None,
    }


def all_ends(state: SiteState, now: datetime) -> list[Json]:
    return [end(state, item) for item in ends(state, now)]


def of_stage(state: SiteState, status: StageStatus, now: datetime) -> Json:
    """The members of a stage that are about time."""
    found = [item for item in ends(state, now) if item.stage == status.name]
    return {
        "window": window(state, status.plan),
        "end": end(state, found[0]) if found else None,
        "extensions": [extension(state, item) for item in state.extensions.values() if item.stage == status.name],
    }


def extension(state: SiteState, item: Extension) -> Json:
    return {**asdict(item), "state": item.state.value, "until_local": local(item.until, timezone(state))}


def recut(state: SiteState, item: Recut, now: datetime) -> Json:
    """`asks`: its date has passed by more than an hour, and it waits for a person."""
    return {**asdict(item), "state": item.state.value, "at_local": local(item.at, timezone(state)), "asks": item.asks(now)}
