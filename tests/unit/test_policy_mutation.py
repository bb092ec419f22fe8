"""Mutation of the policy: slips that change what is reachable are refused by `policy check`, by its checks or its tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice, product

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain.check import EACH_BY_ITSELF, TOGETHER
from orchestrator.domain.expectation_points import Point, Points
from orchestrator.domain.expectation_run import outcomes
from orchestrator.domain.network import Site
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.packet_ends import packets_between
from orchestrator.domain.packet_ways import way_of_packet
from orchestrator.domain.policy import Policy
from orchestrator.domain.questions import Way, addresses_in
from orchestrator.domain.services import FlowService
from tests.unit.broken_files import INVENTORY, POLICY
from tests.unit.policy_mutants import BY_HAND, Mutant, mutants

LEAST, REFUSED, EVERY = 40, 0.95, 11  # one in eleven of some 500, for the time; all: `python -m tests.unit.test_policy_mutation`


@lru_cache
def site() -> Site:
    return read_inventory(INVENTORY).site


@lru_cache
def policy() -> Policy:
    return read_policy(POLICY).policy


def reachable(changed: Policy) -> list[object]:
    """What passes at every point that matters: after the cut by each profile, after each stage with what it requires, and with
    everything open that can be open without it. As exact sets of packets of the devices that tell flows apart (what is
    written differently and means the same is the same), and as conversations for what is closed whole."""
    points, found = Points(site(), changed), list[object]()
    for profile in changed.profiles:
        for point in _points(points, profile.name):
            lies = points.at(profile.name, point).containment
            for device in sorted(lies.layers):
                if all(layer.coarse for layer in lies.layers[device]):
                    continue  # what it stops shows in the conversations
                elements = [*lies.opened.get(device, ()), *(item for layer in lies.layers[device] for item in layer.keep)]
                found.append((profile.name, device, packets_of(lies.concerned(device, elements))))
            found.append([lies.stops(way) is None for way in conversations()])
    return found


def _points(points: Points, profile: str) -> Iterator[Point]:
    yield ()
    for stage in points.policy.stages if profile in ("internet", "total") else ():
        yield points.asked((stage.name,), None)[0]
        yield points.asked((), stage.name)[-1]


@lru_cache
def conversations() -> tuple[Way, ...]:
    """Between every host of the inside and every other host, both ways where one end is outside, to a port that no flow has."""
    ways, port = [], FlowService(protocol=6, ports=(9, 9))
    for start, end in product(site().hosts, site().hosts):
        if start != end and any(addresses_in(site(), host, external=False) for host in (start, end)):
            packets = packets_between(site(), policy(), f"host:{start.name}", f"host:{end.name}", port)
            ways += [way for packet in packets if (way := way_of_packet(site(), packet)) is not None and way.hops]
    return tuple(ways)


def refused(changed: Policy) -> bool:
    """As `check`, but one reason is enough."""
    return any(any(one(site(), changed)) for checks in (EACH_BY_ITSELF, TOGETHER) for one in checks) or any(
        not outcome.passed for outcome in outcomes(site(), changed)
    )


def survivors(chosen: Iterable[Mutant]) -> tuple[int, list[str]]:
    """How many of them change what is reachable (those that are refused count), and the names of those that nobody refuses."""
    counted, alive = 0, []
    for mutant in chosen:
        if refused(mutant.policy):
            counted += 1
        elif reachable(mutant.policy) != _before():
            counted += 1
            alive.append(mutant.name)
    return counted, alive


@lru_cache
def _before() -> list[object]:
    return reachable(policy())


def test_mutants_that_change_what_is_reachable_are_refused() -> None:
    counted, alive = survivors(islice(mutants(policy()), 0, None, EVERY))
    print(f"{counted} mutants that change what is reachable, {len(alive)} survive: {alive}")
    assert counted >= LEAST
    assert len(alive) <= (1 - REFUSED) * counted, alive


@pytest.mark.parametrize("name", BY_HAND)
def test_no_mutant_made_by_hand_survives(name: str) -> None:
    mutant = BY_HAND[name](policy())
    assert mutant != policy()
    assert refused(mutant), name


if __name__ == "__main__":
    every, left = survivors(mutants(policy()))
    print("\n".join(left))
    print(json.dumps({"mutants": every, "survivors": len(left), "refused_share": round(1 - len(left) / every, 4)}))
