"""What is asked on live traffic after a re-isolation: nothing of what was closed, or blocked, may pass any more."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain import conditions
from orchestrator.domain.blocklist import within
from orchestrator.domain.layer import ordered
from orchestrator.domain.network import Prefix
from orchestrator.domain.plan_probes import positive
from orchestrator.domain.policy import Flow, Partner
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.questions import Containment, Question, probe_of, way_of
from orchestrator.domain.state import SiteState
from orchestrator.domain.subtractions import Reisolation
from orchestrator.errors import Refused


def negative_probes(state: SiteState, about: Reisolation) -> tuple[Probe, ...]:
    """One for each question that the layers stop by the log; what another one's opening lets through is not asked."""
    ratified = conditions.in_force(state)
    site, what = ratified.site, f"re-isolation {about.id}"
    after, blocked = _containment(state), state.blocklist
    found: dict[str, Probe] = {}
    for flow, partner in _asked(state, about):
        for question, probe, _ in positive(site, flow, partner):
            way = way_of(site, question) if probe is not None else None
            if way is None or not (_is_blocked(question, blocked) or after is None or after.stops(way) is not None):
                continue
            made = probe_of(site, Purpose.NEGATIVE, question, way, about=what)
            if made is not None:
                found.setdefault(made.id, made)
    return tuple(found.values())


def _asked(state: SiteState, about: Reisolation) -> Iterator[tuple[Flow, Partner]]:
    """The conversations that were closed; and, of partners that were blocked, those of others that they could have used."""
    policy = conditions.in_force(state).policy
    block = state.blocks.get(about.blocks)
    closed = dict.fromkeys(pair for pairs in about.stages.values() for pair in pairs)
    for name, other in closed:
        if name in policy.flows_by_name and other in policy.partners_by_name:
            yield policy.flow(name), policy.partner(other)
    for partner in policy.partners if block is not None else ():
        if block is None or not within(partner.networks, block.networks):
            continue
        for flow in policy.flows:
            wider = any(within((one,), policy.partner(name).networks) for name in flow.partners for one in partner.networks)
            if wider and (flow.name, partner.name) not in closed:
                yield flow, partner


def _is_blocked(question: Question, blocked: tuple[Prefix, ...]) -> bool:
    return any(end.version == network.version and end in network for end in (question.inside, question.outside) for network in blocked)


def _containment(state: SiteState) -> Containment | None:
    """What lies on the devices by the log; None when a device holds a layer that no profile of the ratified policy defines."""
    ratified = conditions.in_force(state)
    slots = {name: tuple(sorted(device.slots)) for name, device in state.devices.items()}
    try:
        layers = layers_in_force(ratified.site, ratified.policy, slots)
    except Refused:
        return None
    opened = {name: ordered(device.opened) for name, device in state.devices.items()}
    return Containment(layers, opened, {name: device.released for name, device in state.devices.items()})
