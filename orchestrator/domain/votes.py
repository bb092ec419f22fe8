"""Who fills which place in a quorum: a matching of distinct persons to the roles that a stage asks for.

A person with two roles fills one place, never two; whether the votes are enough is a maximum bipartite matching, not a
count per role (with one engineer who is also security officer, `engineer + officer` needs a second person).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from networkx import Graph
from networkx.algorithms.bipartite import hopcroft_karp_matching

from orchestrator.domain.policy_words import Role

_Place = tuple[Role, int]


def assignment(required: Mapping[Role, int], voters: Mapping[str, Collection[Role]]) -> Mapping[str, Role] | None:
    """Which voter counts in which role when all places of `required` are filled by distinct voters; None when they are not.

    Nothing required means None: an empty condition is refused, never "satisfied".
    """
    filled = _largest(required, voters)
    wanted = sum(required.values())
    return filled if wanted and len(filled) == wanted else None


def missing(required: Mapping[Role, int], voters: Mapping[str, Collection[Role]]) -> Mapping[Role, int]:
    """The places that stay empty in a largest matching: role → how many persons are still needed."""
    filled = Counter(_largest(required, voters).values())
    return {role: count - filled[role] for role, count in sorted(required.items()) if count > filled[role]}


def _largest(required: Mapping[Role, int], voters: Mapping[str, Collection[Role]]) -> dict[str, Role]:
    places: list[_Place] = [(role, index) for role in sorted(required) for index in range(required[role])]
    graph: Graph[str | _Place] = Graph()
    names = sorted(voters)
    graph.add_nodes_from(names)
    graph.add_nodes_from(places)
    graph.add_edges_from((name, place) for name in names for place in places if place[0] in voters[name])
    matching: dict[str | _Place, str | _Place] = hopcroft_karp_matching(graph, top_nodes=names)
    return {name: place[0] for name in names if isinstance(place := matching.get(name), tuple)}
