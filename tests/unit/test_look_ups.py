"""Look-ups that replace a search must find what the search finds: elements, prefixes, names, canonical form."""

from __future__ import annotations

import gc
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.address_text import address_text, host_or_prefix_text, prefix_text
from orchestrator.domain.canonical import canonical
from orchestrator.domain.element_index import ElementIndex
from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.prefix_table import PrefixTable
from orchestrator.service.garbage import without_collecting
from tests.unit.hand_made import SITE, flow, policy, stage
from tests.unit.packet_points import SPANS

PREFIXES = st.builds(
    lambda value, length: ip_network((value >> (32 - length) << (32 - length), length)), st.integers(0, 15), st.integers(28, 32)
) | st.sampled_from([ip_network("0.0.0.0/0"), ip_network("0.0.0.0/29")])
PORTS = SPANS.map(lambda ports: (ports[0] + 1, ports[1] + 1))
ELEMENTS = st.builds(Element, source=PREFIXES, destination=PREFIXES, protocol=st.just(6), ports=PORTS) | st.builds(
    Element, source=PREFIXES, destination=PREFIXES, protocol=st.sampled_from([1, 50])
)


@given(st.lists(ELEMENTS, max_size=8), st.lists(ELEMENTS, max_size=4), ELEMENTS)
def test_overlaps_are_found_before_and_after_more_is_added(first: list[Element], later: list[Element], asked: Element) -> None:
    index = ElementIndex(first)
    for held in (first, [*first, *later]):
        wanted = {other for other in held if packets_of([other]) & packets_of([asked])}
        assert set(index.overlapping(asked)) == wanted
        assert index.holds(asked) == (packets_of([asked]) <= packets_of(held))
        index.add(later)


def test_families_never_overlap() -> None:
    six = Element(source=ip_network("::/0"), destination=ip_network("::/0"), protocol=50)
    four = Element(source=ip_network("0.0.0.0/0"), destination=ip_network("0.0.0.0/0"), protocol=50)
    assert list(ElementIndex([six]).overlapping(four)) == []


@given(ELEMENTS, ELEMENTS)
def test_the_key_of_an_element_says_all_of_it(one: Element, other: Element) -> None:
    assert (one.key == other.key) == (one.model_dump() == other.model_dump())
    again = Element.model_validate(one.model_dump(mode="json"))
    assert (again, hash(again), again.key) == (one, hash(one), one.key)
    assert one.model_copy(update={"source": other.source}).key[2:4] == other.key[2:4]


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 2**128 - 1), st.integers(0, 128))
def test_prefixes_are_written_as_ever(four: int, length4: int, six: int, length6: int) -> None:
    for prefix in (IPv4Network((four, length4), strict=False), IPv6Network((six, length6), strict=False)):
        assert prefix_text(prefix) == str(prefix)
        assert host_or_prefix_text(prefix) == str(prefix.network_address if prefix.num_addresses == 1 else prefix)
        assert address_text(prefix.network_address) == str(prefix.network_address)
    for scoped in (IPv6Network("fe80::%eth0/64"), IPv6Network("fe80::%eth1/64")):
        assert prefix_text(scoped) == str(scoped)
        assert address_text(scoped.network_address) == str(scoped.network_address)


@given(st.lists(PREFIXES, max_size=8), st.integers(0, 20), PREFIXES)
def test_the_longest_prefix_and_those_around_another(prefixes: list[Any], number: int, asked: Any) -> None:
    table = PrefixTable((prefix, prefix) for prefix in prefixes)
    address = ip_address(number)
    holding = [prefix for prefix in prefixes if address in prefix]
    assert table.longest(address) == max(holding, key=lambda prefix: prefix.prefixlen, default=None)
    around = sorted({prefix for prefix in prefixes if asked.subnet_of(prefix)}, key=lambda prefix: -prefix.prefixlen)
    assert list(table.around(asked)) == around


def test_of_two_equal_prefixes_the_first_counts() -> None:
    table = PrefixTable([(ip_network("10.0.0.0/8"), "first"), (ip_network("10.0.0.0/8"), "second")])
    assert table.longest(ip_address("10.1.2.3")) == "first"
    assert table.longest(ip_address("::1")) is None


def test_a_changed_copy_knows_its_own_names() -> None:
    before = policy(flow(), stages=(stage("flow"),))
    assert before.flow("flow").direction == "in"
    after = before.model_copy(update={"flows": (flow(direction="out"), flow("other"))})
    assert after.flow("flow").direction == "out"
    assert after.flow("other").name == "other"
    with pytest.raises(KeyError):
        before.flow("other")
    smaller = SITE.model_copy(update={"zones": SITE.zones[1:]})
    assert SITE.zone("internet").is_external
    assert SITE.zone_of(ip_address("192.0.2.200")).name == "internet"
    with pytest.raises(KeyError):
        smaller.zone("internet")
    with pytest.raises(KeyError):
        smaller.zone_of(ip_address("192.0.2.200"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_the_canonical_form_is_that_of_the_reference(value: Any) -> None:
    try:
        wanted = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        with pytest.raises(rfc8785.CanonicalizationError):
            canonical(value)
    else:
        assert canonical(value) == wanted


@pytest.mark.parametrize("value", [2**53, float("nan"), {1: 2}, "\ud800", {"a"}])
def test_what_has_no_canonical_form_is_refused_as_before(value: Any) -> None:
    with pytest.raises((rfc8785.CanonicalizationError, UnicodeEncodeError)) as ours:
        canonical(value)
    with pytest.raises(type(ours.value)):
        rfc8785.dumps(value)


def test_collection_comes_back_whatever_happens() -> None:
    with without_collecting():
        assert not gc.isenabled()
        with without_collecting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), without_collecting():
        raise ZeroDivisionError
    assert gc.isenabled()
