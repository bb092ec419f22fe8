"""What goes wrong on a real router, and what it then says: FRR dead or hanging, the disk full, a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import DeviceUnknown
from tests.lab.small_device import eventually
from tests.lab.small_router import DIALECT, INSIDE, START, STOP, UP0, Bench, layer, small_router

pytestmark = pytest.mark.lab
ZEBRA = "$(cat /run/frr/zebra.pid)"
STATIC = "$(cat /run/frr/staticd.pid)"
FILL = "mkdir -p {0}; mount -o remount,size=64k,nr_inodes=40 {0} && dd if=/dev/zero of={0}/full bs=1k count=200 2>/dev/null; true"
NO_INODES = "n=0; while touch {0}/full.$n; do n=$((n + 1)); done 2>/dev/null; true"
FREE = "rm -f {0}/full*; mount -o remount,size=16m,nr_inodes=10000 {0}"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with small_router() as bench:
        bench.lay(layer(), 5)
        bench.router.apply(DIALECT.persist(layer()))
        yield bench


def passes(bench: Bench) -> bool:
    return all(bench.passes(bench.outside, INSIDE))


def test_a_dead_daemon_is_refused_by_name_and_never_read_as_an_empty_router(bench: Bench) -> None:
    bench.router.run(f"kill -9 {ZEBRA}")
    for script in (DIALECT.open(UP0), DIALECT.confirm(UP0), DIALECT.loosen(), DIALECT.lift(), DIALECT.tighten(), DIALECT.persist(layer())):
        assert "FRR does not answer: zebra" in bench.router.refuses(script, epoch=5, confirm=60)
    half = bench.router.try_run(DIALECT.read_back().command)
    assert (half.returncode, "zebra" in half.stderr) == (1, True)
    with pytest.raises(DeviceUnknown, match="not complete"):
        DIALECT.parse(half.stdout)
    bench.router.apply(DIALECT.fence(), epoch=6)  # the generation asks nobody
    bench.router.run(f"kill {STATIC}; while [ -e /proc/{STATIC} ]; do sleep 0.02; done")
    bench.router.run(START)
    assert bench.observed() == DIALECT.expected((layer(),)).model_copy(update={"epoch": 6})
    assert not passes(bench)
    assert "late" in bench.router.refuses(DIALECT.open(UP0), epoch=5, confirm=60)


def test_a_hanging_daemon_is_named_and_what_closes_goes_to_the_kernel(bench: Bench) -> None:
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=12)
    assert eventually(lambda: passes(bench))
    bench.router.run(f"kill -STOP {STATIC}")
    try:
        assert "FRR does not answer: staticd" in bench.router.refuses(DIALECT.loosen(), epoch=5, confirm=60)
    finally:
        bench.router.run(f"kill -CONT {STATIC}")
    bench.router.run(f"kill -STOP {ZEBRA}")
    try:
        assert passes(bench), "the kernel forwards whether FRR hangs or not"
        assert eventually(lambda: not any(bench.passes(bench.outside, INSIDE)), 40), "the end comes all the same"
        bench.router.run("ip link set up0 up")
        assert "zebra" in bench.router.refuses(DIALECT.close(UP0))
        assert not any(bench.passes(bench.outside, INSIDE))
    finally:
        bench.router.run(f"kill -CONT {ZEBRA}")
    assert eventually(lambda: bench.observed().closed == ("up0",), 20)
    bench.router.apply(DIALECT.close(UP0))
    assert bench.observed() == DIALECT.expected((layer(),)).model_copy(update={"epoch": 5})


def test_a_restart_of_frr_ends_what_is_in_its_window(bench: Bench) -> None:
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=600)
    bench.router.apply(DIALECT.fence(), epoch=6)
    assert eventually(lambda: passes(bench))
    bench.router.run(STOP + "; " + START)
    assert bench.observed() == DIALECT.expected((layer(),)).model_copy(update={"epoch": 6})
    assert not passes(bench)
    assert "not open" in bench.router.refuses(DIALECT.confirm(UP0), epoch=6)


def test_a_full_disk_is_refused_by_name_and_leaves_the_deadline(bench: Bench) -> None:
    bench.router.apply(DIALECT.open(UP0), epoch=5, confirm=15)
    bench.router.run(FILL.format("/etc/containment") + ";" + NO_INODES.format("/etc/containment"))
    assert "no place in /etc/containment" in bench.router.refuses(DIALECT.confirm(UP0), epoch=5)
    assert "until the router restarts only" in bench.router.refuses(DIALECT.fence(), epoch=6)
    assert bench.observed().epoch == 6
    assert "late" in bench.router.refuses(DIALECT.open(UP0), epoch=5, confirm=60)
    assert eventually(lambda: bench.observed().closed == ("up0",), 30)
    bench.router.run(FREE.format("/etc/containment"))
    bench.router.apply(DIALECT.fence(), epoch=6)

    bench.router.run("mount -t tmpfs none /run/containment")
    bench.router.run(FILL.format("/run/containment"))
    for script in (DIALECT.open(UP0), DIALECT.loosen()):
        assert "no place in /run/containment" in bench.router.refuses(script, epoch=6, confirm=60)
    assert bench.observed().closed == ("up0",)
    bench.router.run("umount /run/containment")

    bench.router.apply(DIALECT.open(UP0), epoch=6, confirm=20)
    bench.router.run(FILL.format("/etc/frr"))
    assert "/etc/frr/frr.conf cannot be written" in bench.router.refuses(DIALECT.confirm(UP0), epoch=6)
    assert eventually(lambda: bench.observed().closed == ("up0",), 30), "what could not be kept is not lasting"
    bench.lay(layer(slot="total-1"), 7)
    assert "would boot without the layer" in bench.router.refuses(DIALECT.persist(layer(slot="total-1")))
    bench.router.run(FREE.format("/etc/frr"))
    bench.router.apply(DIALECT.persist(layer(slot="total-1")))
    assert bench.observed() == DIALECT.expected((layer(), layer(slot="total-1"))).model_copy(update={"epoch": 7})
