"""The contract of `ports.Devices`, kept by the Netmiko adapter against real OpenSSH servers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.dialects.base import Script
from orchestrator.errors import EnvironmentMissing
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from tests.contract.ssh_servers import SshServers, free_port


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServers]:
    servers = SshServers(tmp_path_factory.mktemp("ssh"))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def target(servers: SshServers) -> Target:
    return servers.start()


@pytest.fixture
def devices(servers: SshServers) -> NetmikoDevices:
    return NetmikoDevices({Credential.CUT: servers.client_key})


def run(devices: NetmikoDevices, target: Target, *scripts: Script, deadline_s: float = 10) -> tuple[Outcome, ...]:
    (outcomes,) = devices.run({target: scripts}, credential=Credential.CUT, deadline_s=deadline_s, verb="test")
    return outcomes


def test_scripts_run_in_order_on_one_session_with_their_text_as_input(devices: NetmikoDevices, target: Target) -> None:
    seen = Script("echo $SSH_CONNECTION")
    first, second, third = run(devices, target, Script("cat", "déjà vu\n" * 20_000), seen, seen)
    assert first.step is DeviceStep.APPLIED
    assert first.output == "déjà vu\n" * 20_000
    assert second.output == third.output != ""
    assert first.device == target.device


def test_standard_error_belongs_to_the_output(devices: NetmikoDevices, target: Target) -> None:
    (outcome,) = run(devices, target, Script("sh -s", "echo one; echo two >&2"))
    assert outcome.step is DeviceStep.APPLIED
    assert sorted(outcome.output.split()) == ["one", "two"]


def test_exit_status_other_than_zero_is_refused_and_ends_the_list(devices: NetmikoDevices, target: Target, tmp_path: Path) -> None:
    never = tmp_path / "never"
    outcomes = run(devices, target, Script("true"), Script("sh -s", "echo no such table; exit 1"), Script(f"touch {never}"))
    assert [outcome.step for outcome in outcomes] == [DeviceStep.APPLIED, DeviceStep.REFUSED]
    assert outcomes[1].output == "no such table\n"
    assert "exit status 1: no such table" in outcomes[1].detail
    assert not never.exists()


def test_a_command_that_ignores_its_input_is_judged_by_its_status(devices: NetmikoDevices, target: Target) -> None:
    (outcome,) = run(devices, target, Script("echo done", "x" * 5_000_000))
    assert (outcome.step, outcome.output) == (DeviceStep.APPLIED, "done\n")


def test_another_host_key_is_refused_before_anything_is_sent(devices: NetmikoDevices, servers: SshServers, target: Target) -> None:
    changed = replace(target, host_keys=(servers.public(servers.new_key("other-host")),))
    (outcome,) = run(devices, changed, Script("true"))
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "the host key is not the pinned one")


def test_without_a_pinned_host_key_nothing_is_trusted(devices: NetmikoDevices, target: Target) -> None:
    (outcome,) = run(devices, replace(target, host_keys=()), Script("true"))
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "no host key is pinned for this device")


def test_authentication_refused(servers: SshServers, target: Target) -> None:
    stranger = NetmikoDevices({Credential.CUT: servers.new_key("stranger")})
    (outcome,) = run(stranger, target, Script("true"))
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "authentication refused")


def test_connection_refused(devices: NetmikoDevices, target: Target) -> None:
    (outcome,) = run(devices, replace(target, port=free_port()), Script("true"))
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "connection refused")


def test_a_device_that_never_speaks_is_unknown_within_the_deadline(devices: NetmikoDevices, target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        (outcome,) = run(devices, replace(target, port=silent.getsockname()[1]), Script("true"), deadline_s=0.8)
        assert outcome.step is DeviceStep.UNKNOWN
        assert time.monotonic() - started < 2


def test_a_command_that_hangs_is_unknown_within_the_deadline_and_ends_the_list(devices: NetmikoDevices, target: Target) -> None:
    started = time.monotonic()
    outcomes = run(devices, target, Script("true"), Script("echo half; exec sleep 5"), Script("true"), deadline_s=1.5)
    assert time.monotonic() - started < 3
    assert [outcome.step for outcome in outcomes] == [DeviceStep.APPLIED, DeviceStep.UNKNOWN]
    assert "half" in outcomes[1].detail


def test_a_session_lost_midway_is_unknown(devices: NetmikoDevices, target: Target, tmp_path: Path) -> None:
    note = tmp_path / "session"

    def drop() -> None:
        given_up = time.monotonic() + 5
        while not note.exists() and time.monotonic() < given_up:
            time.sleep(0.02)
        os.kill(int(note.read_text()), signal.SIGKILL)  # the sshd process of this very session

    dropper = threading.Thread(target=drop)
    dropper.start()
    started = time.monotonic()
    (outcome,) = run(devices, target, Script("sh -s", f"echo $PPID > {note}.new; mv {note}.new {note}; sleep 3"), deadline_s=10)
    dropper.join()
    assert outcome.step is DeviceStep.UNKNOWN
    assert "lost" in outcome.detail
    assert time.monotonic() - started < 2.5


def test_vendor_lines_are_refused_when_the_device_does_not_understand_them(servers: SshServers) -> None:
    shell = servers.directory / "vendor-cli"
    shell.write_text(VENDOR_CLI)
    shell.chmod(0o755)
    router = servers.start(force_command=str(shell))
    devices = NetmikoDevices({Credential.CUT: servers.client_key})
    good = Script("", "interface up0\n shutdown\n", "cli")
    outcomes = run(devices, router, good, Script("", "interfaec up0\n", "cli"), good)
    assert [outcome.step for outcome in outcomes] == [DeviceStep.APPLIED, DeviceStep.REFUSED]
    assert "% Unknown command" in outcomes[1].detail


def test_twenty_devices_are_reached_at_the_same_time(servers: SshServers, devices: NetmikoDevices) -> None:
    targets = [servers.start() for _ in range(20)]
    started = time.monotonic()
    answers = list(
        devices.run({each: [Script("sleep 1; echo $$")] for each in targets}, credential=Credential.CUT, deadline_s=30, verb="test")
    )
    elapsed = time.monotonic() - started
    assert {outcomes[0].device for outcomes in answers} == {each.device for each in targets}
    assert all(outcome.step is DeviceStep.APPLIED for outcomes in answers for outcome in outcomes)
    assert elapsed < 10  # one after the other they sleep for 20 s


def test_a_dead_device_does_not_hold_the_others_back(devices: NetmikoDevices, target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = replace(target, device="dead", port=silent.getsockname()[1])
        started = time.monotonic()
        steps = {}
        for (outcome,) in devices.run(
            {dead: [Script("true")], target: [Script("true")]}, credential=Credential.CUT, deadline_s=4, verb="test"
        ):
            steps[outcome.device] = (outcome.step, time.monotonic() - started)
    assert steps[target.device][0] is DeviceStep.APPLIED
    assert steps[target.device][1] < 3
    assert steps["dead"][0] is DeviceStep.UNKNOWN


def test_a_credential_without_a_key_is_a_fault_of_this_machine(devices: NetmikoDevices, target: Target) -> None:
    with pytest.raises(EnvironmentMissing, match="open key"):
        devices.run({target: [Script("true")]}, credential=Credential.OPEN, deadline_s=5, verb="test")


def test_neither_key_nor_script_text_reaches_the_logs(
    devices: NetmikoDevices, servers: SshServers, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        run(devices, target, Script("cat > /dev/null", "planted-secret"))
    assert caplog.records  # something was logged, so that the absence below means something
    private = servers.client_key.read_text().splitlines()[1]
    assert "planted-secret" not in caplog.text
    assert private not in caplog.text


VENDOR_CLI = r"""#!/bin/bash
# Answers like a vendor's command line on a terminal: prompt, configuration mode, and `% Unknown command`.
mode='#'
while printf 'r1%s ' "$mode" && IFS= read -r line; do
    set -- $line
    case "$1" in
        '') ;;
        terminal | interface | shutdown) [ "$1" = interface ] && mode='(config-if)#' ;;
        configure) mode='(config)#' ;;
        end | exit) if [ "$mode" = '#' ]; then exit 0; fi; mode='#' ;;
        *) printf '%% Unknown command: %s\r\n' "$line" ;;
    esac
done
"""
