"""What each composition means, held against looking at every packet alone; and that a wrong one is found."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.composition import Composition
from orchestrator.domain.composition_programs import (
    ANY_SITE,
    EVERYTHING,
    NO_SITE,
    Act,
    Line,
    Program,
    around,
    own_lines,
    passes,
    program_of,
)
from orchestrator.domain.composition_proof import prove, prove_form, prove_openings
from orchestrator.domain.layer import Element
from orchestrator.domain.packets import Box, PacketSet
from orchestrator.domain.rule_lists import Rule, accepted
from orchestrator.errors import Refused
from tests.unit.hand_made import flow, laid, policy, stage
from tests.unit.test_planning import planned

EXACT = [kind for kind in Composition if kind is not Composition.CLOSE_ONLY]
SIDE = 4  # addresses and ports 0 to 3: with two families, directions and protocols 512 packets
SPANS = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)).map(lambda pair: (min(pair), max(pair)))
BOXES = st.builds(
    Box, family=st.sampled_from([4, 6]), source=SPANS, destination=SPANS, protocol=st.sampled_from([(6, 6), (17, 17), (6, 17)]),
    selector=SPANS, direction=st.sampled_from([(0, 1), (0, 0), (1, 1)]),
)  # fmt: skip
SETS = st.lists(BOXES, max_size=5)
RULES = st.lists(st.builds(Rule, BOXES, st.booleans()), max_size=6)
SOME = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Point = tuple[int, ...]  # in the order of `Box.ranges`
UNIVERSE = list(itertools.product((4, 6), (0, 1), (6, 17), *[range(SIDE)] * 3))


def inside(one: Point, box: Box) -> bool:
    return all(low <= value <= high for value, (low, high) in zip(one, box.ranges(), strict=True))


def within(boxes: Sequence[Box]) -> set[Point]:
    return {one for one in UNIVERSE if any(inside(one, box) for box in boxes)}


def let_by(rules: Sequence[Rule]) -> set[Point]:
    """First match decides, packet by packet."""
    return {one for one in UNIVERSE if next((rule.accept for rule in rules if inside(one, rule.box)), False)}


def let_through(program: Program) -> set[Point]:
    """The program run packet by packet, as its docstring says it."""
    return {one for one in UNIVERSE if _runs(program, one)}


def _runs(program: Program, one: Point) -> bool:
    for lines in program.lists:
        act = _first(lines, one)
        if act is Act.AGAIN:
            act = _first([line for line in lines if not line.unmarked], one)
        if act is Act.ACCEPT:
            return True
        if act is not Act.NEXT:
            return False
    return True


def _first(lines: Sequence[Line], one: Point) -> Act | None:
    return next((line.act for line in lines if inside(one, line.box)), None)


@SOME
@given(st.sampled_from(EXACT), SETS, RULES)
def test_what_passes_is_the_layer_and_the_site(kind: Composition, pinholes: list[Box], site: list[Rule]) -> None:
    program = program_of(kind, pinholes, site)
    wanted = within(pinholes) & let_by(site)
    assert let_through(program) == wanted
    assert within(passes(program).boxes()) == wanted
    assert prove(program, PacketSet(pinholes), accepted(site), device="fw") == PacketSet(pinholes) & accepted(site)


@SOME
@given(RULES)
def test_close_only_is_everything_of_the_site_or_nothing(site: list[Rule]) -> None:
    assert not passes(program_of(Composition.CLOSE_ONLY, EVERYTHING, site))
    assert passes(program_of(Composition.CLOSE_ONLY, (), site, released=True)) == accepted(site)


LISTS = st.lists(
    st.lists(st.builds(Line, st.sampled_from(list(Act)), BOXES, st.booleans()), max_size=5).map(tuple), min_size=1, max_size=3
).map(lambda lists: Program(tuple(lists)))


@SOME
@given(LISTS)
def test_any_program_is_computed_as_it_runs(program: Program) -> None:
    assert within(passes(program).boxes()) == let_through(program)


@SOME
@given(LISTS, SETS, RULES)
def test_the_proof_refuses_every_program_that_lets_more_or_less_through(program: Program, pinholes: list[Box], site: list[Rule]) -> None:
    layer, own = PacketSet(pinholes), accepted(site)
    right = let_through(program) == within(pinholes) & let_by(site)
    less = let_through(program) <= within(pinholes) & let_by(site)
    for exact, holds in ((True, right), (False, less)):
        try:
            prove(program, layer, own, device="fw", exact=exact)
            proved = True
        except Refused:
            proved = False
        assert proved is holds


@pytest.mark.parametrize("kind", EXACT)
def test_each_form_holds_for_every_layer_and_every_site(kind: Composition) -> None:
    prove_form(kind)


def test_close_only_has_no_such_proof() -> None:
    with pytest.raises(Refused, match="would stop"):
        prove_form(Composition.CLOSE_ONLY)


PINHOLE = Box(4, (1, 1), (2, 2), (6, 6), (443, 443))
DENIED = Rule(Box(4, (1, 1), (2, 2), (6, 6), (443, 443)), accept=False)
NEXT_TO_IT = Rule(Box(4, (1, 1), (2, 2), (6, 6), (22, 22)))
WRONG = {
    "an accept of ours is the last word": (
        Program(((Line(Act.ACCEPT, PINHOLE), *(Line(Act.DENY, box) for box in EVERYTHING)), own_lines([DENIED]))),
        [DENIED],
        "what the site's own rules must stop: 0.0.0.1/32 → 0.0.0.2/32 tcp/443",
    ),
    "a line of the site stands before ours": (
        Program(((*own_lines([NEXT_TO_IT]), *(Line(Act.DENY, box) for box in around([PINHOLE])), *own_lines(ANY_SITE)),)),
        [NEXT_TO_IT, *ANY_SITE],
        "what the layer must stop: 0.0.0.1/32 → 0.0.0.2/32 tcp/22",
    ),
    "an entry of the site is asked before the register": (
        Program(((*own_lines([NEXT_TO_IT]), *program_of(Composition.RESUBMIT, [PINHOLE], ANY_SITE).lists[0]),)),
        [NEXT_TO_IT, *ANY_SITE],
        "what the layer must stop: 0.0.0.1/32 → 0.0.0.2/32 tcp/22",
    ),
    "a permit was not narrowed": (
        Program((own_lines([NEXT_TO_IT]),)),
        [NEXT_TO_IT],
        "what the layer must stop: 0.0.0.1/32 → 0.0.0.2/32 tcp/22",
    ),
    "a pinhole is missing": (
        program_of(Composition.AND, [], ANY_SITE),
        list(ANY_SITE),
        "what the layer and the site's own rules both let through: 0.0.0.1/32 → 0.0.0.2/32 tcp/443",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_composition_is_refused_with_its_packets(name: str) -> None:
    program, site, told = WRONG[name]
    with pytest.raises(Refused) as refusal:
        prove(program, PacketSet([PINHOLE]), accepted(site), device="fw")
    assert refusal.value.rule == "composition"
    assert told in str(refusal.value)
    assert refusal.value.advice


def test_a_site_that_lets_nothing_through_stays_so() -> None:
    for kind in EXACT:
        assert not passes(program_of(kind, EVERYTHING, NO_SITE))


# --- plans ----------------------------------------------------------------------------------------------------------


def element(*ports: int) -> Element:
    return Element(source=ip_network("198.51.100.50/32"), destination=ip_network("10.1.0.10/32"), protocol=6, ports=(ports[0], ports[-1]))


def test_openings_beyond_the_flows_are_refused_with_their_packets() -> None:
    for kind in EXACT:
        prove_openings({"inner": [element(443)]}, {"inner": [element(440, 450)]}, lambda _, kind=kind: kind)  # type: ignore[misc]
        with pytest.raises(Refused, match=r"inner would let through what no flow of the stage names: .*tcp/441-442") as refusal:
            prove_openings({"inner": [element(441, 443)]}, {"inner": [element(443)]}, lambda _, kind=kind: kind)  # type: ignore[misc]
        assert refusal.value.rule == "composition"


def test_a_plan_opens_no_flow_on_a_device_that_closes_whole() -> None:
    chosen = policy(flow(), stages=(stage("flow"),))
    with pytest.raises(Refused, match="inner closes whole") as refusal:
        planned(
            chosen, laid(chosen, "all"),
            composition_of=lambda name: Composition.CLOSE_ONLY if name == "inner" else Composition.AND,
        )  # fmt: skip
    assert refusal.value.rule == "composition"


def test_a_plan_releases_what_closes_whole_only_behind_flow_devices() -> None:
    chosen = policy(flow(), stages=(stage("flow"),), profiles={"edge": {"layers": {"rtr": ["up0"]}, "cuts": ["internet"]}})
    with pytest.raises(Refused) as refusal:
        planned(chosen, laid(chosen, "edge"))
    assert refusal.value.rule == "coarse-behind-flow"
