"""Flow grain on a real switch with real traffic: pinholes in a port that is otherwise closed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orchestrator.domain.layer import ESP, TCP, UDP, DeviceChange, Layer, Opening
from tests.lab.small_device import Machine, eventually
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
)
from tests.lab.switch_flows import DENIED, EVERYTHING, KEPT, alive, box, flow_switch, inwards, layer, reached

pytestmark = pytest.mark.lab
LISTEN = """
import socket
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
raw.settimeout(1)
print("listening", flush=True)
try:
    raw.recv(99)
    print("heard", flush=True)
except TimeoutError:
    print("nothing", flush=True)
"""
SEND = """
import socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
for _ in range(3):
    raw.sendto(bytes(40), (sys.argv[1], 0))
"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    with flow_switch() as bench:
        yield bench


def test_a_pinhole_passes_both_ways_and_nothing_else_does(bench: Bench) -> None:
    established = [bench.outside.ask("connect", address.format(INSIDE), PORT) for address in BOTH]
    for address in BOTH:
        bench.outside.ask("stream", address.format(INSIDE), PORT)
        bench.inside.ask("stream", address.format(OUTSIDE), PORT)
    assert streams(bench) == [True] * 4
    kept = [box(OUTSIDE, INSIDE, TCP, (KEPT, KEPT), family) for family in (4, 6)]
    in_use = [bench.outside.ask("connect", address.format(INSIDE), KEPT) for address in BOTH]

    bench.switch.apply(DIALECT.lay(layer(*kept)), epoch=3)
    bench.switch.apply(DIALECT.persist(layer(*kept)))
    assert bench.observed() == DIALECT.expected((layer(*kept),)).model_copy(update={"epoch": 3})
    assert alive(bench.outside, in_use) == {True}  # what is kept lives on
    assert alive(bench.outside, established) == {False}
    assert reached(bench) == {KEPT}
    assert reached(bench, bench.inside, OUTSIDE) == reached(bench, number=SWITCH) == set()
    assert PORT in reached(bench, bench.inside, ALSO_OUTSIDE)  # what is not guarded goes on
    assert streams(bench) == [False] * 4

    change = inwards(PORT, DENIED)
    bench.switch.apply(DIALECT.open(change), epoch=3, confirm=60)
    seen = bench.observed()
    assert set(seen.opened) == {element for element, _ in seen.temporary} == set(change.elements)
    assert seen.foreign == ()
    assert reached(bench) == {PORT, KEPT}, "a deny of the site under a pinhole still denies"
    assert reached(bench, bench.inside, OUTSIDE) == set(), "a pinhole has a direction"
    assert streams(bench) == [False] * 4, "a pinhole has a protocol"

    sessions = [bench.outside.ask("connect", address.format(INSIDE), PORT) for address in BOTH]
    assert alive(bench.outside, sessions) == {True}
    bench.switch.apply(DIALECT.close(change))
    bench.switch.apply(DIALECT.close(change))
    assert eventually(lambda: alive(bench.outside, sessions) == {False})
    assert reached(bench) == {KEPT}


def streams(bench: Bench) -> list[bool]:
    """Whether the one-way datagrams arrive: inwards, outwards, both families; counted at the receivers."""
    ends = [(machine, address.format(source)) for address in BOTH for machine, source in ((bench.inside, OUTSIDE), (bench.outside, INSIDE))]
    before = [machine.ask("counts", PORT).get(source, 0) for machine, source in ends]
    time.sleep(0.4)
    return [machine.ask("counts", PORT).get(source, 0) > count for (machine, source), count in zip(ends, before, strict=True)]


def test_an_opening_ends_by_itself_unless_it_is_confirmed(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=2)
    session = bench.outside.ask("connect", BOTH[0].format(INSIDE), PORT)
    assert bench.outside.ask("alive", session)
    assert eventually(lambda: bench.observed().opened == ())
    assert eventually(lambda: not bench.outside.ask("alive", session))
    assert PORT not in reached(bench)
    assert "window has passed" in bench.switch.refuses(DIALECT.confirm(inwards(PORT)), epoch=5)
    assert PORT not in reached(bench)

    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=60)
    bench.switch.apply(DIALECT.confirm(inwards(PORT)), epoch=5)
    assert bench.observed().temporary == ()
    assert set(bench.observed().opened) == set(inwards(PORT).elements)
    assert "65535" in bench.switch.refuses(DIALECT.confirm(inwards(PORT), until=True), epoch=5, until=70_000)
    bench.switch.apply(DIALECT.confirm(inwards(PORT), until=True), epoch=5, until=3000)
    assert {2990 < left <= 3000 for _, left in bench.observed().temporary} == {True}
    assert PORT in reached(bench)


def test_a_late_opening_changes_nothing(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=60)
    bench.switch.apply(DIALECT.lay(layer(guard=("p-lab",), slot="vendors-2")), epoch=6)  # another cut closes the opening too
    assert bench.observed().opened == ()
    assert PORT not in reached(bench)
    for late in (DIALECT.open(inwards(PORT)), DIALECT.confirm(inwards(PORT)), DIALECT.lift()):
        assert "late" in bench.switch.refuses(late, epoch=5, confirm=60)
    # One that has looked at the generation already, and was then held up while the cut raised it.
    held_up = DIALECT.open(inwards(PORT)).filled(epoch=5, confirm=60)
    text = held_up.text.replace('[ "$held" = 5 ] ||', "false &&")
    assert text != held_up.text
    said = bench.switch.try_run(held_up.command, text)
    assert (said.returncode, "a newer generation came first" in said.stderr) == (1, True)
    unlocked = text.replace("$(lock 5)\n", "")  # and were it not for the lock: it lies in a table that nothing leads to
    assert unlocked != text
    bench.switch.run(held_up.command, unlocked)
    seen = bench.observed()
    assert (seen.opened, seen.foreign, seen.epoch) == ((), (), 6)
    assert PORT not in reached(bench)
    bench.switch.apply(DIALECT.lay(layer()), epoch=4)  # a late cut lowers nothing
    assert bench.observed().epoch == 6


def test_a_restart_closes_with_or_without_a_script_of_ours(bench: Bench) -> None:
    kept = [box(OUTSIDE, INSIDE, TCP, (KEPT, KEPT), family) for family in (4, 6)]
    bench.switch.apply(DIALECT.lay(layer(*kept)), epoch=5)
    bench.switch.apply(DIALECT.persist(layer(*kept)))
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=60)
    bench.switch.apply(DIALECT.confirm(inwards(PORT)), epoch=5)
    for again in (lambda: bench.switch.run(STOP_DAEMON + START_DAEMON), bench.reboot):
        again()
        assert eventually(lambda: PORT in reached(bench, bench.inside, ALSO_OUTSIDE))  # the switch works again, so that the silence counts
        assert reached(bench) == set()
        assert bench.observed().foreign
        bench.switch.run("rm -rf /run/containment; containment-host restore")
        assert reached(bench) == {KEPT}
        assert bench.observed() == DIALECT.expected((layer(*kept),)).model_copy(update={"epoch": 5})
    bench.switch.run("rm /etc/containment/*.flows; containment-host restore")  # then the port is closed whole
    assert KEPT not in reached(bench)
    assert bench.observed().slots != DIALECT.expected((layer(*kept),)).slots


def test_lifting_gives_the_switch_back_as_it_was(bench: Bench) -> None:
    before, snapshot = bench.switch.run(EVERYTHING), bench.switch.apply(DIALECT.snapshot())
    fine = layer(guard=("p-ght", "p-lab"))
    whole = Layer(slot="total-1", profile="total", device="sw", guard=("p-ght",), coarse=True)
    for laid in (fine, whole):
        bench.switch.apply(DIALECT.lay(laid), epoch=2)
        bench.switch.apply(DIALECT.persist(laid))
        assert bench.switch.apply(DIALECT.snapshot()) == snapshot
    assert bench.observed() == DIALECT.expected((fine, whole)).model_copy(update={"epoch": 2})
    both = inwards(PORT).model_copy(update={"releases": ("p-ght",)})
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=2, confirm=60)
    assert PORT not in reached(bench), "the port is closed whole as well"
    bench.switch.apply(DIALECT.open(both), epoch=2, confirm=60)
    assert bench.observed().closed == ()
    assert reached(bench) == {PORT}
    bench.switch.apply(DIALECT.close(both))
    assert (bench.observed().closed, bench.observed().opened) == (("p-ght",), ())
    assert PORT not in reached(bench)

    assert bench.switch.refuses(DIALECT.lift(), epoch=1)
    bench.switch.apply(DIALECT.lift(), epoch=2)
    assert bench.switch.run(EVERYTHING) == before
    assert bench.switch.apply(DIALECT.snapshot()) == snapshot
    assert bench.observed() == DIALECT.expected(())
    assert eventually(lambda: reached(bench) == {PORT, KEPT})


def test_a_packet_must_pass_every_slot_and_a_scope_confines_one(bench: Bench) -> None:
    wide = [box(OUTSIDE, INSIDE, TCP, (PORT, KEPT), family) for family in (4, 6)]
    narrow = [box(OUTSIDE, INSIDE, protocol, (KEPT, KEPT), family) for family in (4, 6) for protocol in (TCP, UDP)]
    vendors = layer(slot="vendors-1", scope=("198.51.100.0/24", "2001:db8:192::/64"))
    bench.switch.apply(DIALECT.lay(vendors), epoch=1)
    assert PORT in reached(bench)
    bench.outside.run("ip addr add 198.51.100.7/32 dev lo")
    bench.inside.run("ip route add 198.51.100.7/32 via 192.0.2.2")
    assert bench.inside.try_run("ping -c 1 -W 1 198.51.100.7").returncode != 0
    assert bench.inside.try_run("ping -c 1 -W 1 192.0.2.2").returncode == 0
    bench.switch.apply(DIALECT.lay(layer(*wide)), epoch=2)
    assert reached(bench) == {PORT, KEPT}
    bench.switch.apply(DIALECT.lay(layer(*narrow, slot="total-2")), epoch=3)
    assert reached(bench) == {KEPT}
    laid = (vendors, layer(*wide), layer(*narrow, slot="total-2"))
    assert bench.observed().slots == DIALECT.expected(laid).slots
    assert bench.observed().foreign == ()


def test_what_is_not_ours_in_our_bridge_is_named(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=60)
    assert bench.observed().foreign == ()
    tampering = {
        "ovs-ofctl add-flow containment priority=40,in_port=p-ght,actions=output:own-5e03d74f": "priority=40",
        "ovs-ofctl del-flows containment cookie=0xc047a10000000000/-1,table=20,in_port=p-ght": "missing",
        "ovs-ofctl add-flow containment 'table=105,cookie=0xc047a20000000001,tcp,tp_dst=22,actions=load:1->NXM_NX_REG15[]'": "tp_dst=22",
        "ovs-vsctl set-fail-mode containment standalone": "fail_mode",
        "ovs-vsctl set port out-5e03d74f tag=61": "VLANs",
        "ovs-vsctl remove port p-ght external_ids containment-bridge": "containment-bridge",
        "ovs-ofctl add-flow br0 cookie=0xc047a2cebbea896a,priority=1,actions=NORMAL": "under our cookie",
    }
    for number, (command, named) in enumerate(tampering.items(), start=1):
        bench.switch.run(command)
        found = bench.observed().foreign
        assert len(found) >= number
        assert any(named in line for line in found), (command, found)


def test_portless_protocols_answer_only_what_was_asked(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=1)
    element = box(OUTSIDE, INSIDE, ESP, None, 4)
    change = DeviceChange(device="sw", openings=(Opening(flow="f", partner="p", element=element),))
    bench.switch.apply(DIALECT.open(change), epoch=1, confirm=60)
    assert bench.observed().opened == (element,)
    assert not hears_esp(bench.outside, of=bench.inside, to=OUTSIDE), "nothing was asked yet"
    assert hears_esp(bench.inside, of=bench.outside, to=INSIDE)
    assert hears_esp(bench.outside, of=bench.inside, to=OUTSIDE)
    assert (bench.observed().foreign, bench.observed().opened) == ((), (element,))  # what was learned is ours
    bench.switch.apply(DIALECT.close(change))
    assert not hears_esp(bench.inside, of=bench.outside, to=INSIDE)
    assert not hears_esp(bench.outside, of=bench.inside, to=OUTSIDE)


def hears_esp(receiver: Machine, *, of: Machine, to: int) -> bool:
    """Whether ESP packets of the other machine arrive within a second."""
    with subprocess.Popen(receiver.command(sys.executable, "-c", LISTEN), stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listening\n"
        of.run(f"{sys.executable} -c '{SEND}' {BOTH[0].format(to)}")
        return listener.stdout.readline() == "heard\n"
