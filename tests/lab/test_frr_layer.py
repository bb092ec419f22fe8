"""The FRR dialect on a real router with real traffic: an interface is shut, and given back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from orchestrator.dialects.base import Script
from orchestrator.dialects.frr import FrrDialect
from orchestrator.domain.layer import DeviceChange, Layer, Observed
from tests.lab.small_device import Machine, addresses, arriving, connect, eventually

pytestmark = pytest.mark.lab
DIALECT = FrrDialect()
PORT = 9000
PRIVATE = ("/run", "/etc/frr", "/etc/containment", "/var/log/frr", "/usr/local/sbin")
OUTSIDE, INSIDE, ROUTER = ("192.0.2.1", "2001:db8:f0::1"), ("10.20.28.51", "2001:db8:20:28::51"), ("10.20.28.4", "2001:db8:20:28::4")

BY_HAND = """\
! written by hand, with a comment that FRR would not keep
frr defaults traditional
hostname rtr-backup
service integrated-vtysh-config
!
interface up0
 description the provider
 ip address 192.0.2.2/30
 ipv6 address 2001:db8:f0::2/64
!
interface in0
 ip address 10.20.28.4/24
 ipv6 address 2001:db8:20:28::4/64
!
ip prefix-list OURS seq 5 permit 203.0.113.0/24
!
line vty
!
"""
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
START = """
mkdir -p /run/frr; chown frr:frr /run/frr /etc/frr; : > /etc/frr/vtysh.conf
for daemon in zebra staticd; do /usr/lib/frr/$daemon -d -A 127.0.0.1 --log file:/var/log/frr/$daemon.log; done
vtysh -b
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""
STOP = "for daemon in staticd zebra; do read -r pid < /run/frr/$daemon.pid; kill $pid; while [ -e /proc/$pid ]; do sleep 0.02; done; done"


@dataclass
class Bench:
    """A router with the provider's host on `up0`, a workstation on `in0` and a service of its own."""

    router: Machine
    outside: Machine
    inside: Machine

    def lay(self, layer: Layer, epoch: int) -> None:
        self.cli(DIALECT.lay(layer).filled(epoch=epoch))

    def cli(self, script: Script) -> None:
        assert script.kind == "cli"
        answer = self.router.run("vtysh", "configure terminal\n" + script.text + "end\n")
        assert "%" not in answer, answer

    def observed(self) -> Observed:
        return DIALECT.parse(self.router.apply(DIALECT.read_back()))

    def running(self) -> str:
        return self.router.run("vtysh -c 'show running-config'")

    def start_up(self) -> str:
        return self.router.run("cat /etc/frr/frr.conf")

    def passes(self, source: Machine, ends: tuple[str, ...]) -> list[bool]:
        return [source.ask("connect", address, PORT) is not None for address in ends]

    def reboot(self) -> None:
        """Running state is lost: daemons, timers, /run, interfaces up without addresses. The start-up file stays."""
        self.router.run(
            STOP + "; pkill -x sleep || :; rm -rf /run/frr /run/containment"
            "; for name in up0 in0; do ip addr flush dev $name; ip link set $name up; done"
        )
        self.router.run(START)


@pytest.fixture
def bench() -> Iterator[Bench]:
    machines: list[Machine] = []
    try:
        machines.append(Machine("rtr-backup", PRIVATE))
        machines += [Machine("outside"), Machine("inside")]
        bench = Bench(*machines)
        bench.router.install("containment-router")
        bench.router.run("for file in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $file; done; cat > /etc/frr/frr.conf", BY_HAND)
        bench.router.run("chown frr:frr /etc/frr/frr.conf && chmod 640 /etc/frr/frr.conf")
        connect(bench.router, "up0", bench.outside, "eth0")
        connect(bench.router, "in0", bench.inside, "eth0")
        bench.router.run("for name in up0 in0; do echo 0 > /proc/sys/net/ipv6/conf/$name/accept_dad; done")
        addresses(bench.outside, "eth0", "192.0.2.1/30", "2001:db8:f0::1/64")
        addresses(bench.inside, "eth0", "10.20.28.51/24", "2001:db8:20:28::51/64")
        bench.outside.run("ip route add default via 192.0.2.2; ip route add default via 2001:db8:f0::2")
        bench.inside.run("ip route add default via 10.20.28.4; ip route add default via 2001:db8:20:28::4")
        bench.router.run(START)
        for machine in machines:
            machine.ask("serve", PORT)
        assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))
        yield bench
    finally:
        for machine in machines:
            machine.close()


def layer(*guard: str, slot: str = "internet-3fa29b1c") -> Layer:
    return Layer(slot=slot, profile=slot.split("-")[0], device="rtr-backup", guard=guard or ("up0",), coarse=True)


UP0 = DeviceChange(device="rtr-backup", releases=("up0",))


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
