"""The Open vSwitch dialect on a real switch with real traffic: port grain."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orchestrator.domain.layer import DeviceChange, Layer
from tests.lab.small_device import arriving, eventually
from tests.lab.small_switch import (
    ALSO_OUTSIDE,
    BOTH,
    DIALECT,
    INSIDE,
    OUTSIDE,
    PORT,
    START_DAEMON,
    STOP_DAEMON,
    SWITCH,
    Bench,
    small_switch,
)

pytestmark = pytest.mark.lab
SNIFF = """
import socket, sys, time
from_there = bytes.fromhex(sys.argv[1].replace(":", ""))
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.settimeout(0.2)
print("listening", flush=True)
seen, end = 0, time.monotonic() + 1.5
while time.monotonic() < end:
    try:
        seen += link.recv(2048)[6:12] == from_there
    except TimeoutError:
        pass
print(seen, "frames", flush=True)
"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    with small_switch() as bench:
        yield bench


def layer(*guard: str, slot: str = "internet-3fa29b1c") -> Layer:
    return Layer(slot=slot, profile=slot.split("-")[0], device="sw-dmz", guard=guard, coarse=True)


def release(*ports: str) -> DeviceChange:
    return DeviceChange(device="sw-dmz", releases=ports)


def test_a_parked_port_passes_nothing_in_either_direction_or_family(bench: Bench) -> None:
    established = [bench.outside.ask("connect", address.format(INSIDE), PORT) for address in BOTH]
    assert all(bench.outside.ask("alive", each) for each in established)
    assert bench.passes(bench.inside, OUTSIDE) == bench.passes(bench.outside, SWITCH) == [True, True]
    for address in BOTH:
        bench.outside.ask("stream", address.format(INSIDE), PORT)
        bench.inside.ask("stream", address.format(OUTSIDE), PORT)
        bench.outside.ask("stream", address.format(SWITCH), PORT)
        assert arriving(bench.inside, PORT, address.format(OUTSIDE)) > 10
        assert arriving(bench.outside, PORT, address.format(INSIDE)) > 10
        assert arriving(bench.switch, PORT, address.format(OUTSIDE)) > 10

    def nothing_crosses() -> None:
        assert [bench.outside.ask("alive", each) for each in established] == [False, False]
        assert bench.passes(bench.outside, INSIDE) == bench.passes(bench.inside, OUTSIDE) == [False, False]
        assert bench.passes(bench.outside, SWITCH) == bench.passes(bench.outside, 3) == [False, False]
        for address in BOTH:
            assert arriving(bench.inside, PORT, address.format(OUTSIDE)) == 0
            assert arriving(bench.outside, PORT, address.format(INSIDE)) == 0
            assert arriving(bench.switch, PORT, address.format(OUTSIDE)) == 0

    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=3)
    bench.switch.apply(DIALECT.persist(layer("p-ght")))
    nothing_crosses()
    assert bench.passes(bench.inside, 3) == [True, True]  # what is not guarded goes on
    for again in (lambda: bench.switch.run(STOP_DAEMON + START_DAEMON), bench.reboot):
        again()
        assert eventually(lambda: all(bench.passes(bench.inside, 3)))  # the switch works again, so that the silence counts
        nothing_crosses()
        assert bench.observed().fingerprint == DIALECT.expected((layer("p-ght"),)).fingerprint


def test_two_parked_ports_do_not_reach_each_other(bench: Bench) -> None:
    assert bench.passes(bench.outside, ALSO_OUTSIDE) == [True, True]
    bench.switch.apply(DIALECT.lay(layer("p-ght", "p-lab")), epoch=1)
    assert bench.passes(bench.outside, ALSO_OUTSIDE) == [False, False]


def test_a_port_that_carries_all_vlans_receives_nothing_of_a_parked_one(bench: Bench) -> None:
    bench.switch.run("ovs-vsctl set port h-in tag=[] trunks=[]")
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=1)
    address = json.loads(bench.outside.run("ip -j link show eth0"))[0]["address"]
    with subprocess.Popen(bench.inside.command(sys.executable, "-c", SNIFF, address), stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout is not None
        assert sniffer.stdout.readline() == "listening\n"
        bench.outside.try_run("ip neigh flush all; for i in 1 2 3; do ping -c 1 -W 0.2 192.0.2.77; done")
        assert sniffer.stdout.readline() == "0 frames\n"


def test_laying_and_lifting_leave_the_switch_as_it_was(bench: Bench) -> None:
    def everything() -> str:
        return bench.switch.run(
            "for t in Open_vSwitch Bridge Port Interface; do ovs-vsctl --columns=name,external_ids,other_config list $t 2>/dev/null"
            " || ovs-vsctl --columns=external_ids,other_config list $t; done; ovs-vsctl show; ovs-ofctl dump-flows --no-stats --sort br0;"
            " ovs-vsctl --columns=name,tag,vlan_mode,trunks,cvlans,protected list Port"
        )

    bench.switch.run("ovs-ofctl add-flow br0 priority=7,tcp,tp_dst=7,actions=drop")
    before, snapshot = everything(), bench.switch.apply(DIALECT.snapshot())
    bench.switch.apply(DIALECT.lay(layer("p-ght", "p-lab")), epoch=1)
    bench.switch.apply(DIALECT.lay(layer("p-ght", slot="total-1")), epoch=2)
    assert everything() != before
    assert bench.switch.apply(DIALECT.snapshot()) == snapshot
    assert bench.switch.refuses(DIALECT.lift(), epoch=1)
    bench.switch.apply(DIALECT.open(release("p-lab")), epoch=2, confirm=60)
    bench.switch.apply(DIALECT.confirm(release("p-lab")), epoch=2)
    assert bench.switch.apply(DIALECT.snapshot()) == snapshot
    bench.switch.apply(DIALECT.lift(), epoch=2)
    assert everything() == before
    assert bench.switch.apply(DIALECT.snapshot()) == snapshot
    assert bench.observed() == DIALECT.expected(())


def test_a_release_closes_by_itself_unless_confirmed(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=5)
    bench.switch.apply(DIALECT.open(release("p-ght")), epoch=5, confirm=2)
    assert bench.passes(bench.outside, INSIDE) == [True, True]
    assert bench.observed().closed == ()
    assert eventually(lambda: bench.observed().closed == ("p-ght",), 4)
    assert bench.passes(bench.outside, INSIDE) == [False, False]

    bench.switch.apply(DIALECT.open(release("p-ght")), epoch=5, confirm=2)
    bench.switch.apply(DIALECT.confirm(release("p-ght")), epoch=5)
    time.sleep(2.5)
    assert bench.passes(bench.outside, INSIDE) == [True, True]
    bench.reboot()
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))
    bench.switch.apply(DIALECT.close(release("p-ght")))
    bench.switch.apply(DIALECT.close(release("p-ght")))
    assert bench.passes(bench.outside, INSIDE) == [False, False]


def test_an_approved_end_closes_on_the_device_also_after_a_reboot(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=5)
    bench.switch.apply(DIALECT.open(release("p-ght")), epoch=5, confirm=60)
    bench.switch.apply(DIALECT.confirm(release("p-ght"), until=True), epoch=5, until=6)
    bench.reboot()
    assert bench.observed().closed == ()
    assert eventually(lambda: bench.observed().closed == ("p-ght",), 9)


def test_a_restart_inside_the_confirm_window_closes(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=5)
    bench.switch.apply(DIALECT.open(release("p-ght")), epoch=5, confirm=120)
    bench.reboot()
    assert eventually(lambda: all(bench.passes(bench.inside, 3)))
    assert bench.observed().closed == ("p-ght",)
    assert bench.passes(bench.outside, INSIDE) == [False, False]
    assert "not open" in bench.switch.refuses(DIALECT.confirm(release("p-ght")), epoch=5)


def test_a_late_command_is_refused_and_changes_nothing(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=5)
    bench.switch.apply(DIALECT.open(release("p-ght")), epoch=5, confirm=60)
    bench.switch.apply(DIALECT.lay(layer("p-lab", slot="vendors-2")), epoch=6)  # a narrower cut closes the opening too
    assert bench.observed().closed == ("p-ght", "p-lab")
    for late in (DIALECT.open(release("p-ght")), DIALECT.confirm(release("p-ght")), DIALECT.lift()):
        assert "late" in bench.switch.refuses(late, epoch=5, confirm=60)
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=4)  # a late cut lowers nothing
    assert bench.observed().epoch == 6
    assert bench.observed().closed == ("p-ght", "p-lab")


def test_a_missing_port_is_told_and_the_others_are_closed(bench: Bench) -> None:
    assert "no such port: p-gone" in bench.switch.refuses(DIALECT.lay(layer("p-gone", "p-ght")), epoch=1)
    assert bench.observed().closed == ("p-ght",)


def test_the_cut_does_not_wait_for_a_daemon_that_is_dead(bench: Bench) -> None:
    bench.switch.run(STOP_DAEMON)
    assert "did not confirm" in bench.switch.refuses(DIALECT.lay(layer("p-ght")), epoch=1)
    bench.switch.run(START_DAEMON)
    assert eventually(lambda: all(bench.passes(bench.inside, 3)))
    assert bench.observed().closed == ("p-ght",)


def test_an_entry_of_the_site_that_goes_past_the_parking_is_named(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=1)
    assert bench.observed().foreign == ()
    bench.switch.run("ovs-ofctl add-flow br0 priority=9,in_port=h-in,udp,actions=output:p-lab")
    assert bench.observed().foreign == ()
    bench.switch.run("ovs-ofctl add-flow br0 priority=9,in_port=h-in,tcp,actions=output:p-ght")
    assert len(bench.observed().foreign) == 1


def test_a_deny_of_the_site_on_a_released_port_still_denies(bench: Bench) -> None:
    for family in ("tcp", "tcp6"):
        bench.switch.run(f"ovs-ofctl add-flow br0 priority=9,in_port=p-ght,{family},tp_dst=9001,actions=drop")
    bench.inside.ask("serve", 9001)
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=1)
    bench.switch.apply(DIALECT.open(release("p-ght")), epoch=1, confirm=60)
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))
    assert [bench.outside.ask("connect", address.format(INSIDE), 9001) for address in BOTH] == [None, None]
    assert bench.inside.ask("connect", "127.0.0.1", 9001) is not None  # it does answer


def test_a_cut_between_the_check_and_the_opening_still_wins(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer("p-ght")), epoch=6)
    # A wrapper that has already looked at the generation, and was then held up while the cut raised it.
    bench.switch.run("sed -i 's/^fence() {/fence() { return 0;/; s/--timeout=8/--timeout=2/' /usr/local/sbin/containment-host")
    for late in (DIALECT.open(release("p-ght")), DIALECT.lift()):
        assert "newer generation" in bench.switch.refuses(late, epoch=5, confirm=60)
    assert bench.observed().closed == ("p-ght",)
