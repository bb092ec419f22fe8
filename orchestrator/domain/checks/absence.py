"""Whose absence leaves a stage without a quorum: the smallest sets of one or two missing people. Notes, not refusals.

People who can fill the same places and propose alike are interchangeable, so only their kinds are tried, not their names:
a handful of matchings per stage, whatever the size of the hospital. A set counts by people's own roles; where turns of
duty or a delegation of somebody missing make up for it while they run, the note names them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, combinations_with_replacement, product
from typing import TypeAlias

from orchestrator.domain.checks.people import PROPOSES
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import Loan, Standing, applications_of, loans_of, standing, standing_for
from orchestrator.domain.votes import seats

RATIFICATION = "ratification"
Kind: TypeAlias = tuple[frozenset[Role], bool]  # the places somebody can fill, and whether they can propose


@dataclass(frozen=True)
class Absence:
    """`stage` (or `ratification`) has no quorum when `missing` are all away, except while the delegations and duties of
    `except_while` run. Nobody missing: it has one only while those run."""

    stage: str
    missing: tuple[str, ...]
    except_while: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Votes:
    """What is voted on: the places, how people stand when these delegations and duties count, who can propose."""

    what: str
    places: Mapping[Role, int]
    standings: Callable[[Collection[str]], Mapping[str, Standing]]
    proposers: frozenset[str]
    proposed: bool = True  # somebody makes the plan first, and does not vote on it


def absences(site: Site, policy: Policy) -> tuple[Absence, ...]:
    """For every stage and for the next ratification: the minimal sets of one or two people without whom it has no quorum."""
    del site
    known: dict[tuple[object, ...], bool] = {}
    return tuple(found for votes in _all(policy) for found in _without(policy, votes, known))


def _all(policy: Policy) -> Iterator[_Votes]:
    proposers = frozenset(person.name for person in policy.people if PROPOSES in person.roles)
    for stage in policy.stages:
        yield _Votes(stage.name, stage.votes, partial(_on_stage, policy, stage, applications_of(policy, stage)), proposers)
    yield _Votes(RATIFICATION, policy.ratification, partial(_on_policy, policy), frozenset(), proposed=False)


def _on_stage(policy: Policy, stage: Stage, opens: frozenset[str], counting: Collection[str]) -> Mapping[str, Standing]:
    turns, loans = _standing_in(policy, counting)
    return {item.name: standing_for(policy, stage, item.name, turns=turns[item.name], loans=loans, opens=opens) for item in policy.people}


def _on_policy(policy: Policy, counting: Collection[str]) -> Mapping[str, Standing]:
    turns, loans = _standing_in(policy, counting)
    return {item.name: standing(policy, item.name, turns=turns[item.name], loans=loans) for item in policy.people}


def _standing_in(policy: Policy, counting: Collection[str]) -> tuple[Mapping[str, set[Role]], list[Loan]]:
    """The roles by turns of duty, and the delegations, of those that count."""
    turns: dict[str, set[Role]] = defaultdict(set)
    for duty in policy.duties:
        for turn in duty.turns if duty.name in counting else ():
            turns[turn.person].add(duty.role)
    return turns, [loan for loan in loans_of(policy) if loan.name in counting]


def _without(policy: Policy, votes: _Votes, known: dict[tuple[object, ...], bool]) -> Iterator[Absence]:
    kinds: dict[Kind, list[str]] = defaultdict(list)
    for name, item in votes.standings(()).items():
        kind = (item.roles.intersection(votes.places), name in votes.proposers)
        if kind != (frozenset(), False):
            kinds[kind].append(name)
    count = Counter({kind: len(members) for kind, members in kinds.items()})

    def possible(missing: Sequence[Kind]) -> bool:
        left = count - Counter(missing)
        key = (tuple(sorted(votes.places.items())), votes.proposed, frozenset(left.items()))
        if key not in known:
            known[key] = _possible(votes.places, left, proposed=votes.proposed)
        return known[key]

    if not possible(()):
        yield _note(policy, votes, ())
        return
    alone = {kind for kind in kinds if not possible((kind,))}
    for kind in kinds:
        if kind in alone:
            yield from (_note(policy, votes, (name,)) for name in kinds[kind])
    rest = [kind for kind in kinds if kind not in alone]
    for one, other in combinations_with_replacement(rest, 2):
        if (one != other or count[one] > 1) and not possible((one, other)):
            pairs = combinations(kinds[one], 2) if one == other else product(kinds[one], kinds[other])
            yield from (_note(policy, votes, pair) for pair in pairs)


def _possible(places: Mapping[Role, int], left: Counter[Kind], *, proposed: bool) -> bool:
    """Whether this many people of each kind can fill the places, one who can propose left out."""
    enough = sum(places.values()) + 1
    for kind in [kind for kind in left if kind[1]] if proposed else [None]:
        people = left if kind is None else left - Counter([kind])
        names = {f"{number}-{index}": kind_[0] for number, (kind_, many) in enumerate(people.items()) for index in range(min(many, enough))}
        if seats(places, names) is not None:
            return True
    return False


def _note(policy: Policy, votes: _Votes, missing: tuple[str, ...]) -> Absence:
    """With what stands in for them, if anything ever does: no more of it than needed."""
    counting = [*(item.name for item in policy.delegations), *(item.name for item in policy.duties)]
    if not counting or not _filled(votes, missing, counting):
        return Absence(votes.what, missing)
    for name in tuple(counting):
        fewer = [other for other in counting if other != name]
        if _filled(votes, missing, fewer):
            counting = fewer
    return Absence(votes.what, missing, tuple(sorted(counting)))


def _filled(votes: _Votes, missing: tuple[str, ...], counting: Collection[str]) -> bool:
    present = {name: item for name, item in votes.standings(counting).items() if name not in missing}
    for proposer in sorted(votes.proposers & present.keys()) if votes.proposed else [""]:
        voters = {name: item.without({proposer}) for name, item in present.items() if name != proposer and item.roles}
        if seats(votes.places, voters) is not None:
            return True
    return False
