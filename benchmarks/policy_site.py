"""A hospital group of any size, and a policy for it: what `make bench-policy` checks and plans.

    internet ── rtr ── fw-ext (NAT) ── backbone ── fw-1 … fw-n ── one LAN with one host each
Every flow crosses three devices; two of them enforce it. Both families throughout; four vantage points outside.
External addresses are documentation ranges only.
"""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from orchestrator.domain.layer import Layer
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.domain.profiles import layers_of

_LANS4, _BACKBONE4, _ADMIN4 = (int(IPv4Address(text)) for text in ("10.64.0.0", "10.32.0.0", "10.250.0.0"))
_LANS6, _BACKBONE6, _FAR6 = (int(IPv6Address(text)) for text in ("2001:db8:4000::", "2001:db8:1::", "2001:db8:8000::"))
_OUTSIDE4 = [int(IPv4Address(text)) for text in ("198.51.100.0", "203.0.113.128")]
_T = {"en": "bench", "fr": "banc"}
PORTS = (22, 25, 80, 104, 443, 465, 993, 2575, 2762, 5671, 8443, 11112)
PARTNERS, STAGES, VANTAGE_POINTS = 60, 10, 20


def _interface(name: str, zone: str, link: str, *addresses: str) -> dict[str, Any]:
    return {"name": name, "zone": zone, "link": link, "addresses": list(addresses)}


def _v4(value: int) -> str:
    return str(IPv4Address(value))


def _v6(value: int) -> str:
    return str(IPv6Address(value))


def _lan(number: int) -> tuple[int, int]:
    """The first addresses of a LAN."""
    return _LANS4 + (number << 8), _LANS6 + (number << 64)


def _management(number: int) -> str:
    return _v4(_ADMIN4 + 2 + number)


def site_of(devices: int, flows: int) -> Site:
    """`devices` devices: a router, an outer firewall, and one firewall before each LAN."""
    lans = devices - 2
    zones = [
        {"name": "internet", "kind": "external", "prefixes": ["0.0.0.0/0", "::/0"]},
        {"name": "edge", "kind": "external", "prefixes": ["192.0.2.0/28", "2001:db8:e::/64"]},
        {"name": "backbone", "kind": "internal", "prefixes": ["10.32.0.0/16", "2001:db8:1::/64"]},
        {"name": "admin", "kind": "management", "prefixes": ["10.250.0.0/16"]},
    ]
    zones += [{"name": f"lan-{n}", "kind": "internal", "prefixes": [f"{_v4(_lan(n)[0])}/24", f"{_v6(_lan(n)[1])}/64"]} for n in range(lans)]
    segments = [("net", "internet"), ("edge", "edge"), ("backbone", "backbone"), ("oob", "admin")]
    segments += [(f"s-lan-{n}", f"lan-{n}") for n in range(lans)]
    hosts = [_host(n) for n in range(lans)] + [_outside_host(n) for n in range(4)]
    return Site.model_validate(
        {
            "name": "bench", "zones": zones, "segments": [{"name": name, "zone": zone} for name, zone in segments],
            "devices": [_router(), _outer(lans, flows), *(_inner(n) for n in range(lans))], "hosts": hosts, "outside": [],
            "exits": [{"name": "main", "device": "rtr", "interface": "up0", "zone": "internet", "primary_for": ["internet"]}],
            "orchestrator": _interface("mgmt0", "admin", "oob", "10.250.255.1/16"),
        }
    )  # fmt: skip


def _router() -> dict[str, Any]:
    return {
        "name": "rtr", "platform": "frr", "grain": ["route"], "management": _management(0),
        "interfaces": [
            _interface("mgmt0", "admin", "oob", f"{_management(0)}/16"),
            _interface("up0", "internet", "net", "198.51.100.1/24", "2001:db8:8000::1/64"),
            _interface("edge0", "edge", "edge", "192.0.2.1/28", "2001:db8:e::1/64"),
        ],
        "routes": [
            {"to": "203.0.113.0/25", "via": "192.0.2.2"}, {"to": "2001:db8:4000::/34", "via": "2001:db8:e::2"},
            {"to": "10.64.0.0/10", "via": "192.0.2.2"},
            {"to": "0.0.0.0/0", "via": "198.51.100.254"}, {"to": "::/0", "via": "2001:db8:8000::fe"},
        ],
    }  # fmt: skip


def _outer(lans: int, flows: int) -> dict[str, Any]:
    routes = [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "::/0", "via": "2001:db8:e::1"}]
    for number in range(lans):
        four, six = _lan(number)
        routes.append({"to": f"{_v4(four)}/24", "via": _v4(_BACKBONE4 + 256 + number)})
        routes.append({"to": f"{_v6(six)}/64", "via": _v6(_BACKBONE6 + 256 + number)})
    published = [
        {
            "public": f"203.0.113.{number % 120 + 1}", "protocol": "tcp", "port": 1024 + number // 120,
            "to": _v4(_lan(number % lans)[0] + 10), "to_port": _port(number),
        }
        for number in _inbound(lans, flows)
    ]  # fmt: skip
    return {
        "name": "fw-ext", "platform": "nftables", "grain": ["flow"], "management": _management(1), "routes": routes,
        "interfaces": [
            _interface("mgmt0", "admin", "oob", f"{_management(1)}/16"),
            _interface("wan0", "edge", "edge", "192.0.2.2/28", "2001:db8:e::2/64"),
            _interface("bb0", "backbone", "backbone", f"{_v4(_BACKBONE4 + 1)}/16", f"{_v6(_BACKBONE6 + 1)}/64"),
        ],
        "nat": {"masquerade": ["wan0"], "published": published},
    }  # fmt: skip


def _inner(number: int) -> dict[str, Any]:
    four, six = _lan(number)
    return {
        "name": f"fw-{number}", "platform": "nftables", "grain": ["flow"], "management": _management(2 + number),
        "interfaces": [
            _interface("mgmt0", "admin", "oob", f"{_management(2 + number)}/16"),
            _interface("bb0", "backbone", "backbone", f"{_v4(_BACKBONE4 + 256 + number)}/16", f"{_v6(_BACKBONE6 + 256 + number)}/64"),
            _interface("lan0", f"lan-{number}", f"s-lan-{number}", f"{_v4(four + 1)}/24", f"{_v6(six + 1)}/64"),
        ],
        "routes": [{"to": "0.0.0.0/0", "via": _v4(_BACKBONE4 + 1)}, {"to": "::/0", "via": _v6(_BACKBONE6 + 1)}],
    }  # fmt: skip


def _host(number: int) -> dict[str, Any]:
    four, six = _lan(number)
    host: dict[str, Any] = {
        "name": f"host-{number}", "gateway": [_v4(four + 1), _v6(six + 1)], "services": [{"kind": "tcp", "port": port} for port in PORTS],
        "interfaces": [_interface("eth0", f"lan-{number}", f"s-lan-{number}", f"{_v4(four + 10)}/24", f"{_v6(six + 10)}/64")],
    }  # fmt: skip
    if number < VANTAGE_POINTS:
        host["management"] = _management(2000 + number)
        host["interfaces"].append(_interface("mgmt0", "admin", "oob", f"{_management(2000 + number)}/16"))
    return host


def _outside_host(number: int) -> dict[str, Any]:
    management = _management(4000 + number)
    return {
        "name": f"far-{number}", "management": management, "gateway": ["198.51.100.1", "2001:db8:8000::1"],
        "services": [{"kind": "tcp", "port": port} for port in PORTS],
        "interfaces": [
            _interface("mgmt0", "admin", "oob", f"{management}/16"),
            _interface("eth0", "internet", "net", f"{_far4(number)}/24", f"{_far6(number)}/64"),
        ],
    }  # fmt: skip


def _far4(number: int) -> str:
    return _v4(_OUTSIDE4[0] + 100 + number)


def _far6(number: int) -> str:
    return _v6(_FAR6 + 0x100 + number)


def _port(number: int) -> int:
    return PORTS[number % len(PORTS)]


def _inbound(lans: int, flows: int) -> list[int]:
    """Every fiftieth flow comes in, each to a service of its own."""
    seen: dict[tuple[int, int], int] = {}
    for number in range(0, flows, 50):
        seen.setdefault((number % lans, _port(number)), number)
    return sorted(seen.values())


def policy_of(devices: int, flows: int, seed: int = 1) -> Policy:
    """`flows` flows in ten stages, one after the other; one application per LAN; one flow in fifty comes in."""
    chance, lans = random.Random(seed), devices - 2
    inbound = set(_inbound(lans, flows))
    listed = [_flow(number, lans, number in inbound, chance) for number in range(flows)]
    stages = [
        {
            "name": f"S{index}", "title": _T, "flows": [item["name"] for item in listed[index::STAGES]],
            "requires": [{"stage": f"S{index - 1}"}] if index else [], "gates": [{"evidence": "checked", "title": _T}],
            "votes": {"network-engineer": 1, "security-officer": 1}, "observation": "1h",
        }
        for index in range(STAGES)
    ]  # fmt: skip
    people = [
        {"name": f"engineer-{index}", "title": "bench", "roles": ["network-engineer"], "genesis": True} for index in (1, 2, 3)
    ] + [
        {"name": "officer", "title": "bench", "roles": ["security-officer"], "genesis": True},
        {"name": "owner", "title": "bench", "roles": ["application-owner"], "owns": [f"app-{number}" for number in range(lans)]},
    ]  # fmt: skip
    layers = {"rtr": ["up0"], "fw-ext": ["wan0"], **{f"fw-{number}": ["bb0"] for number in range(lans)}}
    return Policy.model_validate(
        {
            "version": 1, "site": "bench", "default_profile": "all", "ratification": {"network-engineer": 1, "security-officer": 1},
            "applications": [
                {
                    "name": f"app-{number}", "title": _T, "zone": f"lan-{number}", "owner": "owner",
                    "criteria": {"care": "high", "volume": "low", "risk": "low"},
                }
                for number in range(lans)
            ],
            "partners": [_partner(number) for number in range(PARTNERS)],
            "flows": listed, "keep": [], "care": [],
            "profiles": [{"name": "all", "title": _T, "layers": layers, "cuts": ["internet"]}],
            "stages": stages, "people": people,
        }
    )  # fmt: skip


def _partner(number: int) -> dict[str, Any]:
    """The first four have a vantage point."""
    four = _far4(number) if number < 4 else _v4(_OUTSIDE4[number % 2] + 8 + number)
    six = _far6(number) if number < 4 else _v6(_FAR6 + 0x1000 + number)
    return {"name": f"partner-{number}", "title": _T, "kind": "operator", "zone": "internet", "networks": [f"{four}/32", f"{six}/128"]}


def _flow(number: int, lans: int, comes_in: bool, chance: random.Random) -> dict[str, Any]:
    four, six = _lan(number % lans)
    first = chance.randrange(PARTNERS)
    return {
        "name": f"flow-{number}", "application": f"app-{number % lans}", "direction": "in" if comes_in else "out",
        "partners": [f"partner-{first}", f"partner-{(first + 1) % PARTNERS}"] if number % 5 == 0 else [f"partner-{first}"],
        "services": [f"tcp/{_port(number)}"], "addresses": [_v4(four + 10), _v6(six + 10)],
    }  # fmt: skip


def laid(site: Site, policy: Policy) -> dict[str, tuple[Layer, ...]]:
    """As if the profile had been cut off with, every device applied."""
    return {layer.device: (layer,) for layer in layers_of(site, policy, "all")}
