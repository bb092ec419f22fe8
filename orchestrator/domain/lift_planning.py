"""The plan of a lift: what becomes possible at every guard, what will be asked on live traffic, and the scripts.

1 the guards, and what the layer stops there now beyond the flow matrix (`lift_packets`)
2 the questions: care; what is open and must stay so; and everything outside the matrix that a vantage point can ask and the
  layer stops now, each under the name by which people accept it or do not
3 what voters are shown by name: deferred stages, waivers, accepted differences, the block list, the site's own rules
4 the scripts: `open` loosens, `confirm` lifts, `close` tightens; flow devices are order 0, coarse ones order 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from orchestrator.domain import conditions, lift_conditions
from orchestrator.domain.canonical import digest
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.lasting_probes import containment_now
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.lift_packets import AtGuard, Matrix, beyond_the_matrix, flow_matrix
from orchestrator.domain.network import Device, Site
from orchestrator.domain.packets import Direction, describe_range
from orchestrator.domain.plan import DevicePlan, Lift, LiftedGuard, Plan, Reachability, RenderedScript, SiteRules
from orchestrator.domain.plan_probes import care_probes
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.probe_matrix import Cell, computed, matrix
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.questions import Containment
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import SiteState
from orchestrator.errors import Refused

Words = Callable[[Device], tuple[RenderedScript, RenderedScript, RenderedScript]]
"""The scripts (loosen, lift, tighten) of one device."""
BEYOND, SITE_RULES = "beyond-the-matrix", "site-rules-alone"
MOST_BOXES = 1000  # of one guard, in words; the digest is over all of them
DIRECTION = {Direction.IN: "in", Direction.OUT: "out"}


def plan_lift(state: SiteState, stage: Stage, site_rules: Sequence[SiteRules], words: Words, now: datetime) -> Plan:
    """The plan now: the same state, site rules and waivers give the same plan, to the byte. `site_rules` of every device that
    `lifted_devices` names.

    Raises Refused: `nothing-is-cut`, `unknown-slot`, `packet-set-too-complex`.
    """
    ratified = conditions.in_force(state)
    site, policy = ratified.site, ratified.policy
    devices = lifted_devices(state)
    if not devices:
        raise Refused("no device holds a layer of ours: there is nothing to lift", rule="nothing-is-cut", advice="orchestrator status")
    lies = containment_now(state)
    declared = flow_matrix(site, policy, lies)
    guards = list(beyond_the_matrix(site, declared, lies))
    outside = list(_outside(site, policy, declared, lies))
    overlay = policy.rehearsal
    return Plan(
        site=site.name,
        stage=stage.name,
        flows=(),
        partners=(),
        policy_digest=ratified.policy_digest,
        inventory_digest=ratified.inventory_digest,
        rehearsal=overlay is not None,
        devices=_devices(lies, devices, words),
        becomes_possible=tuple(line for guard in guards for line in _in_words(guard)),
        probes=(*care_probes(site, policy, _sacrificed(policy, lies)), *_still_open(state), *outside),
        confirm_window_s=_seconds(stage.confirm_window),  # also in an exercise: hundreds of questions are asked within it
        observation_s=_seconds(overlay.observation if overlay else stage.observation),
        expires_after_s=_seconds(stage.plan_expiry),
        lifts=True,
        lift=Lift(
            site_rules=tuple(sorted(site_rules, key=lambda item: item.device)),
            guards=tuple(_guard(guard) for guard in guards),
            differences=tuple(sorted({probe.about for probe in outside})),
            accepted=lift_conditions.accepted(state),
            deferred=tuple(_deferred(state, policy)),
            waivers=tuple(f"{item.id}: {item.gate} of {item.stage} until {item.until}" for item in state.waivers_in_force(now)),
            blocked=lift_conditions.blocked(state),
        ),
    )


def lifted_devices(state: SiteState) -> tuple[Device, ...]:
    """The devices that hold anything of ours by the log, in the order of the inventory."""
    site = conditions.in_force(state).site
    return tuple(device for device in site.devices if state.device(device.name).slots or state.device(device.name).blocked)


def says_the_same(state: SiteState, voted: Plan) -> bool:
    """Whether the plan would still name the same devices, differences and deferred stages; the site's own rules are not read."""
    ratified, lift = conditions.in_force(state), voted.lift
    return lift is not None and (
        (voted.policy_digest, voted.inventory_digest) == (ratified.policy_digest, ratified.inventory_digest)
        and {device.device for device in voted.devices} == {device.name for device in lifted_devices(state)}
        and lift.accepted == lift_conditions.accepted(state)
        and lift.blocked == lift_conditions.blocked(state)
        and lift.deferred == tuple(_deferred(state, ratified.policy))
    )


def is_accepted(difference: str, accepted: Sequence[str]) -> bool:
    """Whether the name, or the whole pair of zones that it belongs to, has been accepted."""
    return difference in accepted or difference.partition(":")[0] in accepted


# --- 2: the questions ---------------------------------------------------------------------------------------------


def difference_of(cell: Cell) -> str:
    """The name of what a question is about: `internet-to-dmz-in:tcp/22`."""
    probe = cell.probe
    transport = {"http": "tcp", "transaction": "tcp", "tls": "tcp", "dns": "udp"}.get(probe.kind, probe.kind)
    return f"{cell.from_zone}-to-{cell.to_zone}:{transport}{f'/{probe.port}' if probe.port else ''}"


def _outside(site: Site, policy: Policy, declared: Matrix, lies: Containment) -> Iterator[Probe]:
    """What a layer stops now, and would stop with every flow of the policy open: asked while the layer is loosened."""
    all_open = declared.laid_on(lies)
    for cell in matrix(site, policy):
        if cell.way is not None and not computed(cell, lies)[0] and not computed(cell, all_open)[0]:
            update = {"id": f"beyond:{cell.probe.id}", "purpose": Purpose.NEGATIVE, "about": difference_of(cell)}
            yield cell.probe.model_copy(update=update)


def _still_open(state: SiteState) -> Iterator[Probe]:
    """What the open stages let through, where all of the flow is open: it passes before, and must pass afterwards."""
    seen: set[str] = set()
    for status in state.stages.values():
        if status.state not in LETS_THROUGH or status.plan is None:
            continue
        closed = {flow for (flow, _), held in status.conversations.items() if held is not ConversationState.OPEN}
        for probe in status.plan.probes:
            if probe.purpose is Purpose.POSITIVE and probe.about not in closed and probe.id not in seen:
                seen.add(probe.id)
                yield probe


def _sacrificed(policy: Policy, lies: Containment) -> list[str]:
    profiles = {layer.profile for layers in lies.layers.values() for layer in layers}
    return [item.care for profile in policy.profiles if profile.name in profiles for item in profile.sacrifices]


# --- 3: in words --------------------------------------------------------------------------------------------------


def _guard(found: AtGuard) -> LiftedGuard:
    boxes = [box.describe() for box in found.beyond.readable()]
    return LiftedGuard(device=found.device, guard=found.guard, coarse=found.coarse, boxes=len(boxes), sha256=digest(boxes))


def _in_words(found: AtGuard) -> Iterator[Reachability]:
    for box in found.beyond.readable()[:MOST_BOXES]:
        way = "" if box.direction[0] != box.direction[1] else f" ({DIRECTION[Direction(box.direction[0])]} by {found.guard})"
        yield Reachability(
            flow=BEYOND,
            partner=SITE_RULES,
            source=describe_range(box.family, box.source),
            destination=describe_range(box.family, box.destination),
            service=f"{box.describe_service()}{way}",
            through=(found.device,),
        )


def _deferred(state: SiteState, policy: Policy) -> Iterator[str]:
    """What stays closed by decision, or has ended, and becomes as possible as anything else."""
    for stage in policy.stages:
        status = state.stage(stage.name)
        if status.state in (StageState.DEFERRED, StageState.ENDED):
            yield f"{stage.name} is {status.state}" + (f": {status.detail}" if status.detail else "")
        if status.state is StageState.PARTIALLY_OPEN:
            left = sorted(
                f"{flow} with {partner}" for (flow, partner), held in status.conversations.items() if held is not ConversationState.OPEN
            )
            yield f"{stage.name} is partially open, without {', '.join(left)}"


# --- 4: the scripts -----------------------------------------------------------------------------------------------


def _devices(lies: Containment, devices: Sequence[Device], words: Words) -> tuple[DevicePlan, ...]:
    plans = []
    for device in devices:
        loosen, lift, tighten = words(device)
        coarse = any(layer.coarse for layer in lies.layers.get(device.name, ()))
        plans.append(
            DevicePlan(
                device=device.name,
                platform=device.platform.value,
                order=1 if coarse else 0,
                change=DeviceChange(device=device.name),
                open=loosen,
                confirm=lift,
                close=tighten,
            )
        )
    return tuple(sorted(plans, key=lambda plan: plan.order))


def _seconds(duration: timedelta) -> int:
    return round(duration.total_seconds())
