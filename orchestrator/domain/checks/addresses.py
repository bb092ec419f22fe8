"""Addresses: each in its zone, none twice, no two zones over one another, and both ends of a flow in one family."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

from orchestrator.domain.checks.problem import Key, Problem, in_inventory, in_policy, listed
from orchestrator.domain.network import Address, Host, Interface, Node, Prefix, Site, Zone
from orchestrator.domain.policy import Flow, Policy
from orchestrator.domain.prefix_table import PrefixTable


def zones(site: Site, policy: Policy) -> Iterator[Problem]:
    """Prefixes and VLANs of two zones; only an external zone may contain another (the internet contains everything)."""
    del policy
    for zone in site.zones:
        if not zone.prefixes:
            yield in_inventory("zones", zone.name, message=f"the zone {zone.name} has no prefix", advice="give it one per family")
    for first, second in _near(site.zones):
        if first.vlan is not None and first.vlan == second.vlan:
            message = f"VLAN {second.vlan} is the VLAN of {first.name} already"
            yield in_inventory("zones", second.name, "vlan", message=message, advice="one VLAN per zone: choose a free number")
        for index, inner in enumerate(second.prefixes):
            for outer in first.prefixes:
                if _collide(first, outer, second, inner):
                    message = f"the prefix {inner} of {second.name} overlaps {outer} of {first.name}"
                    advice = "make them disjoint; only an external zone may contain another, and only a larger one"
                    yield in_inventory("zones", second.name, "prefixes", index, message=message, advice=advice)


def _near(zones: tuple[Zone, ...]) -> Iterator[tuple[Zone, Zone]]:
    """The pairs of zones, in their order, that share a VLAN or of which a prefix holds one of the other."""
    pairs: set[tuple[int, int]] = set()
    by_vlan: dict[int | None, list[int]] = {}
    by_prefix: dict[Prefix, list[int]] = {}
    for number, zone in enumerate(zones):
        by_vlan.setdefault(zone.vlan, []).append(number)
        for prefix in zone.prefixes:
            by_prefix.setdefault(prefix, []).append(number)
    table = PrefixTable(by_prefix.items())
    for vlan, numbers in by_vlan.items():
        if vlan is not None:
            pairs.update(combinations(numbers, 2))
    for prefix, numbers in by_prefix.items():
        for holders in table.around(prefix):
            pairs.update((min(pair), max(pair)) for pair in product(holders, numbers) if pair[0] != pair[1])
    yield from ((zones[first], zones[second]) for first, second in sorted(pairs))


def _collide(first: Zone, one: Prefix, second: Zone, other: Prefix) -> bool:
    if one.version != other.version or not one.overlaps(other):
        return False
    if one.prefixlen == other.prefixlen:
        return True
    outer = first if one.prefixlen < other.prefixlen else second
    return not outer.is_external


def interfaces(site: Site, policy: Policy) -> Iterator[Problem]:
    """Interface addresses: inside their zone, used once, usable; next hops and gateways on a connected network."""
    del policy
    seen: dict[Address, str] = {}
    for section, node in _nodes(site):
        for interface in node.interfaces:
            where = (section, node.name, "interfaces", interface.name, "addresses")
            yield from _interface(site, where, node.name, interface, seen)
    yield from _interface(site, ("orchestrator", "interface", "addresses"), "orchestrator", site.orchestrator, seen)
    for section, node in _nodes(site):
        for index, item in enumerate(node.routes):
            if not _connected(node, item.via):
                message = f"the next hop {item.via} of {node.name} is on none of its networks"
                yield in_inventory(section, node.name, "routes", index, "via", message=message, advice="name a neighbour's address")
    for host in site.hosts:
        for key, gateways in (("gateway", host.gateway), ("inside_gateway", host.inside_gateway)):
            for index, address in enumerate(gateways):
                if not _connected(host, address):
                    message = f"the gateway {address} of {host.name} is on none of its networks"
                    yield in_inventory("hosts", host.name, key, index, message=message, advice="name a router's address in its zone")


def _interface(site: Site, where: tuple[Key, ...], node: str, interface: Interface, seen: dict[Address, str]) -> Iterator[Problem]:
    for index, address in enumerate(interface.addresses):
        other = seen.setdefault(address.ip, f"{node}[{interface.name}]")
        if other != f"{node}[{interface.name}]":
            message = f"the address {address.ip} belongs to {other} already"
            yield in_inventory(*where, index, message=message, advice="give each interface an address of its own")
        try:
            zone = site.zone_of(address.ip)
        except KeyError:
            zone = None
        if zone is None or zone.name != interface.zone:
            stands = f"it is in the zone {zone.name}" if zone is not None else "it is in no zone"
            message = f"the address {address.ip} of {node} is outside its zone {interface.zone}: {stands}"
            yield in_inventory(*where, index, message=message, advice="correct the address, the interface's zone or the zone's prefixes")
        network = address.network
        if network.version == 4 and network.prefixlen < 31 and address.ip in (network.network_address, network.broadcast_address):
            message = f"{address.ip} is the network or broadcast address of {network}"
            yield in_inventory(*where, index, message=message, advice="use an address in between")


def published(site: Site, policy: Policy) -> Iterator[Problem]:
    """Destination translations: one inside target per public address and port."""
    del policy
    for device in site.devices:
        taken: dict[tuple[Address, str, int], Address] = {}
        for index, item in enumerate(device.nat.published):
            where = ("devices", device.name, "nat", "published", index)
            key = (item.public, item.protocol, item.port)
            if key in taken:
                message = f"{item.public} {item.protocol}/{item.port} is published twice, to {taken[key]} and to {item.to}"
                yield in_inventory(*where, message=message, advice="keep one")
            taken[key] = item.to
            try:
                zone = site.zone_of(item.to)
            except KeyError:
                zone = None
            if zone is None or zone.is_external:
                message = f"{item.public} {item.protocol}/{item.port} is delivered to {item.to}, which is in no zone of the inside"
                yield in_inventory(*where, "to", message=message, advice="name the inside address of the host that answers")


def policy_addresses(site: Site, policy: Policy) -> Iterator[Problem]:
    """Partners' networks in their external zone, applications' addresses in theirs, and one family at both ends."""
    for partner in policy.partners:
        zone = site.zones_by_name.get(partner.zone)
        if zone is not None and not zone.is_external:
            message = f"the partner {partner.name} is in the zone {zone.name}, which is not external"
            yield in_policy("partners", partner.name, "zone", message=message, advice="partners are outside: name an external zone")
            continue
        for index, network in enumerate(partner.networks):
            holder = _zone_of(site, network.network_address)
            if zone is not None and (holder is None or holder.name != zone.name):
                message = f"{network} of {partner.name} is outside its zone {partner.zone}"
                message += f": it is in {holder.name}" if holder is not None else ""
                yield in_policy("partners", partner.name, "networks", index, message=message, advice="correct the network or the zone")
    for flow in policy.flows:
        yield from _flow_addresses(site, policy, flow)
        yield from _families(policy, flow)


def _flow_addresses(site: Site, policy: Policy, flow: Flow) -> Iterator[Problem]:
    application = policy.applications_by_name.get(flow.application)
    if application is not None and not {application.zone, *application.other_zones} <= site.zones_by_name.keys():
        application = None  # reported as an unknown zone; nothing more can be said
    device = site.devices_by_name.get(flow.terminates_on or "")
    for index, address in enumerate(flow.addresses):
        where = ("flows", flow.name, "addresses", index)
        if flow.terminates_on is not None:
            if device is not None and not any(own.ip == address for item in device.interfaces for own in item.addresses):
                message = f"{address} is no address of {device.name}, on which the flow ends"
                yield in_policy(*where, message=message, advice="a flow with `terminates_on` has the device's own addresses")
            continue
        zone = _zone_of(site, address)
        allowed = (application.zone, *application.other_zones) if application is not None else ()
        if application is not None and (zone is None or zone.name not in allowed):
            stands = f"it is in {zone.name}" if zone is not None else "it is in no zone"
            message = f"the address {address} is outside the zone of {application.name} ({listed(allowed)}): {stands}"
            yield in_policy(*where, message=message, advice="correct the address, or name the zone in the application's `other_zones`")


def _families(policy: Policy, flow: Flow) -> Iterator[Problem]:
    own = {address.version for address in flow.addresses}
    for index, name in enumerate(flow.partners):
        partner = policy.partners_by_name.get(name)
        theirs = {network.version for network in partner.networks} if partner is not None else own
        where = ("flows", flow.name, "partners", index)
        for version in sorted(theirs - own):
            message = f"{name} has IPv{version} networks, but {flow.name} has no IPv{version} address"
            yield in_policy(
                *where, message=message, advice=f"add the application's IPv{version} address, or name a partner without IPv{version}"
            )
        for version in sorted(own - theirs):
            message = f"{flow.name} has IPv{version} addresses, but {name} has no IPv{version} network"
            yield in_policy(*where, message=message, advice=f"add the partner's IPv{version} network, or remove that address of the flow")


def _nodes(site: Site) -> Iterator[tuple[str, Node]]:
    for section, nodes in (("devices", site.devices), ("hosts", site.hosts), ("outside", site.outside)):
        for node in nodes:
            yield section, node


def _connected(node: Node | Host, address: Address) -> bool:
    return any(address.version == own.version and address in own.network for item in node.interfaces for own in item.addresses)


def _zone_of(site: Site, address: Address) -> Zone | None:
    try:
        return site.zone_of(address)
    except KeyError:
        return None
