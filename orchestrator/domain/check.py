"""`policy check`: holds the policy against the inventory, offline, and says everything that is wrong with either.

Two passes. The first looks at names, addresses and links, each by itself. The second asks questions that only make
sense when these hold (which way a flow goes, what a cut leaves connected, who can vote); it is run when the first
found nothing, because a name that does not exist would otherwise be reported ten times over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from orchestrator.domain.checks import addresses, care, exits, keep, links, management, names, people, profiles, stages, transit
from orchestrator.domain.checks.problem import Problem
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy

Check: TypeAlias = Callable[[Site, Policy], Iterator[Problem]]

EACH_BY_ITSELF: tuple[Check, ...] = (
    names.inventory_names,
    names.policy_names,
    links.links,
    addresses.zones,
    addresses.interfaces,
    addresses.published,
    addresses.policy_addresses,
    management.addresses,
    keep.keep_list,
)
TOGETHER: tuple[Check, ...] = (
    links.bridges,
    exits.devices,
    exits.flows,
    profiles.layers,
    management.paths,
    profiles.separation,
    profiles.kept_through,
    transit.guards,
    transit.probes,
    care.assertions,
    care.conflicts,
    stages.order,
    stages.contents,
    stages.gates,
    people.owners,
    people.quorums,
)


def check(site: Site, policy: Policy) -> tuple[Problem, ...]:
    """Everything that is wrong, in the order of the checks; empty when the two can be ratified."""
    for checks in (EACH_BY_ITSELF, TOGETHER):
        problems = tuple(dict.fromkeys(problem for one in checks for problem in one(site, policy)))
        if problems:
            return problems
    return ()
