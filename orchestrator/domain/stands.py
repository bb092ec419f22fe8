"""What lies on the devices after a cut, and after each stage of the order: as the planner plans it, one stage after the other.

`Stand` is the state that questions such as "does it pass after P4?" are asked of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

from orchestrator.domain.layer import Layer, Opening
from orchestrator.domain.network import Site
from orchestrator.domain.plan import RenderedScript
from orchestrator.domain.planning import plan_stage
from orchestrator.domain.policy import Policy
from orchestrator.domain.profiles import layers_of
from orchestrator.domain.questions import Containment
from orchestrator.errors import Refused, UnknownName

_SILENT = RenderedScript(kind="shell", command="", text="")


@dataclass(frozen=True)
class Stand:
    """What lies on the devices once these stages are open, on top of the cut. `after` is the last of them; None: the cut
    alone. `refused` when the planner would refuse the last one (nothing of it is then open). `lifted`: no layer is left."""

    after: str | None
    stages: tuple[str, ...]
    containment: Containment
    openings: Mapping[str, tuple[tuple[str, Opening], ...]] = field(default_factory=dict)  # device → (stage, opening)
    releases: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (device, guard) → stage
    refused: Refused | None = None
    lifted: bool = False
    _alone: dict[tuple[str, str], Containment] = field(default_factory=dict, compare=False, repr=False)

    def alone(self, layer: Layer) -> Containment:
        """What lies there, as if this were the only layer: a packet must pass each of them by itself."""
        key = (layer.device, layer.slot)
        if key not in self._alone:
            self._alone[key] = Containment({layer.device: (layer,)}, self.containment.opened, self.containment.released)
        return self._alone[key]


def order_of(policy: Policy) -> tuple[str, ...]:
    """The stages, each after those that it requires; otherwise in the order of the policy."""
    place = {stage.name: number for number, stage in enumerate(policy.stages)}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(place)
    graph.add_edges_from((needed.stage, stage.name) for stage in policy.stages for needed in stage.requires)
    return tuple(nx.lexicographical_topological_sort(graph, key=lambda name: place[name]))


def up_to(policy: Policy, stage: str) -> tuple[str, ...]:
    """The stages of the order, up to this one. Raises UnknownName."""
    _known(policy, [stage])
    order = order_of(policy)
    return order[: order.index(stage) + 1]


def stands(site: Site, policy: Policy, profile: str, stages: Sequence[str], *, unfenced: Collection[str] = ()) -> tuple[Stand, ...]:
    """The cut by the profile, then one stage more at a time. Raises UnknownName."""
    _known(policy, stages)
    laid = {layer.device: (layer,) for layer in layers_of(site, policy, profile)}
    found = [Stand(None, (), Containment(laid))]
    for name in stages:
        found.append(_next(site, policy, found[-1], name, unfenced))
    return tuple(found)


def _next(site: Site, policy: Policy, before: Stand, name: str, unfenced: Collection[str]) -> Stand:
    stages, lies = (*before.stages, name), before.containment
    if before.lifted or policy.stage(name).lifts:
        return Stand(name, stages, Containment({}), lifted=True)
    opened = {device: tuple(elements) for device, elements in lies.opened.items()}
    try:
        plan = plan_stage(
            site, policy, policy.stage(name), layers_in_force={device: tuple(layers) for device, layers in lies.layers.items()},
            already_open=opened, already_released=lies.released, policy_digest="", inventory_digest="",
            render=_unspoken, unfenced=unfenced,
        )  # fmt: skip
    except Refused as refusal:
        return Stand(name, stages, lies, before.openings, before.releases, refusal)
    openings, released, releases = (
        dict(before.openings),
        {device: set(names) for device, names in lies.released.items()},
        dict(before.releases),
    )
    for change in (item.change for item in plan.devices):
        openings[change.device] = (*openings.get(change.device, ()), *((name, opening) for opening in change.openings))
        opened[change.device] = (*opened.get(change.device, ()), *change.elements)
        released.setdefault(change.device, set()).update(change.releases)
        releases.update({(change.device, guard): name for guard in change.releases})
    return Stand(name, stages, Containment(lies.layers, opened, released), openings, releases)


def _known(policy: Policy, stages: Sequence[str]) -> None:
    for name in stages:
        if name not in policy.stages_by_name:
            raise UnknownName(f"there is no stage {name!r}", advice=f"use one of {', '.join(policy.stages_by_name)}")


def _unspoken(*_: object) -> tuple[RenderedScript, RenderedScript, RenderedScript]:
    """No words of any platform: nothing is sent."""
    return _SILENT, _SILENT, _SILENT
