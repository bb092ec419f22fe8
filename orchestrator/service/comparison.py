"""How a stage's plan compares with the plan made now, and with what its devices hold: as packets, not as text.

Asked by people ("why is it stale?", "is that device as we voted?"); it decides nothing and records nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain import conditions
from orchestrator.domain.differences import between_plans, from_plan_to_device
from orchestrator.domain.layer import Observed
from orchestrator.domain.plan import Plan
from orchestrator.domain.rule_lists import Difference
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState
from orchestrator.errors import Refused, Stale, UsageError
from orchestrator.service.device_steps import DeviceSteps
from orchestrator.service.stages import Stages

LAID = frozenset({StageState.APPLYING, StageState.VERIFYING, StageState.OBSERVING}) | LETS_THROUGH


@dataclass(frozen=True)
class Comparison:
    """`devices`: those that differ in what is opened. `guards`: device → what of its layer or its coarse guards is not as it
    should be. `unknown`: device → why it cannot be told. `text_moved`: the plans open and release the same, and are not
    the same text (another epoch of the policy, another order)."""

    devices: Mapping[str, Difference]
    unknown: Mapping[str, str]
    guards: Mapping[str, str] = field(default_factory=dict)
    text_moved: bool = False

    @property
    def same(self) -> bool:
        return not self.devices and not self.unknown and not self.guards and not self.text_moved


def with_plan_now(stages: Stages, actor: str, stage: str) -> Comparison:
    """The plan that is voted on (or was), against the one that would be made now. Raises Stale (rule `no-plan`)."""
    state = stages.read(actor)
    planned = _planned(state, stage)
    try:
        fresh = stages.planner.plan(state, stage, planned.partners, planned.window)
    except (Refused, UsageError) as refusal:
        return Comparison({}, {"": f"it cannot be planned now: {refusal}"})
    found, guards = between_plans(planned, fresh), between_releases(planned, fresh)
    return Comparison(found, {}, guards, text_moved=not found and not guards and planned.digest != fresh.digest)


def with_devices(stages: Stages, actor: str, stage: str) -> Comparison:
    """What the plan's devices hold, read back now, against what the log says: with the plan's openings while they should
    be there, without them otherwise. Raises Stale (rule `no-plan`)."""
    state = stages.read(actor)
    planned = _planned(state, stage)
    laid = state.stage(stage).state in LAID
    expected = planned if laid else _without_openings(planned)
    steps = DeviceSteps(stages.collaborators, stages.journal, stage, _nothing_is_sent)
    devices: dict[str, Difference] = {}
    unknown: dict[str, str] = {}
    guards: dict[str, str] = {}
    for name, seen in steps.read([device.device for device in planned.devices]).items():
        if isinstance(seen, str):
            unknown[name] = seen
            continue
        try:
            if not (set(state.device(name).slots) - set(seen.slots)):  # without its layer a device opens nothing and stops nothing
                devices |= from_plan_to_device(expected, {name: seen}, {name: state.device(name).held_by_others(stage)})
        except Refused as refusal:  # a line that nobody models: what passes cannot be told
            unknown[name] = str(refusal)
        wrong = [told for told in (_layer(state, seen, name), _guards(state, planned, seen, name, laid)) if told]
        if wrong:
            guards[name] = "; ".join(wrong)
    return Comparison(devices, unknown, guards)


def _nothing_is_sent() -> None:
    """Reading needs no leave."""


def _planned(state: SiteState, stage: str) -> Plan:
    conditions.declared(state, stage)
    planned = state.stage(stage).plan
    if planned is None:
        raise Stale(f"{stage} has no plan", rule="no-plan", advice=f"orchestrator stage plan {stage}")
    return planned


def _without_openings(plan: Plan) -> Plan:
    devices = tuple(device.model_copy(update={"change": device.change.model_copy(update={"openings": ()})}) for device in plan.devices)
    return plan.model_copy(update={"devices": devices})


def between_releases(planned: Plan, fresh: Plan) -> dict[str, str]:
    """Coarse guards that only one of the two releases whole: no packet of the openings shows them."""
    one, other = ({item.device: set(item.change.releases) for item in plan.devices} for plan in (planned, fresh))
    found = {}
    for name in sorted({*one, *other}):
        come, gone = other.get(name, set()) - one.get(name, set()), one.get(name, set()) - other.get(name, set())
        told = [
            f"{word} {', '.join(sorted(names))}" for word, names in (("now also releases", come), ("no longer releases", gone)) if names
        ]
        if told:
            found[name] = "; ".join(told)
    return found


def _layer(state: SiteState, seen: Observed, device: str) -> str:
    """Whether the layer itself lies there. Without it everything passes that the site's own rules let, whatever is opened."""
    expected = state.device(device).slots
    if missing := sorted(set(expected) - set(seen.slots)):
        return f"the layer {', '.join(missing)} is not there: what it should stop passes by the site's own rules"
    if more := sorted(set(seen.slots) - set(expected)):
        return f"the layer {', '.join(more)} is there, and the log knows nothing of it"
    changed = sorted(name for name, content in expected.items() if content and seen.slots[name] != content)
    return f"the content of the layer {', '.join(changed)} is not what was laid" if changed else ""


def _guards(state: SiteState, plan: Plan, seen: Observed, device: str, laid: bool) -> str:
    """Of coarse guards: those that are released whole, or should be, otherwise than the log says."""
    change = next(item.change for item in plan.devices if item.device == device)
    by_others = {port for other, ports in state.device(device).releases.items() if other != plan.stage for port in ports}
    mine = set(change.releases) - by_others
    wrong = mine & set(seen.closed) if laid else mine - set(seen.closed)
    return f"{', '.join(sorted(wrong))} {'closed and should be released' if laid else 'released and should be closed'}" if wrong else ""
