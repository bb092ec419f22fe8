"""Joined gates agree with three-valued logic, nothing inconclusive opens, and what is held back is named exactly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.gate_answers import Conversation, Verdict, judged, scopes
from orchestrator.domain.gate_kinds import Answer, Lack
from orchestrator.domain.gates import AllOf, AnyOf, EvidenceGate, Gate, SingleGate, single_gates
from orchestrator.domain.policy_words import Text

TITLE = Text(en="x", fr="x")
NUMBERS = st.integers(0, 5)
ANSWERS = st.sampled_from([*Answer, None])  # None: confined to others, asks nothing
TAKES = st.one_of(st.none(), st.integers(0, 9).map(lambda days: timedelta(days=days)))
SINGLES = NUMBERS.map(lambda number: EvidenceGate(title=TITLE, evidence=f"e{number}"))
GATES: st.SearchStrategy[Gate] = st.recursive(
    SINGLES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda gates: AllOf(all_of=tuple(gates))),
        st.lists(inner, min_size=2, max_size=4).map(lambda gates: AnyOf(any_of=tuple(gates))),
    ),
    max_leaves=12,
)
WORLDS = st.fixed_dictionaries({f"e{number}": st.tuples(ANSWERS, TAKES) for number in range(6)})
World = Mapping[str, tuple[Answer | None, timedelta | None]]
WORTH = {Answer.LACKING: 0.0, Answer.INCONCLUSIVE: 0.5, Answer.HOLDS: 1.0}


def verdict_of(gate: Gate, world: World) -> Verdict | None:
    def single(one: SingleGate) -> Verdict | None:
        answer, takes = world[one.id]
        if answer is None:
            return None
        return Verdict(answer) if answer is Answer.HOLDS else Verdict(answer, (Lack(answer, one.id, one.id, one.id, takes),))

    return judged(gate, single)


def by_numbers(gate: Gate, world: World) -> float | None:
    """The same by minimum and maximum of numbers, written a second time."""
    if isinstance(gate, EvidenceGate):
        answer = world[gate.id][0]
        return None if answer is None else WORTH[answer]
    parts = [by_numbers(part, world) for part in (gate.all_of if isinstance(gate, AllOf) else gate.any_of)]  # type: ignore[union-attr]
    known = [part for part in parts if part is not None]
    return (min if isinstance(gate, AllOf) else max)(known, default=None)


def by_booleans(gate: Gate, world: dict[str, bool]) -> bool:
    if isinstance(gate, EvidenceGate):
        return world[gate.id]
    if isinstance(gate, AllOf):
        return all(by_booleans(part, world) for part in gate.all_of)
    return any(by_booleans(part, world) for part in gate.any_of)  # type: ignore[union-attr]


@given(GATES, WORLDS)
def test_joins_are_minimum_and_maximum_whatever_the_depth(gate: Gate, world: World) -> None:
    verdict, worth = verdict_of(gate, world), by_numbers(gate, world)
    assert (None if verdict is None else WORTH[verdict.answer]) == worth


@given(GATES, st.fixed_dictionaries({f"e{number}": st.booleans() for number in range(6)}))
def test_where_everything_is_known_joins_are_boolean(gate: Gate, world: dict[str, bool]) -> None:
    verdict = verdict_of(gate, {name: (Answer.HOLDS if holds else Answer.LACKING, None) for name, holds in world.items()})
    assert verdict is not None
    assert (verdict.answer is Answer.HOLDS) == by_booleans(gate, world)


@given(GATES, WORLDS)
def test_nothing_opens_by_what_is_inconclusive(gate: Gate, world: World) -> None:
    """Were every silence a no, the same would hold: so no silence ever lifted anything."""
    pessimist = {name: (Answer.LACKING if answer is Answer.INCONCLUSIVE else answer, takes) for name, (answer, takes) in world.items()}
    one, other = verdict_of(gate, world), verdict_of(gate, pessimist)
    assert (one is not None and one.answer is Answer.HOLDS) == (other is not None and other.answer is Answer.HOLDS)


@given(GATES, WORLDS)
def test_what_does_not_hold_says_what_is_lacking_and_what_holds_says_nothing(gate: Gate, world: World) -> None:
    verdict = verdict_of(gate, world)
    if verdict is None:
        assert all(world[one.id][0] is None for one in single_gates((gate,)))
    else:
        assert (verdict.answer is Answer.HOLDS) == (not verdict.lacks)
        missing = {one.id for one in single_gates((gate,)) if world[one.id][0] in (Answer.LACKING, Answer.INCONCLUSIVE)}
        for lack in verdict.lacks:
            assert lack.rule in missing, "it speaks for one that does not hold"


@given(st.lists(st.tuples(st.sampled_from([Answer.LACKING, Answer.INCONCLUSIVE]), TAKES), min_size=2, max_size=6))
def test_of_alternatives_the_quickest_speaks_and_all_are_named(alternatives: list[tuple[Answer, timedelta | None]]) -> None:
    gate = AnyOf(any_of=tuple(EvidenceGate(title=TITLE, evidence=f"e{number}") for number in range(len(alternatives))))
    verdict = verdict_of(gate, {f"e{number}": given for number, given in enumerate(alternatives)})
    assert verdict is not None
    (lack,) = verdict.lacks
    known = [takes for _, takes in alternatives if takes is not None]
    assert lack.takes == min(known, default=None)
    assert all(f"e{number}" in lack.message and f"e{number}" in lack.advice for number in range(len(alternatives)))


FLOWS, PARTNERS = ("f1", "f2", "f3"), ("p1", "p2", "p3")
CONVERSATIONS = st.sets(st.tuples(st.sampled_from(FLOWS), st.sampled_from(PARTNERS)), min_size=1)


@given(CONVERSATIONS, st.data())
def test_whom_it_holds_back_is_named_exactly(known: set[tuple[str, str]], data: st.DataObject) -> None:
    everything: list[Conversation] = sorted(known)
    held = [item for item in everything if data.draw(st.booleans())] or everything[:1]
    named: set[Conversation] = set()
    for flows, partners in scopes(held, everything):
        named |= {item for item in everything if (not flows or item[0] in flows) and (not partners or item[1] in partners)}
    assert named == set(held)


def test_a_stage_that_opens_nothing_itself_is_held_back_whole() -> None:
    assert list(scopes([(None, None)], [(None, None)])) == [((), ())]
