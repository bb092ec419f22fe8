"""Who fills which place in a quorum: a matching of distinct persons to the roles that a stage asks for.

A person with two roles fills one place, never two; whether the votes are enough is a maximum bipartite matching, not a
count per role (with one engineer who is also security officer, `engineer + officer` needs a second person).

A delegate may fill a place with somebody else's authority. One authority fills one place as well: a giver who votes has
lent nothing, and of two delegates of one giver only one counts. Where that choice matters, each of them is tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

from networkx import Graph
from networkx.algorithms.bipartite import hopcroft_karp_matching

from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import Standing

_Place = tuple[Role, int]


Voters: TypeAlias = Mapping[str, Collection[Role] | Standing]  # plain roles are one's own


class Seat(NamedTuple):
    """A filled place. `authority` is whose role it is: the voter's own, or the giver's."""

    role: Role
    authority: str


def seats(required: Mapping[Role, int], voters: Voters) -> Mapping[str, Seat] | None:
    """Who counts in which role and by whose authority when all places of `required` are filled; None when they are not.

    Nothing required means None: an empty condition is refused, never "satisfied".
    """
    filled = _largest(required, voters)
    wanted = sum(required.values())
    return filled if wanted and len(filled) == wanted else None


def assignment(required: Mapping[Role, int], voters: Voters) -> Mapping[str, Role] | None:
    """Which voter counts in which role (`seats`, without the authorities)."""
    filled = seats(required, voters)
    return None if filled is None else {name: seat.role for name, seat in filled.items()}


def missing(required: Mapping[Role, int], voters: Voters) -> Mapping[Role, int]:
    """The places that stay empty in a largest matching: role → how many persons are still needed."""
    filled = Counter(seat.role for seat in _largest(required, voters).values())
    return {role: count - filled[role] for role, count in sorted(required.items()) if count > filled[role]}


def _largest(required: Mapping[Role, int], voters: Voters) -> dict[str, Seat]:
    standings = {name: item if isinstance(item, Standing) else Standing(frozenset(item)) for name, item in voters.items()}
    return _seated(required, {name: item.without(standings) for name, item in standings.items()}, more_than=-1)


def _seated(required: Mapping[Role, int], standings: Mapping[str, Standing], *, more_than: int) -> dict[str, Seat]:
    """A largest set of seats; nothing when it cannot be larger than `more_than`."""
    matched = _matched(required, {name: item.roles for name, item in standings.items()})
    if len(matched) <= more_than:
        return {}
    filled: dict[str, Seat] = {}
    for name, role in matched.items():
        item = standings[name]
        givers = sorted(giver for giver, roles in item.lent.items() if role in roles)
        free = [giver for giver in givers if giver not in {seat.authority for seat in filled.values()}]
        if role in item.own:
            filled[name] = Seat(role, name)
        elif free:
            filled[name] = Seat(role, free[0])
        else:
            return _one_delegate_of(givers[0], required, standings, len(matched))
    return filled


def _one_delegate_of(giver: str, required: Mapping[Role, int], standings: Mapping[str, Standing], bound: int) -> dict[str, Seat]:
    """Two would sit by this giver's authority: the best of all choices of the one who does."""
    best: dict[str, Seat] = {}
    for keeper in sorted(name for name, item in standings.items() if giver in item.lent):
        narrowed = {name: item if name == keeper else item.without({giver}) for name, item in standings.items()}
        found = _seated(required, narrowed, more_than=len(best))
        best = max(best, found, key=len)
        if len(best) == bound:
            break
    return best


def _matched(required: Mapping[Role, int], voters: Mapping[str, Collection[Role]]) -> dict[str, Role]:
    """A largest matching of voters to places."""
    places: list[_Place] = [(role, index) for role in sorted(required) for index in range(required[role])]
    graph: Graph[str | _Place] = Graph()
    names = sorted(voters)
    graph.add_nodes_from(names)
    graph.add_nodes_from(places)
    graph.add_edges_from((name, place) for name in names for place in places if place[0] in voters[name])
    matching: dict[str | _Place, str | _Place] = hopcroft_karp_matching(graph, top_nodes=names)
    return {name: place[0] for name in names if isinstance(place := matching.get(name), tuple)}
