"""Whether a stage could be planned now, and whether the plan that is voted on would still be made: the planner's own answer,
without the words of any platform.
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.domain.conditions import declared, in_force
from orchestrator.domain.layer import ordered
from orchestrator.domain.lift_planning import lifted_devices, says_the_same
from orchestrator.domain.plan import Plan, RenderedScript, Window
from orchestrator.domain.planning import plan_stage
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.state import SiteState, StageStatus
from orchestrator.domain.unmet import Unmet
from orchestrator.errors import Refused

_SILENT = RenderedScript(kind="shell", command="", text="")


def obstacle(state: SiteState, stage: str, partners: Collection[str]) -> Unmet | None:
    """Why no plan of the stage for these partners can be made, whatever its conditions say; None when one can."""
    if declared(state, stage).lifts:
        return (
            None
            if lifted_devices(state)
            else Unmet("nothing-is-cut", "no device holds a layer: there is nothing to lift", "orchestrator status")
        )
    try:
        plan = _silent(state, stage, partners)
    except Refused as refusal:
        return Unmet(refusal.rule, _message(refusal), refusal.advice)
    if plan.devices:
        return None
    return Unmet("nothing-is-cut", f"no layer holds back what {stage} opens: there is nothing to reopen", "orchestrator status")


def moved(state: SiteState, status: StageStatus) -> str:
    """Why the stage's plan would be refused as stale; empty when it is the one that would be made now."""
    voted = status.plan
    if voted is None:
        return ""
    if in_force(state).keys_since > status.planned_seq:
        return f"the people's keys have been ratified anew since {status.name} was planned"
    if voted.lifts:
        return "" if says_the_same(state, voted) else f"what {status.name} was planned on has moved"
    try:
        now = _silent(state, status.name, voted.partners, voted.window)
    except Refused as refusal:
        return _message(refusal)
    same = now.model_copy(update={"devices": ()}) == voted.model_copy(update={"devices": ()})
    if same and [device.change for device in now.devices] == [device.change for device in voted.devices]:
        return ""
    return f"the plan of {status.name} made now is not the one voted on"


def _silent(state: SiteState, stage: str, partners: Collection[str], window: Window | None = None) -> Plan:
    ratified = in_force(state)
    slots = {name: tuple(sorted(device.slots)) for name, device in sorted(state.devices.items())}
    ending = {name: ordered(state.device(name).ending(but=stage)) for name in slots}
    released = {name: {port for other, ports in state.device(name).releases.items() if other != stage for port in ports} for name in slots}
    return plan_stage(
        ratified.site,
        ratified.policy,
        declared(state, stage),
        layers_in_force=layers_in_force(ratified.site, ratified.policy, slots),
        already_open={name: ordered(state.device(name).held_by_others(stage) - {*ending[name]}) for name in slots},
        already_released=released,
        policy_digest=ratified.policy_digest,
        inventory_digest=ratified.inventory_digest,
        render=lambda *_: (_SILENT, _SILENT, _SILENT),
        partners=tuple(sorted(partners)),
        window=window,
        ending=ending,
        blocked=state.blocklist,
    )


def _message(refusal: Refused) -> str:
    """Without its advice, which stands beside it."""
    return str(refusal).partition("\n  → ")[0]
