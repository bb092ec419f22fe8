"""Behind and beside a guard, held against the definition: ask the routes about every prefix, drop what a larger one says."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.domain.network import Device, Prefix, Site, ZoneKind
from orchestrator.domain.sides import sides
from orchestrator.domain.topology import route
from tests.unit.hand_made import SITE

VALMONT = read_inventory(Path(__file__).parents[2] / "inventory" / "valmont.yml").site


def by_definition(site: Site, device: Device, guard: Collection[str]) -> tuple[set[Prefix], set[Prefix]]:
    wanted = [prefix for zone in site.zones if zone.kind is not ZoneKind.MANAGEMENT for prefix in zone.prefixes]
    wanted += [item.to for item in device.routes]
    wanted += [own.network for interface in device.interfaces for own in interface.addresses]
    answers = {}
    for prefix in wanted:
        way = route(site, device, prefix.network_address if prefix.prefixlen >= prefix.max_prefixlen - 1 else prefix[1])
        if way is not None:
            answers[prefix] = way[0].name in guard
    answers |= {prefix: False for zone in site.zones if zone.kind is ZoneKind.MANAGEMENT for prefix in zone.prefixes}
    for interface in device.interfaces:
        answers |= {prefix: False for own in interface.addresses for prefix in [type(own.network)(own.ip)]}
    needed = {prefix for prefix, answer in answers.items() if _larger(prefix, answers) is not answer}
    return {prefix for prefix in needed if answers[prefix]}, {prefix for prefix in needed if not answers[prefix]}


def _larger(prefix: Prefix, answers: dict[Prefix, bool]) -> bool | None:
    around = [
        other
        for other in answers
        if other != prefix
        and other.version == prefix.version
        and other.prefixlen < prefix.prefixlen
        and prefix.network_address in other
    ]  # fmt: skip
    return answers[max(around, key=lambda other: other.prefixlen)] if around else None


def disturbed(site: Site, chance: random.Random) -> Site:
    """Some zones and routes gone, some routes to larger or smaller prefixes added: default routes that lose their point too."""
    devices = []
    for device in site.devices:
        routes = [item for item in device.routes if chance.random() < 0.8]
        for prefix in chance.sample([prefix for zone in site.zones for prefix in zone.prefixes], 2) if routes else ():
            via = [item.via for item in routes if item.via.version == prefix.version]
            other = prefix.supernet() if prefix.prefixlen > 1 and chance.random() < 0.5 else next(iter(prefix.subnets()))
            routes += [routes[0].model_copy(update={"to": other, "via": chance.choice(via)})] if via else []
        devices.append(device.model_copy(update={"routes": tuple(routes)}))
    named = {interface.zone for device in site.devices for interface in device.attachments}
    zones = tuple(zone for zone in site.zones if zone.name in named or chance.random() < 0.7)
    return site.model_copy(update={"devices": tuple(devices), "zones": zones})


@pytest.mark.parametrize("site", [VALMONT, SITE], ids=["valmont", "small"])
def test_few_prefixes_say_the_same_as_all_of_them(site: Site) -> None:
    chance = random.Random(1)
    for drawn in [site, *(disturbed(site, chance) for _ in range(12))]:
        for device in drawn.devices:
            if not device.ports:
                names = [interface.name for interface in device.interfaces]
                guard = chance.sample(names, chance.randint(1, len(names)))
                behind, aside = sides(drawn, device, guard)
                assert (set(behind), set(aside)) == by_definition(drawn, device, guard)
