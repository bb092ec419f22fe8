"""Which prefixes lie behind a device's guard and which beside it, as few as say so.

A prefix is left out when the next larger one that is known gives the same answer. On a site of a thousand networks
almost all of them follow the device's default route: they are never looked at, only those that overlap a narrower
route, a network of the device itself or the management network are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from orchestrator.domain.cabling import Same
from orchestrator.domain.compile import prefix_of
from orchestrator.domain.network import Address, Device, Prefix, Site, ZoneKind
from orchestrator.domain.prefix_table import PrefixTable
from orchestrator.domain.topology import route, routing_prefixes


def sides(site: Site, device: Device, guard: Iterable[str]) -> tuple[tuple[Prefix, ...], tuple[Prefix, ...]]:
    """(behind, aside): the prefixes that the device reaches through its guard, and the others that the site knows.

    The device's own addresses are aside: what comes through the guard to the device itself crosses it.
    """
    names = set(guard)
    answers: dict[Prefix, bool] = {}
    if device.ports:
        answers = _sides_of_ports(site, device, names)
    else:
        for prefix in _candidates(site, device):
            way = route(site, device, _inside(prefix))
            if way is not None:
                answers[prefix] = way[0].name in names
    answers |= dict.fromkeys(_zones(Same(site)).management, False)
    answers |= {prefix_of(own.ip): False for interface in device.interfaces for own in interface.addresses}
    table = PrefixTable((prefix, prefix) for prefix in answers)
    needed = {prefix: answer for prefix, answer in answers.items() if _nearest_cover(prefix, table, answers) is not answer}
    return _sorted(needed, True), _sorted(needed, False)


class _Zones:
    """The prefixes of a site's zones, once per site: those of the management network apart."""

    def __init__(self, site: Site) -> None:
        self.management = [prefix for zone in site.zones if zone.kind is ZoneKind.MANAGEMENT for prefix in zone.prefixes]
        self.all = [prefix for zone in site.zones if zone.kind is not ZoneKind.MANAGEMENT for prefix in zone.prefixes]
        self._around = PrefixTable((prefix, prefix) for prefix in self.all)
        self._sorted = {version: sorted({prefix for prefix in self.all if prefix.version == version}) for version in (4, 6)}
        self._starts = {version: [int(prefix.network_address) for prefix in listed] for version, listed in self._sorted.items()}

    def overlapping(self, prefix: Prefix) -> Iterator[Prefix]:
        starts = self._starts[prefix.version]
        first, last = bisect_left(starts, int(prefix.network_address)), bisect_right(starts, int(prefix.broadcast_address))
        yield from self._sorted[prefix.version][first:last]
        yield from self._around.around(prefix)


@lru_cache(maxsize=8)
def _zones(same: Same) -> _Zones:
    return _Zones(same.site)


def _candidates(site: Site, device: Device) -> Iterable[Prefix]:
    """The prefixes that may differ from the next larger one: of the zones, of the device's routes and of its networks."""
    zones = _zones(Same(site))
    own = [item.to for item in device.routes] + [own.network for interface in device.interfaces for own in interface.addresses]
    narrower = [prefix for prefix in (*routing_prefixes(site, device), *own, *zones.management) if prefix.prefixlen]
    everything = {prefix.version for prefix in own if not prefix.prefixlen}
    found = dict.fromkeys(own)
    for version in (4, 6):
        near = [prefix for prefix in narrower if prefix.version == version]
        chosen = dict.fromkeys(item for prefix in near for item in zones.overlapping(prefix))
        if version not in everything or not _all_default(site, device, [*chosen, *own], near, version):
            chosen = dict.fromkeys(prefix for prefix in zones.all if prefix.version == version)
        found |= chosen
    return found


def _all_default(site: Site, device: Device, chosen: Iterable[Prefix], narrower: Iterable[Prefix], version: int) -> bool:
    """Whether every chosen prefix that is larger than a narrower route answers as the default route does: then so do
    all prefixes that were not chosen, and each of them has a larger one that says so already."""
    within = PrefixTable((prefix, True) for prefix in narrower)
    default = next(prefix for prefix in chosen if prefix.version == version and not prefix.prefixlen)
    if within.longest(_inside(default)) is not None:
        return False
    way = route(site, device, _inside(default))
    large = [prefix for prefix in chosen if prefix.version == version and next(within.around(prefix), None) is None]
    return all(route(site, device, _inside(prefix)) == way for prefix in large)


def _sides_of_ports(site: Site, device: Device, guard: set[str]) -> dict[Prefix, bool]:
    """A switch routes nothing: a host's port has the host behind it, any other port leads outside."""
    links = {f"{device.name}/{port}" for port in guard}
    hosts = [
        own.ip for host in site.hosts for interface in host.interfaces if interface.link in links for own in interface.addresses
    ]  # fmt: skip
    answers = {prefix: zone.is_external and not hosts for zone in site.zones for prefix in zone.prefixes}
    return answers | {prefix_of(address): True for address in hosts}


def _nearest_cover(prefix: Prefix, table: PrefixTable[Prefix], answers: Mapping[Prefix, bool]) -> bool | None:
    """The answer of the longest other prefix around this one."""
    around = next((other for other in table.around(prefix) if other != prefix), None)
    return None if around is None else answers[around]


def _sorted(answers: Mapping[Prefix, bool], wanted: bool) -> tuple[Prefix, ...]:
    chosen = [prefix for prefix, answer in answers.items() if answer is wanted]
    return tuple(sorted(chosen, key=lambda prefix: (prefix.version, int(prefix.network_address), prefix.prefixlen)))


def _inside(prefix: Prefix) -> Address:
    return prefix.network_address if prefix.prefixlen >= prefix.max_prefixlen - 1 else prefix[1]
