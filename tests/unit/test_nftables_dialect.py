"""The words of the nftables dialect; what they do to packets is tested in tests/lab/test_nftables_layer.py."""

from __future__ import annotations

import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dialects import dialect_for
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.dialects.nftables_boxes import disjoint, refuse_overlap
from orchestrator.domain.layer import DeviceChange, Element, Layer, Opening, ordered
from orchestrator.domain.packet_elements import packets_of
from orchestrator.errors import DeviceUnknown, UnknownName

DIALECT = NftablesDialect()
TCP = 6


def box(source: str, destination: str, *ports: int, protocol: int = TCP) -> Element:
    return Element(
        source=ip_network(source), destination=ip_network(destination), protocol=protocol, ports=(ports[0], ports[-1]) if ports else None
    )


def layer(*keep: Element, slot: str = "internet-3fa29b1c", guard: tuple[str, ...] = ("wan0",)) -> Layer:
    return Layer(slot=slot, profile="internet", device="fw", guard=guard, keep=keep)


def opening(*elements: Element) -> DeviceChange:
    return DeviceChange(device="fw", openings=tuple(Opening(flow="f", partner="p", element=element) for element in elements))


_hosts = st.integers(0, 7).map(lambda n: ip_address(f"192.0.2.{n}"))
_nets = st.builds(lambda host, size: ip_network(f"{host}/32").supernet(new_prefix=size), _hosts, st.integers(29, 32))
_ranges = st.tuples(st.integers(1, 6), st.integers(1, 6)).map(lambda pair: (min(pair), max(pair)))
_boxes = st.builds(Element, source=_nets, destination=_nets, protocol=st.just(TCP), ports=_ranges)


@given(st.lists(_boxes, max_size=5), _hosts, _hosts, st.integers(1, 6))
def test_disjoint_boxes_hold_exactly_the_same_packets(boxes: list[Element], source, destination, port) -> None:  # type: ignore[no-untyped-def]
    made = disjoint(boxes)
    holding = [one for one in made if one.matches(source, destination, TCP, port)]
    assert len(holding) == any(one.matches(source, destination, TCP, port) for one in boxes)


@given(st.lists(_boxes, max_size=5))
def test_disjoint_does_not_depend_on_the_order(boxes: list[Element]) -> None:
    assert disjoint(boxes) == disjoint(reversed(boxes))
    for one, other in combinations(disjoint(boxes), 2):
        assert not (
            one.source.overlaps(other.source)
            and one.destination.overlaps(other.destination)
            and one.ports is not None
            and other.ports is not None
            and one.ports[0] <= other.ports[1]
            and other.ports[0] <= one.ports[1]
        )


def test_openings_inside_another_are_left_out_and_partial_overlaps_refused() -> None:
    broad, narrow = box("192.0.2.0/24", "10.20.11.10/32", 443), box("192.0.2.7/32", "10.20.11.10/32", 443)
    assert refuse_overlap((narrow, broad)) == (broad,)
    with pytest.raises(ValueError, match="overlap in part"):
        DIALECT.open(opening(box("192.0.2.0/24", "10.20.11.10/32", 443), box("192.0.2.7/32", "10.20.11.0/24", 443)))


_between_hosts = st.builds(
    Element, source=_hosts.map(ip_network), destination=_hosts.map(ip_network), protocol=st.just(TCP), ports=_ranges
)  # fmt: skip


@given(st.lists(_boxes | _between_hosts, max_size=5) | st.lists(_between_hosts, max_size=6))
def test_what_is_left_out_and_what_is_refused_is_as_the_packets_say(boxes: list[Element]) -> None:
    sets = {one: packets_of([one]) for one in boxes}
    kept = [one for one in ordered(boxes) if not any(sets[one] <= sets[other] for other in sets if other != one)]
    if any(sets[one] & sets[other] for one, other in combinations(kept, 2)):
        with pytest.raises(ValueError, match="overlap in part"):
            refuse_overlap(tuple(boxes))
    else:
        assert refuse_overlap(tuple(boxes)) == tuple(kept)


def test_nothing_to_release_on_a_firewall() -> None:
    with pytest.raises(ValueError, match="no guard to release"):
        DIALECT.open(DeviceChange(device="fw", releases=("wan0",)))


def test_only_the_promised_placeholders_are_left_to_fill() -> None:
    change = opening(box("192.0.2.7/32", "10.20.11.10/32", 443))
    allowed = {
        DIALECT.lay(layer()): {"epoch"}, DIALECT.persist(layer()): {"epoch"}, DIALECT.open(change): {"epoch", "confirm"},
        DIALECT.confirm(change): {"epoch"}, DIALECT.confirm(change, until=True): {"epoch", "until"}, DIALECT.lift(): {"epoch"},
        DIALECT.close(change): set(), DIALECT.read_back(): set(), DIALECT.sessions(): set(), DIALECT.snapshot(): set(),
    }  # fmt: skip
    for script, names in allowed.items():
        assert set(re.findall(r"(?<!\$)\{([a-z]+)\}", script.command + script.text)) == names


def test_every_opening_script_begins_with_the_fence() -> None:
    change = opening(box("192.0.2.7/32", "10.20.11.10/32", 443))
    for script in (DIALECT.open(change), DIALECT.confirm(change)):
        first, second, *_ = script.filled(epoch=7).text.splitlines()
        assert (first, second) == ("delete element inet containment epoch { 7 }", "add element inet containment epoch { 7 }")


def test_nothing_accepts_established_connections() -> None:
    assert "established" not in DIALECT.lay(layer(box("192.0.2.0/24", "10.20.11.10/32", 443))).text


def test_the_fingerprint_sees_what_matters_and_not_how_it_was_written() -> None:
    one, two = box("192.0.2.0/25", "10.20.11.10/32", 443), box("192.0.2.128/25", "10.20.11.10/32", 443)
    slots = DIALECT.expected((layer(one, two, guard=("wan0", "lte0")),)).slots
    assert slots == DIALECT.expected((layer(two, one, one, guard=("lte0", "wan0")),)).slots
    assert slots != DIALECT.expected((layer(one, guard=("wan0", "lte0")),)).slots
    assert slots != DIALECT.expected((layer(one, two),)).slots


CUT_OFF = "=== structure\ntable inet containment {\n\tchain a {\n=== boot\n=== end\n"


@pytest.mark.parametrize("output", ["", "=== boot\n", CUT_OFF, "Permission denied\n"])
def test_a_read_back_that_was_cut_off_is_unknown(output: str) -> None:
    with pytest.raises(DeviceUnknown):
        DIALECT.parse(output)


def test_a_fast_path_past_the_layer_is_named() -> None:
    seen = DIALECT.parse("=== fast paths\ntable inet site {\n\tflowtable quick {\n=== boot\n=== end\n")
    assert seen.foreign == ("fast path past the layer: flowtable quick",)


LISTING = """\
ipv4     2 tcp      6 431999 ESTABLISHED src=198.51.100.2 dst=203.0.113.20 sport=4711 dport=443 src=10.20.11.10 dst=198.51.100.2 sport=8443 dport=4711 [ASSURED] mark=0 use=1
ipv4     2 unknown  50 2999 src=198.51.100.2 dst=10.20.21.10 [UNREPLIED] src=10.20.21.10 dst=198.51.100.2 mark=0 use=1
ipv6     10 icmpv6   58 29 src=2001:db8::1 dst=2001:db8::2 type=128 code=0 id=77 src=2001:db8::2 dst=2001:db8::1 type=129 code=0 id=77 mark=0 use=1
conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown.
=== neighbours
198.51.100.2 dev wan0 lladdr 02:00:00:00:00:01 REACHABLE
"""  # noqa: E501 (as the tool prints it)


def test_sessions_have_untranslated_ends() -> None:
    tcp, esp, ping = DIALECT.parse_sessions(LISTING)
    assert (str(tcp.source), tcp.source_port, str(tcp.destination), tcp.port, tcp.protocol) == (
        "198.51.100.2",
        4711,
        "10.20.11.10",
        8443,
        6,
    )
    assert (str(esp.destination), esp.port, esp.protocol) == ("10.20.21.10", None, 50)
    assert (ping.source.version, ping.port, ping.protocol) == (6, None, 58)


def test_killing_names_the_original_tuple_and_nothing_else() -> None:
    tcp, esp, ping = DIALECT.parse_sessions(LISTING)
    lines = DIALECT.kill((tcp, esp, ping)).text.splitlines()
    assert {"4 6 198.51.100.2 203.0.113.20 4711 443", "4 50 198.51.100.2 10.20.21.10", "6 58 2001:db8::1 2001:db8::2 128 0 77"} <= set(
        lines
    )
    assert sum(line.startswith("-D ") for line in lines) == 3
    with pytest.raises(ValueError, match="not a connection tracking entry"):
        DIALECT.kill((tcp.model_copy(update={"raw": "tcp"}),))


def test_only_the_dialect_asked_for_is_imported() -> None:
    code = "import sys; from orchestrator.dialects import dialect_for; dialect_for('nftables'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "orchestrator.dialects.nftables" in loaded
    assert not {"orchestrator.dialects.frr", "orchestrator.dialects.openvswitch", "netmiko"} & set(loaded)
    with pytest.raises(UnknownName):
        dialect_for("abacus")
