"""How a stage's plan compares with the plan made now, and with what its devices hold: as packets, not as text.

Asked by people ("why is it stale?", "is that device as we voted?"); it decides nothing and records nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain import conditions
from orchestrator.domain.differences import between_plans, from_plan_to_device
from orchestrator.domain.layer import Observed
from orchestrator.domain.lift_planning import MOST_BOXES
from orchestrator.domain.plan import Plan
from orchestrator.domain.rule_lists import Difference
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState
from orchestrator.domain.told_packets import between_told
from orchestrator.errors import DeviceError, Refused, Stale, UsageError
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
        fresh = stages.made(state, stage, planned.partners, stages.journal.now(), planned.window)
    except (Refused, UsageError, DeviceError) as refusal:
        return Comparison({}, {"": f"it cannot be planned now: {refusal}"})
    told = planned.lifts or bool(planned.resumes)  # no openings of their own: by the packets that their voters saw
    found = between_told(planned, fresh) if told else between_plans(planned, fresh)
    guards = between_lifts(planned, fresh) if planned.lifts else between_releases(planned, fresh)
    return Comparison(found, {}, guards, text_moved=not found and not guards and planned.digest != fresh.digest)


def with_devices(stages: Stages, actor: str, stage: str) -> Comparison:
    """What the plan's devices hold, read back now, against what the log says: with the plan's openings while they should
    be there, without them otherwise. Raises Stale (rule `no-plan`)."""
    state = stages.read(actor)
    planned = _planned(state, stage)
    if planned.resumes:
        return _joined([with_devices(stages, actor, one.stage) for one in planned.resumes])
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


def _joined(comparisons: Sequence[Comparison]) -> Comparison:
    """Of stages whose devices may be the same ones: each is compared with all that the log says of it."""
    devices: dict[str, Difference] = {}
    unknown: dict[str, str] = {}
    guards: dict[str, str] = {}
    for one in comparisons:
        devices, unknown, guards = devices | dict(one.devices), unknown | dict(one.unknown), guards | dict(one.guards)
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


def between_lifts(planned: Plan, fresh: Plan) -> dict[str, str]:
    """What two plans of a lift say of a device beside the packets: its own configuration, which alone decides afterwards, and
    packets in more pieces than a plan tells."""
    found: dict[str, list[str]] = {}
    one, other = (plan.lift for plan in (planned, fresh))
    before, after = ({item.device: item.sha256 for item in lift.site_rules} if lift else {} for lift in (one, other))
    for device in sorted({*before, *after}):
        if before.get(device) != after.get(device):
            found.setdefault(device, []).append("its own configuration is not the one that was read for the vote")
    pieces, now = ({(item.device, item.guard): item for item in lift.guards} if lift else {} for lift in (one, other))
    for device, guard in sorted({*pieces, *now}):
        sides = [side for side in (pieces.get((device, guard)), now.get((device, guard))) if side is not None]
        if len({side.sha256 for side in sides}) > 1 and max(side.boxes for side in sides) > MOST_BOXES:
            found.setdefault(device, []).append(f"what becomes possible at {guard} differs in more pieces than can be told")
    return {device: "; ".join(texts) for device, texts in found.items()}


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
