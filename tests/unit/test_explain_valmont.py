"""Every flow of Valmont explained, with every partner, address and service: blocked before its stage, passing from it on, and
that flow and stage named; everything else blocked at every stage. What is expected is worked out from the files alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.explaining import Explanation, Source, explain
from orchestrator.domain.network import Address, Site
from orchestrator.domain.packet_ends import Packet, packets_between
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.services import FlowService
from orchestrator.domain.stands import Stand, order_of, stands
from orchestrator.errors import InputError

ROOT = Path(__file__).parents[2]


@lru_cache(maxsize=1)
def valmont() -> tuple[Site, Policy]:
    return read_inventory(ROOT / "inventory/valmont.yml").site, read_policy(ROOT / "policies/valmont").policy


@lru_cache(maxsize=4)
def every_stand(profile: str) -> tuple[Stand, ...]:
    site, policy = valmont()
    return stands(site, policy, profile, order_of(policy))


class Case(NamedTuple):
    flow: Flow
    partner: Partner
    stage: str
    packet: Packet


def cases() -> Iterator[Case]:
    site, policy = valmont()
    stage_of = {name: stage.name for stage in policy.stages for name in stage.flows}
    for flow in policy.flows:
        for partner in (policy.partner(name) for name in flow.partners):
            for address in flow.addresses:
                if not any(network.version == address.version for network in partner.networks):
                    continue
                for service in flow.services:
                    ends = (f"partner:{partner.name}", str(address))
                    source, destination = ends if flow.direction == "in" else ends[::-1]
                    for packet in packets_between(site, policy, source, destination, _one_port(service)):
                        yield Case(flow, partner, stage_of[flow.name], packet)


def _one_port(service: FlowService) -> FlowService:
    return service.model_copy(update={"ports": (service.ports[1], service.ports[1])}) if service.ports else service


def _is_kept(flow: Flow, profile: str) -> bool:
    return flow.decisions.get(profile) == "keep"


@pytest.mark.parametrize("profile", ["internet", "total"])
def test_every_flow_passes_from_its_stage_on_and_never_before(profile: str) -> None:
    site, policy = valmont()
    order, at = order_of(policy), every_stand(profile)
    seen = set()
    for flow, partner, stage, packet in cases():
        item = explain(site, policy, profile, packet, at)
        where = f"{flow.name} with {partner.name}, {packet.source.address} > {packet.destination.address} {packet.service}"
        untouched = profile == "internet" and partner.zone == "ght"  # spared by this profile, with its reason
        place = 0 if _is_kept(flow, profile) or untouched else 1 + order.index(stage)
        assert [verdict.passes for verdict in item.verdicts] == [number >= place for number in range(len(at))], where
        assert item.opened_by == (stage if place else None), where
        assert [(one.flow, one.partner, one.stage, one.denied, one.elsewhere) for one in item.declared] == [
            (flow.name, partner.name, stage, None, None)
        ], where
        if place:
            named = {guard.by for guard in item.verdicts[place].guards if guard.does == "opened"}
            assert named == {Source(stage, flow.name, partner.name)}, where
            assert item.enforced_by, where
        _agrees_with_the_containment(item, at)
        seen.add((flow.name, partner.name, packet.source.address.version))
    assert len(seen) == 2 * sum(len(flow.partners) for flow in policy.flows)  # both families of every conversation


def _agrees_with_the_containment(item: Explanation, at: tuple[Stand, ...]) -> None:
    """The verdicts are those that plans and cut packs make their probes from."""
    assert item.way is not None
    for verdict, stand in zip(item.verdicts, at, strict=True):
        assert (stand.containment.stops(item.way) is None) is verdict.passes


@lru_cache(maxsize=1)
def ends() -> tuple[tuple[tuple[str, Address], ...], tuple[Address, ...]]:
    """(zone and address of every outside host, and addresses of nobody; addresses of every inside host)."""
    site, _ = valmont()
    outside: list[tuple[str, Address]] = [("internet", ip_address("198.51.100.77")), ("internet", ip_address("2001:db8:100::77"))]
    inside: list[Address] = []
    for host in site.hosts:
        for interface in host.interfaces:
            zone = site.zone(interface.zone)
            for own in interface.addresses:
                if zone.is_external:
                    outside.append((zone.name, own.ip))
                elif zone.kind.value != "management":
                    inside.append(own.ip)
    return tuple(outside), tuple(inside)


_SERVICES = ["tcp/22", "tcp/25", "tcp/443", "tcp/104", "tcp/3389", "tcp/8443", "udp/53", "udp/500", "esp", "icmp"]


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_what_no_flow_declares_is_blocked_at_every_stage(data: st.DataObject) -> None:
    site, policy = valmont()
    outside, inside = ends()
    zone, far = data.draw(st.sampled_from(outside))
    near = data.draw(st.sampled_from([own for own in inside if own.version == far.version]))
    direction = data.draw(st.sampled_from(["in", "out"]))
    text = data.draw(st.sampled_from(_SERVICES))
    protocol = {"tcp": 6, "udp": 17, "esp": 50, "icmp": 1}[text.partition("/")[0]]
    port = int(text.partition("/")[2] or 0)
    service = FlowService(protocol=protocol, ports=(port, port) if port else None)
    assume(not _is_declared(policy, direction, near, far, service))
    pair = (str(far), str(near)) if direction == "in" else (str(near), str(far))
    try:
        (packet,) = packets_between(site, policy, *pair, service)
    except InputError:  # the management leg of a host, or an address that meets no zone
        reject()
    item = explain(site, policy, "total", packet, every_stand("total"))
    assert item.declared == ()
    assume(item.way is not None)
    assert [verdict.passes for verdict in item.verdicts if not verdict.lifted] == [False] * 9, f"{pair} {text} from {zone}"
    assert item.opened_by is None


def _is_declared(policy: Policy, direction: str, near: Address, far: Address, service: FlowService) -> bool:
    """Worked out from the files, not from what is tested."""
    return any(
        flow.direction == direction
        and near in flow.addresses
        and any(far in network for name in flow.partners for network in policy.partner(name).networks)
        and any(
            declared.protocol == service.protocol
            and (declared.ports is None or service.ports is None or declared.ports[0] <= service.ports[0] <= declared.ports[1])
            for declared in flow.services
        )
        for flow in policy.flows
    )
