"""What there is to see of a lift: its plan in packets, the differences by name, what they answered last, and every device."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain import conditions
from orchestrator.domain.events import EventType as E
from orchestrator.domain.lift_conditions import accepted
from orchestrator.domain.lift_planning import is_accepted
from orchestrator.domain.plan import Accepted, Plan
from orchestrator.domain.state import SiteState, StageStatus
from orchestrator.errors import UnknownName
from orchestrator.service.lifting import OUTSIDE
from orchestrator.service.stages import Stages


@dataclass(frozen=True)
class Difference:
    """`passed`: whether anything of it passed when it was last asked without the layer; None when it has not been asked."""

    name: str
    accepted: Accepted | None
    passed: bool | None


@dataclass(frozen=True)
class Overview:
    """`devices`: device → `laid`, `lifted` or `under way`, by the log."""

    status: StageStatus
    plan: Plan | None
    differences: tuple[Difference, ...]
    accepted: tuple[Accepted, ...]
    devices: dict[str, str]


def overview(stages: Stages, actor: str) -> Overview:
    """Raises UnknownName when no stage of the policy lifts the layer."""
    state = stages.read(actor)
    name = next((stage.name for stage in conditions.in_force(state).policy.stages if stage.lifts), None)
    if name is None:
        raise UnknownName("no stage of the policy lifts the layer", advice="add one with `lifts: true`")
    status, taken = state.stage(name), accepted(state)
    plan = status.plan
    asked, passing = _last(stages, name)
    names = sorted({*(plan.lift.differences if plan is not None and plan.lift is not None else ()), *asked})
    differences = tuple(Difference(item, _taken(item, taken), item in passing if item in asked else None) for item in names)
    return Overview(status, plan, differences, taken, _devices(state, name))


def _taken(name: str, taken: tuple[Accepted, ...]) -> Accepted | None:
    return next((item for item in taken if is_accepted(name, [item.name])), None)


def _last(stages: Stages, stage: str) -> tuple[set[str], set[str]]:
    """What was asked beyond the matrix the last time, and what of it passed."""
    asked: set[str] = set()
    passing: set[str] = set()
    for event in stages.collaborators.log.read():
        if event.type is E.CHECK_RAN and event.stage == stage and event.body.get("when") == OUTSIDE:
            asked, passing = {result["about"] for result in event.body["results"]}, set(event.body["passing"])
    return asked, passing


def _devices(state: SiteState, stage: str) -> dict[str, str]:
    site = conditions.in_force(state).site
    found = {}
    for device in site.devices:
        status = state.devices.get(device.name)
        if status is not None:
            found[device.name] = "under way" if stage in status.pending else "laid" if status.slots else "lifted"
    return found
