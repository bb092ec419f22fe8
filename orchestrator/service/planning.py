"""Planning a stage from the state: what lies on the devices by the log, and the words of their dialects."""

from __future__ import annotations

from collections.abc import Callable, Collection

from orchestrator.dialects.base import Dialect, Fence, Script
from orchestrator.domain import conditions
from orchestrator.domain.layer import DeviceChange, Element, ordered
from orchestrator.domain.network import Device
from orchestrator.domain.plan import Plan, RenderedScript
from orchestrator.domain.planning import plan_stage
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.state import SiteState


def make_plan(state: SiteState, stage: str, dialect_for: Callable[[str], Dialect], partners: Collection[str] | None = None) -> Plan:
    """The plan of a stage now: the same state gives the same plan, to the byte. `partners` defers the others.

    What other stages have opened counts as open; what is left of this one does not, for it is laid anew.
    Raises Refused (see `plan_stage` and `layers_in_force`), UnknownName.
    """
    ratified = conditions.in_force(state)
    site = ratified.site

    def render(device: Device, change: DeviceChange, until: bool) -> tuple[RenderedScript, RenderedScript, RenderedScript]:
        words = dialect_for(device.platform)
        return _rendered(words.open(change)), _rendered(words.confirm(change, until=until)), _rendered(words.close(change))

    return plan_stage(
        site,
        ratified.policy,
        conditions.declared(state, stage),
        layers_in_force=layers_in_force(site, ratified.policy, {name: sorted(device.slots) for name, device in state.devices.items()}),
        already_open={name: _opened_by_others(state, name, stage) for name in state.devices},
        already_released={name: _released_by_others(state, name, stage) for name in state.devices},
        policy_digest=ratified.policy_digest,
        inventory_digest=ratified.inventory_digest,
        render=render,
        partners=partners,
        unfenced=[device.name for device in site.devices if dialect_for(device.platform).traits.fence is Fence.NONE],
    )


def _rendered(script: Script) -> RenderedScript:
    return RenderedScript(kind=script.kind, command=script.command, text=script.text)


def _opened_by_others(state: SiteState, device: str, stage: str) -> tuple[Element, ...]:
    return ordered(state.device(device).held_by_others(stage))


def _released_by_others(state: SiteState, device: str, stage: str) -> frozenset[str]:
    return frozenset(port for other, ports in state.device(device).releases.items() if other != stage for port in ports)
