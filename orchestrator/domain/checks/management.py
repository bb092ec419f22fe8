"""The way in stays (invariant 3): every device has a management address, and no profile cuts the path to any of them."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.cabling import Point, management_path, told
from orchestrator.domain.checks.problem import Problem, in_inventory, in_policy
from orchestrator.domain.network import Device, Site, ZoneKind
from orchestrator.domain.policy import Policy


def addresses(site: Site, policy: Policy) -> Iterator[Problem]:
    """Of devices, and of hosts that probe: an own address, in a management zone."""
    del policy
    for section, nodes in (("devices", site.devices), ("hosts", site.hosts)):
        for node in nodes:
            where = (section, node.name)
            if node.management is None:
                if isinstance(node, Device):
                    message = f"the device {node.name} has no management address"
                    yield in_inventory(*where, message=message, advice="add `ansible_host:` with its address in the management zone")
                continue
            try:
                managed = site.zone_of(node.management).kind is ZoneKind.MANAGEMENT
            except KeyError:
                managed = False
            if not managed:
                message = f"the management address {node.management} of {node.name} is not in a management zone"
                yield in_inventory(*where, "management", message=message, advice="manage it out of band: an address of the management zone")
            elif not any(own.ip == node.management for item in node.interfaces for own in item.addresses):
                message = f"the management address {node.management} is on no interface of {node.name}"
                yield in_inventory(*where, "management", message=message, advice="add the interface that has it, or correct the address")


def paths(site: Site, policy: Policy) -> Iterator[Problem]:
    """No guard of any profile lies on the management path of any device; every device has such a path."""
    ways: dict[str, tuple[Point, ...]] = {}
    for device in site.devices:
        way = management_path(site, device)
        if way is None and device.management is not None:
            message = f"no path leads from the orchestrator to the management address of {device.name}"
            advice = "plug its management interface into the out-of-band segment, or name the device that leads there: `management_via`"
            yield in_inventory("devices", device.name, "management", message=message, advice=advice)
        ways[device.name] = way or ()
    kinds = {zone.name: zone.kind for zone in site.zones}
    crossing: dict[tuple[str, str], list[str]] = {}  # (device, its interface or port) → whose management path crosses it
    for managed, way in ways.items():
        for place in dict.fromkeys((point.owner, point.name) for point in way):
            crossing.setdefault(place, []).append(managed)
    for profile in policy.profiles:
        for name, guard in profile.layers.items():
            device = site.device(name)
            for index, item in enumerate(guard):
                where = ("profiles", profile.name, "layers", name, index)
                cut = crossing.get((name, item), [])
                zone = next((part.zone for part in device.attachments if part.name == item), "")
                if cut:
                    message = f"guarding {item} of {name} would cut the management path of {', '.join(sorted(cut))} ({told(ways[cut[0]])})"
                    yield in_policy(*where, message=message, advice="leave it out: a device that cannot be reached cannot be reopened")
                elif kinds.get(zone) is ZoneKind.MANAGEMENT:
                    message = f"{item} of {name} belongs to the management network"
                    yield in_policy(*where, message=message, advice="leave it out: the management network is never cut")
