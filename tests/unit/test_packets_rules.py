"""Ordered lists of rules, held against the first match looked up packet by packet."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.diagram import Budget, Interval
from orchestrator.domain.packets import DIMENSIONS, Box, PacketSet, span, whole
from orchestrator.domain.rule_lists import Difference, Rule, accepted, difference, difference_of_boxes
from orchestrator.domain.suffixes import build
from orchestrator.errors import Refused
from tests.unit.packet_points import BOXES, Point, points, rules

ANY = [Box(4, whole(4), whole(4)), Box(6, whole(6), whole(6))]
COUNTED = settings(deadline=None, max_examples=60)  # brute force counts thousands of packets per rule
RULES = st.lists(st.builds(Rule, BOXES | st.sampled_from(ANY), st.booleans()), max_size=7)


def decided(listed: Sequence[Rule]) -> set[Point]:
    """What the list accepts, rule by rule from the last one: each has its say over all that come after it."""
    found: set[Point] = set()
    for rule in reversed(listed):
        found = found | points([rule.box]) if rule.accept else found - points([rule.box])
    return found


@COUNTED
@given(RULES)
def test_the_first_rule_that_matches_decides(listed: list[Rule]) -> None:
    assert points(accepted(listed).boxes()) == decided(listed)


@COUNTED
@given(RULES, RULES)
def test_the_difference_is_every_packet_that_is_decided_otherwise(before: list[Rule], after: list[Rule]) -> None:
    found = difference(before, after)
    assert points(found.appears.boxes()) == decided(after) - decided(before)
    assert points(found.disappears.boxes()) == decided(before) - decided(after)
    assert found == Difference(accepted(after) - accepted(before), accepted(before) - accepted(after))


@COUNTED
@given(RULES, st.data())
def test_an_edited_list_differs_in_the_edit_only(before: list[Rule], data: st.DataObject) -> None:
    """Lists that share most rules take the short way: moved, removed, inserted and turned rules are seen all the same."""
    after = list(before)
    for kind in data.draw(st.lists(st.sampled_from(["move", "remove", "insert", "turn"]), max_size=3)):
        at = data.draw(st.integers(0, max(len(after) - 1, 0)))
        if kind == "insert":
            after.insert(at, data.draw(st.builds(Rule, BOXES, st.booleans())))
        elif after and kind == "turn":
            after[at] = dataclasses.replace(after[at], accept=not after[at].accept)
        elif after:
            taken = after.pop(at)
            if kind == "move":
                after.insert(data.draw(st.integers(0, len(after))), taken)
    found = difference(before, after)
    assert points(found.appears.boxes()) == decided(after) - decided(before)
    assert points(found.disappears.boxes()) == decided(before) - decided(after)
    assert bool(found) == (decided(before) != decided(after))


@given(st.lists(BOXES, max_size=6), st.lists(BOXES, max_size=6))
def test_lists_that_only_accept_differ_as_sets_do(before: list[Box], after: list[Box]) -> None:
    found = difference_of_boxes(before, after)
    assert found.appears == PacketSet(after) - PacketSet(before)
    assert found.disappears == PacketSet(before) - PacketSet(after)


@given(st.lists(BOXES, max_size=6))
def test_the_summary_is_the_same_set_never_longer_and_without_a_spare_box(boxes: list[Box]) -> None:
    packets = PacketSet(boxes)
    summary = packets.summary()
    assert PacketSet(summary) == packets
    assert len(summary) <= len(packets.readable())
    for box in summary:
        assert PacketSet(other for other in summary if other != box) != packets


def tcp(source: Interval, destination: Interval, ports: Interval = (443, 443)) -> Box:
    return Box(4, source, destination, (6, 6), ports)


def test_a_cross_is_two_bars_and_not_three_pieces() -> None:
    bars = [tcp((4, 5), (0, 9)), tcp((0, 9), (4, 5))]
    packets = PacketSet(bars)
    assert len(packets.readable()) == 3
    assert set(packets.summary()) == set(bars)


def test_two_boxes_hidden_in_seven_pieces_are_found_again() -> None:
    pair = [tcp((0, 7), (0, 7), (20, 29)), tcp((4, 11), (4, 11), (25, 34))]
    assert set(PacketSet(pair).summary()) == set(pair)


def test_a_difference_reads_as_people_write_rules() -> None:
    office, server = span_of("10.20.16.0/24"), span_of("10.20.1.10/32")
    before = [Rule(tcp(office, server, (80, 80))), Rule(tcp(office, server)), Rule(tcp(whole(4), server, (22, 22)), accept=False)]
    after = [Rule(tcp(office, server)), Rule(tcp(span_of("10.20.16.7/32"), server, (22, 22))), *before[2:]]
    assert difference(before, after).describe() == (
        "+ 10.20.16.7/32 → 10.20.1.10/32 tcp/22",
        "- 10.20.16.0/24 → 10.20.1.10/32 tcp/80",
    )
    assert not difference(before, list(reversed(before)))


def span_of(text: str) -> Interval:
    return span(ip_network(text))


def rewritten(listed: Sequence[Rule], seed: int) -> list[Rule]:
    """The same decisions in other words: every second rule in two halves, neighbours of one verdict shuffled."""
    chance, found = random.Random(seed), list[Rule]()
    for _, run in itertools.groupby(listed, key=lambda rule: rule.accept):
        pieces = [piece for rule in run for piece in (_halves(rule) if chance.random() < 0.5 else [rule])]
        chance.shuffle(pieces)
        found += pieces
    return found


def _halves(rule: Rule) -> list[Rule]:
    low, high = rule.box.source
    if low == high:
        return [rule]
    middle = (low + high) // 2
    ends: list[Interval] = [(low, middle), (middle + 1, high)]
    return [dataclasses.replace(rule, box=dataclasses.replace(rule.box, source=source)) for source in ends]


def site_rules(count: int, seed: int) -> list[Rule]:
    chance = random.Random(seed)
    return [Rule(box, accept=chance.random() < 0.85) for box in rules(count, seed)]


def test_a_thousand_rules_in_other_words_and_with_one_change() -> None:
    before = site_rules(1000, 5)
    after = rewritten(before, 6)
    extra = Rule(tcp((1, 1), (10 << 24, 10 << 24), (7, 7)))
    started = time.perf_counter()
    nothing, one = difference(before, after), difference(before, [*after[:500], extra, *after[500:]])
    assert time.perf_counter() - started < 4.0  # 0.1 s on an idle core; the bound leaves room for a busy machine
    assert not nothing
    assert one.appears == PacketSet([extra.box])
    assert not one.disappears


def test_one_changed_rule_among_thousands_costs_what_it_touches() -> None:
    """Counted in pieces and not in seconds: the same on every machine."""
    spent = {}
    for count in (1000, 8000):
        before = site_rules(count, 7)
        budget = Budget()
        after = [*before[:10], Rule(tcp((1, 1), (1, 1))), *before[10:]]
        assert difference(before, after, budget).appears == PacketSet([tcp((1, 1), (1, 1))])
        spent[count] = Budget().left - budget.left
    assert spent[8000] < 16 * spent[1000]


def disjoint_boxes(count: int) -> list[Box]:
    return [tcp((16 * index, 16 * index + 9), (7 * index, 7 * index), (index % 1000, index % 1000)) for index in range(count)]


def test_disjoint_rules_cost_no_more_than_n_log_n() -> None:
    spent = {}
    for count in (1000, 16000):
        budget = Budget()
        build((box.ranges() for box in disjoint_boxes(count)), budget)
        spent[count] = Budget().left - budget.left
    assert spent[16000] <= 16 * 1.4 * spent[1000]  # 1.4 = log 16000 / log 1000


def tangle(count: int, seed: int) -> list[Rule]:
    """Ranges that cross each other in every dimension: the worst there is."""
    chance = random.Random(seed)

    def crossing(most: int) -> Interval:
        low = chance.randrange(most // 2)
        return low, low + most // 2

    return [
        Rule(Box(4, crossing(2**32 - 1), crossing(2**32 - 1), (6, 6), crossing(65535)), accept=chance.random() < 0.5) for _ in range(count)
    ]


def test_a_tangle_is_compared_exactly_or_refused_and_never_waited_for() -> None:
    small = tangle(30, 1)
    assert not difference(small, rewritten(small, 2))
    started = time.perf_counter()
    with pytest.raises(Refused, match="exactly") as refusal:
        difference(tangle(2000, 3), tangle(2000, 4))
    assert refusal.value.rule == "packet-set-too-complex"
    assert time.perf_counter() - started < 60  # a few seconds on an idle core


def test_a_narrow_change_in_a_large_tangle_is_still_exact() -> None:
    before = tangle(1000, 5)
    narrow = tcp((2**31, 2**31), (2**31, 2**31), (30000, 30000))
    verdict = next(rule.accept for rule in before if PacketSet([narrow]) <= PacketSet([rule.box]))
    found = difference(before, [Rule(narrow, accept=not verdict), *before])
    assert (found.disappears if verdict else found.appears) == PacketSet([narrow])
    assert bool(found.appears) != bool(found.disappears)


def test_sets_with_more_boxes_than_anyone_can_list_are_compared_and_not_listed() -> None:
    stripes = [(2 * index, 2 * index) for index in range(200)]
    everything = whole(4)
    packets = PacketSet(tcp(stripe, everything, (0, 65535)) for stripe in stripes)
    packets = packets & PacketSet(tcp(everything, stripe, (0, 65535)) for stripe in stripes)
    packets = packets & PacketSet(tcp(everything, everything, stripe) for stripe in stripes)
    assert packets <= PacketSet([tcp(everything, everything, (0, 65535))])
    assert repr(packets) == "PacketSet(8000000 boxes)"
    with pytest.raises(Refused, match="exactly"):
        packets.boxes()


def test_a_box_knows_from_where_on_it_is_whole() -> None:
    assert [box.whole_from for box in ANY] == [1, 1]
    assert Box(4, whole(4), whole(4), (6, 6)).whole_from == 3
    assert Box(6, whole(4), whole(6)).whole_from == DIMENSIONS
