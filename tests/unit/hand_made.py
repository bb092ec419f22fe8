"""A site small enough to check by hand: internet — rtr — outer (firewall) — inner (firewall with NAT) — app and desk.

`inner` publishes 203.0.113.34:8443 as app's 443, and masquerades what leaves; `outer` translates nothing and stands in
front of it. `rtr` is a router of route grain, `back` a second router straight into the inside.
"""

from __future__ import annotations

from typing import Any

from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Flow, Partner, Policy, Stage
from orchestrator.domain.profiles import layers_of


def _interface(name: str, zone: str, link: str, *addresses: str) -> dict[str, Any]:
    return {"name": name, "zone": zone, "link": link, "addresses": list(addresses)}


def _default(*via: str) -> list[dict[str, str]]:
    return [{"to": "::/0" if ":" in hop else "0.0.0.0/0", "via": hop} for hop in via]


SITE = Site.model_validate(
    {
        "name": "small",
        "zones": [
            {"name": "internet", "kind": "external", "prefixes": ["0.0.0.0/0", "::/0"]},
            {"name": "edge", "kind": "external", "prefixes": ["203.0.113.0/28", "2001:db8:e::/64"]},
            {"name": "mid", "kind": "external", "prefixes": ["203.0.113.32/28", "2001:db8:f::/64"]},
            {"name": "inside", "kind": "internal", "prefixes": ["10.1.0.0/24", "2001:db8:10::/64"]},
            {"name": "admin", "kind": "management", "prefixes": ["10.9.0.0/24"]},
        ],
        "segments": [
            {"name": "net", "zone": "internet"},
            {"name": "edge", "zone": "edge"},
            {"name": "mid", "zone": "mid"},
            {"name": "lan", "zone": "inside"},
            {"name": "oob", "zone": "admin"},
        ],
        "devices": [
            {
                "name": "rtr", "platform": "frr", "grain": ["route"], "management": "10.9.0.1",
                "interfaces": [
                    _interface("up0", "internet", "net", "198.51.100.1/24", "2001:db8:100::1/64"),
                    _interface("edge0", "edge", "edge", "203.0.113.1/28", "2001:db8:e::1/64"),
                ],
                "routes": [
                    *_default("198.51.100.254", "2001:db8:100::fe"),
                    {"to": "203.0.113.32/28", "via": "203.0.113.2"}, {"to": "2001:db8:10::/64", "via": "2001:db8:e::2"},
                ],
            },
            {
                "name": "outer", "platform": "nftables", "grain": ["flow"], "management": "10.9.0.2",
                "interfaces": [
                    _interface("wan0", "edge", "edge", "203.0.113.2/28", "2001:db8:e::2/64"),
                    _interface("mid0", "mid", "mid", "203.0.113.33/28", "2001:db8:f::1/64"),
                ],
                "routes": [*_default("203.0.113.1", "2001:db8:e::1"), {"to": "2001:db8:10::/64", "via": "2001:db8:f::2"}],
            },
            {
                "name": "inner", "platform": "nftables", "grain": ["flow"], "management": "10.9.0.3", "management_via": "outer",
                "interfaces": [
                    _interface("mid0", "mid", "mid", "203.0.113.34/28", "2001:db8:f::2/64"),
                    _interface("lan0", "inside", "lan", "10.1.0.1/24", "2001:db8:10::1/64"),
                ],
                "routes": _default("203.0.113.33", "2001:db8:f::1"),
                "nat": {
                    "masquerade": ["mid0"],
                    "published": [{"public": "203.0.113.34", "protocol": "tcp", "port": 8443, "to": "10.1.0.10", "to_port": 443}],
                },
                "services": [{"kind": "udp", "port": 4500}],
            },
            {
                "name": "back", "platform": "frr", "grain": ["route"], "management": "10.9.0.4",
                "interfaces": [
                    _interface("lte0", "internet", "net", "198.51.100.2/24", "2001:db8:100::2/64"),
                    _interface("lan0", "inside", "lan", "10.1.0.2/24", "2001:db8:10::2/64"),
                ],
            },
        ],
        "hosts": [
            {
                "name": "app", "management": "10.9.0.10", "services": [{"kind": "http", "port": 443}, {"kind": "tcp", "port": 22}],
                "interfaces": [_interface("eth0", "inside", "lan", "10.1.0.10/24", "2001:db8:10::10/64")],
                "gateway": ["10.1.0.1", "2001:db8:10::1"],
            },
            {
                "name": "desk", "management": "10.9.0.11",
                "interfaces": [_interface("eth0", "inside", "lan", "10.1.0.11/24", "2001:db8:10::11/64")],
                "gateway": ["10.1.0.1", "2001:db8:10::1"],
            },
            {
                "name": "far", "management": "10.9.0.20", "services": [{"kind": "tcp", "port": 22}],
                "interfaces": [
                    _interface("eth0", "internet", "net", "198.51.100.50/24", "2001:db8:100::50/64"),
                    _interface("eth1", "admin", "oob", "10.9.0.20/24"),
                ],
                "gateway": ["198.51.100.1", "2001:db8:100::1"],
            },
            {
                "name": "stranger", "management": "10.9.0.21", "services": [{"kind": "tcp", "port": 22}],
                "interfaces": [_interface("eth0", "internet", "net", "198.51.100.66/24", "2001:db8:100::66/64")],
                "gateway": ["198.51.100.1", "2001:db8:100::1"],
            },
        ],
        "outside": [],
        "exits": [
            {"name": "main", "device": "rtr", "interface": "up0", "zone": "internet", "primary_for": ["internet"]},
            {"name": "back", "device": "back", "interface": "lte0", "zone": "internet", "failover_s": 3},
        ],
        "orchestrator": _interface("mgmt0", "admin", "oob", "10.9.0.100/24"),
    }
)  # fmt: skip

_T = {"en": "x", "fr": "x"}


def flow(name: str = "flow", **changes: Any) -> Flow:
    given = {
        "name": name, "application": "app", "partners": ["far"], "direction": "in", "services": ["tcp/443"],
        "addresses": ["10.1.0.10", "2001:db8:10::10"], **changes,
    }  # fmt: skip
    return Flow.model_validate(given)


def partner(name: str = "far", *networks: str) -> Partner:
    return Partner.model_validate(
        {
            "name": name,
            "title": _T,
            "kind": "operator",
            "zone": "internet",
            "networks": list(networks or ("198.51.100.50/32", "2001:db8:100::50/128")),
        }
    )


def stage(*flows: str, **changes: Any) -> Stage:
    given = {
        "name": "S1", "title": _T, "flows": flows, "gates": [{"evidence": "e", "title": _T}], "votes": {"network-engineer": 1},
        "observation": "1h", **changes,
    }  # fmt: skip
    return Stage.model_validate(given)


def policy(*flows: Flow, stages: tuple[Stage, ...] = (), profiles: dict[str, dict[str, Any]] | None = None, **changes: Any) -> Policy:
    chosen = profiles or {"all": {"layers": {"rtr": ["up0"], "outer": ["wan0"], "inner": ["mid0"], "back": ["lte0"]}, "cuts": ["internet"]}}
    given: dict[str, Any] = {
        "version": 1, "site": "small", "default_profile": next(iter(chosen)), "ratification": {"network-engineer": 1},
        "applications": [
            {"name": "app", "title": _T, "zone": "inside", "owner": "owner", "criteria": {"care": "high", "volume": "low", "risk": "low"}}
        ],
        "partners": [partner(), partner("all", "0.0.0.0/0", "::/0"), partner("nobody", "198.51.100.200/32")],
        "flows": flows, "keep": [], "care": [],
        "profiles": [{"name": name, "title": _T, **definition} for name, definition in chosen.items()],
        "stages": stages, "people": [], **changes,
    }  # fmt: skip
    return Policy.model_validate(given)


def laid(policy_: Policy, *profiles: str) -> dict[str, tuple[Layer, ...]]:
    """As if these profiles had been cut off with, every device applied."""
    layers: dict[str, tuple[Layer, ...]] = {}
    for profile in profiles:
        for layer in layers_of(SITE, policy_, profile):
            layers[layer.device] = (*layers.get(layer.device, ()), layer)
    return layers


def words(elements: tuple[Element, ...]) -> list[str]:
    """`source > destination protocol/ports`, sorted as elements are."""
    return [
        f"{item.source} > {item.destination} {item.protocol}{f'/{item.ports[0]}-{item.ports[1]}' if item.ports else ''}"
        for item in elements
    ]
