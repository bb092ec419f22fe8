"""Planning a stage from the state: what lies on the devices by the log, and the words of their dialects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable

from orchestrator.dialects.base import Dialect, Fence, Script
from orchestrator.domain import conditions
from orchestrator.domain.layer import DeviceChange, ordered
from orchestrator.domain.network import Device, Site
from orchestrator.domain.plan import Plan, RenderedScript, Window
from orchestrator.domain.planning import plan_stage
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.state import SiteState
from orchestrator.service.garbage import without_collecting

_REMEMBERED = 16


class Planner:
    """Plans stages, and remembers the last plans by everything that they are made from: a plan is made when it is
    proposed, when it is to be applied and in step 1 of applying it, mostly of the same things."""

    def __init__(self, dialect_for: Callable[[str], Dialect]) -> None:
        self._dialect_for = dialect_for
        self._made: dict[Hashable, Plan] = {}

    def plan(self, state: SiteState, stage: str, partners: Collection[str] | None = None, window: Window | None = None) -> Plan:
        """The plan of a stage now: the same state gives the same plan, to the byte. `partners` defers the others; `window`
        is when it is open.

        What other stages have opened counts as open; what is left of this one does not, for it is laid anew.
        Raises Refused (see `plan_stage` and `layers_in_force`), UnknownName.
        """
        ratified = conditions.in_force(state)
        declared = conditions.declared(state, stage)
        slots = {name: tuple(sorted(device.slots)) for name, device in sorted(state.devices.items())}
        ending = {name: ordered(state.device(name).ending(but=stage)) for name in slots}  # open by the hour: it moves no plan
        opened = {name: ordered(state.device(name).held_by_others(stage) - {*ending[name]}) for name in slots}
        released = {name: _released_by_others(state, name, stage) for name in slots}
        chosen = None if partners is None else tuple(sorted(partners))
        distrusted = tuple(sorted(name for name, said in state.incidents.distrusted.items() if state.counts(said.rehearsal)))
        key = (
            ratified.policy_digest,
            ratified.inventory_digest,
            stage,
            chosen,
            state.blocklist,
            window,
            distrusted,
            *(tuple(part.items()) for part in (slots, opened, released, ending)),
        )
        if key not in self._made:
            with without_collecting():
                plan = plan_stage(
                    ratified.site,
                    ratified.policy,
                    declared,
                    layers_in_force=layers_in_force(ratified.site, ratified.policy, slots),
                    already_open=opened,
                    already_released=released,
                    policy_digest=ratified.policy_digest,
                    inventory_digest=ratified.inventory_digest,
                    render=self._render,
                    partners=chosen,
                    blocked=state.blocklist,
                    unfenced=self._unfenced(ratified.site),
                    composition_of=lambda name: self._dialect_for(ratified.site.device(name).platform).traits.composition,
                    window=window,
                    ending=ending,
                    untrusted=distrusted,
                )
            while len(self._made) >= _REMEMBERED:
                self._made.pop(next(iter(self._made)))
            self._made[key] = plan
        return self._made[key]

    def _render(self, device: Device, change: DeviceChange, until: bool) -> tuple[RenderedScript, RenderedScript, RenderedScript]:
        if change.is_empty:  # others hold all of it: nothing of this is ever sent
            nothing = _rendered(Script("true"))
            return nothing, nothing, nothing
        words = self._dialect_for(device.platform)
        return _rendered(words.open(change)), _rendered(words.confirm(change, until=until)), _rendered(words.close(change))

    def _unfenced(self, site: Site) -> list[str]:
        return [device.name for device in site.devices if self._dialect_for(device.platform).traits.fence is Fence.NONE]


def _rendered(script: Script) -> RenderedScript:
    return RenderedScript(kind=script.kind, command=script.command, text=script.text)


def _released_by_others(state: SiteState, device: str, stage: str) -> frozenset[str]:
    return frozenset(port for other, ports in state.device(device).releases.items() if other != stage for port in ports)
