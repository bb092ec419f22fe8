"""A small switch with real traffic: one host inside, two outside, a service on the switch itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.dialects.openvswitch import OpenvswitchDialect
from orchestrator.domain.layer import Observed
from tests.lab.small_device import Machine, addresses, connect, eventually

DIALECT = OpenvswitchDialect()
PORT = 9000
PRIVATE = ("/run", "/etc/openvswitch", "/etc/containment", "/var/log/openvswitch", "/usr/local/sbin")
INSIDE, OUTSIDE, ALSO_OUTSIDE, SWITCH = 1, 2, 3, 9
BOTH = ("192.0.2.{}", "2001:db8:60::{}")

START_DATABASE = """
[ -e /etc/openvswitch/conf.db ] || ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
mkdir -p /run/openvswitch
ovsdb-server --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir -vconsole:off -vsyslog:off
ovs-vsctl --no-wait init
"""
START_DAEMON = """
ovs-vswitchd --pidfile --detach --no-chdir -vconsole:off -vsyslog:off
ip link set svc up 2>/dev/null && { ip addr replace 192.0.2.9/24 dev svc; ip addr replace 2001:db8:60::9/64 dev svc nodad; } || :
"""
STOP_DAEMON = "read -r pid < /run/openvswitch/ovs-vswitchd.pid; kill $pid; while [ -e /proc/$pid ]; do sleep 0.02; done"
STOP_ALL = STOP_DAEMON + "; read -r pid < /run/openvswitch/ovsdb-server.pid; kill $pid; while [ -e /proc/$pid ]; do sleep 0.02; done"


@dataclass
class Bench:
    """A switch with one host inside, two outside, and a service on the switch itself (internal port `svc`)."""

    switch: Machine
    inside: Machine
    outside: Machine
    also_outside: Machine

    def observed(self) -> Observed:
        return DIALECT.parse(self.switch.apply(DIALECT.read_back()))

    def passes(self, source: Machine, host: int) -> list[bool]:
        """New TCP connections to a host number: IPv4, IPv6."""
        return [source.ask("connect", address.format(host), PORT) is not None for address in BOTH]

    def restart_daemon(self) -> None:
        """As a switch's start-up does it: what is kept is put together again."""
        self.switch.run(STOP_DAEMON + "\ncontainment-host boot\n" + START_DAEMON + "containment-host restore")

    def reboot_and_restore(self) -> None:
        """As a device's start-up does it."""
        self.reboot()
        self.switch.run("containment-host restore")

    def reboot(self, *, hook: bool = True) -> None:
        """Running state is lost, timers included; the database stays."""
        self.switch.run(STOP_ALL + "; pkill -x sleep -P 1 || :; rm -rf /run/openvswitch /run/containment /run/containment.lock")
        self.switch.run(START_DATABASE + ("containment-host boot\n" if hook else "") + START_DAEMON)


@contextmanager
def small_switch() -> Iterator[Bench]:
    machines: list[Machine] = []
    try:
        machines.append(Machine("switch", PRIVATE))
        machines += [Machine(name) for name in ("inside", "outside", "also-outside")]
        switch, *hosts = machines
        switch.install("containment-host")
        for number, (host, port) in enumerate(zip(hosts, ("h-in", "p-ght", "p-lab"), strict=True), start=1):
            connect(switch, port, host, "eth0")
            addresses(host, "eth0", f"192.0.2.{number}/24", f"2001:db8:60::{number}/64")
        switch.run(START_DATABASE)
        switch.run(
            "ovs-vsctl --no-wait add-br br0 -- set bridge br0 datapath_type=netdev"
            " -- add-port br0 h-in tag=60 -- add-port br0 p-ght tag=60 -- set port p-ght external_ids:site=mpls"
            " -- add-port br0 p-lab trunks=60,70 tag=60 vlan_mode=native-untagged"
            " -- add-port br0 svc tag=60 -- set interface svc type=internal"
        )
        switch.run(START_DAEMON)
        for machine in machines:
            machine.ask("serve", PORT)
        bench = Bench(*machines)
        assert eventually(lambda: all(bench.passes(bench.outside, INSIDE)))
        yield bench
    finally:
        for machine in machines:
            machine.close()
