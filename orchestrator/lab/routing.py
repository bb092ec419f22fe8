"""Addresses, routes and BGP of a node, in the words of `ip -batch` and of FRR."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from orchestrator.domain.network import Device, Host, Interface, Node, Outside, Platform, Prefix, Site, ZoneKind
from orchestrator.lab.topology import nodes_of


def runs_frr(node: Node) -> bool:
    """Whether FRR does the node's routing: our routers, and others' that speak BGP."""
    return (isinstance(node, Device) and node.platform is Platform.FRR) or (isinstance(node, Outside) and node.bgp is not None)


def management_batch(site: Site, node: Node) -> str:
    """Brings up the loopback and the management interface: first at every boot."""
    return "link set lo up\n" + "".join(_interface_lines(item) for item in node.interfaces if is_management(site, item))


def network_batch(site: Site, node: Node) -> str:
    """Everything else. FRR gives its own interfaces their addresses: here they only come up."""
    others = [interface for interface in node.interfaces if not is_management(site, interface)]
    if runs_frr(node):
        return "".join(f"link set {interface.name} up\n" for interface in others)
    lines = "".join(_interface_lines(interface) for interface in others)
    if isinstance(node, Device):
        lines += "".join(f"link set {port.name} up\n" for port in node.ports)
    for route in node.routes:
        lines += f"route add {route.to} via {route.via}\n"
    if isinstance(node, Host):
        for gateway in node.gateway:
            lines += f"route add {'0.0.0.0/0' if gateway.version == 4 else '::/0'} via {gateway}\n"
        for gateway in node.inside_gateway:
            lines += f"route add {inside_prefix(site, gateway.version)} via {gateway}\n"
    return lines


def inside_prefix(site: Site, version: int) -> Prefix:
    """The smallest prefix that holds every internal and DMZ zone of one family."""
    prefixes = [
        prefix
        for zone in site.zones
        if zone.kind in (ZoneKind.INTERNAL, ZoneKind.DMZ)
        for prefix in zone.prefixes
        if prefix.version == version
    ]
    found = prefixes[0]
    while not all(_within(prefix, found) for prefix in prefixes):
        found = found.supernet()
    return found


def frr_configuration(site: Site, node: Node) -> str:
    """`/etc/frr/frr.conf`. BGP answers in seconds: the rehearsal must not wait minutes for a provider."""
    lines = ["frr defaults traditional", f"hostname {node.name}", "service integrated-vtysh-config", "!"]
    for route in node.routes:
        lines.append(f"{_ip(route.to)} route {route.to} {route.via}")
    for interface in node.interfaces:
        if not is_management(site, interface):
            lines += ["!", f"interface {interface.name}"]
            lines += [f" {'ip' if address.version == 4 else 'ipv6'} address {address}" for address in interface.addresses]
            lines.append("exit")
    if node.bgp is not None:
        lines += ["!", *_bgp(node)]
    return "\n".join(lines) + "\n!\n"


def learned_routes(site: Site) -> list[tuple[str, Prefix]]:
    """(node, prefix) for every route that a node must learn by BGP."""
    speakers = [node for node in nodes_of(site) if node.bgp is not None]
    wanted = []
    for node in speakers:
        for other in speakers:
            addresses = {address.ip for interface in other.interfaces for address in interface.addresses}
            families = {neighbor.address.version for neighbor in (node.bgp.neighbors if node.bgp else ()) if neighbor.address in addresses}
            announced = other.bgp.announces if other.bgp else ()
            wanted += [(node.name, prefix) for prefix in announced if prefix.version in families]
    return wanted


def _bgp(node: Node) -> Iterable[str]:
    assert node.bgp is not None
    first = next(address.ip for interface in node.interfaces for address in interface.addresses if address.version == 4)
    yield f"router bgp {node.bgp.asn}"
    yield f" bgp router-id {first}"
    yield " no bgp ebgp-requires-policy"
    yield " no bgp default ipv4-unicast"
    yield " no bgp network import-check"
    for neighbor in node.bgp.neighbors:
        yield f" neighbor {neighbor.address} remote-as {neighbor.asn}"
        yield f" neighbor {neighbor.address} advertisement-interval 0"
        yield f" neighbor {neighbor.address} timers 1 3"
        yield f" neighbor {neighbor.address} timers connect 1"
    for version, name in ((4, "ipv4"), (6, "ipv6")):
        yield f" address-family {name} unicast"
        announced = [prefix for prefix in node.bgp.announces if prefix.version == version]
        for prefix in announced:
            if prefix.prefixlen:
                yield f"  network {prefix}"
        for neighbor in node.bgp.neighbors:
            if neighbor.address.version == version:
                yield f"  neighbor {neighbor.address} activate"
                if any(prefix.prefixlen == 0 for prefix in announced):
                    yield f"  neighbor {neighbor.address} default-originate"
        yield " exit-address-family"
    yield "exit"


def _interface_lines(interface: Interface) -> str:
    lines = f"link set {interface.name} up\n"
    seen: set[int] = set()
    for address in interface.addresses:
        options = ""
        if address.version == 6:
            # No duplicate detection: addresses work at once. Only the first is a source: answers must come back one way.
            options = " nodad" + (" preferred_lft 0" if 6 in seen else "")
        seen.add(address.version)
        lines += f"address add {address} dev {interface.name}{options}\n"
    return lines


def is_management(site: Site, interface: Interface) -> bool:
    """Whether the interface is plugged into the management network."""
    return site.zone(interface.zone).kind is ZoneKind.MANAGEMENT


def _within(prefix: Prefix, other: Prefix) -> bool:
    if isinstance(prefix, IPv4Network) and isinstance(other, IPv4Network):
        return prefix.subnet_of(other)
    return isinstance(prefix, IPv6Network) and isinstance(other, IPv6Network) and prefix.subnet_of(other)


def _ip(prefix: Prefix) -> str:
    return "ip" if prefix.version == 4 else "ipv6"
