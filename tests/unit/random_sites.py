"""Random small sites for hypothesis, and a path search that shares nothing with the product: it reads the inventory itself.

Two or three segments outside, two inside, some in the middle; routers and firewalls with legs on any of them; a switch
with a few VLANs between; and now and then a router of others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from hypothesis import strategies as st

from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy

ZONES = {"net": "external", "mid": "external", "lan": "internal", "ward": "dmz"}
_T = {"en": "x", "fr": "x"}


@st.composite
def sites(draw: st.DrawFn) -> Site:
    segments = [("net0", "net"), ("mid0", "mid"), ("mid1", "mid"), ("lan0", "lan"), ("ward0", "ward")]
    ports = [(f"p{number}", zone, link) for number, (zone, link) in enumerate(draw(st.lists(_of(segments), max_size=4)))]
    places = [*segments, *((f"sw/q{number}", zone) for number, zone in enumerate(draw(st.lists(st.sampled_from([*ZONES]), max_size=4))))]
    devices: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        taken = {leg["link"] for device in devices for leg in device["interfaces"] if leg["link"].startswith("sw/")}
        free = [place for place in places if place[0] not in taken]
        legs = draw(st.lists(st.sampled_from(free), min_size=1, max_size=3, unique=True))
        flow = draw(st.booleans())
        devices.append(
            {
                "name": f"d{number}", "platform": "nftables" if flow else "frr", "grain": ["flow" if flow else "route"],
                "interfaces": [{"name": f"i{n}", "zone": zone, "link": link} for n, (link, zone) in enumerate(legs)],
            }
        )  # fmt: skip
    switch = {
        "name": "sw", "platform": "openvswitch", "grain": ["port"],
        "ports": [
            *({"name": name, "zone": zone, "link": link} for name, zone, link in ports),
            *({"name": link.removeprefix("sw/"), "zone": zone} for link, zone in places[len(segments) :]),
        ],
    }  # fmt: skip
    others = draw(st.lists(st.sampled_from(segments), max_size=2, unique=True))
    outside = [{"name": "other", "interfaces": [{"name": f"o{n}", "zone": zone, "link": link} for n, (link, zone) in enumerate(others)]}]
    return Site.model_validate(
        {
            "name": "random",
            "zones": [{"name": name, "kind": kind, "prefixes": []} for name, kind in ZONES.items()],
            "segments": [{"name": name, "zone": zone} for name, zone in segments],
            "devices": [*devices, switch],
            "hosts": [{"name": "stranger", "interfaces": [{"name": "eth0", "zone": "net", "link": "net0"}]}],
            "outside": outside if others else [],
            "exits": [],
            "orchestrator": {"name": "mgmt0", "zone": "net", "link": "nowhere"},
        }
    )


def _of(segments: list[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from([(zone, name) for name, zone in segments])


def policy_with(layers: dict[str, list[str]]) -> Policy:
    """One profile, `p`, that guards these and promises to cut `net` and `mid` off."""
    return Policy.model_validate(
        {
            "version": 1, "site": "random", "default_profile": "p", "ratification": {"network-engineer": 1}, "applications": [],
            "partners": [], "flows": [], "keep": [], "care": [], "stages": [], "people": [],
            "profiles": [{"name": "p", "title": _T, "layers": layers or {"nobody": ["x"]}, "cuts": ["net", "mid"]}],
        }
    )  # fmt: skip


Place = tuple[str, str]  # a segment, a VLAN of the switch, or a box


def is_open(site: Site, closed: Collection[tuple[str, str]]) -> bool:
    """Whether anyone outside can reach anything inside, by depth-first search over boxes and links. `closed`: (box, leg)."""
    links = {frozenset(pair) for pair in _links(site, closed)}
    kinds = dict(ZONES)
    others = [leg for node in (*site.hosts, *site.outside) for leg in node.interfaces if kinds[leg.zone] == "external"]
    starts = {("segment", leg.link) for leg in others}
    starts |= {
        ("box", node.name) for node in site.outside for leg in node.interfaces if leg in others and (node.name, leg.name) not in closed
    }
    seen, stack = set(starts), list(starts)
    while stack:
        here = stack.pop()
        for link in links:
            if here in link:
                for there in link - {here}:
                    if there not in seen:
                        seen.add(there)
                        stack.append(there)
    zone_of = {("segment", segment.name): segment.zone for segment in site.segments} | {
        ("vlan", port.zone): port.zone for device in site.devices for port in device.ports
    }
    inside = {place for place, zone in zone_of.items() if kinds[zone] in ("internal", "dmz")}
    return not seen.isdisjoint(inside)


def _links(site: Site, closed: Collection[tuple[str, str]]) -> Iterator[tuple[Place, Place]]:
    ports = {f"sw/{port.name}": port for device in site.devices for port in device.ports}
    shut = {f"{box}/{leg}" for box, leg in closed}
    for name, port in ports.items():
        if port.link is not None and name not in shut:
            yield ("vlan", port.zone), ("segment", port.link)
    for node in (*site.devices, *site.outside):
        for leg in node.interfaces:
            if (node.name, leg.name) in closed or leg.link in shut:
                continue
            yield ("box", node.name), ("vlan", ports[leg.link].zone) if leg.link in ports else ("segment", leg.link)
