"""Ways are remembered per place that they lead to: each must be the one that is found on a site that remembers nothing."""

from __future__ import annotations

import random
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.network import Prefix, Site
from orchestrator.domain.topology import crossings
from tests.unit import hand_made
from tests.unit.test_sides import disturbed

ROOT = Path(__file__).parents[2]
VALMONT = read_inventory(ROOT / "inventory" / "valmont.yml").site
POLICY = read_policy(ROOT / "policies" / "valmont").policy
OTHERS = tuple(map(ip_network, ("192.0.2.77/32", "198.51.100.0/25", "203.0.113.250/32", "2001:db8:ffff::/48", "0.0.0.0/0", "::/0")))


def drawn_networks(site: Site, chance: random.Random) -> tuple[Prefix, ...]:
    """Where somebody is, beside them, within what a route or a zone names, and where nothing of the inventory is."""
    hosts = [own.ip for host in site.hosts for interface in host.interfaces for own in interface.addresses]
    named: list[Prefix] = [prefix for zone in site.zones if zone.is_external for prefix in zone.prefixes]
    named += [item.to for node in (*site.devices, *site.hosts, *site.outside) for item in node.routes]
    inside = [prefix[chance.randrange(min(prefix.num_addresses, 2**32))] for prefix in chance.sample(named, 6)]
    beside = [address for own in chance.sample(hosts, 3) for address in (own + 1, own)]
    return (*OTHERS, *chance.sample(named, 3), *map(ip_network, (*inside, *beside)))


@pytest.mark.parametrize("seed", range(3))
def test_a_remembered_way_is_the_one_that_is_found_afresh(seed: int) -> None:
    chance = random.Random(seed)
    site = disturbed(VALMONT, chance) if seed else VALMONT
    reached = 0
    for flow in chance.sample(POLICY.flows, 5):
        for name in flow.partners[:2]:
            for network in drawn_networks(site, chance):
                partner = POLICY.partner(name).model_copy(update={"networks": (network,)})
                try:
                    found = crossings(site, flow, partner)
                except KeyError:  # without its zone the partner has no exit
                    continue
                assert found == crossings(site.model_copy(), flow, partner)
                reached += sum(bool(hops) for hops in found.values())
    assert reached or seed  # a disturbed site may lead nowhere


def leg(name: str, zone: str, link: str, *addresses: str) -> dict[str, Any]:
    return {"name": name, "zone": zone, "link": link, "addresses": list(addresses)}


BESIDE_THE_EXIT = Site.model_validate(
    {
        "name": "beside", "segments": [{"name": "net", "zone": "internet"}, {"name": "lan", "zone": "inside"}], "outside": [],
        "zones": [
            {"name": "internet", "kind": "external", "prefixes": ["0.0.0.0/0"]},
            {"name": "inside", "kind": "internal", "prefixes": ["10.1.0.0/24"]},
        ],
        "devices": [
            {
                "name": "fw", "platform": "nftables", "grain": ["flow"],
                "interfaces": [leg("wan0", "internet", "sw/fw", "198.51.100.1/24"), leg("lan0", "inside", "lan", "10.1.0.1/24")],
            },
            {
                "name": "sw", "platform": "openvswitch", "grain": ["port"],
                "ports": [
                    {"name": "fw", "zone": "internet"}, {"name": "box", "zone": "internet"},
                    {"name": "up", "zone": "internet", "link": "net"},
                ],
            },
        ],
        "hosts": [
            {"name": "app", "interfaces": [leg("eth0", "inside", "lan", "10.1.0.10/24")], "gateway": ["10.1.0.1"]},
            {"name": "box", "interfaces": [leg("eth0", "internet", "sw/box", "198.51.100.7/24")]},
        ],
        "exits": [{"name": "main", "device": "sw", "interface": "up", "zone": "internet", "primary_for": ["internet"]}],
        "orchestrator": leg("mgmt0", "inside", "lan"),
    }
)  # fmt: skip


def test_an_address_that_somebody_has_is_a_place_of_its_own() -> None:
    """The box is plugged into the switch in front of the exit; all other addresses of its network are beyond the exit."""
    flow = hand_made.flow(addresses=["10.1.0.10"])

    def ways(address: str) -> list[int]:
        partner = POLICY.partners[0].model_copy(update={"zone": "internet", "networks": (ip_network(address),)})
        return [len(hops) for hops in crossings(BESIDE_THE_EXIT, flow, partner).values()]

    assert (ways("198.51.100.8"), ways("198.51.100.7"), ways("198.51.100.8")) == ([2], [0], [2])
