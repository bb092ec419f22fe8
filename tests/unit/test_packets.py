"""Exact sets of packets, held against brute force on universes small enough to count."""

from __future__ import annotations

import itertools
import random
import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import diagram
from orchestrator.domain.diagram import Interval
from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import disjoint, elements_in, packets_of, without
from orchestrator.domain.packets import Box, Direction, PacketSet, describe_range, prefixes_of, span
from orchestrator.domain.suffixes import build
from orchestrator.errors import Refused
from tests.unit.packet_points import BOXES, SETS, SIDE, SPANS, points, rules


@given(SETS, SETS)
def test_union_intersection_and_difference_are_those_of_the_points(left: list[Box], right: list[Box]) -> None:
    one, other = PacketSet(left), PacketSet(right)
    assert points((one | other).boxes()) == points(left) | points(right)
    assert points((one & other).boxes()) == points(left) & points(right)
    assert points((one - other).boxes()) == points(left) - points(right)


@given(SETS, SETS)
def test_equality_emptiness_and_inclusion_are_those_of_the_points(left: list[Box], right: list[Box]) -> None:
    one, other = PacketSet(left), PacketSet(right)
    assert (one == other) == (points(left) == points(right))
    assert bool(one - other) == bool(points(left) - points(right))
    assert (one <= other) == (points(left) <= points(right))


@given(SETS, st.randoms(use_true_random=False))
def test_equal_sets_have_equal_hashes_however_they_were_built(boxes: list[Box], shuffle: random.Random) -> None:
    again = boxes * 2
    shuffle.shuffle(again)
    piecewise = PacketSet()
    for box in again:
        piecewise = piecewise | PacketSet([box])
    assert piecewise == PacketSet(boxes)
    assert hash(piecewise) == hash(PacketSet(boxes))


@given(SETS)
def test_what_people_read_is_the_same_set_disjoint_and_no_longer(boxes: list[Box]) -> None:
    packets = PacketSet(boxes)
    read = packets.readable()
    assert PacketSet(read) == packets
    assert sum(len(points([box])) for box in read) == len(points(read))
    assert len(read) <= len(packets.boxes())


@given(BOXES, st.integers(0, SIDE - 1), st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
def test_a_packet_is_in_the_set_when_it_is_in_the_box(box: Box, source: int, destination: int, port: int) -> None:
    ends = ("0.0.0.{}", "::{}")
    text = ends[0] if box.family == 4 else ends[1]
    inside = (box.family, Direction.IN, 6, port, destination, source) in points([box])
    found = PacketSet([box]).contains(ip_address(text.format(source)), ip_address(text.format(destination)), 6, port, Direction.IN)
    assert found == inside


def test_a_list_that_reads_well_joins_neighbours_and_names_prefixes() -> None:
    portal = span(ip_network("10.20.11.10"))
    halves = [
        Box(4, span(ip_network("198.51.100.0/25")), portal, (6, 6), (443, 443)),
        Box(4, span(ip_network("198.51.100.128/25")), portal, (6, 6), (443, 443)),
    ]
    assert [box.describe() for box in PacketSet(halves).readable()] == ["198.51.100.0/24 → 10.20.11.10/32 tcp/443"]


@pytest.mark.parametrize(
    ("box", "text"),
    [
        (Box(4, (0, 2**32 - 1), (1, 3), (1, 1), (8 * 256, 8 * 256 + 255)), "any IPv4 → 0.0.0.1-0.0.0.3 icmp type 8"),
        (Box(6, (0, 2**128 - 1), (16, 31), (50, 50), direction=(1, 1)), "any IPv6 → ::10/124 esp (in)"),
        (Box(4, (0, 0), (0, 0)), "0.0.0.0/32 → 0.0.0.0/32 any"),
        (Box(4, (0, 0), (0, 0), (17, 17), (500, 510)), "0.0.0.0/32 → 0.0.0.0/32 udp/500-510"),
    ],
)
def test_a_box_says_what_it_is(box: Box, text: str) -> None:
    assert box.describe() == text


def test_ranges_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="source"):
        Box(4, (5, 4), (0, 0))
    with pytest.raises(ValueError, match="destination"):
        Box(4, (0, 0), (0, 2**32))
    with pytest.raises(ValueError, match="families"):
        PacketSet().contains(ip_address("192.0.2.1"), ip_address("::1"), 6)


@given(st.integers(0, 2**32 - 1), st.integers(0, 5000))
def test_the_prefixes_of_a_range_are_exactly_the_range(low: int, size: int) -> None:
    high = min(low + size, 2**32 - 1)
    following = low
    for prefix in prefixes_of(4, (low, high)):
        assert int(prefix.network_address) == following
        following = int(prefix.broadcast_address) + 1
    assert following == high + 1
    assert describe_range(4, (low, high)).split("/")[0].split("-")[0] == str(ip_address(low))


def element(source: str, destination: str, protocol: int = 6, ports: tuple[int, int] | None = (443, 443)) -> Element:
    return Element(source=ip_network(source), destination=ip_network(destination), protocol=protocol, ports=ports)


PREFIXES = st.builds(
    lambda value, length: f"{ip_address((value >> (32 - length)) << (32 - length))}/{length}", st.integers(0, 15), st.integers(28, 32)
)
PORTS = SPANS.map(lambda ports: (ports[0] + 1, ports[1] + 1))
ELEMENTS = st.lists(
    st.builds(element, PREFIXES, PREFIXES, st.just(6), PORTS) | st.builds(element, PREFIXES, PREFIXES, st.just(50), st.none()),
    max_size=6,
)


@given(ELEMENTS)
def test_rendered_elements_are_the_same_packets_and_never_overlap(elements: list[Element]) -> None:
    rendered = disjoint(elements)
    assert packets_of(rendered) == packets_of(elements)
    for one, other in itertools.combinations(rendered, 2):
        assert not packets_of([one]) & packets_of([other])
    for source, destination, port in itertools.product(range(16), range(0, 16, 3), range(1, 7)):
        ends = ip_address(source), ip_address(destination)
        assert any(item.matches(*ends, 6, port) for item in rendered) == any(item.matches(*ends, 6, port) for item in elements)


@given(ELEMENTS, ELEMENTS)
def test_what_is_left_is_exactly_what_was_not_taken(elements: list[Element], taken: list[Element]) -> None:
    left = without(elements, packets_of(taken))
    assert packets_of(left) == packets_of(elements) - packets_of(taken)
    assert not packets_of(left) & packets_of(taken)


def test_a_narrow_element_inside_a_broad_one_disappears_into_it() -> None:
    broad = element("198.51.100.0/24", "10.20.11.10/32")
    assert disjoint([element("198.51.100.14/32", "10.20.11.10/32"), broad]) == (broad,)


def test_what_no_element_can_say_is_refused() -> None:
    with pytest.raises(ValueError, match="names its protocol"):
        elements_in(PacketSet([Box(4, (0, 0), (0, 0))]))
    with pytest.raises(ValueError, match="selector"):
        elements_in(PacketSet([Box(4, (0, 0), (0, 0), (1, 1), (8, 8))]))


def test_a_thousand_rules_are_compared_while_somebody_waits() -> None:
    common, old, new = rules(900, 1), rules(100, 2), rules(100, 3)
    started = time.perf_counter()
    before, after = PacketSet(common + old), PacketSet(common + new)
    gone, come = before - after, after - before
    assert time.perf_counter() - started < 2.0  # 0.1 s on an idle core; the bound leaves room for a busy machine
    assert gone == PacketSet(old) - after
    assert come == PacketSet(new) - before
    assert before - gone | come == after


def test_sets_that_overlap_in_too_many_ways_are_refused_and_not_waited_for() -> None:
    chance = random.Random(4)

    def crossing() -> Interval:
        low = chance.randrange(2**31)
        return low, low + 2**31 - 1

    boxes = [Box(4, crossing(), crossing(), (6, 6), (chance.randrange(30000), 30000 + chance.randrange(30000))) for _ in range(80)]
    with pytest.raises(Refused) as refusal:
        build((box.ranges() for box in boxes), diagram.Budget(20_000))
    assert refusal.value.rule == "packet-set-too-complex"
