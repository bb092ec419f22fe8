"""What two policies, two plans, or a plan and a device read back allow differently: exact sets, as short lists of boxes.

A policy is compared in the applications' own addresses, as it is written; plans and devices as each device sees the
packets, after its own destination translation (`compile`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from orchestrator.domain.compile import without_prefixes
from orchestrator.domain.layer import Element, Observed
from orchestrator.domain.network import Address, Prefix
from orchestrator.domain.packet_elements import box_of
from orchestrator.domain.packets import ANY_SELECTOR, ICMP, ICMPV6, Box, Direction, PacketSet, span
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Flow, Partner, Policy, Stage
from orchestrator.domain.rule_lists import Difference, difference_of_boxes
from orchestrator.domain.services import FlowService
from orchestrator.errors import Refused


def between_elements(before: Iterable[Element], after: Iterable[Element]) -> Difference:
    """Of what one device lets through."""
    return difference_of_boxes(map(box_of, before), map(box_of, after))


def between_plans(before: Plan, after: Plan) -> dict[str, Difference]:
    """Per device that either plan changes, and only where their openings differ."""
    one, other = _openings(before), _openings(after)
    found = {name: between_elements(one.get(name, ()), other.get(name, ())) for name in sorted({*one, *other})}
    return {name: difference for name, difference in found.items() if difference}


def from_plan_to_device(
    plan: Plan, observed: Mapping[str, Observed], already_open: Mapping[str, Iterable[Element]]
) -> dict[str, Difference]:
    """Per device of the plan that was read back: what is opened otherwise than planned on top of `already_open`.

    Raises Refused (`not-modelled`) for a device whose layer holds lines that we do not model.
    """
    found = {
        name: between_elements((*already_open.get(name, ()), *planned), _opened(name, observed[name]))
        for name, planned in _openings(plan).items()
        if name in observed
    }
    return {name: difference for name, difference in found.items() if difference}


def between_devices(device: str, before: Observed, after: Observed) -> Difference:
    """Of two read-backs of one device: what is opened in its layer. Raises Refused (`not-modelled`)."""
    return between_elements(_opened(device, before), _opened(device, after))


def between_policies(before: Policy, after: Policy, stages: Collection[str] | None = None) -> Difference:
    """What the stages of those names (None: all) allow once they are open, in the one and in the other."""
    return difference_of_boxes(_boxes_of(before, stages), _boxes_of(after, stages))


def stage_by_stage(before: Policy, after: Policy) -> dict[str, Difference]:
    """Per stage of either policy that opens something else; a stage that only one has differs in all that it opens."""
    names = dict.fromkeys(stage.name for policy in (before, after) for stage in policy.stages)
    found = {name: between_policies(before, after, (name,)) for name in names}
    return {name: difference for name, difference in found.items() if difference}


def allowed_by(policy: Policy, stages: Collection[str] | None = None) -> PacketSet:
    """The packets that open a conversation which these stages (None: all) open, in the applications' own addresses."""
    return PacketSet(_boxes_of(policy, stages))


def boxes_of_flow(flow: Flow, partner: Partner) -> Iterator[Box]:
    """What one flow with one partner allows: `deny_from` taken out, `icmp` in each family's own number."""
    for network in partner.networks:
        for part in without_prefixes(network, flow.deny_from):
            for address in flow.addresses:
                for service in flow.services if address.version == part.version else ():
                    yield _box(flow, part, address, service)


def _boxes_of(policy: Policy, stages: Collection[str] | None) -> Iterator[Box]:
    flows = {flow.name: flow for flow in policy.flows}
    partners = {partner.name: partner for partner in policy.partners}
    for stage in policy.stages:
        if stages is None or stage.name in stages:
            for flow in (flows[name] for name in stage.flows):
                for name in _partners(stage, flow):
                    yield from boxes_of_flow(flow, partners[name])


def _partners(stage: Stage, flow: Flow) -> Iterator[str]:
    yield from (name for name in flow.partners if stage.partners is None or name in stage.partners)


def _box(flow: Flow, part: Prefix, address: Address, service: FlowService) -> Box:
    outside, inside = span(part), (int(address), int(address))
    protocol = ICMPV6 if service.protocol == ICMP and address.version == 6 else service.protocol
    direction = Direction.IN if flow.direction == "in" else Direction.OUT
    return Box(
        family=4 if address.version == 4 else 6,
        source=outside if flow.direction == "in" else inside,
        destination=inside if flow.direction == "in" else outside,
        protocol=(protocol, protocol),
        selector=service.ports or ANY_SELECTOR,
        direction=(direction, direction),
    )


def _openings(plan: Plan) -> dict[str, tuple[Element, ...]]:
    return {item.device: item.change.elements for item in plan.devices}


def _opened(device: str, observed: Observed) -> tuple[Element, ...]:
    if observed.foreign:
        raise Refused(
            f"the layer of {device} holds what we do not model: {observed.foreign[0]}",
            rule="not-modelled",
            advice="remove that line from our own object on the device, or lay the layer again",
        )
    return observed.opened
