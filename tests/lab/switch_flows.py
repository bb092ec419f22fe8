"""Flow grain on the small switch: layers, pinholes, and what passes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

from orchestrator.dialects.openvswitch_tables import stand_in
from orchestrator.domain.layer import TCP, DeviceChange, Element, Layer, Opening
from tests.lab.small_device import Machine
from tests.lab.small_switch import BOTH, INSIDE, OUTSIDE, PORT, Bench, small_switch

DENIED = 9001  # the site denies it by an entry of its own
KEPT = 9002
SLOT = "internet-3fa29b1c"
EVERYTHING = """
ovs-vsctl show
for table in Open_vSwitch Bridge; do ovs-vsctl --columns=external_ids,other_config list $table; done
ovs-vsctl --columns=name,external_ids,other_config,tag,vlan_mode,trunks,cvlans,protected list Port
ovs-vsctl --columns=name,type,options,ofport,ofport_request,external_ids list Interface
ovs-ofctl dump-flows --no-stats --no-names --sort br0
ls /etc/containment /run/containment 2>/dev/null | grep flows || :
"""


@contextmanager
def flow_switch() -> Iterator[Bench]:
    """The small switch with three services on the hosts, one of which the site denies."""
    with small_switch() as bench:
        site_entries(bench)
        for port in (DENIED, KEPT):
            bench.inside.ask("serve", port)
            bench.outside.ask("serve", port)
        yield bench


def site_entries(bench: Bench) -> None:
    """What the site's own controller lays in its bridge, and lays again after a restart of the daemon."""
    port = bench.switch.run(f"ovs-vsctl list-ports br0 | grep -x -e p-ght -e {stand_in('p-ght')}").strip()
    for family in ("tcp", "tcp6"):
        bench.switch.run(f"ovs-ofctl add-flow br0 priority=9,in_port={port},{family},tp_dst={DENIED},actions=drop")


def host(number: int, family: int) -> str:
    return f"192.0.2.{number}/32" if family == 4 else f"2001:db8:60::{number}/128"


def box(source: int, destination: int, protocol: int, ports: tuple[int, int] | None, family: int) -> Element:
    return Element(
        source=ip_network(host(source, family)), destination=ip_network(host(destination, family)), protocol=protocol, ports=ports
    )


def inwards(*ports: int) -> DeviceChange:
    elements = [box(OUTSIDE, INSIDE, TCP, (port, port), family) for port in ports for family in (4, 6)]
    return DeviceChange(device="sw", openings=tuple(Opening(flow="f", partner="p", element=element) for element in elements))


def layer(*keep: Element, guard: tuple[str, ...] = ("p-ght",), slot: str = SLOT, scope: tuple[str, ...] = ()) -> Layer:
    networks = tuple(ip_network(prefix) for prefix in scope)
    return Layer(slot=slot, profile=slot.split("-")[0], device="sw", guard=guard, keep=keep, scope=networks)


def reached(bench: Bench, source: Machine | None = None, number: int = INSIDE) -> set[int]:
    """The ports of a host to which new TCP connections come about, from outside if nobody else is named. Alike in both families."""
    ends = [(address.format(number), port) for port in (PORT, DENIED, KEPT) for address in BOTH]
    answers = (source or bench.outside).ask("reach", ends)
    found = [
        {port for (address, port), answer in zip(ends, answers, strict=True) if answer and (":" in address) is v6} for v6 in (False, True)
    ]
    assert found[0] == found[1]
    return found[0]


def alive(machine: Machine, connections: list[int]) -> set[bool]:
    return {machine.ask("alive", each) for each in connections}
