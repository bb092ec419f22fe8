"""The plan of a stage: what is opened on which device, what becomes possible, and what will be asked to verify it.

1 the conversations: the stage's flows with their partners
2 the elements that each guarded device on their way must hold, less those it lets pass already
3 the coarse guards on their way that are still closed, and the proof that flow devices stand behind every one;
  the proof that no device lets through more than these flows, whatever the site's own rules are
4 the scripts, flow devices first, coarse ones after
5 what becomes possible, in words; the probes; what no probe can show
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from orchestrator.domain.blocklist import require_unblocked
from orchestrator.domain.check_probes import check_probes
from orchestrator.domain.compile import elements_along, is_guarded
from orchestrator.domain.composition import Composition
from orchestrator.domain.composition_proof import prove_openings
from orchestrator.domain.element_index import ElementIndex
from orchestrator.domain.layer import DeviceChange, Element, Layer, Opening
from orchestrator.domain.network import Device, Prefix, Site
from orchestrator.domain.packet_elements import box_of, packets_of, without
from orchestrator.domain.packets import Box, PacketSet, describe_range
from orchestrator.domain.plan import DevicePlan, Plan, Reachability, RenderedScript, Window
from orchestrator.domain.plan_probes import stage_probes
from orchestrator.domain.policy import Flow, Partner, Policy, Stage
from orchestrator.domain.questions import Containment
from orchestrator.domain.release_proof import prove_releases
from orchestrator.domain.topology import crossings
from orchestrator.errors import Refused, UnknownName

Render = Callable[[Device, DeviceChange, bool], tuple[RenderedScript, RenderedScript, RenderedScript]]
"""The scripts (open, confirm, close) of one device's change; the bool: whether the openings end by themselves (`{until}`)."""


@dataclass
class _Changes:
    """What is gathered conversation by conversation."""

    passing: Mapping[str, ElementIndex]  # per device that is crossed: what passes it once all of this is open
    openings: dict[str, list[Opening]] = field(default_factory=dict)
    shared: dict[str, dict[Element, Opening]] = field(default_factory=dict)  # open already, for other stages, and needed as well
    named: dict[str, list[Element]] = field(default_factory=dict)  # by the flows, whether they pass already or not
    releases: dict[str, set[str]] = field(default_factory=dict)
    possible: list[Reachability] = field(default_factory=list)


def canary_of(stage: Stage) -> str | None:
    """The partner that is opened first, alone."""
    return stage.canary.partner if stage.canary is not None else None


def conversations(policy: Policy, stage: Stage, partners: Collection[str] | None = None) -> tuple[tuple[Flow, Partner], ...]:
    """The stage's flows, each with its partners, in the order of the policy. `partners` restricts them further.

    Raises UnknownName for a partner that no flow of the stage has.
    """
    allowed = set(stage.partners) if stage.partners is not None else None
    found = [
        (policy.flow(flow), policy.partner(name))
        for flow in stage.flows
        for name in policy.flow(flow).partners
        if allowed is None or name in allowed
    ]
    known = {partner.name for _, partner in found}
    for name in partners or ():
        if name not in known:
            raise UnknownName(f"stage {stage.name} opens nothing to {name!r}", advice=f"use one of {', '.join(sorted(known))}")
    return tuple(pair for pair in found if partners is None or pair[1].name in partners)


def plan_stage(
    site: Site,
    policy: Policy,
    stage: Stage,
    *,
    layers_in_force: Mapping[str, tuple[Layer, ...]],
    already_open: Mapping[str, tuple[Element, ...]],
    policy_digest: str,
    inventory_digest: str,
    render: Render,
    already_released: Mapping[str, Collection[str]] | None = None,
    partners: Collection[str] | None = None,
    untrusted: Collection[str] = (),
    unfenced: Collection[str] = (),
    composition_of: Callable[[str], Composition] = lambda _: Composition.AND,
    window: Window | None = None,
    ending: Mapping[str, Collection[Element]] | None = None,
    blocked: Sequence[Prefix] = (),
) -> Plan:
    """The plan. `layers_in_force` are those read back as applied; `already_open` what the stages before have made lasting.
    `composition_of` a device is what its dialect declares. `ending` is what of `already_open` a device will close by itself:
    nothing else may come to depend on it. `blocked` is the block list: what it covers in part is opened and not asked.

    Raises Refused: `nothing-is-cut`, `no-path`, `mixed-expiry`, `ends-with-another`, `untrusted-device`, `coarse-behind-flow`,
    `composition`, `blocked`.
    """
    if stage.lifts:
        raise ValueError(f"{stage.name} lifts the layer: it opens no flow (lift_planning.py)")
    if not any(layers_in_force.values()):
        raise Refused("no device holds a layer of ours: there is nothing to reopen", rule="nothing-is-cut", advice="orchestrator status")
    before = Containment(layers_in_force, already_open, already_released or {})
    pairs = conversations(policy, stage, partners)
    require_unblocked(policy, dict.fromkeys(partner.name for _, partner in pairs), blocked)
    changes = _changes(site, before, pairs, already_open)
    _require_lasting(stage, changes, ending or {})
    on_expiry = _on_expiry(stage, pairs)
    for device in (*changes.openings, *changes.releases):
        if device in untrusted:
            raise Refused(f"{device} is not trusted: nothing is opened on it", rule="untrusted-device")
    prove_releases(site, changes.releases, layers_in_force, released=before.released, untrusted=untrusted, unfenced=unfenced)
    prove_openings(
        {name: [item.element for item in openings] for name, openings in changes.openings.items()}, changes.named, composition_of
    )
    after = Containment(
        layers_in_force,
        {name: (*already_open.get(name, ()), *(item.element for item in changes.openings.get(name, ()))) for name in layers_in_force},
        {name: {*before.released.get(name, ()), *changes.releases.get(name, ())} for name in layers_in_force},
        changes.passing,
    )
    profiles = {layer.profile for layers in layers_in_force.values() for layer in layers}
    sacrificed = [item.care for profile in policy.profiles if profile.name in profiles for item in profile.sacrifices]
    probes, unprobed = stage_probes(site, policy, pairs, after, sacrificed=sacrificed, blocked=blocked)
    asked, unasked = check_probes(site, policy, stage, after)
    known = {probe.id for probe in probes}
    overlay = policy.rehearsal
    return Plan(
        site=site.name,
        stage=stage.name,
        flows=tuple(dict.fromkeys(flow.name for flow, _ in pairs)),
        partners=tuple(dict.fromkeys(partner.name for _, partner in pairs)),
        policy_digest=policy_digest,
        inventory_digest=inventory_digest,
        rehearsal=overlay is not None,
        devices=_devices(site, changes, render, until=on_expiry == "close"),
        becomes_possible=tuple(changes.possible),
        probes=(*probes, *(probe for probe in asked if probe.id not in known)),
        unprobed=(*unprobed, *unasked),
        confirm_window_s=_seconds(overlay.confirm_window if overlay else stage.confirm_window),
        observation_s=_seconds(overlay.observation if overlay else stage.observation),
        expires_after_s=_seconds(stage.plan_expiry),
        window=window,
        on_expiry=on_expiry,
        open_for_s=_seconds(stage.open_for) if stage.open_for is not None else None,
    )


def _changes(
    site: Site, before: Containment, pairs: Sequence[tuple[Flow, Partner]], already_open: Mapping[str, tuple[Element, ...]]
) -> _Changes:
    passing = _Passing(before)
    changes = _Changes(passing)
    guards = {device: {name for layer in layers for name in layer.guard} for device, layers in before.layers.items()}
    fine = _flow_grain(before.layers)
    for flow, partner in pairs:
        between = crossings(site, flow, partner)
        ways = tuple(dict.fromkeys(between.values()))
        if not ways or not all(ways):
            raise Refused(
                f"the routes of the inventory lead {flow.name} with {partner.name} through no exit",
                rule="no-path",
                advice="orchestrator policy check says which route is missing",
            )
        seen = elements_along(site, flow, between, fine)
        wanted = {device: concerned for device, elements in seen.items() if (concerned := before.concerned(device, elements))}
        fresh = {device: _less(elements, passing[device]) for device, elements in wanted.items()}
        for device, elements in fresh.items():
            passing[device].add(elements)
            changes.named.setdefault(device, []).extend(wanted[device])
            for element in _within(already_open.get(device, ()), wanted[device]):
                held = Opening(flow=flow.name, partner=partner.name, element=element)
                changes.shared.setdefault(device, {}).setdefault(element, held)
            if elements:
                opened = [Opening(flow=flow.name, partner=partner.name, element=element) for element in elements]
                changes.openings.setdefault(device, []).extend(opened)
        released = False
        for hop in (hop for hops in ways for hop in hops if is_guarded(hop, guards)):
            for name in _closed(before, hop.device) & {hop.enters, hop.leaves}:
                changes.releases.setdefault(hop.device, set()).add(str(name))
                released = True
        if released or any(fresh.values()):
            changes.possible += _in_words(flow, partner, [hop.device for hops in ways for hop in hops], wanted, fresh)
    return changes


def _within(opened: Sequence[Element], wanted: Sequence[Element]) -> list[Element]:
    """Those of the opened elements that lie wholly within what is wanted."""
    if not opened or not wanted:
        return []
    needed = ElementIndex(wanted)
    return [element for element in opened if needed.holds(element)]


class _Passing(dict[str, ElementIndex]):
    """What passes each device before and after the changes so far; only devices that a flow crosses are looked at."""

    def __init__(self, before: Containment) -> None:
        super().__init__()
        self._before = before

    def __missing__(self, device: str) -> ElementIndex:
        made = self[device] = self._before.passes(device)
        return made


def _less(elements: tuple[Element, ...], passing: ElementIndex) -> tuple[Element, ...]:
    """What does not pass already: only what overlaps needs to be taken away."""
    taken = {near for element in elements for near in passing.overlapping(element)}
    return without(elements, packets_of(taken)) if taken else elements


def _flow_grain(layers: Mapping[str, Sequence[Layer]]) -> dict[str, set[str]]:
    """The guards at which elements count: a coarse layer has none."""
    return {device: {name for layer in laid if not layer.coarse for name in layer.guard} for device, laid in layers.items()}


def _closed(before: Containment, device: str) -> set[str]:
    """The coarse guards of the device that nobody has released."""
    guards = {name for layer in before.layers.get(device, ()) if layer.coarse for name in layer.guard}
    return guards - set(before.released.get(device, ()))


def _in_words(
    flow: Flow, partner: Partner, order: Sequence[str], wanted: Mapping[str, tuple[Element, ...]], fresh: Mapping[str, tuple[Element, ...]]
) -> list[Reachability]:
    """As the innermost device that changes sees it: the application's own addresses. A box is shown whole when any part
    of it becomes possible: what is left of a broad one beside older openings can be hundreds of pieces."""
    through = tuple(dict.fromkeys(device for device in order if device in wanted))
    changing = [device for device in through if fresh.get(device)] or through
    shown: list[Box] = []
    for device in changing[-1:]:
        boxes = _read(wanted[device])
        if fresh.get(device, ()) not in ((), wanted[device]):
            new = packets_of(fresh[device])
            boxes = tuple(box for box in boxes if PacketSet([box]) & new)
        shown += boxes
    return [
        Reachability(
            flow=flow.name,
            partner=partner.name,
            source=describe_range(box.family, box.source),
            destination=describe_range(box.family, box.destination),
            service=box.describe_service(),
            through=through,
        )
        for box in shown
    ]


def _read(elements: tuple[Element, ...]) -> tuple[Box, ...]:
    if len({element.family for element in elements}) == len(elements):
        return tuple(box_of(element) for element in elements)  # one per family, in normal order: nothing to join
    return packets_of(elements).readable()


def _require_lasting(stage: Stage, changes: _Changes, ending: Mapping[str, Collection[Element]]) -> None:
    """Raises Refused (rule `ends-with-another`) when what the stage needs is open for another one that will end."""
    for device, elements in changes.named.items():
        passing = ElementIndex(ending.get(device, ()))
        if any(True for element in elements for _ in passing.overlapping(element)):
            raise Refused(
                f"{stage.name} needs what is open on {device} in a dated window, and would end with it",
                rule="ends-with-another",
                advice="plan it when that window is over",
            )


def _on_expiry(stage: Stage, pairs: Sequence[tuple[Flow, Partner]]) -> Literal["close", "alarm"] | None:
    """What happens at the end of its openings; None when they have none."""
    kinds = {flow.on_expiry for flow, _ in pairs}
    if len(kinds) > 1:
        raise Refused(
            "some flows of this stage close by themselves and some do not: they cannot share one plan",
            rule="mixed-expiry",
            advice="put the flows with `on_expiry: close` in a stage of their own",
        )
    if kinds == {"close"}:
        return "close"
    return "alarm" if stage.open_for is not None else None


def _devices(site: Site, changes: _Changes, render: Render, *, until: bool) -> tuple[DevicePlan, ...]:
    """Flow devices are order 0, the coarse ones that they stand behind order 1."""
    plans = []
    names = set(changes.openings) | set(changes.releases) | set(changes.shared)
    for device in (item for item in site.devices if item.name in names):
        change = DeviceChange(
            device=device.name,
            openings=tuple(sorted(changes.openings.get(device.name, ()), key=_order)),
            releases=tuple(sorted(changes.releases.get(device.name, ()))),
            shared=tuple(sorted(changes.shared.get(device.name, {}).values(), key=_order)),
        )  # fmt: skip
        opening, confirming, closing = render(device, change, until)
        plans.append(
            DevicePlan(
                device=device.name,
                platform=device.platform.value,
                order=1 if change.releases else 0,
                change=change,
                open=opening,
                confirm=confirming,
                close=closing,
            )
        )
    return tuple(sorted(plans, key=lambda plan: plan.order))


def _order(opening: Opening) -> tuple[str, str, tuple[int, ...]]:
    return opening.flow, opening.partner, opening.element.sort_key()


def _seconds(duration: timedelta) -> int:
    return round(duration.total_seconds())
