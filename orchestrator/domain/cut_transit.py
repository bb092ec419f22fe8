"""Our own routes through a spared zone to what is not of that zone, and the guard of the profile that stops it there.

The separation speaks of the zones that are cut; a zone that is spared and has an internet exit of its own is a way to
them that no cable of ours shows. So it is named, with its guard or without one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from orchestrator.domain.compile import without_prefixes
from orchestrator.domain.cut_ground import Guard, can_be_driven
from orchestrator.domain.layer import Layer
from orchestrator.domain.network import Device, Prefix, Route, Site
from orchestrator.domain.policy import Policy, Profile
from orchestrator.domain.profiles import layers_of


@dataclass(frozen=True)
class Transit:
    """`stopped_by`: the guard of the profile at the interface that the route leads out of; None when nothing is stopped
    there, because the profile has none, or its device is dead or distrusted."""

    device: str
    to: Prefix
    zone: str
    stopped_by: Guard | None

    def __str__(self) -> str:
        stopped = f"stopped there by {self.stopped_by}" if self.stopped_by is not None else "NO GUARD STOPS IT THERE"
        return f"{self.device} sends {self.to} to {self.zone}, which has an internet exit of its own: {stopped}"


def transits(site: Site, policy: Policy, profile: Profile, *, unable: Collection[str] = ()) -> tuple[Transit, ...]:
    """In the order of the profile's `spares`, then of the inventory. `unable`: devices that enforce nothing."""
    found = [(zone, device, route) for zone in profile.spares for device, route in _led_through(site, zone)]
    layers = {layer.device: layer for layer in layers_of(site, policy, profile.name)} if found else {}
    return tuple(
        Transit(device.name, route.to, zone, None if device.name in unable else _stops(layers.get(device.name), device, route))
        for zone, device, route in found
    )


def _led_through(site: Site, name: str) -> Iterator[tuple[Device, Route]]:
    zone = site.zone(name)
    for device in site.devices if zone.transit else ():
        for route in device.routes:
            through = any(route.via in prefix for prefix in zone.prefixes if prefix.version == route.via.version)
            if through and not any(route.to.version == prefix.version and route.to[0] in prefix for prefix in zone.prefixes):
                yield device, route


def _stops(layer: Layer | None, device: Device, route: Route) -> Guard | None:
    """A layer with a scope stops the route only if it concerns all of what is sent there."""
    leaves = next((item.name for item in device.interfaces if any(route.via in own.network for own in item.addresses)), None)
    if layer is None or leaves is None or leaves not in layer.guard or not can_be_driven(device):
        return None
    return None if layer.scope and without_prefixes(route.to, layer.scope) else Guard(device.name, leaves)
