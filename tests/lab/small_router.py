"""A small router with real traffic: FRR between a host of the provider and a workstation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.dialects.base import Script
from orchestrator.dialects.frr import FrrDialect
from orchestrator.domain.layer import DeviceChange, Layer, Observed
from tests.lab.small_device import Machine, addresses, connect, eventually

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


@contextmanager
def small_router() -> Iterator[Bench]:
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
