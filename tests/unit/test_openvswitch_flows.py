"""Flow grain on Open vSwitch, without a switch: what is rendered is parsed back, exactly, and matches what it should."""

from __future__ import annotations

import hashlib
import json
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dialects.openvswitch import OpenvswitchDialect
from orchestrator.dialects.openvswitch_compose import COMPOSE, FENCE_WORDS
from orchestrator.dialects.openvswitch_flows import OURS, Entry, entries_of, port_pieces
from orchestrator.dialects.openvswitch_tables import (
    FIRST_SLOT,
    NEXT,
    PASSED,
    THIS,
    block_entries,
    epoch_table,
    fixed_entries,
    generation_entry,
    lock_entry,
    loosened_entry,
    own_end,
    port_entries,
    slots_entry,
    stand_in,
)
from orchestrator.domain.layer import ESP, TCP, UDP, DeviceChange, Element, Layer, Opening
from orchestrator.domain.packet_elements import disjoint

DIALECT = OpenvswitchDialect()
EPOCH = 152
WRAPPER = Path(__file__).parents[2] / "playbooks/files/containment-host"


@st.composite
def prefixes(draw: st.DrawFn, family: int) -> IPv4Network | IPv6Network:
    bits, whole = (32, IPv4Network) if family == 4 else (128, IPv6Network)
    length = draw(st.sampled_from([0, 8, 24, 29, bits - 1, bits]))
    number = draw(st.integers(0, 2**bits - 1))
    return whole((number >> (bits - length) << (bits - length), length))


@st.composite
def elements(draw: st.DrawFn) -> Element:
    family = draw(st.sampled_from([4, 6]))
    protocol = draw(st.sampled_from([TCP, UDP, 1, 58, ESP, 132, 47]))
    ports = None
    if protocol in (TCP, UDP):
        low = draw(st.integers(1, 65535))
        ports = (low, min(65535, low + draw(st.sampled_from([0, 1, 2, 7, 900, 65535]))))
    return Element(source=draw(prefixes(family)), destination=draw(prefixes(family)), protocol=protocol, ports=ports)


GUARDS = st.lists(st.sampled_from(["p-ght", "p-lab", "fwext-in"]), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    scope = draw(st.lists(st.sampled_from([4, 6]).flatmap(prefixes), max_size=3))
    keep = disjoint(draw(st.lists(elements(), max_size=4)))
    slot = draw(st.sampled_from(["internet-3fa29b1c", "total-1", "vendors-2"]))
    return Layer(slot=slot, profile=slot.split("-")[0], device="sw", guard=draw(GUARDS), scope=tuple(scope), keep=keep)


def heredocs(text: str) -> list[str]:
    return [body for _, body in re.findall(r"<<'?(LAYER|FLOWS)'?[^\n]*\n(.*?)\n\1\n", text, flags=re.S)]


def dumped(line: str, *, seconds: int | None = None) -> str:
    """An entry of ours as `ovs-ofctl dump-flows` prints it: other order, counters, the time it has lain."""
    rest, _, actions = line.partition(",actions=")
    cookie, table, priority, *match = rest.split(",")
    limit = f" hard_timeout={seconds}," if seconds is not None else ""
    words = ",".join([priority, *reversed(match)]).replace("in_port=p-ght", 'in_port="p-ght"')
    return f" {cookie}, duration=3.5s, {table}, n_packets=7, n_bytes=90,{limit} idle_age=2, {words} actions={actions}"


def switch(laid: tuple[Layer, ...], openings: str = "", *, without: str = "\n", more: tuple[str, ...] = ()) -> str:
    """What the read-back prints of a switch to which these layers and then these openings were rendered."""
    by_slot = {layer.slot: layer for layer in laid}
    guard = sorted({port for layer in by_slot.values() for port in layer.guard})
    entries: list[Entry] = [*fixed_entries(), generation_entry(epoch_table(EPOCH)), lock_entry(EPOCH), slots_entry()]
    entries += [entry for port in guard for entry in port_entries(port, own_end(stand_in(port)))]
    lines = [dumped(entry.text()) for entry in entries]
    files = []
    for position, slot in enumerate(sorted(by_slot)):
        (file,) = [body for body in heredocs(DIALECT.lay(by_slot[slot]).text) if THIS in body and "@PORT@" not in body]
        last = position + 1 == len(by_slot)
        files.append(f"file {hashlib.sha256((file + chr(10)).encode()).hexdigest()} /etc/containment/{slot}.flows")
        for line in file.splitlines():
            plain = re.sub(r"^PORT \S+ ", "", line).replace(THIS, str(FIRST_SLOT + position))
            lines.append(dumped(plain.replace(NEXT, str(PASSED if last else FIRST_SLOT + position + 1))))
    for line in openings.splitlines():
        if words := re.fullmatch(r"add check_overlap,(?:hard_timeout=(\d+),)?(.*)", line):
            text = words[2].replace("$table", str(epoch_table(EPOCH)))
            lines.append(dumped(text, seconds=int(words[1]) if words[1] else None))
    ports = []
    for port in guard:
        claims = [[f"containment-flow-{layer.slot}", str(EPOCH)] for layer in by_slot.values() if port in layer.guard]
        about = [["containment-stands", stand_in(port)], ["containment-bridge", "br0"], ["containment-number", "3;[]"]]
        ports.append([port, ["map", [*claims, *about]]])
        ports.append([stand_in(port), ["map", [["containment-for", port]]]])
    patches = [(name, peer) for port in guard for name, peer in both_ways(stand_in(port), own_end(stand_in(port)))]
    empty: list[Any] = ["set", []]
    sections = {
        "switch": table(["external_ids", "cur_cfg", "next_cfg"], [[["map", [["containment-epoch", str(EPOCH)]]], 7, 7]]),
        "ports": table(
            ["name", "external_ids", "vlan_mode", "tag", "trunks", "cvlans", "protected"],
            [[name, ids, empty, 60, empty, empty, False] for name, ids in ports],
        ),
        "interfaces": table(["name", "type", "options"], [[name, "patch", ["map", [["peer", peer]]]] for name, peer in patches]),
        "bridges": table(["name", "fail_mode", "controller", "mirrors"], [["containment", "secure", empty, empty]]),
        "layer": "\n".join(
            [
                *(f"port {name}" for port in guard for name in (port, own_end(stand_in(port)))),
                *(line for line in lines if without not in line),
                *more,
                *files,
            ]
        ),
        "entries": "bridge br0\n cookie=0x0, priority=0 actions=NORMAL",
    }
    return "\n".join([*(f"=== {name}\n{text}" for name, text in sections.items()), "=== end"])


def both_ways(one: str, other: str) -> list[tuple[str, str]]:
    return [(one, other), (other, one)]


def table(headings: list[str], rows: list[list[Any]]) -> str:
    return json.dumps({"headings": headings, "data": rows})


def change_of(opened: list[Element]) -> DeviceChange:
    openings = tuple(Opening(flow="f", partner="p", element=element) for element in disjoint(opened))
    return DeviceChange(device="sw", openings=openings)


@settings(max_examples=60, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=3, unique_by=lambda layer: layer.slot), st.lists(elements(), max_size=4), st.booleans())
def test_what_is_rendered_is_parsed_back_equal(laid: list[Layer], opened: list[Element], lasting: bool) -> None:
    change = change_of(opened)
    text = ""
    if change.openings:
        text = (DIALECT.confirm(change) if lasting else DIALECT.open(change)).filled(epoch=EPOCH, confirm=60).text
    seen = DIALECT.parse(switch(tuple(laid), text))
    assert seen.foreign == ()
    assert [element for element, packets in seen.counted if packets and packets % 7 == 0] == list(change.elements)
    assert seen == DIALECT.expected(tuple(laid)).model_copy(
        update={
            "epoch": EPOCH,
            "slots": seen.slots,
            "opened": change.elements,
            "temporary": () if lasting else tuple((element, 56) for element in change.elements),
        }
    )
    assert seen.slots == DIALECT.expected(tuple(laid)).slots


def evaluate(match: frozenset[str], source: Any, destination: Any, protocol: int, port: int) -> bool:
    """Whether a first packet matches: an interpreter of its own for the words of an entry."""
    names = {"tcp": (4, 6), "udp": (4, 17), "icmp": (4, 1), "sctp": (4, 132), "ip": (4, None)}
    names |= {"tcp6": (6, 6), "udp6": (6, 17), "icmp6": (6, 58), "sctp6": (6, 132), "ipv6": (6, None)}
    for word in match:
        name, _, value = word.partition("=")
        if name in names:
            family, number = names[name]
            if source.version != family or number not in (None, protocol):
                return False
        elif name in ("nw_src", "ipv6_src", "nw_dst", "ipv6_dst"):
            if (source if name.endswith("src") else destination) not in ip_network(value):
                return False
        elif name == "nw_proto":
            if protocol != int(value):
                return False
        elif name == "tp_dst":
            wanted, _, mask = value.partition("/")
            if port & (int(mask, 16) if mask else 0xFFFF) != int(wanted, 0):
                return False
        elif word != "ct_state=+new+trk":
            return False
    return True


@settings(max_examples=150, deadline=None)
@given(elements(), st.data())
def test_the_entries_of_an_element_match_its_packets_and_no_others(element: Element, data: st.DataObject) -> None:
    def near(prefix: IPv4Network | IPv6Network) -> IPv4Address | IPv6Address:
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        top = 2**prefix.max_prefixlen - 1
        number = data.draw(st.sampled_from([first, last, max(0, first - 1), min(top, last + 1), first ^ 1]))
        return IPv4Address(number) if isinstance(prefix, IPv4Network) else IPv6Address(number)

    low, high = element.ports or (1, 1)
    port = data.draw(st.sampled_from([low, high, max(1, low - 1), min(65535, high + 1), (low + high) // 2]))
    protocol = data.draw(st.sampled_from([element.protocol, TCP, ESP]))
    source, destination = near(element.source), near(element.destination)
    matched = any(evaluate(entry.match, source, destination, protocol, port) for entry in entries_of(element, OURS, 20, "drop"))
    assert matched is element.matches(source, destination, protocol, port if protocol in (TCP, UDP) else None)


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_pieces_of_a_port_range_are_the_range_without_overlap(one: int, other: int) -> None:
    low, high = sorted((one, other))
    covered = [(value, value + (0xFFFF & ~mask)) for value, mask in port_pieces((low, high))]
    assert len(covered) <= 30
    assert covered[0][0] == low
    assert covered[-1][1] == high
    assert all(end + 1 == start for (_, end), (start, _) in pairwise(covered))


ONE = Layer(slot="internet-1", profile="internet", device="sw", guard=("p-ght",))
WEB = Element(source=ip_network("192.0.2.0/29"), destination=ip_network("192.0.2.64/32"), protocol=TCP, ports=(9000, 9002))


def opened_web() -> str:
    return DIALECT.open(change_of([WEB])).filled(epoch=EPOCH, confirm=60).text


@pytest.mark.parametrize(
    "line",
    [
        "cookie=0x0, table=0, priority=40,in_port=p-ght actions=output:own-5e03d74f",
        "cookie=0xc047a20000000001, table=102, priority=30,ct_state=+new+trk,tcp,tp_dst=22 actions=set_field:0x1->reg15",
        "cookie=0xc047a10000000000, table=20, priority=25,arp actions=resubmit(,5)",
        "cookie=0xc047a10000000000, table=5, priority=90,tcp actions=NORMAL",
        "cookie=0xc047a30000000000, table=4, idle_timeout=600, priority=30,ip,nw_proto=50 actions=load:0x1->NXM_NX_REG15[]",
        "cookie=0xc047a10000000000, table=77, priority=5,ip,nw_src=10.0.0.0/255.0.255.0 actions=drop",
    ],
)
def test_whatever_else_lies_in_our_bridge_is_named(line: str) -> None:
    seen = DIALECT.parse(switch((ONE,), opened_web(), more=(f" {line}",)))
    assert any(line.split(", ")[-1].split(" actions=")[1] in foreign for foreign in seen.foreign), seen.foreign
    assert DIALECT.parse(switch((ONE,), opened_web())).foreign == ()


@pytest.mark.parametrize("without", ["table=20,", "table=2,", "reg15=0x1,", "ct_tp_dst=", "commit", 'in_port="p-ght"'])
def test_whatever_is_missing_from_our_bridge_is_named(without: str) -> None:
    assert DIALECT.parse(switch((ONE,), opened_web(), without=without)).foreign


def test_an_opening_of_an_older_generation_is_inert_and_no_finding() -> None:
    late = opened_web().replace("$table", str(epoch_table(EPOCH - 1)))
    seen = DIALECT.parse(switch((ONE,), late))
    assert (seen.opened, seen.temporary, seen.foreign) == ((), (), ())


def test_a_bridge_that_is_gone_is_named() -> None:
    output = switch((ONE,)).replace('"containment", "secure"', '"other", "secure"')
    assert DIALECT.parse(output).slots == {}
    assert any("gone" in line for line in DIALECT.parse(output).foreign)


def test_the_device_composes_with_the_same_words_after_a_restart() -> None:
    assert COMPOSE in WRAPPER.read_text(encoding="utf-8")
    assert FENCE_WORDS in WRAPPER.read_text(encoding="utf-8")


def test_locks_of_two_generations_overlap_and_are_not_equal() -> None:
    locks = {epoch: lock_entry(epoch) for epoch in (1, 2, 3, 4, 7, 8, 150, 151, 2**31)}
    assert len({entry.match for entry in locks.values()}) == len(locks)
    for epoch, entry in locks.items():  # one packet, with all bits set, matches every one of them
        (word,) = entry.match
        value, _, mask = word.removeprefix("reg0=").partition("/")
        assert (int(value, 16), int(mask, 16)) == (epoch, epoch)


BLOCKED = tuple(ip_network(text) for text in ("192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"))


def block_lines() -> tuple[str, ...]:
    return tuple(dumped(entry.text()) for entry in block_entries(BLOCKED))


def test_a_block_list_is_read_back_and_half_of_it_is_named() -> None:
    filed = tuple(f"blocked {network}" for network in BLOCKED)
    seen = DIALECT.parse(switch((ONE,), more=(*block_lines(), *filed)))
    assert (seen.blocked, seen.foreign) == (BLOCKED, ())
    assert seen.fingerprint != DIALECT.parse(switch((ONE,))).fingerprint
    assert "block list" in DIALECT.parse(switch((ONE,), more=block_lines())).foreign[0]
    assert DIALECT.parse(switch((ONE,), more=filed)).blocked == ()
    for line in block_lines():
        rest = tuple(each for each in block_lines() if each != line)
        assert DIALECT.parse(switch((ONE,), more=(*rest, *filed))).foreign
    with pytest.raises(ValueError, match="no network"):
        DIALECT.block(())


def test_a_loosened_layer_lies_not_and_says_for_how_long() -> None:
    loose = dumped(loosened_entry().text(), seconds=60)
    seen = DIALECT.parse(switch((ONE,), opened_web(), more=(loose,)))
    assert (seen.present, seen.slots, seen.loosened_s, seen.opened) == (False, {}, 56, (WEB,))
    lasting = DIALECT.parse(switch((ONE,), more=(dumped(loosened_entry().text()),)))
    assert lasting.foreign, "nothing of ours takes the layer off without an end"


def test_the_words_depend_on_nothing_but_the_layer() -> None:
    turned = ONE.model_copy(update={"guard": ("p-lab", "p-ght")})
    assert DIALECT.lay(turned) == DIALECT.lay(ONE.model_copy(update={"guard": ("p-ght", "p-lab")}))
    assert "{epoch}" in DIALECT.lay(ONE).text
    assert DIALECT.expected((ONE,)).slots != DIALECT.expected((ONE.model_copy(update={"coarse": True}),)).slots
