"""The site's own firewall rules, as its administrators would have left them: wide, and with "established: accept" first.

They are generated from the inventory (who is inside, what is published), plus the few agreements written by hand that
an inventory does not hold. They must let through every flow of the scenario: what the containment layer subtracts is
then seen, and what it lets back in works.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.network import Address, Device, Node, Published, Site, ZoneKind

# The agreement with the sister hospitals: images both ways between their network and ours (9000: video, and the
# streams of the rehearsal).
AGREED_ZONES = ("ght", "imaging")
AGREED_PORTS = (104, 2762, 9000, 11112)
DELIVERY_HOPS = 8


def firewall_rules(site: Site, device: Device) -> str:
    """`/etc/nftables.conf` of a firewall or gateway."""
    inside = _interfaces(site, device, ZoneKind.INTERNAL)
    dmz = _interfaces(site, device, ZoneKind.DMZ)
    outside = _interfaces(site, device, ZoneKind.EXTERNAL)
    management = _interfaces(site, device, ZoneKind.MANAGEMENT)
    forward = ["ct state established,related accept"]
    if inside:
        forward.append(f"iifname {_set(inside)} oifname {_set(inside + dmz)} accept")
    if dmz:
        forward.append(f"iifname {_set(dmz)} oifname {_set(dmz)} accept")
        for family, prefixes in _dmz_prefixes(site).items():
            if inside and prefixes:
                forward.append(f"iifname {_set(dmz)} oifname {_set(inside)} {family} saddr {_set(prefixes, quote=False)} accept")
    if outside and inside + dmz:
        forward.append(f"iifname {_set(inside + dmz)} oifname {_set(outside)} accept")
    forward += _agreement(device)
    forward += _published(site, device)
    forward.append("meta l4proto { icmp, ipv6-icmp } accept")
    services = [f"{service.transport} dport {service.port} accept" for service in device.services]
    own = [
        "ct state established,related accept",
        'iifname "lo" accept',
        f"iifname {_set(management)} tcp dport 22 accept",
        "meta l4proto { icmp, ipv6-icmp } accept",
        *services,
    ]
    return _ruleset(_chain("forward", "forward", forward) + _chain("input", "input", own), device)


def translation_only(node: Node) -> str:
    """The start-up rules of a router that filters nothing and translates addresses."""
    return _ruleset("", node)


def _ruleset(filter_chains: str, node: Node) -> str:
    text = "#!/usr/sbin/nft -f\n# The site's own rules.\nflush ruleset\n"
    if filter_chains:
        text += "table inet filter {\n" + filter_chains + "}\n"
    masquerade = []
    if node.nat.masquerade:
        family = "" if node.nat.masquerade_ipv6 else "meta nfproto ipv4 "
        masquerade.append(f"{family}oifname {_set(node.nat.masquerade)} masquerade")
    if masquerade or node.nat.published:
        destinations = [
            f"{_family(item.public)} daddr {item.public} {item.protocol} dport {item.port} dnat {_family(item.to)} to {_target(item)}"
            for item in node.nat.published
        ]
        text += "table inet nat {\n"
        text += "    chain prerouting {\n        type nat hook prerouting priority dstnat; policy accept;\n"
        text += "".join(f"        {rule}\n" for rule in destinations) + "    }\n"
        text += "    chain postrouting {\n        type nat hook postrouting priority srcnat; policy accept;\n"
        text += "".join(f"        {rule}\n" for rule in masquerade) + "    }\n}\n"
    return text


def _chain(name: str, hook: str, rules: Iterable[str]) -> str:
    head = f"    chain {name} {{\n        type filter hook {hook} priority filter; policy drop;\n"
    return head + "".join(f"        {rule}\n" for rule in rules) + "    }\n"


def _published(site: Site, device: Device) -> list[str]:
    """Lets in what is published through this device, and the same over IPv6, where nothing is translated."""
    rules = []
    outside = _interfaces(site, device, ZoneKind.EXTERNAL) + _interfaces(site, device, ZoneKind.DMZ)
    for publisher in site.devices:
        for item in publisher.nat.published:
            if device.name in _delivery(site, publisher, item.to):
                for address in _other_addresses(site, item.to):
                    rules.append(f"iifname {_set(outside)} {_family(address)} daddr {address} {item.protocol} dport {item.to_port} accept")
                    if item.protocol == "udp" and item.to_port == 500:  # IPsec comes with its own protocol
                        rules.append(f"iifname {_set(outside)} {_family(address)} daddr {address} meta l4proto esp accept")
    return list(dict.fromkeys(rules))


def _delivery(site: Site, device: Device, to: Address) -> list[str]:
    """The firewalls that a packet crosses from this device to the address, this one first."""
    path: list[str] = []
    current: Device | None = device
    while current is not None and len(path) < DELIVERY_HOPS:
        path.append(current.name)
        if any(to in address.network for interface in current.interfaces for address in interface.addresses):
            return path
        routes = [route for route in current.routes if route.to.version == to.version and to in route.to]
        if not routes:
            return path
        via = max(routes, key=lambda route: route.to.prefixlen).via
        current = next((other for other in site.devices if via in _addresses(other)), None)
    return path


def _other_addresses(site: Site, address: Address) -> list[Address]:
    """All addresses of the interface that has this one."""
    for host in site.hosts:
        for interface in host.interfaces:
            if address in (own := [item.ip for item in interface.addresses]):
                return list(own)
    return [address]


def _agreement(device: Device) -> list[str]:
    ours, theirs = ([item.name for item in device.interfaces if item.zone == zone] for zone in reversed(AGREED_ZONES))
    if not ours or not theirs:
        return []
    ports = _set([str(port) for port in AGREED_PORTS], quote=False)
    return [
        f"iifname {_set(one)} oifname {_set(other)} {protocol} dport {ports} accept"
        for one, other in ((theirs, ours), (ours, theirs))
        for protocol in ("tcp", "udp")
    ]


def _dmz_prefixes(site: Site) -> dict[str, list[str]]:
    prefixes = [prefix for zone in site.zones if zone.kind is ZoneKind.DMZ for prefix in zone.prefixes]
    return {family: [str(prefix) for prefix in prefixes if prefix.version == version] for family, version in (("ip", 4), ("ip6", 6))}


def _interfaces(site: Site, node: Node, kind: ZoneKind) -> list[str]:
    return [interface.name for interface in node.interfaces if site.zone(interface.zone).kind is kind]


def _addresses(node: Node) -> set[Address]:
    return {address.ip for interface in node.interfaces for address in interface.addresses}


def _family(address: Address) -> str:
    return "ip" if address.version == 4 else "ip6"


def _target(item: Published) -> str:
    return f"{item.to}:{item.to_port}" if item.to.version == 4 else f"[{item.to}]:{item.to_port}"


def _set(items: Iterable[str], *, quote: bool = True) -> str:
    return "{ " + ", ".join(f'"{item}"' if quote else item for item in items) + " }"
