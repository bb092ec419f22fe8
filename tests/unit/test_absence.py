"""Whose absence leaves a stage without a quorum: held against trying every set of people, and told in short."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adapters.site_files import read_checked
from orchestrator.cli.policy_notes import as_json, as_text
from orchestrator.domain.checks.absence import Absence, absences
from orchestrator.domain.people import Delegation, Person
from orchestrator.domain.policy_words import Role
from orchestrator.domain.votes import assignment
from tests.unit.broken_files import INVENTORY, POLICY
from tests.unit.hand_made import SITE, flow, policy, stage

ENGINEER, OFFICER, DIRECTOR = Role.NETWORK_ENGINEER, Role.SECURITY_OFFICER, Role.DIRECTOR
NAMES = ("a", "b", "c", "d", "e")
YEAR = {"starts": datetime(2026, 1, 1, tzinfo=UTC), "ends": datetime(2027, 1, 1, tzinfo=UTC), "reason": "leave"}


def person(name: str, *roles: Role) -> Person:
    return Person(name=name, title="x", roles=roles)


def of_stage(people: list[Person], votes: dict[Role, int], **more: Any) -> list[Absence]:
    """The notes about a policy of one stage."""
    made = policy(flow(), stages=(stage("flow", votes=votes),), people=people, **more)
    return [item for item in absences(SITE, made) if item.stage == "S1"]


def possible(people: list[Person], votes: dict[Role, int], missing: frozenset[str]) -> bool:
    present = [item for item in people if item.name not in missing]
    return any(
        assignment(votes, {item.name: item.roles for item in present if item is not proposer}) is not None
        for proposer in present
        if ENGINEER in proposer.roles
    )


_people = st.lists(st.frozensets(st.sampled_from([ENGINEER, OFFICER, DIRECTOR]), max_size=2), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(_people, st.dictionaries(st.sampled_from([ENGINEER, OFFICER, DIRECTOR]), st.integers(1, 2), min_size=1))
def test_the_smallest_sets_are_those_that_trying_finds(roles: list[frozenset[Role]], votes: dict[Role, int]) -> None:
    people = [person(name, *sorted(own)) for name, own in zip(NAMES, roles, strict=False)]
    names = [item.name for item in people]
    expected: set[frozenset[str]] = set()
    for size in range(3):
        for missing in map(frozenset, combinations(names, size)):
            if not possible(people, votes, missing) and not any(smaller <= missing for smaller in expected):
                expected.add(missing)
    assert {frozenset(item.missing) for item in of_stage(people, votes)} == expected


def test_a_delegation_makes_up_for_its_giver_while_it_runs() -> None:
    people = [person("eng-1", ENGINEER), person("eng-2", ENGINEER), person("eng-3", ENGINEER), person("chief", OFFICER), person("deputy")]
    votes = {ENGINEER: 1, OFFICER: 1}
    alone = Absence("S1", ("chief",))
    assert alone in of_stage(people, votes)
    lent = Delegation(name="leave-2026", giver="chief", taker="deputy", roles=(OFFICER,), **YEAR)
    found = of_stage(people, votes, delegations=(lent,))
    assert Absence("S1", ("chief",), ("leave-2026",)) in found
    assert alone not in found


def test_a_turn_of_duty_makes_up_for_somebody_missing() -> None:
    people = [person("eng-1", ENGINEER), person("eng-2", ENGINEER), person("chief", OFFICER), person("night")]
    turns = [{"person": "night", "starts": "2026-06-24T18:00:00Z", "ends": "2026-06-25T06:00:00Z"}]
    duty = {"name": "on-call", "title": {"en": "x", "fr": "x"}, "role": "security-officer", "turns": turns}
    assert Absence("S1", ("chief",), ("on-call",)) in of_stage(people, {ENGINEER: 1, OFFICER: 1}, duties=(duty,))
    assert of_stage(people[:2] + people[3:], {ENGINEER: 1, OFFICER: 1}, duties=(duty,)) == [Absence("S1", (), ("on-call",))]


def test_valmont_knows_who_must_not_be_missing() -> None:
    read = read_checked(INVENTORY, POLICY)
    found = absences(read.site, read.policy)
    assert Absence("P0-lifelines", ("commander",)) in found
    assert {("eng-1", "eng-2"), ("eng-3", "eng-4")} <= {item.missing for item in found if item.stage == "P4-images"}
    assert all(1 <= len(item.missing) <= 2 for item in found)
    assert {item.stage for item in found} == {item.name for item in read.policy.stages} - {"P5-patients-and-payments"} | {"ratification"}


def test_the_notes_are_short_for_people_and_complete_for_machines() -> None:
    found = [
        Absence("P4", ("owner",)),
        *(Absence("P4", pair) for pair in combinations(("eng-1", "eng-2", "eng-3"), 2)),
        Absence("P4", ("rssi", "deputy")),
        Absence("P7", ("director",), ("leave-2026",)),
        Absence("ratification", ("commander",)),
        Absence("P8", (), ("on-call",)),
    ]
    assert as_text(found) == [
        "P4 has no quorum when owner is missing, or when both deputy and rssi are missing,"
        " or when any two of eng-1, eng-2, eng-3 are missing",
        "P7 has no quorum when director is missing, except while leave-2026 runs",
        "a later ratification has no quorum when commander is missing",
        "P8 has a quorum only while on-call runs",
    ]
    assert [item["missing"] for item in as_json(found)] == [list(item.missing) for item in found]


def test_a_large_hospital_is_looked_at_by_kinds_of_people() -> None:
    people = [person(f"p{index}", ENGINEER if index % 2 else OFFICER) for index in range(400)] + [person("boss", DIRECTOR)]
    assert of_stage(people, {ENGINEER: 2, OFFICER: 1, DIRECTOR: 1}) == [Absence("S1", ("boss",))]
