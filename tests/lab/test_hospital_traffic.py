"""What answers in the rehearsal hospital before any cut: every exit, every zone, both families; and the streams."""

from __future__ import annotations

import json
import time

import pytest

from orchestrator.errors import EnvironmentMissing
from orchestrator.lab.hospital import Hospital
from orchestrator.lab.streams import StreamSpec, start_streams, valmont_streams
from tests.lab.reachability import Question, assert_answered, assert_silent

pytestmark = pytest.mark.lab


def tcp(*targets: tuple[str, int]) -> list[Question]:
    return [("tcp", address, port) for address, port in targets]


def udp(*targets: tuple[str, int]) -> list[Question]:
    return [("udp", address, port) for address, port in targets]


ALLOWED = {
    # exit 1: what fw-ext publishes, and the same over IPv6
    "internet-host": tcp(
        ("203.0.113.20", 443), ("203.0.113.21", 80), ("203.0.113.22", 25), ("203.0.113.23", 443), ("203.0.113.24", 993),
        ("203.0.113.26", 9000), ("2001:db8:20:11::10", 443), ("2001:db8:20:11::20", 80), ("2001:db8:20:11::25", 25),
        ("2001:db8:20:12::10", 993), ("2001:db8:20:12::20", 9000),
    )
    + udp(("203.0.113.25", 500), ("203.0.113.26", 9000), ("2001:db8:20:21::10", 4500), ("2001:db8:20:12::20", 9000))
    # exit 2: the backup line
    + tcp(("192.0.2.10", 9000), ("2001:db8:20:28::51", 9000))
    + udp(("192.0.2.10", 9000), ("2001:db8:20:28::51", 9000))
    # exit 4: what terminates on the gateway
    + tcp(("203.0.113.3", 443), ("2001:db8:ed::3", 443))
    + udp(("203.0.113.3", 4500), ("2001:db8:ed::3", 4500)),
    "vendor-1": tcp(("203.0.113.3", 8022), ("2001:db8:20:28::40", 22)),
    # exit 3: the sister hospitals, a service on the switch itself, and the transit behind them
    "sister": tcp(("203.0.113.20", 443), ("10.20.22.10", 104), ("2001:db8:20:22::10", 2762))
    + tcp(("192.0.2.180", 9100), ("2001:db8:60::180", 9100))
    + udp(("10.20.22.10", 9000), ("2001:db8:20:22::10", 9000), ("192.0.2.180", 9100), ("2001:db8:60::180", 9100)),
    "ght-2": tcp(("10.20.22.10", 11112), ("2001:db8:20:22::10", 11112)),
    "pacs": tcp(("192.0.2.140", 104), ("2001:db8:60::140", 104), ("198.51.100.99", 9000), ("2001:db8:100::99", 9000))
    + udp(("192.0.2.140", 9000), ("2001:db8:60::140", 9000), ("198.51.100.99", 9000), ("2001:db8:100::99", 9000)),
    # outwards, and between the zones
    "proxy": tcp(("198.51.100.10", 443), ("2001:db8:100::10", 443)) + udp(("198.51.100.10", 9000), ("2001:db8:100::10", 9000)),
    "ws-backup": tcp(("198.51.100.10", 443), ("2001:db8:100::10", 443), ("10.20.21.10", 443)),
    "bastion": tcp(("198.51.100.10", 443), ("2001:db8:100::10", 443)),
    "record": tcp(("10.20.22.10", 8042), ("2001:db8:20:22::10", 8042), ("10.20.23.10", 2575))
    + tcp(("198.51.100.38", 443), ("2001:db8:100::38", 443)),
    "ws-offices": tcp(("10.20.21.10", 443), ("2001:db8:20:21::10", 443), ("10.20.11.10", 443), ("2001:db8:20:11::10", 443))
    + tcp(("198.51.100.10", 443), ("2001:db8:100::10", 443)),
    "samu": tcp(("10.20.29.10", 5060), ("2001:db8:20:29::10", 5060), ("198.51.100.36", 5671), ("2001:db8:100::36", 5671)),
    "lis": tcp(("10.20.21.10", 2575), ("198.51.100.40", 22), ("2001:db8:100::40", 22)),
    "gateway": tcp(("198.51.100.33", 8443), ("2001:db8:100::33", 8443)),
    "portal": tcp(("10.20.22.10", 8042), ("2001:db8:20:22::10", 8042)),
}  # fmt: skip

# What the site's own rules deny already: an answer here would make every later "cut" worthless.
DENIED = {
    "internet-host": tcp(("10.20.22.10", 104), ("203.0.113.26", 3128), ("2001:db8:20:21::10", 443), ("2001:db8:20:22::10", 104))
    + tcp(("2001:db8:20:12::20", 3128)),
    "sister": tcp(("10.20.22.10", 8042), ("2001:db8:20:22::10", 8042)),
}  # fmt: skip


@pytest.mark.parametrize("node", ALLOWED)
def test_everything_of_the_scenario_passes_before_the_cut(hospital: Hospital, node: str) -> None:
    assert_answered(hospital, node, ALLOWED[node])


@pytest.mark.parametrize("node", DENIED)
def test_what_the_site_denies_does_not_pass(hospital: Hospital, node: str) -> None:
    assert_silent(hospital, node, DENIED[node])


def test_a_host_pings_as_an_ordinary_user(hospital: Hospital) -> None:
    done = hospital.ssh("ws-offices", "ping -c1 -W2 198.51.100.10 && ping -c1 -W2 2001:db8:100::10")
    assert done.returncode == 0, done.stdout + done.stderr


_TRANSACTION = """
import http.client, json
record = http.client.HTTPConnection("10.20.21.10", 443, timeout=3)
record.request("GET", "/record/42")
refused = record.getresponse(); refused.read()
record.request("POST", "/login", body=b"{}")
token = json.load(record.getresponse())["token"]
record.request("GET", "/record/42", headers={"Authorization": "Bearer " + token})
opened = record.getresponse(); opened.read()
pacs = http.client.HTTPConnection("2001:db8:20:22::10", 8042, timeout=3)
image = bytes(range(256)) * 500
pacs.request("PUT", "/image/1", body=image)
stored = pacs.getresponse(); stored.read()
pacs.request("GET", "/image/1")
print(json.dumps([refused.status, opened.status, stored.status, pacs.getresponse().read() == image]))
"""


def test_care_is_a_transaction(hospital: Hospital) -> None:
    done = hospital.exec("emergency", ["python3", "-c", _TRANSACTION])
    assert json.loads(done.stdout or "[]") == [401, 200, 201, True], done.stderr


def test_streams_flow_through_every_exit_and_stop_where_they_are_cut(hospital: Hospital) -> None:
    rules = "table inet cut {\n chain forward {\n type filter hook forward priority -300\n policy drop\n }\n}\n"
    with start_streams(hospital) as streams:
        exits = {(spec.exit, spec.family, spec.kind) for spec in streams.specs}
        assert exits == {
            (leave, family, kind)
            for leave in ("fibre", "backup-4g", "ght-mpls", "staff-vpn")
            for family in (4, 6)
            for kind in ("tcp", "udp")
        }
        assert hospital.exec("fw-ext", ["nft", "-f", "-"], stdin=rules).returncode == 0
        cut = time.monotonic_ns()
        try:
            time.sleep(0.6)
            results = streams.stop()
        finally:
            hospital.exec("fw-ext", ["nft", "delete", "table", "inet", "cut"])
    ended = time.monotonic_ns()
    assert all(result.received for result in results)
    for result in results:
        if result.exit == "fibre":
            assert result.last_ns < cut + 100_000_000, result  # what was already under way, on a busy machine
        else:
            assert result.last_ns > ended - 500_000_000, result


def test_a_stream_that_does_not_flow_is_named(hospital: Hospital) -> None:
    good = valmont_streams(hospital.site)[0]
    lost = StreamSpec("to-nowhere", "fibre", 4, "udp", "internet-host", "proxy", "203.0.113.26", 9999)
    with pytest.raises(EnvironmentMissing, match="to-nowhere") as refused:
        start_streams(hospital, [good, lost], within_s=1.0)
    assert good.name not in str(refused.value)
    assert "stream_sender" not in hospital.exec("internet-host", ["ps", "ax", "-o", "args"]).stdout


@pytest.mark.parametrize("how", ["restart_daemon", "reboot"])
def test_no_packet_slips_through_while_a_switch_starts(hospital: Hospital, how: str) -> None:
    specs = [spec for spec in valmont_streams(hospital.site) if spec.name in ("ght-mpls-v4-udp-in", "ght-mpls-v6-udp-in")]
    assert len(specs) == 2
    with start_streams(hospital, specs) as streams:
        assert hospital.exec("sw-dmz", ["ovs-vsctl", "set", "port", "p-ght", "tag=4094"]).returncode == 0
        try:
            time.sleep(0.1)
            before = streams.snapshot()
            getattr(hospital, how)("sw-dmz")
            time.sleep(0.5)
            assert streams.snapshot() == before
        finally:
            hospital.exec("sw-dmz", ["ovs-vsctl", "set", "port", "p-ght", "tag=60"])
    assert_answered(hospital, "sister", tcp(("10.20.22.10", 104), ("2001:db8:20:22::10", 104)))
