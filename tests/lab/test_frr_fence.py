"""Generations, deadlines and loosening of a router on real traffic: a late command changes nothing, and time closes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.layer import DeviceChange
from tests.lab.held_sessions import Held, then_killed
from tests.lab.small_device import eventually
from tests.lab.small_router import DIALECT, INSIDE, PORT, START, STOP, UP0, Bench, layer, small_router

pytestmark = pytest.mark.lab
BOTH_SHUT = layer("up0", "in0")


@pytest.fixture
def bench() -> Iterator[Bench]:
    with small_router() as bench:
        yield bench


def cut(bench: Bench, epoch: int) -> None:
    """As the orchestrator cuts: configuration lines, then the wrapper."""
    bench.lay(layer(), epoch)
    bench.router.apply(DIALECT.persist(layer()))


def opens(bench: Bench) -> bool:
    return eventually(lambda: all(bench.passes(bench.outside, INSIDE)))


def shut(bench: Bench) -> bool:
    return bench.observed().closed == ("up0",) and not any(bench.passes(bench.outside, INSIDE))


def test_a_fence_keeps_what_is_open_and_refuses_what_is_late(bench: Bench) -> None:
    bench.router.apply(DIALECT.fence(), epoch=4)
    assert bench.observed().epoch is None, "where no layer lies there is no generation"
    running, start_up = bench.running(), bench.start_up()
    cut(bench, 5)
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=60)
    assert opens(bench)
    session = bench.outside.ask("connect", INSIDE[0], PORT)
    for epoch in (6, 7, 7, 3):
        bench.router.apply(DIALECT.fence(), epoch=epoch)
    assert (bench.observed().epoch, bench.observed().closed) == (7, ())
    assert bench.outside.ask("alive", session)
    for late in (DIALECT.open(UP0), DIALECT.confirm(UP0), DIALECT.loosen(), DIALECT.lift()):
        assert "late" in bench.router.refuses(late, epoch=5, confirm=60)
    # An end is renewed by confirming again, under the new generation, and sessions live on.
    bench.router.apply(DIALECT.confirm(UP0, until=True), epoch=7, until=3)
    bench.router.apply(DIALECT.confirm(UP0, until=True), epoch=7, until=60)
    time.sleep(3.5)
    assert bench.outside.ask("alive", session)
    bench.router.apply(DIALECT.confirm(UP0, until=True), epoch=7, until=2)
    assert eventually(lambda: not bench.outside.ask("alive", session))
    assert eventually(lambda: shut(bench))
    assert "not open" in bench.router.refuses(DIALECT.confirm(UP0, until=True), epoch=7, until=60)
    assert bench.router.try_run("ls /run/containment/timer.*").stdout == "", "no timer is left over"

    bench.reboot()
    assert bench.observed().epoch == 7, "raised for good"
    assert "late" in bench.router.refuses(DIALECT.open(UP0), epoch=6, confirm=60)
    bench.router.apply(DIALECT.lift(), epoch=7)
    assert (bench.running(), bench.start_up()) == (running, start_up)
    assert bench.observed() == DIALECT.expected(())
    assert bench.router.try_run("ls /etc/containment").stdout == ""


def test_a_lasting_release_outlives_a_fence_a_reboot_and_loosening(bench: Bench) -> None:
    cut(bench, 5)
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=60)
    assert opens(bench)
    bench.router.apply(DIALECT.confirm(UP0), epoch=5)
    bench.router.apply(DIALECT.fence(), epoch=6)
    bench.reboot()
    assert opens(bench)
    bench.router.apply(DIALECT.loosen(), epoch=6, confirm=60)
    assert bench.observed().loosened_s in range(50, 61)
    bench.router.apply(DIALECT.tighten())
    assert bench.observed().closed == ()
    assert opens(bench)
    cut(bench, 7)
    assert shut(bench)
    assert "not open" in bench.router.refuses(DIALECT.confirm(UP0), epoch=7)


def test_a_session_that_was_stopped_inside_the_wrapper_changes_nothing(bench: Bench) -> None:
    cut(bench, 5)
    with Held(bench.router, DIALECT.open(UP0), "flock", epoch=5, confirm=600) as held:  # before it looked at anything
        bench.router.apply(DIALECT.fence(), epoch=6)
        status, said = held.released()
    assert (status, "late" in said) == (1, True), said
    assert shut(bench)
    # It has looked, and its vtysh has the whole command in hand.
    for epoch, what in enumerate((DIALECT.open(UP0), DIALECT.loosen(), DIALECT.lift()), start=6):
        with Held(bench.router, what, "vtysh", "*no*shutdown*", epoch=epoch, confirm=600) as held:
            assert "had not finished and was ended" in bench.router.apply(DIALECT.fence(), epoch=epoch + 1)
            assert held.ended()
            held.released()
        assert shut(bench)
        assert (bench.observed().epoch, bench.observed().loosened_s) == (epoch + 1, None)
    with Held(bench.router, DIALECT.open(UP0), "vtysh", "*no*shutdown*", epoch=9, confirm=600) as held:
        cut(bench, 10)
        assert held.ended()
        held.released()
    assert shut(bench)


def test_a_stopped_confirm_leaves_the_deadline_that_was(bench: Bench) -> None:
    cut(bench, 5)
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=5)
    assert opens(bench)
    with Held(bench.router, DIALECT.confirm(UP0), "sync", epoch=5) as held:
        bench.router.apply(DIALECT.fence(), epoch=6)
        held.released()
        assert eventually(lambda: shut(bench), 20), "the timer waits for no lock"
    assert bench.observed().boots_with == DIALECT.expected((layer(),)).boots_with
    # Without a fence: what has ended meanwhile is not opened again.
    bench.router.apply(DIALECT.open(UP0), epoch=6, confirm=3)
    with Held(bench.router, DIALECT.confirm(UP0), "sync", epoch=6) as held:
        assert eventually(lambda: shut(bench), 20)
        status, said = held.released()
    assert (status, "closed meanwhile" in said) == (1, True), said
    assert shut(bench)
    bench.reboot()
    assert shut(bench)


def test_somebody_elses_vtysh_is_not_stopped_and_drift_reads_what_it_did(bench: Bench) -> None:
    cut(bench, 5)
    typed = Script("vtysh; true", "configure terminal\ninterface up0\nno shutdown\nend\n")
    with Held(bench.router, typed, "vtysh") as held:
        bench.router.apply(DIALECT.fence(), epoch=6)
        held.released()
    assert bench.observed().closed == (), "FRR compares no generation: this is what the dialect declares"
    bench.router.apply(DIALECT.close(UP0))
    assert shut(bench)


def test_openings_end_on_the_router_when_whoever_laid_them_is_killed(bench: Bench) -> None:
    cut(bench, 5)

    def ends() -> None:
        assert opens(bench)
        sessions = [bench.outside.ask("connect", address, PORT) for address in INSIDE]
        assert {bench.outside.ask("alive", each) for each in sessions} == {True}
        assert eventually(lambda: {bench.outside.ask("alive", each) for each in sessions} == {False}, 12)
        assert shut(bench)
        assert bench.observed().fingerprint == DIALECT.expected((layer(),)).fingerprint

    then_killed(bench.router, DIALECT.open(UP0), epoch=5, confirm=6)
    ends()
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=60)
    then_killed(bench.router, DIALECT.confirm(UP0, until=True), epoch=5, until=6)
    ends()
    then_killed(bench.router, DIALECT.loosen(), epoch=5, confirm=6)
    ends()


def test_a_loosened_layer_comes_back(bench: Bench) -> None:
    running = bench.running()
    bench.lay(BOTH_SHUT, 5)
    assert "after a restart" in bench.router.refuses(DIALECT.loosen(), epoch=5, confirm=60)
    bench.router.apply(DIALECT.persist(BOTH_SHUT))
    start_up = bench.start_up()
    shut_whole = DIALECT.expected((BOTH_SHUT,)).model_copy(update={"epoch": 5})
    bench.router.apply(DIALECT.loosen(), epoch=5, confirm=60)
    bench.router.apply(DIALECT.loosen(), epoch=5, confirm=120)
    assert opens(bench)
    seen = bench.observed()
    assert (seen.present, seen.slots, seen.closed, seen.loosened_s in range(100, 121)) == (False, {}, (), True)
    assert bench.start_up() == start_up, "it boots with the layer"
    for _ in range(2):
        bench.router.apply(DIALECT.tighten())
        assert bench.observed() == shut_whole

    for again in (lambda: bench.router.run(STOP + "; " + START), bench.reboot):  # inside the time
        bench.router.apply(DIALECT.loosen(), epoch=5, confirm=120)
        assert opens(bench)
        again()
        assert bench.observed() == shut_whole
    # What is released meanwhile, or ends meanwhile, is as it should be afterwards.
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=60)
    bench.router.apply(DIALECT.open(DeviceChange(device="rtr-backup", releases=("in0",))), epoch=5, confirm=2)
    bench.router.apply(DIALECT.loosen(), epoch=5, confirm=5)
    assert opens(bench)
    assert eventually(lambda: bench.observed().closed == ("in0",), 12)
    bench.router.apply(DIALECT.loosen(), epoch=5, confirm=60)
    bench.router.apply(DIALECT.lift(), epoch=5)
    assert bench.running() == running
    assert bench.observed() == DIALECT.expected(())
    assert bench.router.try_run("ls /run/containment/timer.*").stdout == ""
