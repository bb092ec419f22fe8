"""What may be put on the block list, and what a block holds back.

Nobody may block the way in, the hospital itself, or those who care depends on; a partner whose flows were kept by a
decision of peacetime only by somebody who names them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_network

from orchestrator.domain.compile import prefix_of
from orchestrator.domain.layer import networks_in_order
from orchestrator.domain.network import Prefix, Site, ZoneKind
from orchestrator.domain.policy import Policy
from orchestrator.domain.stages import VOTING
from orchestrator.domain.state import Ratified, SiteState, StageStatus
from orchestrator.errors import Refused, UnknownName, UsageError

MOST = 1000  # networks given at once


def networks_given(texts: Collection[str]) -> tuple[Prefix, ...]:
    """Addresses and networks as people write them, in normal form. Raises UsageError."""
    if not 0 < len(texts) <= MOST:
        raise UsageError(f"give 1 to {MOST} addresses or networks")
    found: list[Prefix] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip()))
        except ValueError as error:
            advice = "write 198.51.100.7, 198.51.100.0/24 or 2001:db8:5::/48; the bits beyond the length are zero"
            raise UsageError(f"{text!r} is no address and no network: {error}", advice=advice) from error
        if getattr(found[-1].network_address, "scope_id", None):
            raise UsageError(f"{text!r} is meant for one interface", advice="give it without the part from % on")
    return networks_in_order(found)


def require_allowed(ratified: Ratified, networks: Iterable[Prefix], although: Collection[str] = ()) -> None:
    """Raises Refused (rules `block-management`, `block-care`, `block-inside`, `block-vital`), and UnknownName for a partner in
    `although` that the policy does not have."""
    site, policy = ratified.site, ratified.policy
    for name in although:
        if name not in policy.partners_by_name:
            raise UnknownName(f"there is no partner {name!r}", advice=f"kept are {', '.join(sorted(kept_partners(policy))) or 'none'}")
    listed = tuple(networks)
    for rule, what, forbidden in (
        ("block-management", "the management network: it is the way in", tuple(_management(site))),
        ("block-care", "what a care assertion needs", tuple(_care(site, policy))),
        ("block-inside", "the hospital itself", tuple(_inside(site))),
    ):
        for network in listed:
            met = next((own for own in forbidden if _meet(own, network)), None)
            if met is not None:
                raise Refused(
                    f"{network} covers {met}, {what}", rule=rule, advice="block only the addresses of others, as narrow as you can"
                )
    for name in kept_partners(policy):
        for network in listed:
            if name not in although and any(_meet(own, network) for own in policy.partner(name).networks):
                message = f"{network} covers {name}, whose flows were kept by a decision of peacetime"
                raise Refused(message, rule="block-vital", advice=f"if it must be: --although-vital {name}")


def kept_partners(policy: Policy) -> tuple[str, ...]:
    """Those of a flow that some profile keeps, or that is on the keep-list."""
    listed = {entry.flow for entry in policy.keep}
    kept = [flow for flow in policy.flows if flow.name in listed or "keep" in flow.decisions.values()]
    return tuple(dict.fromkeys(name for flow in kept for name in flow.partners))


def blocked_partners(policy: Policy, partners: Iterable[str], blocklist: Iterable[Prefix]) -> tuple[tuple[str, Prefix], ...]:
    """(partner, network): partners with a network that the list covers whole. One that it covers in part can be opened to:
    the devices stop the rest of it."""
    listed = tuple(blocklist)
    return tuple(
        (name, network)
        for name in partners
        if listed and name in policy.partners_by_name
        for network in policy.partner(name).networks
        if within((network,), listed)
    )


def require_unblocked(policy: Policy, partners: Iterable[str], blocklist: Iterable[Prefix]) -> None:
    """Raises Refused (rule `blocked`)."""
    found = blocked_partners(policy, partners, blocklist)
    if found:
        said = ", ".join(f"{name} ({network})" for name, network in found)
        advice = "leave them out (--partner), or: orchestrator block remove ADDRESS --reason TEXT"
        raise Refused(f"on the block list: {said}", rule="blocked", advice=advice)


def held_back(state: SiteState, networks: Iterable[Prefix]) -> Iterator[tuple[StageStatus, str]]:
    """Plans that are being voted on or are approved, and that open to one of these networks, with the partner."""
    listed = tuple(networks)
    for status in state.stages.values():
        if status.state in VOTING and status.plan is not None and state.ratified is not None:
            for name, _ in blocked_partners(state.ratified.policy, status.plan.partners, listed)[:1]:
                yield status, name


def touches(networks: Iterable[Prefix], others: Iterable[Prefix]) -> bool:
    """Whether they have an address in common."""
    listed = tuple(others)
    return any(_meet(network, other) for network in networks for other in listed)


def within(networks: Iterable[Prefix], others: Iterable[Prefix]) -> bool:
    """Whether each of the networks lies wholly in one of the others (which are in normal form)."""
    listed = tuple(others)
    return all(any(_lies_in(network, other) for other in listed) for network in networks)


def _lies_in(inner: Prefix, outer: Prefix) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _meet(one: Prefix, other: Prefix) -> bool:
    return _lies_in(one, other) or _lies_in(other, one)


def _management(site: Site) -> Iterator[Prefix]:
    yield from (prefix for zone in site.zones if zone.kind is ZoneKind.MANAGEMENT for prefix in zone.prefixes)
    yield from (prefix_of(node.management) for node in (*site.devices, *site.hosts) if node.management is not None)
    yield from (prefix_of(own.ip) for own in site.orchestrator.addresses)


def _care(site: Site, policy: Policy) -> Iterator[Prefix]:
    names = {name for care in policy.care for name in (care.from_host, care.to_host)}
    for host in site.hosts:
        if host.name in names:
            yield from (prefix_of(own.ip) for interface in host.interfaces for own in interface.addresses)
    yield from (end for profile in policy.profiles for kept in profile.keeps for end in (kept.source, kept.destination))


def _inside(site: Site) -> Iterator[Prefix]:
    """Its networks, and what its devices have and publish outside."""
    yield from (prefix for zone in site.zones if zone.kind in (ZoneKind.INTERNAL, ZoneKind.DMZ) for prefix in zone.prefixes)
    for device in site.devices:
        yield from (prefix_of(own.ip) for interface in device.interfaces for own in interface.addresses)
        yield from (prefix_of(item.public) for item in device.nat.published)
