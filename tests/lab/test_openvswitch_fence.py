"""Generations of a switch on real traffic: a fence keeps what is open, and a late command changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from orchestrator.domain.layer import DeviceChange, Layer
from tests.lab.held_sessions import Held, then_killed
from tests.lab.small_device import eventually
from tests.lab.small_switch import BOTH, DIALECT, INSIDE, PORT, START_DAEMON, STOP_DAEMON, Bench
from tests.lab.switch_flows import EVERYTHING, KEPT, alive, flow_switch, inwards, layer, reached

pytestmark = pytest.mark.lab
WHOLE = Layer(slot="total-1", profile="total", device="sw", guard=("p-ght",), coarse=True)
P_GHT = DeviceChange(device="sw", releases=("p-ght",))
LATE = "a newer generation came first"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with flow_switch() as bench:
        yield bench


def fence(bench: Bench, epoch: int) -> None:
    bench.switch.apply(DIALECT.fence(), epoch=epoch)


def lay(bench: Bench, epoch: int) -> None:
    bench.switch.apply(DIALECT.lay(layer(guard=("p-lab",), slot="vendors-2")), epoch=epoch)


def test_a_fence_keeps_what_is_open_and_what_is_left_of_its_time(bench: Bench) -> None:
    fence(bench, 4)
    assert bench.observed().epoch is None, "where no layer lies there is no generation"
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=300)
    bench.switch.apply(DIALECT.open(inwards(KEPT)), epoch=5, confirm=60)
    bench.switch.apply(DIALECT.confirm(inwards(KEPT)), epoch=5)
    sessions = [bench.outside.ask("connect", address.format(INSIDE), port) for address in BOTH for port in (PORT, KEPT)]
    before = bench.observed()
    for epoch in (6, 7, 7, 3):  # idempotent, and a late one lowers nothing
        fence(bench, epoch)
    seen = bench.observed()
    assert (seen.epoch, seen.foreign) == (7, ())
    assert seen.fingerprint == before.fingerprint
    assert {left for _, left in seen.temporary} <= set(range(280, 301))
    assert {element for element, _ in seen.temporary} == set(inwards(PORT).elements)
    assert alive(bench.outside, sessions) == {True}
    for late in (DIALECT.open(inwards(PORT)), DIALECT.loosen(), DIALECT.lift(), DIALECT.unblock(())):
        assert "late" in bench.switch.refuses(late, epoch=5, confirm=60)
    bench.switch.apply(DIALECT.confirm(inwards(PORT)), epoch=7)  # goes on under the new one
    bench.switch.apply(DIALECT.close(inwards(KEPT)))
    assert reached(bench) == {PORT}
    bench.restart_daemon()
    assert bench.observed().epoch == 7
    assert "late" in bench.switch.refuses(DIALECT.open(inwards(PORT)), epoch=6, confirm=60)
    assert reached(bench) == set()


def test_what_is_carried_over_still_ends_by_itself(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=5)
    fence(bench, 6)
    assert PORT in reached(bench)
    assert eventually(lambda: bench.observed().opened == (), 10)
    assert PORT not in reached(bench)
    assert "window has passed" in bench.switch.refuses(DIALECT.confirm(inwards(PORT)), epoch=6)


def test_a_port_released_before_a_fence_goes_on_and_is_confirmed_after_it(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(WHOLE), epoch=5)
    bench.switch.apply(DIALECT.open(P_GHT), epoch=5, confirm=60)
    session = bench.outside.ask("connect", BOTH[0].format(INSIDE), PORT)
    fence(bench, 6)
    assert (bench.observed().epoch, bench.observed().closed) == (6, ())
    bench.switch.apply(DIALECT.confirm(P_GHT, until=True), epoch=6, until=60)
    bench.switch.apply(DIALECT.confirm(P_GHT, until=True), epoch=6, until=2)
    assert bench.outside.ask("alive", session)
    assert eventually(lambda: bench.observed().closed == ("p-ght",))
    assert not bench.outside.ask("alive", session)
    assert "not open" in bench.switch.refuses(DIALECT.confirm(P_GHT, until=True), epoch=6, until=60)
    assert bench.switch.try_run("ls /run/containment/timer.*").stdout == "", "no timer is left over"


def test_a_frozen_command_for_flows_changes_nothing_when_it_is_released(bench: Bench) -> None:
    epoch = 5
    bench.switch.apply(DIALECT.lay(layer()), epoch=epoch)
    for cut in (fence, lay):
        for late in (DIALECT.open(inwards(PORT)), DIALECT.confirm(inwards(PORT)), DIALECT.loosen()):
            if late != DIALECT.open(inwards(PORT)):
                bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=epoch, confirm=600)
            with Held(bench.switch, late, "ovs-ofctl", "*--bundle*add-flows*", epoch=epoch, confirm=600) as held:
                epoch += 1
                cut(bench, epoch)
                before = bench.observed()
                status, said = held.released()
            assert (status, LATE in said) == (1, True), said
            after = bench.observed()
            assert (after.fingerprint, after.foreign, after.loosened_s, after.epoch) == (before.fingerprint, (), None, epoch)
            assert len(after.temporary) == len(after.opened), "what has a deadline keeps it"
            assert reached(bench) == ({PORT} if after.opened else set())
            bench.switch.apply(DIALECT.close(inwards(PORT)))


def test_a_frozen_command_for_ports_changes_nothing_when_it_is_released(bench: Bench) -> None:
    epoch = 5
    bench.switch.apply(DIALECT.lay(WHOLE), epoch=epoch)
    late = (DIALECT.open(P_GHT), DIALECT.confirm(P_GHT), DIALECT.loosen(), DIALECT.lift(), DIALECT.open(P_GHT))
    for cut, what in zip((fence, fence, lay, fence, lay), late, strict=True):
        if what == DIALECT.confirm(P_GHT):
            bench.switch.apply(DIALECT.open(P_GHT), epoch=epoch, confirm=8)
        with Held(bench.switch, what, "ovs-vsctl", "*wait-until*", epoch=epoch, confirm=600) as held:
            epoch += 1
            cut(bench, epoch)
            status, said = held.released()
        assert (status, "refused" in said) == (1, True), said
        assert eventually(lambda: "p-ght" in bench.observed().closed, 15), "a confirm that was refused leaves the deadline that was"
        assert (bench.observed().epoch, bench.observed().loosened_s) == (epoch, None)
        assert reached(bench) == set()


def test_a_frozen_confirm_does_not_reopen_what_has_ended_meanwhile(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=5, confirm=6)
    with Held(bench.switch, DIALECT.confirm(inwards(PORT)), "ovs-ofctl", "*--bundle*add-flows*", epoch=5) as held:
        assert eventually(lambda: bench.observed().opened == (), 10)
        status, said = held.released()
    assert (status, "held up" in said) == (1, True), said
    assert bench.observed().opened == ()
    assert PORT not in reached(bench)


def test_a_frozen_fence_brings_back_nothing_that_a_cut_or_a_close_has_ended(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.open(inwards(PORT, KEPT)), epoch=5, confirm=600)
    with Held(bench.switch, DIALECT.fence(), "ovs-ofctl", "*--bundle*add-flows*", epoch=6) as held:
        bench.switch.apply(DIALECT.close(inwards(PORT)))
        assert held.released()[0] == 0
    assert set(bench.observed().opened) == set(inwards(KEPT).elements)
    with Held(bench.switch, DIALECT.fence(), "ovs-ofctl", "*--bundle*add-flows*", epoch=7) as held:
        lay(bench, 8)
        held.released()
    seen = bench.observed()
    assert (seen.epoch, seen.opened, seen.foreign) == (8, (), ())
    assert reached(bench) == set()


def test_a_frozen_cut_lowers_no_generation(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    with Held(bench.switch, DIALECT.lay(layer()), "ovs-vsctl", "*wait-until*", epoch=6) as held:
        fence(bench, 9)
        assert held.released()[0] == 0
    assert (bench.observed().epoch, bench.observed().foreign) == (9, ())
    with Held(bench.switch, DIALECT.lay(layer()), "ovs-ofctl", "*replace-flows*", epoch=9) as held:
        bench.switch.apply(DIALECT.lay(layer()), epoch=12)
        assert held.released()[0] == 0
    assert (bench.observed().epoch, bench.observed().foreign) == (12, ())


@pytest.mark.parametrize("grain", ["flow", "port"])
def test_an_opening_ends_on_the_switch_when_whoever_laid_it_is_killed(bench: Bench, grain: str) -> None:
    laid, change = (layer(), inwards(PORT)) if grain == "flow" else (WHOLE, P_GHT)
    bench.switch.apply(DIALECT.lay(laid), epoch=5)

    def ends() -> None:
        sessions = [bench.outside.ask("connect", address.format(INSIDE), PORT) for address in BOTH]
        assert alive(bench.outside, sessions) == {True}
        assert eventually(lambda: alive(bench.outside, sessions) == {False}, 12)
        assert reached(bench) == set()
        assert bench.observed().fingerprint == DIALECT.expected((laid,)).fingerprint

    then_killed(bench.switch, DIALECT.open(change), epoch=5, confirm=5)
    ends()
    bench.switch.apply(DIALECT.open(change), epoch=5, confirm=60)
    then_killed(bench.switch, DIALECT.confirm(change, until=True), epoch=5, until=5)
    ends()
    then_killed(bench.switch, DIALECT.loosen(), epoch=5, confirm=5)
    ends()


@pytest.mark.parametrize("grain", ["flow", "port"])
def test_an_end_is_renewed_by_confirming_again_while_sessions_live_on(bench: Bench, grain: str) -> None:
    laid, change = (layer(), inwards(PORT)) if grain == "flow" else (WHOLE, P_GHT)
    bench.switch.apply(DIALECT.lay(laid), epoch=5)
    bench.switch.apply(DIALECT.open(change), epoch=5, confirm=60)
    session = bench.outside.ask("connect", BOTH[1].format(INSIDE), PORT)
    bench.switch.apply(DIALECT.confirm(change, until=True), epoch=5, until=3)
    bench.switch.apply(DIALECT.confirm(change, until=True), epoch=5, until=7)
    time.sleep(4)
    assert bench.outside.ask("alive", session)
    bench.switch.apply(DIALECT.confirm(change, until=True), epoch=5, until=2)
    assert eventually(lambda: not bench.outside.ask("alive", session))
    bench.switch.refuses(DIALECT.confirm(change, until=True), epoch=5, until=60)
    assert reached(bench) == set()


def test_after_a_fence_lifting_gives_the_switch_back_as_it_was(bench: Bench) -> None:
    before = bench.switch.run(EVERYTHING)
    for laid in (layer(), WHOLE):
        bench.switch.apply(DIALECT.lay(laid), epoch=2)
        bench.switch.apply(DIALECT.persist(laid))
    fence(bench, 4)
    bench.switch.apply(DIALECT.open(inwards(PORT)), epoch=4, confirm=60)
    bench.switch.apply(DIALECT.lift(), epoch=4)
    assert bench.switch.run(EVERYTHING) == before
    assert bench.observed() == DIALECT.expected(())


def test_a_fence_with_the_daemon_dead_is_told_and_holds(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.run(STOP_DAEMON)
    assert "daemon does not answer" in bench.switch.refuses(DIALECT.fence(), epoch=6)
    bench.switch.run(START_DAEMON + "containment-host restore")
    assert (bench.observed().epoch, bench.observed().foreign) == (6, ())
    assert "late" in bench.switch.refuses(DIALECT.open(inwards(PORT)), epoch=5, confirm=60)
