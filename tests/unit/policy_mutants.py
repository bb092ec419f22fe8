"""Small changes of the CHU de Valmont's policy, each the kind of slip that a hand makes, for the test that its own tests bite.

`mutants` makes them systematically; `BY_HAND` are those that must never get through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NamedTuple

from orchestrator.domain.network import Prefix
from orchestrator.domain.policy import Flow, Partner, Policy, Predecessor, Stage
from orchestrator.domain.services import FlowService


class Mutant(NamedTuple):
    name: str
    policy: Policy


def changed_flow(policy: Policy, name: str, **update: Any) -> Policy:
    return policy.model_copy(
        update={"flows": tuple(flow.model_copy(update=update) if flow.name == name else flow for flow in policy.flows)}
    )


def changed_partner(policy: Policy, name: str, **update: Any) -> Policy:
    partners = tuple(item.model_copy(update=update) if item.name == name else item for item in policy.partners)
    return policy.model_copy(update={"partners": partners})


def changed_stage(policy: Policy, name: str, **update: Any) -> Policy:
    stages = tuple(stage.model_copy(update=update) if stage.name == name else stage for stage in policy.stages)
    return policy.model_copy(update={"stages": stages})


def changed_profile(policy: Policy, name: str, **update: Any) -> Policy:
    profiles = tuple(item.model_copy(update=update) if item.name == name else item for item in policy.profiles)
    return policy.model_copy(update={"profiles": profiles})


def moved(policy: Policy, flow: str, to: str) -> Policy:
    """The flow is opened by another stage."""
    stages = []
    for stage in policy.stages:
        flows = tuple(name for name in stage.flows if name != flow)
        stages.append(stage.model_copy(update={"flows": (*flows, flow) if stage.name == to else flows}))
    return policy.model_copy(update={"stages": tuple(stages)})


def mutants(policy: Policy) -> Iterator[Mutant]:
    for partner in policy.partners:
        yield from _of_partner(policy, partner)
    for flow in policy.flows:
        yield from _of_flow(policy, flow)
    for stage in policy.stages:
        yield from _of_stage(policy, stage)
    for profile in policy.profiles:
        for device, guard in profile.layers.items():
            layers = {name: names for name, names in profile.layers.items() if name != device}
            if layers:
                yield Mutant(f"{profile.name}: no layer on {device}", changed_profile(policy, profile.name, layers=layers))
            for name in guard if len(guard) > 1 else ():
                fewer = {**profile.layers, device: tuple(item for item in guard if item != name)}
                yield Mutant(f"{profile.name}: {device} without {name}", changed_profile(policy, profile.name, layers=fewer))
        for index, kept in enumerate(profile.keeps):
            rest = (*profile.keeps[:index], *profile.keeps[index + 1 :])
            yield Mutant(f"{profile.name}: {kept.name} not kept", changed_profile(policy, profile.name, keeps=rest))
            ports = FlowService(protocol=kept.service.protocol, ports=(1, 1024))
            wider = (*rest, kept.model_copy(update={"service": ports}))
            yield Mutant(f"{profile.name}: {kept.name} with other ports", changed_profile(policy, profile.name, keeps=wider))


def _of_partner(policy: Policy, partner: Partner) -> Iterator[Mutant]:
    for index, network in enumerate(partner.networks):
        if network.prefixlen == 0:
            continue
        for shorter in (4, 8):
            wide = network.supernet(shorter)
            networks: tuple[Prefix, ...] = (*partner.networks[:index], wide, *partner.networks[index + 1 :])
            yield Mutant(f"{partner.name}: {wide} for {network}", changed_partner(policy, partner.name, networks=networks))
    other = next(item for item in policy.partners if item.zone == partner.zone and item is not partner)
    yield Mutant(f"{partner.name}: the networks of {other.name}", changed_partner(policy, partner.name, networks=other.networks))


def _of_flow(policy: Policy, flow: Flow) -> Iterator[Mutant]:
    for index, service in enumerate(flow.services):
        rest = (*flow.services[:index], *flow.services[index + 1 :])
        if rest:
            yield Mutant(f"{flow.name}: without {_said(service)}", changed_flow(policy, flow.name, services=rest))
        if service.ports is None:
            continue
        low, high = service.ports
        for what, ports in (("the next port", (low + 1, high + 1)), ("a range", (low, high + 100)), ("every port", (1, 65535))):
            services = (*rest, FlowService(protocol=service.protocol, ports=ports))
            yield Mutant(f"{flow.name}: {what} for {_said(service)}", changed_flow(policy, flow.name, services=services))
        other = FlowService(protocol=17 if service.protocol == 6 else 6, ports=service.ports)
        yield Mutant(f"{flow.name}: the other protocol for {_said(service)}", changed_flow(policy, flow.name, services=(*rest, other)))
    for profile, decision in flow.decisions.items():
        turned = {**flow.decisions, profile: "cut" if decision == "keep" else "keep"}
        yield Mutant(f"{flow.name}: {turned[profile]} in {profile}", changed_flow(policy, flow.name, decisions=turned))
    if not flow.decisions:
        yield Mutant(f"{flow.name}: kept by internet", changed_flow(policy, flow.name, decisions={"internet": "keep"}))
    yield Mutant(f"{flow.name}: turned round", changed_flow(policy, flow.name, direction="in" if flow.direction == "out" else "out"))
    for partner in flow.partners if len(flow.partners) > 1 else ():
        fewer = tuple(name for name in flow.partners if name != partner)
        yield Mutant(f"{flow.name}: without {partner}", changed_flow(policy, flow.name, partners=fewer))
    if "everyone" not in flow.partners and flow.exit is None and "ght" not in {policy.partner(name).zone for name in flow.partners}:
        yield Mutant(f"{flow.name}: with everyone", changed_flow(policy, flow.name, partners=(*flow.partners, "everyone")))
    denied = tuple(network for name in flow.partners for network in policy.partner(name).networks[:1])
    yield Mutant(f"{flow.name}: denies its first network", changed_flow(policy, flow.name, deny_from=denied))
    own = next(stage.name for stage in policy.stages if flow.name in stage.flows)
    places = [stage.name for stage in policy.stages if not stage.lifts]
    for to in (places[max(0, places.index(own) - 1)], places[min(len(places) - 1, places.index(own) + 1)], places[0]):
        if to != own:
            yield Mutant(f"{flow.name}: opened by {to}", moved(policy, flow.name, to))


def _of_stage(policy: Policy, stage: Stage) -> Iterator[Mutant]:
    for index, needs in enumerate(stage.requires):
        rest = (*stage.requires[:index], *stage.requires[index + 1 :])
        yield Mutant(f"{stage.name}: does not wait for {needs.stage}", changed_stage(policy, stage.name, requires=rest))
        others = tuple(flow for flow in stage.flows[1:])
        if others:
            confined = (*rest, needs.model_copy(update={"flows": others}))
            yield Mutant(f"{stage.name}: {stage.flows[0]} alone does not wait", changed_stage(policy, stage.name, requires=confined))
    partners = tuple(dict.fromkeys(name for flow in stage.flows for name in policy.flow(flow).partners))
    if len(partners) > 1:
        yield Mutant(f"{stage.name}: without {partners[-1]}", changed_stage(policy, stage.name, partners=partners[:-1]))


def _said(service: FlowService) -> str:
    return f"{service.protocol}/{service.ports[0]}" if service.ports else str(service.protocol)


def _keeps(policy: Policy, name: str) -> Policy:
    return changed_flow(policy, name, decisions={"internet": "keep"})


def _widened(policy: Policy, partner: str, *networks: str) -> Policy:
    return changed_partner(policy, partner, networks=tuple(IPv6Network(item) if ":" in item else IPv4Network(item) for item in networks))


def _with_layers(policy: Policy, profile: str, **layers: tuple[str, ...]) -> Policy:
    given = {**policy.profile(profile).layers, **{name.replace("_", "-"): guard for name, guard in layers.items()}}
    return changed_profile(policy, profile, layers={name: guard for name, guard in given.items() if guard})


def _port(low: int, high: int | None = None, protocol: int = 6) -> tuple[FlowService, ...]:
    return (FlowService(protocol=protocol, ports=(low, high or low)),)


BY_HAND: dict[str, Callable[[Policy], Policy]] = {
    "the laboratories before eradication, in P0": lambda policy: moved(policy, "outside-labs", "P0-lifelines"),
    "the laboratories one stage too early": lambda policy: moved(policy, "outside-labs", "P3-outbound-mail"),
    "the web site with the mail": lambda policy: moved(policy, "website", "P1-inbound-mail"),
    "staff VPN before the images": lambda policy: moved(policy, "staff-vpn", "P2-care-exchange"),
    "vendors without waiting": lambda policy: changed_stage(policy, "P6-remote-maintenance", requires=()),
    "the public without the payments": lambda policy: changed_stage(
        policy, "P7-public", requires=(Predecessor.model_validate({"stage": "P4-images"}),)
    ),
    "browsing kept through the cut": lambda policy: _keeps(policy, "browsing"),
    "the laboratories kept through the cut": lambda policy: _keeps(policy, "outside-labs"),
    "national services kept through the cut": lambda policy: _keeps(policy, "national-services"),
    "the SAMU hub cut": lambda policy: changed_flow(policy, "samu-hub", decisions={"internet": "cut", "total": "cut"}),
    "blood supply cut inwards": lambda policy: changed_flow(policy, "blood-supply-in", decisions={"internet": "cut", "total": "cut"}),
    "blood supply kept by total": lambda policy: changed_flow(policy, "blood-supply-out", decisions={"internet": "keep", "total": "keep"}),
    "no guard towards the sisters' exit": lambda policy: _with_layers(policy, "internet", fw_int=()),
    "the backup line forgotten": lambda policy: _with_layers(policy, "internet", rtr_backup=(), sw_core=()),
    "the VPN forgotten": lambda policy: _with_layers(policy, "internet", vpn=()),
    "the firewall forgotten": lambda policy: _with_layers(policy, "internet", fw_ext=()),
    "dental not isolated": lambda policy: changed_profile(
        policy, "compromised", layers={"fw-int": ("lab0", "cardiology0")}, cuts=("lab", "cardiology")
    ),
    "the SAMU hub widened to a /24": lambda policy: _widened(policy, "hub-sante", "198.51.100.0/24", "2001:db8:100::35/128"),
    "the SAMU hub widened to a /64": lambda policy: _widened(policy, "hub-sante", "198.51.100.35/32", "2001:db8:100::/64"),
    "the hub is somebody else": lambda policy: _widened(policy, "hub-sante", "198.51.100.46/32", "2001:db8:100::46/128"),
    "the blood establishment is somebody else": lambda policy: _widened(policy, "efs", "198.51.100.46/32", "2001:db8:100::46/128"),
    "every vendor of the range": lambda policy: _widened(policy, "vendor-1", "198.51.100.192/26", "2001:db8:192::/64"),
    "payment on the next port": lambda policy: changed_flow(policy, "payment", services=_port(8444)),
    "payment on every port": lambda policy: changed_flow(policy, "payment", services=_port(1, 65535)),
    "the laboratories by any port": lambda policy: changed_flow(policy, "outside-labs", services=_port(1, 65535)),
    "vendors by any port": lambda policy: changed_flow(policy, "remote-maintenance", services=_port(1, 65535)),
    "mail by UDP": lambda policy: changed_flow(policy, "mail-in", services=_port(25, 25, 17)),
    "the mail relay for everybody's web": lambda policy: changed_flow(policy, "mail-out", services=(*_port(25), *_port(465), *_port(443))),
    "the portal for everyone": lambda policy: changed_flow(policy, "portal-patients", partners=("everyone",)),
    "a denied laboratory": lambda policy: changed_flow(
        policy, "outside-labs", deny_from=(IPv4Network("198.51.100.42/32"), IPv6Network("2001:db8:100::42/128"))
    ),
    "the lift one stage early": lambda policy: changed_stage(
        policy, "P8-lift", requires=(Predecessor.model_validate({"stage": "P2-care-exchange"}),)
    ),
}
