"""The FRR dialect on a real router with real traffic: an interface is shut, and given back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from orchestrator.domain.layer import DeviceChange
from tests.lab.small_device import arriving, eventually
from tests.lab.small_router import DIALECT, INSIDE, OUTSIDE, PORT, ROUTER, START, STOP, UP0, Bench, layer, small_router

pytestmark = pytest.mark.lab
MASQUERADE = """
table ip nat {
    chain post { type nat hook postrouting priority 100; oifname up0 masquerade; }
}
"""
SITE_DENY = """
table inet site {
    chain forward { type filter hook forward priority 0; tcp dport 9001 drop; }
}
"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    with small_router() as bench:
        yield bench


def test_a_shut_interface_passes_nothing_in_either_direction_or_family(bench: Bench) -> None:
    established = [bench.outside.ask("connect", address, PORT) for address in INSIDE]
    assert all(bench.outside.ask("alive", each) for each in established)
    assert bench.passes(bench.inside, OUTSIDE) == bench.passes(bench.outside, ROUTER) == [True, True]
    for inside, outside, router in zip(INSIDE, OUTSIDE, ROUTER, strict=True):
        bench.outside.ask("stream", inside, PORT)
        bench.inside.ask("stream", outside, PORT)
        bench.outside.ask("stream", router, PORT)
        assert arriving(bench.inside, PORT, outside) > 10
        assert arriving(bench.outside, PORT, inside) > 10
        assert arriving(bench.router, PORT, outside) > 10

    def nothing_crosses() -> None:
        assert [bench.outside.ask("alive", each) for each in established] == [False, False]
        assert (
            bench.passes(bench.outside, INSIDE)
            == bench.passes(bench.inside, OUTSIDE)
            == bench.passes(bench.outside, ROUTER)
            == [False, False]
        )
        for inside, outside in zip(INSIDE, OUTSIDE, strict=True):
            assert arriving(bench.inside, PORT, outside) == 0
            assert arriving(bench.outside, PORT, inside) == 0
            assert arriving(bench.router, PORT, outside) == 0

    bench.lay(layer(), 3)
    bench.router.apply(DIALECT.persist(layer()))
    nothing_crosses()
    for again in (lambda: bench.router.run(STOP + "; " + START), bench.reboot):
        again()
        assert eventually(lambda: all(bench.passes(bench.inside, ROUTER)))  # the router works again: its silence counts
        nothing_crosses()
        assert bench.observed() == DIALECT.expected((layer(),)).model_copy(update={"epoch": 3})


def test_laying_and_lifting_leave_the_router_as_it_was(bench: Bench) -> None:
    running, start_up, snapshot = bench.running(), bench.start_up(), bench.router.apply(DIALECT.snapshot())
    bench.lay(layer(), 1)
    bench.lay(layer("up0", "in0", slot="total-1"), 2)
    for each in (layer(), layer("up0", "in0", slot="total-1")):
        bench.router.apply(DIALECT.persist(each))
    assert bench.running() != running
    assert bench.start_up() != start_up
    assert bench.router.apply(DIALECT.snapshot()) == snapshot
    assert "late" in bench.router.refuses(DIALECT.lift(), epoch=1)
    bench.router.apply(DIALECT.lift(), epoch=2)
    assert bench.running() == running
    assert bench.start_up() == start_up
    assert bench.router.apply(DIALECT.snapshot()) == snapshot
    assert bench.observed() == DIALECT.expected(())
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))


def test_lifting_takes_our_lines_out_also_after_a_colleague_has_written_the_configuration(bench: Bench) -> None:
    bench.router.run("vtysh -c 'write memory'")
    written = bench.start_up()
    bench.lay(layer("up0", "nosuch0"), 1)
    bench.router.apply(DIALECT.persist(layer("up0", "nosuch0")))
    bench.router.run("vtysh -c 'write memory'")
    bench.router.apply(DIALECT.lift(), epoch=1)
    assert bench.start_up() == written


def test_what_the_site_had_shut_itself_stays_shut(bench: Bench) -> None:
    bench.router.run("vtysh -c 'configure terminal' -c 'interface up0' -c shutdown; vtysh -c 'write memory'")
    running, start_up = bench.running(), bench.start_up()
    bench.lay(layer(), 1)
    bench.router.apply(DIALECT.persist(layer()))
    assert "by the site itself" in bench.router.refuses(DIALECT.open(UP0), epoch=1, confirm=30)
    bench.router.apply(DIALECT.lift(), epoch=1)
    assert (bench.running(), bench.start_up()) == (running, start_up)


def test_an_unsaved_change_of_a_colleague_is_told_and_not_made_lasting(bench: Bench) -> None:
    bench.router.run("vtysh -c 'configure terminal' -c 'ip route 198.51.100.0/24 10.20.28.51'")
    bench.lay(layer(), 1)
    assert "note: running and start-up configuration differ" in bench.router.apply(DIALECT.persist(layer()))
    assert "198.51.100.0/24" not in bench.start_up()
    bench.reboot()
    assert bench.observed().closed == ("up0",)


def test_without_persisting_the_read_back_says_that_the_router_would_boot_open(bench: Bench) -> None:
    bench.lay(layer(), 1)
    assert bench.observed().boots_with == ()
    assert bench.observed().closed == ("up0",)
    bench.router.run("rm /etc/frr/frr.conf")
    assert "would boot without the layer" in bench.router.refuses(DIALECT.persist(layer()))


def test_a_release_closes_by_itself_unless_confirmed(bench: Bench) -> None:
    bench.lay(layer(), 5)
    bench.router.apply(DIALECT.persist(layer()))
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=3)
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)), 2.5)
    assert bench.observed().boots_with == ("internet-3fa29b1c", "up0")  # a reboot inside the window closes
    assert eventually(lambda: bench.observed().closed == ("up0",), 4)
    assert bench.passes(bench.outside, INSIDE) == [False, False]

    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=3)
    bench.router.apply(DIALECT.confirm(UP0), epoch=5)
    time.sleep(3.5)
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))
    assert bench.observed().boots_with == ("internet-3fa29b1c",)
    bench.reboot()
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))
    for _ in range(2):
        bench.router.apply(DIALECT.close(UP0))
        assert bench.passes(bench.outside, INSIDE) == [False, False]
        assert bench.observed() == DIALECT.expected((layer(),)).model_copy(update={"epoch": 5})


def test_a_reboot_inside_the_window_or_before_an_approved_end_closes(bench: Bench) -> None:
    bench.lay(layer(), 5)
    bench.router.apply(DIALECT.persist(layer()))
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=120)
    bench.reboot()
    assert bench.observed().closed == ("up0",)
    assert "not open" in bench.router.refuses(DIALECT.confirm(UP0), epoch=5)
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=120)
    bench.router.apply(DIALECT.confirm(UP0, until=True), epoch=5, until=3)
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)), 2.5)
    assert eventually(lambda: bench.observed().closed == ("up0",), 4)


def test_a_second_cut_shuts_again_what_was_released_after_the_first(bench: Bench) -> None:
    bench.lay(layer(), 5)
    bench.router.apply(DIALECT.persist(layer()))
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=60)
    bench.router.apply(DIALECT.confirm(UP0), epoch=5)
    assert bench.observed().closed == ()
    bench.lay(layer(), 6)
    assert bench.observed().closed == ("up0",)
    bench.router.apply(DIALECT.persist(layer()))
    bench.reboot()
    assert bench.observed() == DIALECT.expected((layer(),)).model_copy(update={"epoch": 6})
    assert bench.passes(bench.outside, INSIDE) == [False, False]


def test_a_cut_with_another_profile_leaves_no_release_of_the_first_open(bench: Bench) -> None:
    other = layer("in0", slot="compromised-1")
    bench.lay(layer(), 5)
    bench.router.apply(DIALECT.persist(layer()))
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=60)
    bench.router.apply(DIALECT.confirm(UP0), epoch=5)
    bench.lay(other, 6)
    bench.router.apply(DIALECT.persist(other))
    both = DIALECT.expected((layer(), other)).model_copy(update={"epoch": 6})
    assert bench.observed() == both
    bench.reboot()
    assert bench.observed() == both  # the second profile takes nothing of the first out of the start-up file


def test_a_late_command_is_refused_and_changes_nothing(bench: Bench) -> None:
    bench.lay(layer(), 5)
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=60)
    bench.lay(layer(slot="total-1"), 6)
    assert bench.observed().closed == ("up0",)
    for late in (DIALECT.open(UP0), DIALECT.confirm(UP0), DIALECT.lift()):
        assert "late" in bench.router.refuses(late, epoch=5, confirm=60)
    bench.lay(layer(), 4)  # a late cut lowers nothing
    assert bench.observed().epoch == 6
    assert "late" in bench.router.refuses(DIALECT.open(UP0), epoch=4, confirm=60)
    assert bench.observed().closed == ("up0",)


def test_the_operational_state_is_read_not_the_configuration(bench: Bench) -> None:
    bench.lay(layer("up0", "nosuch0"), 1)
    assert bench.observed().closed == ("up0",)  # an interface that does not exist is shut in words only
    bench.router.run("ip link set up0 up")
    assert bench.observed().closed == ()


def test_the_wrapper_touches_only_what_the_layer_holds(bench: Bench) -> None:
    bench.lay(layer(), 1)
    in0 = DeviceChange(device="rtr-backup", releases=("in0",))
    assert "does not hold in0" in bench.router.refuses(DIALECT.close(in0))
    assert "does not hold in0" in bench.router.refuses(DIALECT.open(in0), epoch=1, confirm=5)
    assert bench.router.try_run("containment-router close 'up0;reboot'").returncode == 2


def test_sessions_of_a_translating_router_are_listed_and_deleted_one_by_one(bench: Bench) -> None:
    bench.router.run("nft -f -", MASQUERADE)
    first, second = (bench.inside.ask("connect", OUTSIDE[0], PORT) for _ in range(2))
    assert bench.inside.ask("alive", first)
    assert bench.inside.ask("alive", second)
    tracked = [each for each in DIALECT.parse_sessions(bench.router.apply(DIALECT.sessions())) if each.port == PORT]
    assert [(str(each.source), str(each.destination), each.protocol) for each in tracked] == [(INSIDE[0], OUTSIDE[0], 6)] * 2
    bench.router.apply(DIALECT.kill((tracked[0],)))
    bench.router.apply(DIALECT.kill((tracked[0],)))  # already gone is no error
    left = [each for each in DIALECT.parse_sessions(bench.router.apply(DIALECT.sessions())) if each.port == PORT]
    assert [each.source_port for each in left] == [tracked[1].source_port]


def test_a_deny_of_the_site_on_a_released_interface_still_denies(bench: Bench) -> None:
    bench.router.run("nft -f -", SITE_DENY)
    bench.inside.ask("serve", 9001)
    bench.lay(layer(), 1)
    bench.router.apply(DIALECT.open(UP0), epoch=1, confirm=60)
    assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))
    assert [bench.outside.ask("connect", address, 9001) for address in INSIDE] == [None, None]
    assert bench.inside.ask("connect", "127.0.0.1", 9001) is not None  # it does answer


def test_a_cut_between_the_check_and_the_opening_still_wins(bench: Bench) -> None:
    bench.lay(layer(), 6)
    # A wrapper that has already looked at the generation, and was then held up while the cut raised it.
    bench.router.run("sed -i 's/^fence() {/fence() { return 0;/' /usr/local/sbin/containment-router")
    assert "newer generation" in bench.router.refuses(DIALECT.open(UP0), epoch=5, confirm=60)
    assert bench.observed().closed == ("up0",)
