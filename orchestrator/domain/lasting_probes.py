"""What is asked of a stage once it has been observed: care, and of what should not pass all that still should not.

A stage that was verified earlier may have been followed by others in the meantime (a resumption lays several, one beside the
observation of the other): what they let through is no hole in this one.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.check_probes import check_probes
from orchestrator.domain.conditions import declared, in_force
from orchestrator.domain.plan import Plan
from orchestrator.domain.plan_probes import stage_probes
from orchestrator.domain.planning import conversations
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.questions import Containment
from orchestrator.domain.state import SiteState
from orchestrator.errors import Refused


def asked_once_lasting(state: SiteState, plan: Plan) -> tuple[Probe, ...]:
    """Of the plan's probes; all that are negative where it cannot be told what lies on the devices."""
    try:
        stopped = {probe.id for probe in _stopped_now(state, plan)}
    except Refused:  # a slot that the policy in force does not define: nothing is left out
        stopped = {probe.id for probe in plan.probes}
    return tuple(
        probe for probe in plan.probes if probe.purpose is Purpose.CARE or (probe.purpose is Purpose.NEGATIVE and probe.id in stopped)
    )


def containment_now(state: SiteState) -> Containment:
    """What lies on the devices by the log: layers, what is lasting in them, what is released. Raises Refused (`unknown-slot`)."""
    ratified = in_force(state)
    slots = {name: tuple(sorted(device.slots)) for name, device in sorted(state.devices.items())}
    return Containment(
        layers_in_force(ratified.site, ratified.policy, slots),
        {name: state.device(name).opened for name in slots},
        {name: state.device(name).released for name in slots},
    )


def _stopped_now(state: SiteState, plan: Plan) -> Iterator[Probe]:
    ratified, stage, now = in_force(state), declared(state, plan.stage), containment_now(state)
    pairs = [(flow, partner) for flow, partner in conversations(ratified.policy, stage, plan.partners) if flow.name in plan.flows]
    probes, _ = stage_probes(ratified.site, ratified.policy, pairs, now)
    yield from probes
    for name in stage.checks:
        try:
            yield from check_probes(ratified.site, ratified.policy, stage.model_copy(update={"checks": (name,)}), now)[0]
        except Refused:
            continue  # another stage lets it through by now
