"""What goes wrong on a real switch, and what it then says: the daemon, the disk, the machine."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from orchestrator.domain.layer import DeviceChange, Layer
from orchestrator.errors import DeviceUnknown
from tests.lab.small_device import eventually
from tests.lab.small_switch import ALSO_OUTSIDE, DIALECT, PORT, START_DAEMON, STOP_ALL, STOP_DAEMON, Bench
from tests.lab.switch_flows import flow_switch, inwards, layer, reached

pytestmark = pytest.mark.lab
WHOLE = Layer(slot="total-1", profile="total", device="sw", guard=("p-ght",), coarse=True)
P_GHT = DeviceChange(device="sw", releases=("p-ght",))
THEM = (ip_network("198.51.100.0/24"),)
FILL = "mount -o remount,size=64k {0} && dd if=/dev/zero of={0}/full bs=1k count=200 2>/dev/null; true"
FREE = "rm {0}/full; mount -o remount,size=16m {0}"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with flow_switch() as bench:
        yield bench


def test_a_restart_of_the_daemon_ends_what_is_in_its_window_and_brings_back_the_layer(bench: Bench) -> None:
    for grain, laid, change in (("flow", layer(), inwards(PORT)), ("port", WHOLE, P_GHT)):
        bench.switch.apply(DIALECT.lay(laid), epoch=5)
        bench.switch.apply(DIALECT.persist(laid))
        bench.switch.apply(DIALECT.open(change), epoch=5, confirm=600)
        bench.switch.apply(DIALECT.fence(), epoch=6)
        assert PORT in reached(bench)
        bench.restart_daemon()
        assert PORT in eventually_reached_beside(bench)
        assert reached(bench) == set(), grain
        seen = bench.observed()
        assert (seen.fingerprint, seen.epoch) == (DIALECT.expected((laid,)).fingerprint, 6)
        assert any(word in bench.switch.refuses(DIALECT.confirm(change), epoch=6) for word in ("window has passed", "not open"))
        bench.switch.apply(DIALECT.lift(), epoch=6)


def eventually_reached_beside(bench: Bench) -> set[int]:
    """The switch works again, so that silence on the guarded port counts."""
    assert eventually(lambda: bool(reached(bench, bench.inside, ALSO_OUTSIDE)))
    return reached(bench, bench.inside, ALSO_OUTSIDE)


def test_a_dead_daemon_is_refused_by_name_and_opens_nothing_when_it_is_back(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.apply(DIALECT.lay(WHOLE), epoch=5)
    bench.switch.apply(DIALECT.persist(layer()))
    bench.switch.run(STOP_DAEMON)
    said = [
        bench.switch.refuses(script, epoch=5, confirm=60, until=60)
        for script in (DIALECT.open(inwards(PORT)), DIALECT.open(P_GHT), DIALECT.confirm(inwards(PORT)), DIALECT.loosen())
    ]
    assert all("refused: " in each for each in said), said
    assert "the switch did not take it" in bench.switch.refuses(DIALECT.block(THEM))
    assert "ovs-vswitchd" in bench.switch.refuses(DIALECT.read_back())
    bench.switch.run("containment-host boot\n" + START_DAEMON + "containment-host restore")
    seen = bench.observed()
    assert (seen.fingerprint, seen.loosened_s) == (
        DIALECT.expected((layer(), WHOLE)).model_copy(update={"blocked": THEM}).fingerprint,
        None,
    )
    assert reached(bench) == set()
    bench.switch.run(STOP_ALL)
    for script in (DIALECT.fence(), DIALECT.block(THEM), DIALECT.unblock(()), DIALECT.close(inwards(PORT)), DIALECT.lay(layer())):
        assert "the database of the switch" in bench.switch.refuses(script, epoch=5)
    assert "refused" in bench.switch.refuses(DIALECT.tighten())


def test_a_daemon_that_hangs_is_refused_and_unknown(bench: Bench) -> None:
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.run("kill -STOP $(cat /run/openvswitch/ovs-vswitchd.pid)")
    try:
        assert "the switch did not take it" in bench.switch.refuses(DIALECT.open(inwards(PORT)), epoch=5, confirm=60)
        half = bench.switch.try_run(DIALECT.read_back().command, DIALECT.read_back().text)
        assert half.returncode != 0
        with pytest.raises(DeviceUnknown, match="not complete"):
            DIALECT.parse(half.stdout)
    finally:
        bench.switch.run("kill -CONT $(cat /run/openvswitch/ovs-vswitchd.pid)")
    assert eventually(lambda: bench.observed().fingerprint == DIALECT.expected((layer(),)).fingerprint)
    assert reached(bench) == set()


def test_a_full_disk_is_refused_by_name_and_closes_all_the_same(bench: Bench) -> None:
    bench.switch.run(FILL.format("/etc/containment"))
    bench.switch.apply(DIALECT.lay(layer()), epoch=5)
    bench.switch.refuses(DIALECT.persist(layer()))
    assert "no place in /etc/containment" in bench.switch.refuses(DIALECT.block(THEM))
    assert bench.observed().boots_with == ()
    assert any("block list" in line for line in bench.observed().foreign), "it runs, and would not come back"
    assert "the list is as it was" in bench.switch.refuses(DIALECT.unblock(THEM), epoch=5)
    bench.switch.run(FREE.format("/etc/containment"))
    bench.switch.apply(DIALECT.persist(layer()))
    bench.switch.apply(DIALECT.block(THEM))
    assert bench.observed() == DIALECT.expected((layer(),)).model_copy(update={"epoch": 5, "blocked": THEM})

    bench.switch.run("mkdir -p /run/containment && mount -t tmpfs none /run/containment")
    bench.switch.apply(DIALECT.lay(WHOLE), epoch=6)
    bench.switch.run(FILL.format("/run/containment"))
    for script in (DIALECT.open(P_GHT), DIALECT.loosen()):
        assert "no place in /run/containment for the timer" in bench.switch.refuses(script, epoch=6, confirm=60)
    assert (bench.observed().closed, bench.observed().loosened_s) == (("p-ght",), None)
    assert "keeps nothing" in bench.switch.refuses(DIALECT.lay(layer(slot="vendors-2")), epoch=7)
    assert reached(bench) == set()
    bench.switch.run(FREE.format("/run/containment"))
    bench.switch.apply(DIALECT.lift(), epoch=7)

    # No lock, no file of ours: the cut goes on all the same, and nothing opens.
    bench.switch.run("rm /run/containment.lock; mkdir /run/containment.lock")
    bench.switch.apply(DIALECT.lay(WHOLE), epoch=8)
    assert "no place in /run for the lock" in bench.switch.refuses(DIALECT.open(P_GHT), epoch=8, confirm=60)
    bench.switch.apply(DIALECT.fence(), epoch=9)
    assert (bench.observed().closed, bench.observed().epoch) == (("p-ght",), 9)
