"""A quorum is a matching of distinct persons to places, not a count of roles."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.policy_words import Role
from orchestrator.domain.standing import Standing
from orchestrator.domain.votes import assignment, missing, seats

ENGINEER, OFFICER, DIRECTOR = Role.NETWORK_ENGINEER, Role.SECURITY_OFFICER, Role.DIRECTOR


@pytest.mark.parametrize(
    ("required", "voters", "enough"),
    [
        ({ENGINEER: 1, OFFICER: 1}, {"a": {ENGINEER}, "b": {OFFICER}}, True),
        ({ENGINEER: 1, OFFICER: 1}, {"a": {ENGINEER, OFFICER}}, False),
        ({ENGINEER: 1, OFFICER: 1}, {"a": {ENGINEER, OFFICER}, "b": {ENGINEER}}, True),
        ({ENGINEER: 1, OFFICER: 1}, {"a": {ENGINEER}, "b": {ENGINEER, OFFICER}}, True),
        ({ENGINEER: 2, OFFICER: 1}, {"a": {ENGINEER}, "b": {ENGINEER}}, False),
        ({ENGINEER: 2}, {"a": {ENGINEER}, "b": {DIRECTOR}}, False),
        ({ENGINEER: 1}, {}, False),
        ({}, {"a": {ENGINEER}}, False),
        ({ENGINEER: 1}, {"a": {ENGINEER}, "b": {ENGINEER}, "c": {DIRECTOR}}, True),
    ],
)
def test_a_person_fills_one_place_only(required: dict[Role, int], voters: dict[str, set[Role]], enough: bool) -> None:
    assert (assignment(required, voters) is not None) is enough


def test_missing_names_the_places_that_stay_empty() -> None:
    assert missing({ENGINEER: 2, OFFICER: 1, DIRECTOR: 1}, {"a": {ENGINEER, OFFICER}, "b": {OFFICER}}) == {ENGINEER: 1, DIRECTOR: 1}
    assert missing({ENGINEER: 1}, {"a": {ENGINEER}}) == {}


_roles = st.sampled_from([ENGINEER, OFFICER, DIRECTOR])


@given(st.dictionaries(_roles, st.integers(1, 2), min_size=1), st.dictionaries(st.sampled_from("abcde"), st.sets(_roles), max_size=5))
def test_the_matching_agrees_with_trying_every_order(required: dict[Role, int], voters: dict[str, set[Role]]) -> None:
    places = [role for role, count in required.items() for _ in range(count)]
    possible = any(
        all(role in voters[name] for role, name in zip(places, order, strict=True)) for order in permutations(voters, len(places))
    )
    found = assignment(required, voters)
    assert (found is not None) is possible
    if found is not None:
        assert sorted(found.values()) == sorted(places)
        assert all(role in voters[name] for name, role in found.items())


# --- delegations: somebody votes by the authority of somebody else ---------------------------------------------------


def lent(own: set[Role], **by: set[Role]) -> Standing:
    return Standing(frozenset(own), {giver: frozenset(roles) for giver, roles in by.items()})


@pytest.mark.parametrize(
    ("required", "voters", "enough"),
    [
        ({OFFICER: 1}, {"deputy": lent(set(), chief={OFFICER})}, True),
        ({OFFICER: 2}, {"deputy": lent(set(), chief={OFFICER}), "chief": {OFFICER}}, False),  # instead, never beside
        ({OFFICER: 2}, {"a": lent(set(), chief={OFFICER}), "b": lent(set(), chief={OFFICER})}, False),  # one authority, one place
        ({OFFICER: 1, ENGINEER: 1}, {"a": lent(set(), chief={OFFICER}), "b": lent(set(), chief={ENGINEER})}, False),
        ({OFFICER: 1, ENGINEER: 1}, {"a": lent({ENGINEER}, chief={OFFICER})}, False),  # one person, one place
        # a could sit by either's authority: it takes the one that leaves b a seat
        ({OFFICER: 2}, {"a": lent(set(), chief={OFFICER}, other={OFFICER}), "b": lent(set(), chief={OFFICER})}, True),
        ({OFFICER: 1, ENGINEER: 1}, {"a": lent({ENGINEER}, chief={OFFICER}), "b": lent(set(), chief={OFFICER})}, True),
    ],
)
def test_a_delegate_fills_a_place_instead_of_the_giver(required: dict[Role, int], voters: dict[str, Standing], enough: bool) -> None:
    assert (seats(required, voters) is not None) is enough


_names = st.sampled_from("abcde")
_lent = st.dictionaries(st.sampled_from("abyz"), st.frozensets(_roles, min_size=1), max_size=2)
_standings = st.dictionaries(_names, st.builds(Standing, st.frozensets(_roles, max_size=2), _lent), max_size=5)


def possible_by_trying(required: dict[Role, int], voters: dict[str, Standing]) -> int:
    """The most places that can be filled, by trying every order of the places and every authority for each."""
    places = [role for role, count in required.items() for _ in range(count)]

    def best(rest: list[Role], free: frozenset[str], used: frozenset[str]) -> int:
        if not rest:
            return 0
        role, *others = rest
        most = best(others, free, used)
        for name in free:
            authorities = {name} if role in voters[name].own else set()
            authorities |= {giver for giver, roles in voters[name].lent.items() if role in roles and giver not in voters}
            for authority in authorities - used:
                most = max(most, 1 + best(others, free - {name}, used | {authority}))
        return most

    return best(places, frozenset(voters), frozenset())


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_roles, st.integers(1, 2), min_size=1), _standings)
def test_seats_agree_with_trying_every_authority(required: dict[Role, int], voters: dict[str, Standing]) -> None:
    most = possible_by_trying(required, voters)
    wanted = sum(required.values())
    found = seats(required, voters)
    assert (found is not None) is (most == wanted)
    assert wanted - sum(missing(required, voters).values()) == most
    if found is not None:
        assert sorted(seat.role for seat in found.values()) == sorted(role for role, count in required.items() for _ in range(count))
        authorities = [seat.authority for seat in found.values()]
        assert len(set(authorities)) == len(authorities)  # never two places for one authority
        for name, seat in found.items():
            if seat.authority == name:
                assert seat.role in voters[name].own
            else:
                assert seat.authority not in voters  # who votes has lent nothing
                assert seat.role in voters[name].lent[seat.authority]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_roles, st.integers(1, 2), min_size=1), _standings, _names, st.frozensets(_roles))
def test_a_further_role_never_blocks_a_quorum(
    required: dict[Role, int], voters: dict[str, Standing], name: str, further: frozenset[Role]
) -> None:
    if name in voters and seats(required, voters) is not None:
        richer = {**voters, name: Standing(voters[name].own | further, voters[name].lent)}
        assert seats(required, richer) is not None
