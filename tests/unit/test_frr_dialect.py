"""Words and readings of the FRR dialect, without a router."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from orchestrator.dialects.frr import FrrDialect
from orchestrator.domain.layer import DeviceChange, Layer, TrackedConnection
from orchestrator.errors import DeviceUnknown

DIALECT = FrrDialect()
LAYER = Layer(slot="internet-1", profile="internet", device="rtr", guard=("up0",), coarse=True)
CUT = """\
interface up0
 ip address 192.0.2.2/30
 shutdown
exit
!
ip prefix-list CONTAINMENT-E3-internet-1-up0 description containment slot internet-1 interface up0 epoch 3
"""


def printed(
    running: str = CUT,
    start_up: str = CUT,
    up: tuple[str, ...] = ("in0",),
    names: tuple[str, ...] = ("up0", "in0"),
    about: str = "=== generation\n=== loosened\n",
) -> str:
    links = [{"ifname": name, "flags": ["BROADCAST", *(["UP"] if name in up else [])]} for name in names]
    return f"=== links\n{json.dumps(links)}\n=== running\n{running}{about}=== start-up\n{start_up}=== end\n"


def test_a_router_that_holds_the_layer_reads_back_as_expected() -> None:
    assert DIALECT.parse(printed()) == DIALECT.expected((LAYER,)).model_copy(update={"epoch": 3})


def test_an_untouched_router_reads_back_as_empty() -> None:
    site = "interface up0\n shutdown\nexit\n"  # shut by the site itself: none of ours
    assert DIALECT.parse(printed(site, site)) == DIALECT.expected(())


def test_closed_is_what_is_down_in_operation() -> None:
    assert DIALECT.parse(printed(up=("up0", "in0"))).closed == ()
    assert DIALECT.parse(printed(names=("in0",))).closed == ()


def test_what_start_up_lacks_is_not_booted_with() -> None:
    assert DIALECT.parse(printed(start_up=CUT.replace(" shutdown\n", ""))).boots_with == ("internet-1",)
    assert DIALECT.parse(printed(start_up="")).boots_with == ()


def test_the_generation_is_the_highest_of_all_marks() -> None:
    older = CUT + "ip prefix-list CONTAINMENT-E2-internet-1-up0 description containment slot internet-1 interface up0 epoch 2\n"
    assert DIALECT.parse(printed(older)).epoch == 3
    assert DIALECT.parse(printed(older)).fingerprint == DIALECT.parse(printed()).fingerprint


def test_a_generation_that_was_raised_without_laying_counts_where_a_layer_lies() -> None:
    raised = "=== generation\n7\n=== loosened\n"
    assert DIALECT.parse(printed(about=raised)).epoch == 7
    assert DIALECT.parse(printed(about=raised)).fingerprint == DIALECT.parse(printed()).fingerprint
    assert DIALECT.parse(printed(about=raised.replace("7", "2"))).epoch == 3
    assert DIALECT.parse(printed("", "", about=raised)).epoch is None
    with pytest.raises(DeviceUnknown, match="generation"):
        DIALECT.parse(printed(about=raised.replace("7", "seven")))


def test_a_loosened_router_holds_nothing_shut_and_boots_with_the_layer() -> None:
    seen = DIALECT.parse(printed(CUT.replace(" shutdown\n", ""), up=("up0", "in0"), about="=== generation\n=== loosened\n42\n"))
    assert (seen.present, seen.slots, seen.closed, seen.loosened_s) == (False, {}, (), 42)
    assert seen.boots_with == ("internet-1", "up0")


def test_a_router_keeps_no_block_list() -> None:
    assert not DIALECT.traits.blocks
    for words in (DIALECT.block, DIALECT.unblock):
        with pytest.raises(ValueError, match="no block list"):
            words(())


def test_a_mark_that_somebody_has_filled_is_foreign() -> None:
    line = "ip prefix-list CONTAINMENT-E3-internet-1-up0 seq 5 permit any"
    assert DIALECT.parse(printed(CUT + line + "\n")).foreign == (line,)


@pytest.mark.parametrize("output", ["", printed().replace("=== end", ""), printed().replace("ifname", "name"), "=== links\n[\n=== end\n"])
def test_what_cannot_be_read_is_unknown(output: str) -> None:
    with pytest.raises(DeviceUnknown):
        DIALECT.parse(output)


def test_interfaces_are_shut_before_anything_else_is_said() -> None:
    lines = DIALECT.lay(LAYER).text.splitlines()
    assert lines[:2] == ["interface up0", " shutdown"]
    assert DIALECT.lay(LAYER).kind == "cli"


def test_connections_are_deleted_by_what_the_sender_sent() -> None:
    raw = (
        "ipv4     2 tcp      6 431999 ESTABLISHED src=198.51.100.7 dst=192.0.2.10 sport=40000 dport=9000"
        " src=10.20.28.51 dst=198.51.100.7 sport=9000 dport=40000 [ASSURED] mark=0 use=1"
    )
    connection = TrackedConnection(source=ip_address("198.51.100.7"), destination=ip_address("10.20.28.51"), protocol=6, port=9000, raw=raw)
    assert DIALECT.kill((connection,)).text == "4 6 198.51.100.7 192.0.2.10 40000 9000\n"
    assert DIALECT.parse_sessions(raw) == (connection.model_copy(update={"source_port": 40000}),)


def test_a_router_opens_interfaces_and_nothing_finer() -> None:
    with pytest.raises(ValueError, match="no interface"):
        DIALECT.open(DeviceChange(device="rtr"))
    with pytest.raises(ValueError, match="flow grain"):
        DIALECT.lay(LAYER.model_copy(update={"coarse": False}))
