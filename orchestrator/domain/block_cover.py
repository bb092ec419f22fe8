"""What stands behind a device that keeps no block list: the devices that do, on the ways that cross it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.domain.topology import crossings


class Cover(NamedTuple):
    """`behind`: devices that keep a list, on some way across the device; `bare`: flows that cross it and none of them."""

    behind: tuple[str, ...]
    bare: tuple[str, ...]


def cover(site: Site, policy: Policy, device: str, keeping: Collection[str]) -> Cover:
    """By the routes of the inventory, over every flow of the policy."""
    behind: dict[str, None] = {}
    bare: dict[str, None] = {}
    for flow in policy.flows:
        for name in flow.partners:
            try:
                ways = crossings(site, flow, policy.partner(name)).values()
            except KeyError:
                continue  # it leads through no exit
            for hops in ways:
                crossed = [hop.device for hop in hops]
                if device not in crossed:
                    continue
                found = [other for other in crossed if other != device and other in keeping]
                behind |= dict.fromkeys(found)
                if not found:
                    bare[flow.name] = None
    return Cover(tuple(sorted(behind)), tuple(bare))
