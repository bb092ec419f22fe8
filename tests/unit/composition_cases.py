"""Small policies, sites' own rules and packets for the compositions, and what must pass by the plainest reading.

Everything happens at `inner` of the hand-made site. Nothing here uses packet sets: a packet is looked at alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from orchestrator.domain.composition import Composition
from orchestrator.domain.network import Address, Platform, Prefix
from orchestrator.domain.packets import ANY_PROTOCOL, ANY_SELECTOR, Box, PacketSet, span
from orchestrator.domain.plan import Plan
from orchestrator.domain.planning import Render, plan_stage
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.rule_lists import Rule
from tests.unit.hand_made import SITE, flow, laid, partner, policy, stage

DEVICE, APP = "inner", ("10.1.0.10", "2001:db8:10::10")
SOURCES = {4: [ip_address(f"198.51.100.{48 + n}") for n in range(8)], 6: [ip_address(f"2001:db8:100::5{n}") for n in range(8)]}
TARGETS = {4: [ip_address("10.1.0.10"), ip_address("10.1.0.11")], 6: [ip_address("2001:db8:10::10"), ip_address("2001:db8:10::11")]}
PORTS, PROTOCOLS = (79, 80, 443, 444, 446), (6, 17)
_SPANS = st.tuples(st.integers(79, 447), st.integers(79, 447)).map(lambda pair: (min(pair), max(pair)))


@dataclass(frozen=True)
class Packet:
    source: Address
    destination: Address
    protocol: int
    port: int


def packets() -> Iterator[Packet]:
    """The universe: 320 packets, both families, some of them in nobody's flow."""
    for family in (4, 6):
        for ends in itertools.product(SOURCES[family], TARGETS[family], PROTOCOLS, PORTS):
            yield Packet(*ends)


def in_set(found: PacketSet) -> set[Packet]:
    return {one for one in packets() if found.contains(one.source, one.destination, one.protocol, one.port)}


# --- policies -------------------------------------------------------------------------------------------------------


def _networks(family: int) -> st.SearchStrategy[Prefix]:
    first, shortest = (ip_address("198.51.100.48"), 29) if family == 4 else (ip_address("2001:db8:100::50"), 125)
    bits = shortest + 3
    within = st.tuples(st.integers(0, 7), st.integers(shortest, bits))
    return within.map(lambda pair: ip_network(f"{first + pair[0]}/{bits}").supernet(new_prefix=pair[1]))


NETWORKS = st.lists(_networks(4) | _networks(6), min_size=1, max_size=3, unique=True)
PARTNERS = NETWORKS.map(lambda networks: partner("far", *sorted(map(str, networks))))
_SERVICES = st.tuples(st.sampled_from(["tcp", "udp"]), _SPANS).map(lambda made: f"{made[0]}/{made[1][0]}-{made[1][1]}")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """One flow that the cut keeps, perhaps, and one or two that stage S1 opens, all from `far` to `app`."""
    far = draw(PARTNERS)
    flows = [
        flow(name, services=sorted(draw(st.sets(_SERVICES, min_size=1, max_size=2))), addresses=list(APP),
             deny_from=sorted(map(str, draw(st.lists(_networks(4) | _networks(6), max_size=1)))),
             decisions={"all": draw(st.sampled_from(["keep", "cut"])) if name == "kept" else "cut"})
        for name in draw(st.sampled_from([["kept", "a"], ["kept", "a", "b"]]))
    ]  # fmt: skip
    return policy(
        *flows, stages=(stage(*(one.name for one in flows if one.name != "kept")),), partners=[far, partner("nobody", "198.51.100.200/32")]
    )


def belongs(one: Packet, its: Flow, far: Partner) -> bool:
    """Whether the packet is of the flow, read off the policy."""
    return (
        any(one.source in network for network in far.networks)
        and not any(one.source in network for network in its.deny_from)
        and one.destination in its.addresses
        and any(
            service.protocol == one.protocol and service.ports[0] <= one.port <= service.ports[1]
            for service in its.services
            if service.ports
        )
    )


def meant(chosen: Policy) -> set[Packet]:
    """What the layer must let through once S1 is open: what the cut keeps, and what the stage names."""
    named = [one for one in chosen.flows if one.name != "kept" or one.decisions["all"] == "keep"]
    return {one for one in packets() if any(belongs(one, its, chosen.partner("far")) for its in named)}


def planned(chosen: Policy, render: Render, platform: Platform, composition: Composition) -> Plan:
    """The plan of S1 where `inner` is of this platform, by the words of `render`."""
    devices = [one.model_copy(update={"platform": platform}) if one.name == DEVICE else one for one in SITE.devices]
    return plan_stage(
        SITE.model_copy(update={"devices": tuple(devices)}), chosen, chosen.stages[0], layers_in_force=laid(chosen, "all"), already_open={},
        policy_digest="p", inventory_digest="i", render=render,
        composition_of=lambda name: composition if name == DEVICE else Composition.AND,
    )  # fmt: skip


# --- the site's own rules -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SiteRule:
    """A line of the site, as a person would write it."""

    accept: bool
    source: Prefix
    destination: Prefix
    protocol: int | None
    ports: tuple[int, int] | None

    def matches(self, one: Packet) -> bool:
        return (
            one.source in self.source and one.destination in self.destination and self.protocol in (None, one.protocol)
            and (self.ports is None or self.ports[0] <= one.port <= self.ports[1])
        )  # fmt: skip

    def rule(self) -> Rule:
        protocol = ANY_PROTOCOL if self.protocol is None else (self.protocol, self.protocol)
        family = 4 if self.source.version == 4 else 6
        return Rule(Box(family, span(self.source), span(self.destination), protocol, self.ports or ANY_SELECTOR), self.accept)  # type: ignore[arg-type]

    def ios(self) -> str:
        """The line as IOS prints it."""
        name = {None: "ip" if self.source.version == 4 else "ipv6", 6: "tcp", 17: "udp"}[self.protocol]
        ports = "" if self.ports is None else f" range {self.ports[0]} {self.ports[1]}"
        if self.ports is not None and self.ports[0] == self.ports[1]:
            ports = f" eq {'www' if self.ports[0] == 80 and self.protocol == 6 else self.ports[0]}"
        return f" {'permit' if self.accept else 'deny'} {name} {_ios_end(self.source)} {_ios_end(self.destination)}{ports}"


def _ios_end(prefix: Prefix) -> str:
    if prefix.prefixlen == 0:
        return "any"
    if prefix.num_addresses == 1:
        return f"host {prefix.network_address}"
    return str(prefix) if prefix.version == 6 else f"{prefix.network_address} {prefix.hostmask}"


def _site_rules(family: int) -> st.SearchStrategy[SiteRule]:
    everything = ip_network("0.0.0.0/0" if family == 4 else "::/0")
    targets = st.sampled_from([everything, *(ip_network(one) for one in TARGETS[family])])
    plain = st.builds(SiteRule, st.booleans(), st.just(everything) | _networks(family), targets, st.sampled_from([None, 6, 17]), st.none())
    ported = st.builds(SiteRule, st.booleans(), st.just(everything) | _networks(family), targets, st.sampled_from([6, 17]), _SPANS)
    return plain | ported


def deny_all(family: int) -> SiteRule:
    everything = ip_network("0.0.0.0/0" if family == 4 else "::/0")
    return SiteRule(False, everything, everything, None, None)


SITES = st.lists(_site_rules(4) | _site_rules(6), max_size=6)


def let_by_site(rules: Sequence[SiteRule]) -> set[Packet]:
    """First match decides; no match is denied."""
    return {one for one in packets() if next((rule.accept for rule in rules if rule.matches(one)), False)}
