"""The rehearsal hospital's life: up, up again, two at once, reboot, faults, crash, down; and what it refuses."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import lab as lab_command
from orchestrator.domain.network import Site
from orchestrator.errors import EnvironmentMissing, UnknownName, UsageError
from orchestrator.lab import holder, namespaces, readiness
from orchestrator.lab.hospital import Hospital
from orchestrator.lab.machine import require_machine
from tests.lab.conftest import INVENTORY, Raised
from tests.lab.reachability import Question, assert_answered, assert_silent

pytestmark = pytest.mark.lab

PORTAL: list[Question] = [("tcp", "203.0.113.20", 443), ("tcp", "2001:db8:20:11::10", 443)]
BOOT_FILE = "/etc/containment/50-test.nft"


def holders(hospital: Hospital) -> dict[str, int | None]:
    return {node: holder.pid_of(hospital.layout, node) for node in hospital.nodes}


def run(hospital: Hospital, node: str, command: str) -> str:
    done = hospital.exec(node, ["sh", "-c", command])
    assert done.returncode == 0, f"{node}: {command}: {done.stderr}"
    return done.stdout


def test_up_takes_less_than_a_minute(raised: Raised) -> None:
    assert raised.seconds < 60
    assert raised.hospital.status()["up"] is True


def test_up_again_keeps_what_runs(hospital: Hospital) -> None:
    before = holders(hospital)
    hospital.up()
    assert None not in before.values()
    assert holders(hospital) == before


def test_nothing_leaks_into_the_machine(hospital: Hospital) -> None:
    assert "containment" not in Path("/etc/passwd").read_text()
    assert "containment" in run(hospital, "fw-ext", "cat /etc/passwd")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(hospital.directory) not in mounts
    assert hospital.directory.stat().st_mode & 0o777 == 0o700
    own = {path.name for path in Path("/sys/class/net").iterdir()}
    assert not own.intersection({"mgmt0", "wan0", "p-ght", "br0"})


def test_routers_learn_by_bgp_in_both_families(hospital: Hospital) -> None:
    ours = {str(prefix) for prefix in readiness.bgp_routes(hospital.layout, "rtr-isp")}
    theirs = {str(prefix) for prefix in readiness.bgp_routes(hospital.layout, "provider")}
    assert {"0.0.0.0/0", "::/0"} <= ours
    assert {"203.0.113.0/24", "2001:db8:20::/48", "2001:db8:ed::/64"} <= theirs


def test_every_device_and_vantage_point_answers_ssh_with_its_host_key(hospital: Hospital) -> None:
    for device in hospital.site.devices:
        command = None if device.platform == "frr" else "hostname"
        for key in ("cut", "open"):
            done = hospital.ssh(device.name, command, key=key, stdin="show version\n" if command is None else None)
            assert device.name in done.stdout, (device.name, key, done.stderr)
    for host in hospital.site.hosts:
        if host.is_vantage_point:
            assert hospital.ssh(host.name, "id -un").stdout == "probe\n"


def test_a_foreign_key_and_a_foreign_command_are_refused(hospital: Hospital) -> None:
    assert hospital.ssh("fw-ext", "true", key="probe").returncode == 255
    refused = hospital.ssh("rtr-isp", "cat /etc/shadow")
    assert refused.returncode == 126
    assert refused.stdout == ""


def test_firewall_reboot_loses_what_ran_and_loads_what_was_written(hospital: Hospital) -> None:
    before = run(hospital, "fw-ext", "nft -s list ruleset; ip route; ip -6 route | sort")
    run(hospital, "fw-ext", "nft add table inet colleague; ip route add 192.0.2.64/26 via 203.0.113.1")
    run(hospital, "fw-ext", f"echo 'table inet written {{ }}' > {BOOT_FILE}")
    try:
        hospital.reboot("fw-ext")
        assert "table inet written" in run(hospital, "fw-ext", "nft list ruleset")
        assert "colleague" not in run(hospital, "fw-ext", "nft list ruleset")
        assert "192.0.2.64/26" not in run(hospital, "fw-ext", "ip route")
        assert_answered(hospital, "internet-host", PORTAL)
    finally:
        run(hospital, "fw-ext", f"rm -f {BOOT_FILE}")
        hospital.reboot("fw-ext")
    assert run(hospital, "fw-ext", "nft -s list ruleset; ip route; ip -6 route | sort") == before


def test_firewall_whose_boot_rules_are_broken_stays_closed_and_manageable(hospital: Hospital) -> None:
    run(hospital, "fw-ext", f"echo 'this is no rule' > {BOOT_FILE}")
    try:
        hospital.reboot("fw-ext")
        assert hospital.ssh("fw-ext", "true").returncode == 0
        assert_silent(hospital, "internet-host", PORTAL)
    finally:
        run(hospital, "fw-ext", f"rm -f {BOOT_FILE}")
        hospital.reboot("fw-ext")
    assert_answered(hospital, "internet-host", PORTAL)


def test_firewall_reload_keeps_its_boot_layer(hospital: Hospital) -> None:
    run(hospital, "fw-int", f"echo 'table inet written {{ }}' > {BOOT_FILE}")
    try:
        run(hospital, "fw-int", "nft add table inet colleague")
        hospital.restart_daemon("fw-int")
        rules = run(hospital, "fw-int", "nft list ruleset")
        assert "written" in rules
        assert "colleague" not in rules
    finally:
        run(hospital, "fw-int", f"rm -f {BOOT_FILE}")
        hospital.restart_daemon("fw-int")


def test_router_reboot_loads_the_configuration_that_was_written(hospital: Hospital) -> None:
    written = run(hospital, "rtr-isp", "vtysh -c 'show running-config'")
    run(hospital, "rtr-isp", "vtysh -c 'configure terminal' -c 'ip route 192.0.2.64/26 203.0.113.2'")
    deadline = time.monotonic() + 5
    while "192.0.2.64/26" not in run(hospital, "rtr-isp", "ip route"):
        assert time.monotonic() < deadline, "FRR did not take the route"
        time.sleep(0.05)
    hospital.reboot("rtr-isp")
    assert run(hospital, "rtr-isp", "vtysh -c 'show running-config'") == written
    assert "192.0.2.64/26" not in run(hospital, "rtr-isp", "ip route")
    assert_answered(hospital, "internet-host", PORTAL)


def test_router_daemons_restart_and_forward_again(hospital: Hospital) -> None:
    hospital.restart_daemon("rtr-isp")
    assert_answered(hospital, "internet-host", PORTAL)


def test_router_that_is_shut_stays_shut_when_its_daemons_restart_and_nobody_waits_for_its_routes(hospital: Hospital) -> None:
    # Written, because FRR raises an interface that has an address and is not shut in the start-up configuration.
    shut = "vtysh -c 'configure terminal' -c 'interface up0' -c '{}' -c end -c write"
    run(hospital, "rtr-isp", shut.format("shutdown"))
    try:
        hospital.restart_daemon("rtr-isp")
        hospital.up()
        assert "state DOWN" in run(hospital, "rtr-isp", "ip link show up0")
        assert_silent(hospital, "internet-host", PORTAL)
    finally:
        run(hospital, "rtr-isp", shut.format("no shutdown"))
    assert_answered(hospital, "internet-host", PORTAL)


def test_router_that_was_shut_boots_shut(hospital: Hospital) -> None:
    shut = "vtysh -c 'configure terminal' -c 'interface lte0' -c '{}' -c end -c write"
    over_4g: list[Question] = [("udp", "192.0.2.10", 9000), ("udp", "2001:db8:20:28::51", 9000)]
    run(hospital, "rtr-backup", shut.format("shutdown"))
    try:
        hospital.reboot("rtr-backup")
        assert_silent(hospital, "internet-host", over_4g)
    finally:
        run(hospital, "rtr-backup", shut.format("no shutdown"))
    assert_answered(hospital, "internet-host", over_4g)


@pytest.mark.parametrize("how", ["reboot", "restart_daemon"])
def test_switch_loses_its_flows_and_keeps_its_database(hospital: Hospital, how: str) -> None:
    run(hospital, "sw-dmz", "ovs-ofctl add-flow br0 priority=7,arp,actions=drop; ovs-vsctl set port h-booking tag=4094")
    try:
        getattr(hospital, how)("sw-dmz")
        assert "priority=7" not in run(hospital, "sw-dmz", "ovs-ofctl dump-flows br0")
        assert run(hospital, "sw-dmz", "ovs-vsctl get port h-booking tag") == "4094\n"
        assert_answered(hospital, "internet-host", PORTAL)
        assert_silent(hospital, "gp", [("tcp", "203.0.113.23", 443)])
    finally:
        run(hospital, "sw-dmz", "ovs-vsctl set port h-booking tag=11")
    assert_answered(hospital, "gp", [("tcp", "203.0.113.23", 443)])


def test_device_whose_management_dies_goes_on_forwarding(hospital: Hospital) -> None:
    hospital.kill_device("fw-ext")
    try:
        assert hospital.ssh("fw-ext", "true").returncode == 255
        assert_answered(hospital, "internet-host", PORTAL)
    finally:
        hospital.revive("fw-ext")
    assert hospital.ssh("fw-ext", "true").returncode == 0


def test_device_without_power_passes_nothing_and_up_brings_it_back(hospital: Hospital) -> None:
    hospital.power_off("fw-ext")
    assert hospital.status()["nodes"]["fw-ext"]["running"] is False
    assert_silent(hospital, "internet-host", PORTAL)
    hospital.up()
    assert_answered(hospital, "internet-host", PORTAL)


@pytest.fixture
def second(site: Site, tmp_path: Path) -> Iterator[Hospital]:
    hospital = Hospital(site, f"u{os.getpid()}", tmp_path / "second")
    try:
        yield hospital
    finally:
        hospital.down()


def test_two_at_once_and_a_crash_leaves_nothing(hospital: Hospital, second: Hospital) -> None:
    second.up()
    assert_answered(second, "internet-host", PORTAL)
    assert_answered(hospital, "internet-host", PORTAL)
    before = holders(hospital)
    for pid in (pid for number, pid in enumerate(holders(second).values()) if number % 2):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    (second.directory / "nodes/fw-ext/holder").unlink()  # what was recorded can be lost, too
    inodes = {namespaces.identity(name) for name in namespaces.existing(second.layout.prefix)}
    second.down()
    assert namespaces.existing(second.layout.prefix) == set()
    assert not second.directory.exists()
    left = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and network_of(pid) in inodes]
    assert left == []
    assert holders(hospital) == before
    assert_answered(hospital, "internet-host", PORTAL)


def network_of(process: Path) -> int | None:
    try:
        return (process / "ns/net").stat().st_ino
    except OSError:
        return None


def test_crashed_nodes_are_repaired_by_up(hospital: Hospital) -> None:
    before = holders(hospital)
    for node in ("portal", "sw-core", "provider"):
        pid = before[node]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while holders(hospital)["portal"] is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    hospital.up()
    assert {node for node, pid in holders(hospital).items() if pid != before[node]} == {"portal", "sw-core", "provider"}
    assert_answered(hospital, "internet-host", PORTAL)


def test_a_command_that_does_not_end_is_killed(hospital: Hospital) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        hospital.exec("portal", ["sleep", "1234"], timeout=0.3)
    assert "sleep 1234" not in run(hospital, "portal", "ps ax -o args")


def test_without_root_it_says_what_is_missing(site: Site, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            with pytest.raises(EnvironmentMissing, match="root") as refused:
                Hospital(site, "h1norootx", tmp_path / "lab").up()
        finally:
            os.seteuid(0)
        assert "sudo" in str(refused.value)
    else:
        with pytest.raises(EnvironmentMissing, match="root"):
            Hospital(site, "h1norootx", tmp_path / "lab").up()
    assert not (tmp_path / "lab").exists()


def test_missing_programs_are_all_named_with_their_packages() -> None:
    with pytest.raises(EnvironmentMissing) as refused:
        require_machine({"no-such-switch": "openvswitch-switch", "no-such-router": "frr", "ip": "iproute2"})
    text = str(refused.value)
    assert "no-such-switch" in text
    assert "no-such-router" in text
    assert "apt-get install --no-install-recommends frr openvswitch-switch" in text


@pytest.mark.parametrize("name", ["", "Valmont", "a-b", "1st", "waytoolonganame"])
def test_a_name_that_cannot_be_a_prefix_is_refused(site: Site, name: str) -> None:
    with pytest.raises(UsageError):
        Hospital(site, name)


def test_a_directory_of_something_else_is_left_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("not yours")
    with pytest.raises(UsageError, match="is not the state"):
        Hospital(site, f"v{os.getpid()}", tmp_path).down()
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_an_unknown_node_is_refused_with_the_names(hospital: Hospital) -> None:
    with pytest.raises(UnknownName, match="fw-ext"):
        hospital.exec("fw-none", ["true"])


def test_the_command_line_tells_the_status(hospital: Hospital, capfd: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    lab_command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["lab", "status", "--json", "--name", hospital.name, "--inventory", str(INVENTORY)])
    assert args.func(args) == 0
    assert json.loads(capfd.readouterr().out)["up"] is True
    args = parser.parse_args(["lab", "status", "--name", f"w{os.getpid()}", "--inventory", str(INVENTORY)])
    assert args.func(args) == 2
    assert "not up" in capfd.readouterr().out
