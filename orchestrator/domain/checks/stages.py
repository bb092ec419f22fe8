"""Stages: an order without cycles, every flow opened by exactly one of them, gates and canary that make sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from datetime import timedelta

import networkx as nx

from orchestrator.domain.checks.gate_places import mandatory, placed
from orchestrator.domain.checks.problem import Key, Problem, in_policy, one_of
from orchestrator.domain.gates import (
    AllOf,
    AnyOf,
    AttestationGate,
    EradicationGate,
    EvidenceGate,
    Gate,
    PartnerReadyGate,
    PartnerWitnessGate,
    SingleGate,
)
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy, Stage

ERADICATION = "eradication"


def order(site: Site, policy: Policy) -> Iterator[Problem]:
    """Cycles, named in full and once; a stage that waits for itself or twice for the same one."""
    del site
    graph = _waits(policy)
    for stage in policy.stages:
        for index, predecessor in enumerate(stage.requires):
            if any(earlier.stage == predecessor.stage for earlier in stage.requires[:index]):
                where = ("stages", stage.name, "requires", index)
                yield in_policy(*where, message=f"{predecessor.stage} is required twice", advice="keep one")
    for cycle in nx.simple_cycles(graph):
        start = cycle.index(min(cycle))
        turned = [*cycle[start:], *cycle[:start]]
        message = f"these stages wait for one another: {' → '.join((*turned, turned[0]))}"
        yield in_policy("stages", turned[0], "requires", message=message, advice="remove one of these requirements")
    for stage in policy.stages:
        if any(other.lifts for other in policy.stages if other.name in {item.stage for item in stage.requires}):
            message = f"{stage.name} comes after the stage that lifts the layer: there is nothing left to open"
            yield in_policy("stages", stage.name, "requires", message=message, advice="let it come before")


def _waits(policy: Policy) -> nx.DiGraph[str]:
    """What each stage must have before it, whatever alternatives it has."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for stage in policy.stages:
        graph.add_edges_from((gate.awaited, stage.name) for _, gate in mandatory(stage) if gate.awaited is not None)
        graph.add_edges_from((needed.stage, stage.name) for needed in stage.requires)
    return graph


def reachable(site: Site, policy: Policy) -> Iterator[Problem]:
    """Stages that never open although no requirement is a cycle: every alternative of one of their gates waits for them."""
    del site
    possible: set[str] = set()
    while found := {stage.name for stage in policy.stages if stage.name not in possible and _may_open(stage, possible)}:
        possible |= found
    for stage in policy.stages if nx.is_directed_acyclic_graph(_waits(policy)) else ():  # cycles are named by `order`
        if all(_may_hold(gate, possible) for gate in stage.gates):
            continue  # it can open, or waits for one that is named here
        awaited = [gate.awaited for _, gate in placed(stage) if gate.awaited is not None]
        names = [name for name in (*(needed.stage for needed in stage.requires), *awaited) if name not in possible]
        message = f"{stage.name} can never open: it waits for {', '.join(dict.fromkeys(names))}, which cannot be open before it"
        advice = "give it, or one of these, a way that waits for none of the others"
        yield in_policy("stages", stage.name, "gates", message=message, advice=advice)


def _may_open(stage: Stage, possible: Set[str]) -> bool:
    return all(needed.stage in possible for needed in stage.requires) and all(_may_hold(gate, possible) for gate in stage.gates)


def _may_hold(gate: Gate, possible: Set[str]) -> bool:
    if isinstance(gate, AllOf):
        return all(_may_hold(part, possible) for part in gate.all_of)
    if isinstance(gate, AnyOf):
        return any(_may_hold(part, possible) for part in gate.any_of)
    return gate.awaited is None or gate.awaited in possible


def contents(site: Site, policy: Policy) -> Iterator[Problem]:
    """What each stage opens: something, nothing twice, nothing forgotten."""
    del site
    opened: dict[str, str] = {}
    for stage in policy.stages:
        if not stage.flows and not stage.lifts:
            message = f"{stage.name} opens nothing"
            yield in_policy("stages", stage.name, message=message, advice="name its `flows`, or remove the stage")
        if stage.lifts and stage.flows:
            message = f"{stage.name} lifts the layer and opens flows"
            yield in_policy("stages", stage.name, "flows", message=message, advice="open them in a stage of their own, before")
        for index, name in enumerate(stage.flows):
            if name in opened:
                message = f"the flow {name} is opened by two stages: {opened[name]} and {stage.name}"
                yield in_policy("stages", stage.name, "flows", index, message=message, advice="keep it in one of the two")
            opened[name] = stage.name
        yield from _partners(policy, stage)
    for flow in policy.flows:
        if flow.name not in opened:
            yield in_policy("flows", flow.name, message=f"no stage opens the flow {flow.name}", advice="add it to a stage, or remove it")
    lifting = [stage.name for stage in policy.stages if stage.lifts]
    for name in lifting[1:]:
        message = f"two stages lift the layer: {lifting[0]} and {name}"
        yield in_policy("stages", name, "lifts", message=message, advice="keep one")


def _partners(policy: Policy, stage: Stage) -> Iterator[Problem]:
    opens = set(stage.flows)
    possible = {partner for flow in policy.flows if flow.name in opens for partner in flow.partners}
    for index, name in enumerate(stage.partners or ()):
        if name not in possible:
            message = f"{name} is no partner of the flows of {stage.name}"
            yield in_policy("stages", stage.name, "partners", index, message=message, advice=one_of(name, possible))
    opened = possible if stage.partners is None else possible & set(stage.partners)
    if stage.canary is not None and stage.canary.partner not in opened:
        message = f"the canary {stage.canary.partner} is no partner of the flows of {stage.name}"
        yield in_policy("stages", stage.name, "canary", "partner", message=message, advice=one_of(stage.canary.partner, opened))


def gates(site: Site, policy: Policy) -> Iterator[Problem]:
    """Gates of a stage's own flows and partners, each once, that can hold; and eradication before anything opens in a
    compromised zone."""
    compromised = {
        name: f"the profile {profile.name} isolates"
        for profile in policy.profiles
        for name in profile.cuts
        if not site.zone(name).is_external
    }
    compromised |= dict.fromkeys(policy.compromised, "is compromised")
    for stage in policy.stages:
        seen: set[tuple[str, tuple[str, ...], tuple[str, ...]]] = set()
        for where, gate in placed(stage):
            if (gate.id, gate.flows, gate.partners) in seen:
                yield in_policy(*where, message=f"the gate {gate.id} stands twice", advice="keep one")
            seen.add((gate.id, gate.flows, gate.partners))
            yield from _gate(policy, stage, where, gate)
        yield from _eradicated(site, policy, stage, compromised)


def _gate(policy: Policy, stage: Stage, where: tuple[Key, ...], gate: SingleGate) -> Iterator[Problem]:
    for number, name in enumerate(gate.flows):
        if name not in stage.flows:
            message = f"the gate {gate.id} is for {name}, which {stage.name} does not open"
            yield in_policy(*where, "flows", number, message=message, advice=one_of(name, stage.flows))
            return
    opened = _opened(policy, stage)
    possible = {partner for flow, partner in opened if not gate.flows or flow in gate.flows}
    for number, name in enumerate(gate.partners):
        if name not in possible and name in {partner for _, partner in opened}:  # others: see `words`
            message = f"the gate {gate.id} is for {name}, who is no partner of the flows that it is for"
            yield in_policy(*where, "partners", number, message=message, advice=one_of(name, possible))
    if isinstance(gate, AttestationGate | PartnerReadyGate | PartnerWitnessGate) and not opened:
        message = f"the gate {gate.id} is about partners, and {stage.name} opens to none"
        yield in_policy(*where, message=message, advice="put it into a stage that opens flows")
    if isinstance(gate, PartnerWitnessGate):
        yield from _can_be_witnessed(policy, where, gate)
    if isinstance(gate, EvidenceGate) and gate.evidence == ERADICATION:
        message = f"eradication is a gate of its own, which names zones and is never waived; as evidence, {stage.name} asks for no zone"
        yield in_policy(*where, "evidence", message=message, advice="`- {eradication: [ZONE], title: …}`")
    for key in ("fresh", "partner_ready"):
        if getattr(gate, key, None) == timedelta(0):
            message = f"the gate {gate.id} can never hold: what it asks for would be too old at once"
            yield in_policy(*where, key, message=message, advice=f"`{key}` says how old it may be, such as 24h")
    if isinstance(gate, EradicationGate):
        for number, zone in enumerate(gate.eradication):
            if gate.eradication.index(zone) != number:
                yield in_policy(*where, ERADICATION, number, message=f"{zone} is named twice", advice="name each zone once")


def _can_be_witnessed(policy: Policy, where: tuple[Key, ...], gate: PartnerWitnessGate) -> Iterator[Problem]:
    """Of the partners that it names: each is opened to by that stage, and somebody speaks for them."""
    seen = policy.stages_by_name.get(gate.partner_witness)
    opened = {partner for _, partner in _opened(policy, seen)} if seen is not None else set()
    for number, name in enumerate(gate.contacts_of):
        if name not in opened:
            message = f"{gate.partner_witness} opens nothing to {name}: their contact sees nothing of it"
            yield in_policy(*where, "contacts_of", number, message=message, advice=one_of(name, opened))
        elif not any(name in person.speaks_for for person in policy.people):
            message = f"the gate {gate.id} can never hold: nobody speaks for {name}"
            advice = f"add their contact to `people`, with the role partner-contact and `speaks_for: [{name}]`"
            yield in_policy(*where, "contacts_of", number, message=message, advice=advice)


def _eradicated(site: Site, policy: Policy, stage: Stage, compromised: Mapping[str, str]) -> Iterator[Problem]:
    """Each flow of a compromised zone, and the lifting of the layer, wait for the eradication of these zones."""
    asked = [gate for _, gate in mandatory(stage) if isinstance(gate, EradicationGate)]
    for index, name in enumerate(stage.flows):
        flow = policy.flow(name)
        zones = {site.zone_of(address).name for address in flow.addresses} | {policy.application(flow.application).zone}
        partners = {partner for partner in flow.partners if stage.partners is None or partner in stage.partners}
        for zone in sorted(zones & compromised.keys()):
            if not any(zone in gate.eradication and _covers(gate, name, partners) for gate in asked):
                message = f"{name} is in the zone {zone}, which {compromised[zone]}, and {stage.name} opens it without eradication"
                advice = f"add `- {{{ERADICATION}: [{zone}], title: …, flows: [{name}]}}` to its gates (not within `any_of`)"
                yield in_policy("stages", stage.name, "flows", index, message=message, advice=advice)
    left = sorted(compromised.keys() - {zone for gate in asked for zone in gate.eradication}) if stage.lifts else []
    if left:
        message = f"{stage.name} lifts the layer without the eradication of {', '.join(left)}"
        advice = f"add `- {{{ERADICATION}: [{', '.join(left)}], title: …}}` to its gates (not within `any_of`)"
        yield in_policy("stages", stage.name, "gates", message=message, advice=advice)


def _covers(gate: SingleGate, flow: str, partners: Set[str]) -> bool:
    return (not gate.flows or flow in gate.flows) and (not gate.partners or partners <= set(gate.partners))


def _opened(policy: Policy, stage: Stage) -> set[tuple[str, str]]:
    """(flow, partner) of everything that it opens."""
    pairs = {(name, partner) for name in stage.flows for partner in policy.flow(name).partners}
    return {pair for pair in pairs if stage.partners is None or pair[1] in stage.partners}
