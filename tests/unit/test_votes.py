"""A quorum is a matching of distinct persons to places, not a count of roles."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.policy_words import Role
from orchestrator.domain.votes import assignment, missing

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
