"""Every kind of device stops packets for real in the rehearsal hospital, keeps doing so, and gives everything back.

The exits are cut with the devices of one platform only, so that it is this platform that stops the packets; the
streams through the other exits go on, so that silence means something.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import unified_diff
from functools import partial
from ipaddress import ip_network

import pytest

from orchestrator.dialects import dialect_for
from orchestrator.domain.layer import TCP, DeviceChange, Element, Opening
from orchestrator.lab.streams import Streams, StreamSpec, start_streams, valmont_streams
from tests.lab.cut_hospital import EXITS_OF, Cut, CutHospital, together
from tests.lab.reachability import Question, assert_answered, assert_silent

pytestmark = pytest.mark.lab

OWN_PORT = 9001
# A service on the device itself, at its outside address: platform → (device, address, port, exit, who asks).
# The gateway's own services are among the streams of Valmont already.
ITSELF = {
    "nftables": (),
    "frr": (
        ("rtr-isp", "192.0.2.2", OWN_PORT, "fibre", "internet-host"),
        ("rtr-isp", "2001:db8:f0::2", OWN_PORT, "fibre", "internet-host"),
        ("rtr-backup", "192.0.2.10", OWN_PORT, "backup-4g", "internet-host"),
        ("rtr-backup", "2001:db8:f1::2", OWN_PORT, "backup-4g", "internet-host"),
    ),
    "openvswitch": (
        ("sw-dmz", "192.0.2.180", 9100, "ght-mpls", "sister"),
        ("sw-dmz", "2001:db8:60::180", 9100, "ght-mpls", "sister"),
    ),
}
# A firewall's restart exchanges all rules in an instant: more often, so that a packet in that instant is met.
RESTARTS = {"nftables": 12, "frr": 1, "openvswitch": 1}
# New connections, inwards and outwards, both families: exit → node → questions.
NEW: dict[str, dict[str, list[Question]]] = {
    "fibre": {
        "internet-host": [("tcp", "203.0.113.20", 443), ("tcp", "2001:db8:20:11::10", 443), ("udp", "2001:db8:20:12::20", 9000)],
        "proxy": [("tcp", "198.51.100.10", 443), ("tcp", "2001:db8:100::10", 443), ("udp", "198.51.100.10", 9000)],
    },
    "staff-vpn": {
        "vendor-1": [("tcp", "203.0.113.3", 8022), ("tcp", "2001:db8:20:28::40", 22), ("tcp", "203.0.113.3", 443)],
        "bastion": [("tcp", "198.51.100.10", 443), ("tcp", "2001:db8:100::10", 443)],
    },
    "ght-mpls": {
        "sister": [("tcp", "10.20.22.10", 104), ("tcp", "2001:db8:20:22::10", 2762), ("udp", "10.20.22.10", 9000)],
        "pacs": [("tcp", "192.0.2.140", 104), ("tcp", "2001:db8:60::140", 104), ("tcp", "198.51.100.99", 9000)],
    },
    "backup-4g": {
        "internet-host": [("tcp", "192.0.2.10", 9000), ("tcp", "2001:db8:20:28::51", 9000)],
        "ws-backup": [("tcp", "198.51.100.10", 443), ("tcp", "2001:db8:100::10", 443)],
    },
}


def itself(platform: str) -> list[StreamSpec]:
    return [
        StreamSpec(f"{device}-{address}-{kind}-itself", leaves_by, 6 if ":" in address else 4, kind, source, device, address, port)
        for device, address, port, leaves_by, source in ITSELF[platform]
        for kind in ("tcp", "udp")
    ]


def questions_of(platform: str) -> dict[str, list[Question]]:
    asked: dict[str, list[Question]] = {}
    for leaves_by in EXITS_OF[platform]:
        for node, questions in NEW[leaves_by].items():
            asked[node] = [*asked.get(node, []), *questions]
    for _, address, port, _, source in ITSELF[platform]:
        asked[source] = [*asked.get(source, []), ("tcp", address, port)]
    return asked


@contextmanager
def listening(ratified: CutHospital, router: str, addresses: list[str]) -> Iterator[Callable[[], None]]:
    """A service on a router, at these addresses; yields what starts it again after a reboot."""
    plan = json.dumps({"node": router, "addresses": addresses, "services": [["tcp", OWN_PORT], ["udp", OWN_PORT]]})

    def start() -> None:
        ratified.on(router, f"echo '{plan}' > /run/own.json")
        ratified.on(
            router, "setsid python3 -I -S /run/disk/responder.py /run/own.json > /dev/null 2>&1 < /dev/null & echo $! > /run/own.pid"
        )
        ratified.on(router, "for i in $(seq 200); do [ -e /run/responder.ready ] && exit 0; sleep 0.05; done; exit 1")

    start()
    try:
        yield start
    finally:
        ratified.on(router, "kill $(cat /run/own.pid); rm -f /run/own.* /run/responder.ready /run/responder.sock")


@dataclass
class Watch:
    """The streams during a cut by one platform."""

    streams: Streams
    platform: str

    def assert_closed_since(self, moment_ns: int) -> None:
        """Nothing has arrived since then by the exits that are cut, counted at the receivers; by the others it has."""
        time.sleep(0.5)
        now = time.monotonic_ns()
        results = self.streams.snapshot()
        late = [result.name for result in results if self._is_cut(result.exit) and result.last_ns > moment_ns]
        assert late == []
        alive = {result.exit for result in results if result.kind == "udp" and result.last_ns > now - 400_000_000}
        assert alive == {result.exit for result in results if not self._is_cut(result.exit)}

    def assert_everything_was_seen(self) -> None:
        assert [result.name for result in self.streams.snapshot() if not result.received] == []

    def _is_cut(self, leaves_by: str) -> bool:
        return leaves_by in EXITS_OF[self.platform]


@contextmanager
def watching(ratified: CutHospital, platform: str) -> Iterator[tuple[Watch, Callable[[], None]]]:
    """Streams through every exit, and to the devices themselves; yields them, and what restarts the services of ours."""
    with ExitStack() as stack:
        starts = []
        for router in dict.fromkeys(device for device, *_ in ITSELF[platform] if platform == "frr"):
            addresses = [address for device, address, *_ in ITSELF[platform] if device == router]
            starts.append(stack.enter_context(listening(ratified, router, addresses)))
        specs = [*valmont_streams(ratified.hospital.site), *itself(platform)]
        streams = stack.enter_context(start_streams(ratified.hospital, specs))

        def restart_services() -> None:
            for start in starts:
                start()

        yield Watch(streams, platform), restart_services


@pytest.mark.parametrize("platform", EXITS_OF)
def test_a_kind_stops_packets_also_after_reboot_and_restart_and_gives_everything_back(ratified: CutHospital, platform: str) -> None:
    hospital, devices = ratified.hospital, ratified.devices_of(platform)
    asked = questions_of(platform)
    before = ratified.snapshots(devices)

    def restart(device: str) -> None:
        for _ in range(RESTARTS[platform]):
            hospital.restart_daemon(device)

    def all_silent() -> None:
        together(lambda node: assert_silent(hospital, node, asked[node]), asked)

    try:
        with watching(ratified, platform) as (watch, restart_services):
            together(lambda node: assert_answered(hospital, node, asked[node]), asked)
            watch.assert_everything_was_seen()
            cut = ratified.cut(f"only-{platform}", pack=ratified.brief)
            assert cut.steps == dict.fromkeys(devices, "applied"), cut.verdict["open"]
            assert cut.code == 0, cut.verdict["open"]
            moment = time.monotonic_ns()
            all_silent()
            watch.assert_closed_since(moment)
            for again in (hospital.reboot, restart):
                together(again, devices)
                if again == hospital.reboot:
                    restart_services()
                all_silent()
                watch.assert_closed_since(moment)
                together(lambda device: assert_unchanged(ratified, cut, device), devices)
            COMPOSES[platform](ratified, cut.epoch)
    finally:
        ratified.lift(devices)
    assert_same(ratified.snapshots(devices), before)
    together(lambda node: assert_answered(hospital, node, [q for q in asked[node] if q[2] != OWN_PORT]), asked)


def assert_unchanged(ratified: CutHospital, cut: Cut, device: str) -> None:
    assert ratified.observed(device).fingerprint == cut.device(device)["fingerprint"], device


def assert_same(after: dict[str, str], before: dict[str, str]) -> None:
    """But for the anycast routes that the kernel makes by itself: a boot leaves one of them out, now and then."""
    for device in before:
        was, now = ([line for line in text.splitlines() if not line.startswith("anycast ")] for text in (before[device], after[device]))
        assert list(unified_diff(was, now, n=0, lineterm="")) == [], device


# A deny of the site under an opening of ours still denies.


def nftables_composes(ratified: CutHospital, epoch: int) -> None:
    dialect = dialect_for("nftables")
    outside, portal, web = ip_network("198.51.100.0/25"), ip_network("10.20.11.10/32"), ip_network("10.20.11.20/32")
    openings = tuple(
        Opening(flow="f", partner="p", element=Element(source=outside, destination=server, protocol=TCP, ports=(443, 443)))
        for server in (portal, web)
    )
    change = DeviceChange(device="fw-ext", openings=openings)
    ratified.on("fw-ext", "nft insert rule inet filter forward ip daddr 10.20.11.20 tcp dport 443 drop")
    ratified.apply("fw-ext", dialect.open(change), epoch=epoch, confirm=60)
    assert_answered(ratified.hospital, "internet-host", [("tcp", "203.0.113.20", 443)])
    assert_silent(ratified.hospital, "internet-host", [("tcp", "203.0.113.21", 443), ("tcp", "203.0.113.21", 80)])
    ratified.on("fw-ext", "nft -f /run/disk/boot.nft")  # the site's own rules again; the pinholes go with the reload
    assert_silent(ratified.hospital, "internet-host", [("tcp", "203.0.113.20", 443)])


def frr_composes(ratified: CutHospital, epoch: int) -> None:
    dialect = dialect_for("frr")
    change = DeviceChange(device="rtr-isp", releases=("up0",))
    configure = partial("vtysh -c 'configure terminal' -c '{}ip route 203.0.113.21/32 blackhole'".format)
    ratified.on("rtr-isp", configure(""))
    ratified.apply("rtr-isp", dialect.open(change), epoch=epoch, confirm=60)
    assert_answered(ratified.hospital, "internet-host", [("tcp", "203.0.113.20", 443)])
    assert_silent(ratified.hospital, "internet-host", [("tcp", "203.0.113.21", 443)])
    ratified.on("rtr-isp", configure("no "))
    ratified.apply("rtr-isp", dialect.close(change))
    assert_silent(ratified.hospital, "internet-host", [("tcp", "203.0.113.20", 443)])


def openvswitch_composes(ratified: CutHospital, epoch: int) -> None:
    dialect = dialect_for("openvswitch")
    change = DeviceChange(device="sw-dmz", releases=("p-ght",))
    ratified.on("sw-dmz", "ovs-ofctl add-flow br0 priority=7,tcp,tp_dst=104,actions=drop")
    ratified.apply("sw-dmz", dialect.open(change), epoch=epoch, confirm=60)
    assert_answered(ratified.hospital, "sister", [("tcp", "10.20.22.10", 11112)])
    assert_silent(ratified.hospital, "sister", [("tcp", "10.20.22.10", 104)])
    ratified.on("sw-dmz", "ovs-ofctl del-flows br0 tcp,tp_dst=104")
    ratified.apply("sw-dmz", dialect.close(change))
    assert_silent(ratified.hospital, "sister", [("tcp", "10.20.22.10", 11112)])


COMPOSES = {"nftables": nftables_composes, "frr": frr_composes, "openvswitch": openvswitch_composes}
