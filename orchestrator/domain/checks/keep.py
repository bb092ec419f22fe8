"""The keep-list stays narrow: nothing on it may keep an exit wide open.

Limits, for everything that passes a guard without votes (a `keep` entry, a decision `keep`, a profile's `keeps`): an
outside network of at most /24 (IPv4) or /56 (IPv6), at most 16 ports, TCP, UDP or ESP; a zone only of the inside.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.checks.problem import Key, Problem, in_policy
from orchestrator.domain.network import Prefix, Site
from orchestrator.domain.policy import Flow, Policy
from orchestrator.domain.services import FlowService

BROADEST = {4: 24, 6: 56}
MOST_PORTS = 16
PROTOCOLS = {6: "tcp", 17: "udp", 50: "esp"}


def keep_list(site: Site, policy: Policy) -> Iterator[Problem]:
    external = {zone.name for zone in site.zones if zone.is_external}
    flows = {flow.name: flow for flow in policy.flows}
    for entry in policy.keep:
        if entry.zone in external:
            message = f"keeping the zone {entry.zone} would keep its exits wide open: it is external"
            advice = "name a flow instead; a profile may leave an external zone connected with `spares` and a reason"
            yield in_policy("keep", entry.name, "zone", message=message, advice=advice)
        if entry.flow in flows:
            yield from _flow(policy, flows[entry.flow], ("keep", entry.name, "flow"))
    for flow in policy.flows:
        for profile, decision in flow.decisions.items():
            if decision == "keep":
                yield from _flow(policy, flow, ("flows", flow.name, "decisions", profile))
    for item in policy.profiles:
        for kept in item.keeps:
            where = ("profiles", item.name, "keeps", kept.name)
            if kept.source.version != kept.destination.version:
                message = f"{kept.name} goes from {kept.source} to {kept.destination}: two families"
                yield in_policy(*where, message=message, advice="write one entry per family")
            for key, network in (("source", kept.source), ("destination", kept.destination)):
                yield from _network((*where, key), kept.name, network)
            yield from _service((*where, "service"), kept.name, kept.service)


def _flow(policy: Policy, flow: Flow, where: tuple[Key, ...]) -> Iterator[Problem]:
    for name in flow.partners:
        for network in next((partner.networks for partner in policy.partners if partner.name == name), ()):
            yield from _network(where, flow.name, network, of=f" ({name})")
    for service in flow.services:
        yield from _service(where, flow.name, service)


def _network(where: tuple[Key, ...], name: str, network: Prefix, of: str = "") -> Iterator[Problem]:
    limit = BROADEST[network.version]
    if network.prefixlen < limit:
        message = f"keeping {name} would keep an exit wide open: {network}{of} is broader than /{limit}"
        yield in_policy(*where, message=message, advice="keep flows to fixed addresses only; let a stage open the rest by votes")


def _service(where: tuple[Key, ...], name: str, service: FlowService) -> Iterator[Problem]:
    if service.protocol not in PROTOCOLS:
        message = f"keeping {name} would keep an exit wide open: protocol {service.protocol} has no ports to narrow it by"
        yield in_policy(*where, message=message, advice=f"keep {', '.join(PROTOCOLS.values())} only")
    elif service.ports is not None and service.ports[1] - service.ports[0] >= MOST_PORTS:
        low, high = service.ports
        message = f"keeping {name} would keep an exit wide open: {high - low + 1} ports ({low}-{high})"
        yield in_policy(*where, message=message, advice=f"name the ports that it uses, at most {MOST_PORTS} in a row")
