"""Care goes on (invariant 4): a profile keeps each care flow, or gives it up by name. A silent conflict is refused."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.checks.problem import Problem, in_policy
from orchestrator.domain.checks.profiles import guards
from orchestrator.domain.network import Host, Site
from orchestrator.domain.policy import CareAssertion, KeptFlow, Policy, Profile
from orchestrator.domain.topology import host_path


def assertions(site: Site, policy: Policy) -> Iterator[Problem]:
    """They can be probed: from a vantage point, to a host that says it answers, by a way that exists."""
    for care in policy.care:
        start, end = site.host(care.from_host), site.host(care.to_host)
        if not start.is_vantage_point:
            message = f"{start.name} cannot probe: it has no management address"
            advice = "name a vantage point of the same zone, or give the host an `ansible_host`"
            yield in_policy("care", care.name, "from_host", message=message, advice=advice)
        wanted = {6: "tcp", 17: "udp"}.get(care.service.protocol)
        ports = {item.port for item in end.services if item.transport == wanted}
        low, high = care.service.ports or (0, 0)
        if wanted is None or not ports & set(range(low, min(high, low + 64) + 1)):
            message = f"{end.name} declares no service {wanted or 'of that protocol'}/{low}"
            yield in_policy(
                "care", care.name, "service", message=message, advice=f"add it to `services` of {end.name}, or correct the service"
            )
        if host_path(site, start, end) is None and start.name != end.name:
            message = f"by the routes of the inventory, {start.name} does not reach {end.name}"
            yield in_policy("care", care.name, "to_host", message=message, advice="correct the gateways and routes on the way")


def conflicts(site: Site, policy: Policy) -> Iterator[Problem]:
    for profile in policy.profiles:
        given_up = {sacrifice.care: index for index, sacrifice in enumerate(profile.sacrifices)}
        for care in policy.care:
            cut_at = _cut_at(site, profile, care)
            if care.name in given_up:
                if cut_at is None:
                    where = ("profiles", profile.name, "sacrifices", given_up[care.name], "care")
                    message = f"{profile.name} does not touch {care.name}: nothing is sacrificed"
                    yield in_policy(*where, message=message, advice="remove the sacrifice")
            elif cut_at is not None:
                device, version = cut_at
                message = f"silent conflict: {profile.name} cuts the care assertion {care.name} at {device} (IPv{version})"
                advice = (
                    f"keep it narrowly (`keeps` of {profile.name}), or give it up by name (`sacrifices`: reason, and what is done instead)"
                )
                yield in_policy("profiles", profile.name, message=message, advice=advice)


def _cut_at(site: Site, profile: Profile, care: CareAssertion) -> tuple[str, int] | None:
    """The device and family in which the profile cuts the care flow; None when it lives."""
    start, end = site.host(care.from_host), site.host(care.to_host)
    zones = {interface.zone for host in (start, end) for interface in host.interfaces}
    if profile.scope_zones and not zones & set(profile.scope_zones):
        return None
    for version in (4, 6):
        for hop in host_path(site, start, end, version=version) or ():
            if guards(profile, hop) and not any(_covers(kept, start, end, care, version) for kept in profile.keeps):
                return hop.device, version
    return None


def _covers(kept: KeptFlow, start: Host, end: Host, care: CareAssertion, version: int) -> bool:
    def inside(host: Host, network: object) -> bool:
        return any(
            address.version == version and address.ip in kept_network
            for interface in host.interfaces
            for address in interface.addresses
            for kept_network in (kept.source if network == "source" else kept.destination,)
        )

    if kept.source.version != version or kept.service.protocol != care.service.protocol:
        return False
    if kept.service.ports is not None and care.service.ports is not None:
        low, high = care.service.ports
        if not (kept.service.ports[0] <= low and high <= kept.service.ports[1]):
            return False
    return inside(start, "source") and inside(end, "destination")
