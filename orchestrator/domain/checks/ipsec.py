"""IPsec is said openly: a tunnel carries whatever is put into it, so a flow says where it ends and what it carries."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.checks.problem import Key, Problem, in_policy
from orchestrator.domain.compile import paths_of
from orchestrator.domain.network import Prefix, Site, ZoneKind
from orchestrator.domain.policy import Flow, Ipsec, Policy
from orchestrator.domain.services import ESP

UDP, IKE, TRAVERSAL = 17, 500, 4500


def tunnels(site: Site, policy: Policy) -> Iterator[Problem]:
    """A flow that can carry IPsec says `ipsec`, and only such a one does."""
    for flow in policy.flows:
        where = ("flows", flow.name)
        if flow.ipsec is None:
            if is_tunnel(flow):
                message = f"{flow.name} is IPsec and does not say where it ends: what goes through it cannot be seen"
                advice = "say `ipsec: {opaque: true}`, or `ipsec: {terminates_on: DEVICE, inner: [NETWORKS]}` when a device of ours ends it"
                yield in_policy(*where, "services", message=message, advice=advice)
        elif not is_tunnel(flow):
            message = f"{flow.name} says `ipsec`, but none of its services is: IPsec is esp, or udp/500 with udp/4500"
            yield in_policy(*where, "ipsec", message=message, advice="remove `ipsec`, or correct the services")
        else:
            yield from _ends(site, policy, flow, flow.ipsec)


def is_tunnel(flow: Flow) -> bool:
    """ESP, or key exchange together with its way through translations, which carries ESP within UDP."""
    ports = [service.ports for service in flow.services if service.protocol == UDP and service.ports is not None]
    both = all(any(low <= port <= high for low, high in ports) for port in (IKE, TRAVERSAL))
    return both or any(service.protocol == ESP for service in flow.services)


def _ends(site: Site, policy: Policy, flow: Flow, ipsec: Ipsec) -> Iterator[Problem]:
    where: tuple[Key, ...] = ("flows", flow.name, "ipsec")
    device = ipsec.terminates_on
    if ipsec.opaque and flow.terminates_on is not None:
        message = f"{flow.name} ends on {flow.terminates_on}, a device of ours, and says that nothing inside can be seen"
        advice = f"say `ipsec: {{terminates_on: {flow.terminates_on}, inner: [NETWORKS]}}`"
        yield in_policy(*where, "opaque", message=message, advice=advice)
    if device is None:
        return
    if flow.terminates_on is not None and flow.terminates_on != device:
        message = f"{flow.name} ends on {flow.terminates_on}, but its IPsec on {device}"
        yield in_policy(*where, "terminates_on", message=message, advice="name the same device in both")
    elif not all(device in [hop.device for hop in way] for name in flow.partners for way in paths_of(site, flow, policy.partner(name))):
        message = f"{device} does not lie on the way of {flow.name}: its IPsec cannot end there"
        yield in_policy(*where, "terminates_on", message=message, advice="name the gateway on its way, or say `opaque: true`")
    for index, network in enumerate(ipsec.inner):
        yield from _inner(site, policy, flow, network, (*where, "inner", index))


def _inner(site: Site, policy: Policy, flow: Flow, network: Prefix, where: tuple[Key, ...]) -> Iterator[Problem]:
    inside = [
        zone
        for zone in site.zones
        if zone.kind in (ZoneKind.INTERNAL, ZoneKind.DMZ)
        and any(prefix.version == network.version and network.subnet_of(prefix) for prefix in zone.prefixes)  # type: ignore[arg-type]
    ]
    if not inside:
        message = f"{network} is no network of one zone of the inside: {flow.name} cannot carry it"
        yield in_policy(*where, message=message, advice="name networks of internal zones or DMZs, one by one")
    elif inside[0].name in policy.compromised:
        message = f"{flow.name} would carry {network} of the compromised zone {inside[0].name} past every firewall"
        yield in_policy(*where, message=message, advice="leave it out; open what is needed there as a flow of its own")
