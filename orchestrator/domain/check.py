"""`policy check`: holds the policy against the inventory, offline, and says everything that is wrong with either.

Three passes. The first looks at names, addresses and links, each by itself. The second asks questions that only make
sense when these hold (which way a flow goes, what a cut leaves connected, who can vote). The third asks the policy's own
tests. Each is run when the ones before found nothing: a name that does not exist would otherwise be reported ten times
over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from orchestrator.domain.checks import (
    addresses,
    care,
    exits,
    ipsec,
    keep,
    links,
    management,
    names,
    people,
    profiles,
    stages,
    standing_in,
    transit,
    words,
)
from orchestrator.domain.checks.problem import Problem
from orchestrator.domain.expectation_run import expectations
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy

Check: TypeAlias = Callable[[Site, Policy], Iterator[Problem]]

EACH_BY_ITSELF: tuple[Check, ...] = (
    names.inventory_names,
    names.policy_names,
    words.names,
    words.timezone,
    people.reserved,
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
    stages.reachable,
    stages.contents,
    stages.gates,
    people.owners,
    people.quorums,
    people.changes,
    standing_in.delegations,
    standing_in.duties,
    standing_in.without_any_role,
    standing_in.obligations,
    words.compromised,
    words.stages,
    words.tests,
    words.kinds,
    ipsec.tunnels,
)
ASKED: tuple[Check, ...] = (expectations,)


def check(site: Site, policy: Policy) -> tuple[Problem, ...]:
    """Everything that is wrong, in the order of the checks; empty when the two can be ratified."""
    for checks in (EACH_BY_ITSELF, TOGETHER, ASKED):
        problems = tuple(dict.fromkeys(problem for one in checks for problem in one(site, policy)))
        if problems:
            return problems
    return ()
