"""The block list and the loosening of a switch on real traffic."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from orchestrator.domain.layer import TCP, DeviceChange, Layer, networks_in_order
from tests.lab.held_sessions import Held
from tests.lab.small_device import Machine, eventually
from tests.lab.small_switch import ALSO_OUTSIDE, BOTH, DIALECT, INSIDE, OUTSIDE, PORT, Bench
from tests.lab.switch_flows import EVERYTHING, KEPT, SLOT, alive, box, flow_switch, inwards, layer, reached, site_entries

pytestmark = pytest.mark.lab
KEEP = layer(
    *(box(number, INSIDE, TCP, (KEPT, KEPT), family) for number in (OUTSIDE, ALSO_OUTSIDE) for family in (4, 6)), guard=("p-ght", "p-lab")
)
WHOLE = Layer(slot="total-1", profile="total", device="sw", guard=("p-ght",), coarse=True)
P_GHT = DeviceChange(device="sw", releases=("p-ght",))
THEM = tuple(ip_network(text) for text in (f"192.0.2.{OUTSIDE}/32", f"2001:db8:60::{OUTSIDE}/128"))
OTHERS = tuple(ip_network(text) for text in ("198.51.100.0/24", "198.51.100.7/32", "2001:db8:51::/48"))


@pytest.fixture
def bench() -> Iterator[Bench]:
    with flow_switch() as bench:
        bench.also_outside.ask("serve", KEPT)
        yield bench


def kept(bench: Bench, source: Machine) -> bool:
    return KEPT in reached(bench, source)


def test_a_blocked_network_gets_through_nothing_that_is_kept_or_opened(bench: Bench) -> None:
    before = bench.switch.run(EVERYTHING)
    bench.switch.apply(DIALECT.lay(KEEP), epoch=5)
    bench.switch.apply(DIALECT.persist(KEEP))
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=600)
    sessions = [bench.outside.ask("connect", address.format(INSIDE), port) for address in BOTH for port in (PORT, KEPT)]
    assert alive(bench.outside, sessions) == {True}
    assert kept(bench, bench.also_outside)

    bench.switch.apply(DIALECT.block(OTHERS))
    bench.switch.apply(DIALECT.block(THEM))
    bench.switch.apply(DIALECT.block(THEM))
    seen = bench.observed()
    assert (seen.blocked, seen.foreign) == (networks_in_order((*OTHERS, *THEM)), ())
    assert seen.fingerprint != DIALECT.expected((KEEP,)).fingerprint
    assert alive(bench.outside, sessions) == {False}
    assert reached(bench) == set()
    assert kept(bench, bench.also_outside)

    # What is laid, opened, fenced or restarted afterwards takes nothing from the list.
    bench.switch.apply(DIALECT.lay(KEEP), epoch=6)
    bench.switch.apply(DIALECT.fence(), epoch=7)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=7, confirm=600)
    assert (reached(bench), bench.observed().blocked) == (set(), seen.blocked)
    for again in (bench.restart_daemon, bench.reboot_and_restore):
        again()
        assert eventually(lambda: kept(bench, bench.also_outside))
        assert reached(bench) == set()
        assert (bench.observed().blocked, bench.observed().foreign) == (seen.blocked, ())

    assert "late" in bench.switch.refuses(DIALECT.unblock(()), epoch=6)
    with Held(bench.switch, DIALECT.unblock(()), "ovs-ofctl", "*--bundle*", epoch=7) as held:
        bench.switch.apply(DIALECT.fence(), epoch=8)
        assert held.released()[0] == 1
    assert bench.observed().blocked == seen.blocked
    bench.switch.apply(DIALECT.unblock(networks_in_order(OTHERS)), epoch=8)
    assert bench.observed().blocked == networks_in_order(OTHERS)
    assert kept(bench, bench.outside)
    bench.switch.apply(DIALECT.unblock(()), epoch=8)
    assert (bench.observed().blocked, bench.observed().foreign) == ((), ())
    bench.switch.apply(DIALECT.block(THEM))
    site_entries(bench)
    bench.switch.apply(DIALECT.lift(), epoch=8)
    assert bench.switch.run(EVERYTHING) == before
    assert bench.observed() == DIALECT.expected(())
    assert bench.switch.run("ls -A /etc/containment") == ""


def test_a_drop_that_is_missing_or_a_file_that_differs_is_named(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.block(THEM))
    bench.switch.run("echo 203.0.113.0/24 >> /etc/containment/blocked")
    assert any("block list" in line for line in bench.observed().foreign)
    bench.switch.apply(DIALECT.block(THEM))
    bench.switch.apply(DIALECT.unblock(THEM), epoch=5)
    assert bench.observed().foreign == ()
    bench.switch.run(f"ovs-ofctl --strict del-flows containment table=2,priority=50,ip,nw_dst=192.0.2.{OUTSIDE}")
    assert any("missing" in line for line in bench.observed().foreign)


def test_a_list_on_a_switch_that_closes_ports_whole_is_kept_and_says_what_it_does_not_filter(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(WHOLE), epoch=5)
    assert "nothing finer" not in bench.switch.apply(DIALECT.block(THEM))
    bench.switch.apply(DIALECT.open(P_GHT), epoch=5, confirm=60)
    assert "p-ght is open whole, and nothing finer" in bench.switch.apply(DIALECT.block(THEM))
    assert bench.observed().blocked == THEM
    bench.switch.apply(DIALECT.lay(layer()), epoch=6)  # flows are told apart from here on
    assert (bench.observed().blocked, bench.observed().foreign) == (THEM, ())


@pytest.mark.parametrize("grains", ["flow", "port", "both"])
def test_a_loosened_layer_passes_everything_and_comes_back_with_what_was_open(bench: Bench, grains: str) -> None:
    laid = {"flow": (KEEP,), "port": (WHOLE,), "both": (KEEP, WHOLE)}[grains]
    before, snapshot = bench.switch.run(EVERYTHING), bench.switch.apply(DIALECT.snapshot())
    for each in laid:
        bench.switch.apply(DIALECT.lay(each), epoch=5)
        bench.switch.apply(DIALECT.persist(each))
    bench.switch.apply(DIALECT.block(THEM))
    holds = bench.observed()

    def loosen(seconds: int) -> None:
        bench.switch.apply(DIALECT.loosen(), epoch=5, confirm=seconds)
        seen = bench.observed()
        assert (seen.present, seen.slots, seen.closed, seen.foreign) == (False, {}, (), ())
        assert seen.loosened_s in range(seconds - 10, seconds + 1)
        assert seen.boots_with == holds.boots_with
        assert eventually(lambda: {PORT, KEPT} <= reached(bench)), "blocked or not"

    loosen(600)
    loosen(60)
    session = bench.outside.ask("connect", BOTH[0].format(INSIDE), PORT)
    for _ in range(2):
        bench.switch.apply(DIALECT.tighten())
        assert bench.observed() == holds
    assert not bench.outside.ask("alive", session)
    assert reached(bench) == set()
    for again in (bench.restart_daemon, bench.reboot_and_restore):  # inside the time
        loosen(600)
        again()
        assert bench.observed() == holds
        assert reached(bench) == set()
    loosen(600)
    bench.switch.apply(DIALECT.lay(laid[0]), epoch=5)  # a cut lays it again
    assert bench.observed() == holds
    if grains != "port":
        bench.switch.apply(DIALECT.unblock(()), epoch=5)
        change = inwards(PORT) if grains == "flow" else inwards(PORT).model_copy(update={"releases": ("p-ght",)})
        bench.switch.apply(DIALECT.open(change), epoch=5, confirm=600)
        used = [bench.outside.ask("connect", address.format(INSIDE), PORT) for address in BOTH]
        loosen(10)
        assert alive(bench.outside, used) == {True}
        assert eventually(lambda: bench.observed().loosened_s is None, 20)
        assert set(bench.observed().opened) == set(change.elements)
        assert alive(bench.outside, used) == {True}, "what was open lives on"
        assert reached(bench) == {PORT, KEPT}
    loosen(600)
    site_entries(bench)
    bench.switch.apply(DIALECT.lift(), epoch=5)
    assert bench.switch.run(EVERYTHING) == before
    assert bench.switch.apply(DIALECT.snapshot()) == snapshot
    assert bench.observed() == DIALECT.expected(())
    assert bench.switch.try_run("ls /run/containment/timer.*").stdout == ""


def test_a_release_that_ends_while_its_switch_is_loosened_is_closed_afterwards(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(WHOLE), epoch=5)
    bench.switch.apply(DIALECT.open(P_GHT), epoch=5, confirm=2)
    bench.switch.apply(DIALECT.loosen(), epoch=5, confirm=6)
    assert eventually(lambda: "containment-release" not in bench.switch.run("ovs-vsctl get port p-ght external_ids"))
    assert PORT in reached(bench)
    assert eventually(lambda: bench.observed().closed == ("p-ght",), 12)
    assert SLOT not in bench.observed().slots
