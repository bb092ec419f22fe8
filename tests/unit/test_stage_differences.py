"""For every stage of the CHU de Valmont, what becomes possible is exactly the flows that it names: as sets of packets.

What is expected is read from the policy's fields here, by hand: none of the functions that make the plan is asked. All
devices of Valmont that tell flows apart see the applications' own addresses (they translate after their forward hook),
so the same sets are expected of the policy, of the lines that people read, and of what each device is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from ipaddress import ip_network
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.differences import allowed_by, between_elements, between_policies
from orchestrator.domain.layer import Element
from orchestrator.domain.network import Site
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.packets import Box, PacketSet
from orchestrator.domain.plan import Plan, Reachability
from orchestrator.domain.policy import Flow, Partner, Policy, Stage
from orchestrator.domain.profiles import layers_of
from tests.unit.test_planning import planned

ROOT = Path(__file__).parents[2]
OPENING = (
    "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail",
    "P4-images", "P5-patients-and-payments", "P6-remote-maintenance", "P7-public",
)  # fmt: skip
# What each profile leaves alone, so that no stage has to open it (decided in peacetime, or the zone is spared).
UNCUT: Mapping[str, Collection[str]] = {
    "total": (),
    "internet": ("samu-hub", "blood-supply-out", "blood-supply-in", "dicom-in", "dicom-out"),
}
RELEASED = {
    "total": {"P0-lifelines": {"rtr-isp": ("up0",)}, "P2-care-exchange": {"sw-dmz": ("p-ght",)}},
    "internet": {},
}  # fmt: skip
PROTOCOLS = {"tcp": 6, "udp": 17, "esp": 50}


@cache
def valmont() -> tuple[Site, Policy]:
    return read_inventory(ROOT / "inventory/valmont.yml").site, read_policy(ROOT / "policies/valmont", rehearsal=True).policy


@cache
def history(profile: str) -> tuple[Plan, ...]:
    """The plan of every stage, one after the other, after this cut-off."""
    site, policy = valmont()
    layers = {layer.device: (layer,) for layer in layers_of(site, policy, profile)}
    opened: dict[str, tuple[Element, ...]] = {}
    released: dict[str, set[str]] = {}
    plans = []
    for name in OPENING:
        plan = planned(policy, layers, policy.stage(name), site, already_open=dict(opened), already_released=dict(released))
        for item in plan.devices:
            opened[item.device] = (*opened.get(item.device, ()), *item.change.elements)
            released.setdefault(item.device, set()).update(item.change.releases)
        plans.append(plan)
    return tuple(plans)


def named(stage: Stage, *, without: Collection[str] = ()) -> Iterator[tuple[Flow, Partner]]:
    _, policy = valmont()
    for flow in (item for item in policy.flows if item.name in stage.flows and item.name not in without):
        yield from ((flow, partner) for partner in policy.partners if partner.name in flow.partners)


def packets(pairs: Iterable[tuple[Flow, Partner]]) -> PacketSet:
    """In the applications' own addresses; whoever opens the conversation is the source."""
    boxes = []
    for flow, partner in pairs:
        for service in flow.services:
            for inside in flow.addresses:
                for network in (item for item in partner.networks if item.version == inside.version):
                    far, near = (int(network[0]), int(network[-1])), (int(inside), int(inside))
                    source, destination = (far, near) if flow.direction == "in" else (near, far)
                    ports = service.ports or (0, 65535)
                    boxes.append(Box(4 if inside.version == 4 else 6, source, destination, (service.protocol,) * 2, ports))
    return PacketSet(boxes)


def told(lines: Iterable[Reachability]) -> PacketSet:
    """The lines that people read, read back."""
    boxes = []
    for line in lines:
        ends = [{"any IPv4": "0.0.0.0/0", "any IPv6": "::/0"}.get(text, text) for text in (line.source, line.destination)]
        source, destination = map(ip_network, ends)
        protocol, _, port = line.service.partition("/")
        boxes.append(Box(
            4 if source.version == 4 else 6, (int(source[0]), int(source[-1])), (int(destination[0]), int(destination[-1])),
            (PROTOCOLS[protocol],) * 2, (int(port), int(port)) if port else (0, 65535),
        ))  # fmt: skip
    return PacketSet(boxes)


def enforced_on(flow: Flow, partner: Partner) -> str:
    """The firewall of Valmont that lies between this partner and this application."""
    if flow.terminates_on or partner.zone == "vendors":
        return "vpn"
    return "fw-int" if partner.zone == "ght" else "fw-ext"


def by_device(pairs: Iterable[tuple[Flow, Partner]]) -> dict[str, list[tuple[Flow, Partner]]]:
    found: dict[str, list[tuple[Flow, Partner]]] = {}
    for flow, partner in pairs:
        found.setdefault(enforced_on(flow, partner), []).append((flow, partner))
    return found


def without_direction(found: PacketSet) -> PacketSet:
    return PacketSet(Box(box.family, box.source, box.destination, box.protocol, box.selector) for box in found.boxes())


def test_every_stage_that_opens_flows_is_looked_at() -> None:
    _, policy = valmont()
    assert tuple(stage.name for stage in policy.stages if not stage.lifts) == OPENING
    assert {flow for stage in policy.stages for flow in stage.flows} == {flow.name for flow in policy.flows}


@pytest.mark.parametrize("name", OPENING)
def test_what_the_policy_allows_grows_by_exactly_the_flows_of_the_stage(name: str) -> None:
    _, policy = valmont()
    before, after = OPENING[: OPENING.index(name)], OPENING[: OPENING.index(name) + 1]
    wanted = packets(named(policy.stage(name)))
    assert wanted
    assert without_direction(allowed_by(policy, after) - allowed_by(policy, before)) == wanted
    shorter = policy.model_copy(update={"stages": tuple(stage for stage in policy.stages if stage.name != name)})
    difference = between_policies(shorter, policy)
    assert without_direction(difference.appears) == wanted
    assert not difference.disappears


@pytest.mark.parametrize("profile", ["total", "internet"])
@pytest.mark.parametrize("number", range(len(OPENING)), ids=OPENING)
def test_what_people_read_and_what_the_devices_are_told_is_exactly_that(profile: str, number: int) -> None:
    _, policy = valmont()
    plan, stage = history(profile)[number], policy.stage(OPENING[number])
    pairs = list(named(stage, without=UNCUT[profile]))
    assert told(plan.becomes_possible) == packets(pairs)
    assert {(line.flow, line.partner) for line in plan.becomes_possible} == {(flow.name, partner.name) for flow, partner in pairs}
    # A device is not told again what an older stage lets through (our own relay belongs to `everyone`, who may send it mail).
    before = [pair for name in OPENING[:number] for pair in named(policy.stage(name), without=UNCUT[profile])]
    wanted = {device: packets(own) - packets(by_device(before).get(device, ())) for device, own in by_device(pairs).items()}
    assert {item.device: packets_of(item.change.elements) for item in plan.devices if item.change.openings} == wanted
    assert {item.device: item.change.releases for item in plan.devices if item.change.releases} == RELEASED[profile].get(stage.name, {})


@pytest.mark.parametrize("profile", ["total", "internet"])
def test_nothing_is_opened_twice_and_everything_is_open_in_the_end(profile: str) -> None:
    _, policy = valmont()
    opened: dict[str, list[Element]] = {}
    for plan in history(profile):
        for item in plan.devices:
            already = opened.setdefault(item.device, [])
            difference = between_elements(already, [*already, *item.change.elements])
            assert not difference.disappears
            assert difference.appears == packets_of(item.change.elements)
            already += item.change.elements
    everything = [pair for name in OPENING for pair in named(policy.stage(name), without=UNCUT[profile])]
    together = PacketSet()
    for elements in opened.values():
        together |= packets_of(elements)
    assert together == packets(everything)
