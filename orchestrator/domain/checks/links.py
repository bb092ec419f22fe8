"""Links: every interface plugs into a port or segment that exists, of its own zone, and a port takes one plug."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.cabling import bridging_hosts
from orchestrator.domain.checks.problem import Key, Problem, in_inventory, one_of
from orchestrator.domain.network import Interface, Site
from orchestrator.domain.policy import Policy


def links(site: Site, policy: Policy) -> Iterator[Problem]:
    del policy
    segments = {segment.name: segment.zone for segment in site.segments}
    ports = {f"{device.name}/{port.name}": port.zone for device in site.devices for port in device.ports}
    used: dict[str, str] = {}
    for device in site.devices:
        for port in device.ports:
            if port.link is None:
                continue
            where: tuple[Key, ...] = ("devices", device.name, "ports", port.name, "link")
            used[f"{device.name}/{port.name}"] = port.link
            if port.link not in segments and port.link not in ports:
                message = f"the port {port.name} of {device.name} is linked to {port.link!r}, which does not exist"
                yield in_inventory(*where, message=message, advice=one_of(port.link, (*segments, *ports)))
            elif {**segments, **ports}[port.link] != port.zone:
                yield _other_zone(where, f"{device.name}/{port.name}", port.zone, port.link, {**segments, **ports}[port.link])
    for where, name, interface in _plugs(site):
        link = interface.link
        if link not in segments and link not in ports:
            kind = "port" if "/" in link else "segment"
            message = f"{name}[{interface.name}] is linked to the {kind} {link!r}, which does not exist"
            yield in_inventory(*where, "link", message=message, advice=one_of(link, (*segments, *ports)))
            continue
        if link in ports and link in used:
            message = f"the port {link} is used twice: by {used[link]} and by {name}[{interface.name}]"
            yield in_inventory(*where, "link", message=message, advice="one plug per port: add a port, or correct one of the two links")
        used.setdefault(link, f"{name}[{interface.name}]")
        zone = segments.get(link, ports.get(link))
        if zone != interface.zone:
            yield _other_zone((*where, "zone"), f"{name}[{interface.name}]", interface.zone, link, str(zone))


def bridges(site: Site, policy: Policy) -> Iterator[Problem]:
    """A host with a leg on both sides goes round every device that we could close."""
    del policy
    for host, outer, inner in bridging_hosts(site):
        message = f"{host.name} has one leg in {outer} and one in {inner}: it goes round every device that could be closed"
        yield in_inventory("hosts", host.name, message=message, advice="unplug one leg, or declare it as a device that can be guarded")


def _other_zone(where: tuple[Key, ...], name: str, zone: str, link: str, other: str) -> Problem:
    message = f"{name} is in the zone {zone}, but {link} is in {other}"
    return in_inventory(*where, message=message, advice="correct the zone or the link: one VLAN is one zone")


def _plugs(site: Site) -> Iterator[tuple[tuple[Key, ...], str, Interface]]:
    for section, nodes in (("devices", site.devices), ("hosts", site.hosts), ("outside", site.outside)):
        for node in nodes:
            for interface in node.interfaces:
                yield (section, node.name, "interfaces", interface.name), node.name, interface
    yield ("orchestrator", "interface"), "orchestrator", site.orchestrator
