"""The contract of `ports.Devices` for Ansible, against real OpenSSH servers; and that no run leaves anything behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.ansible_devices import AnsibleDevices
from orchestrator.dialects.base import Script
from orchestrator.errors import EnvironmentMissing, UnknownName
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from tests.contract.ssh_servers import SshServers, free_port

pytestmark = pytest.mark.lab

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
SECRET = "planted-4f1c0d9a-secret"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServers]:
    made = SshServers(tmp_path_factory.mktemp("ssh"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def target(servers: SshServers) -> Target:
    return servers.start()


@pytest.fixture(scope="module")
def playbooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: its path in a command line tells our processes from everyone else's."""
    return shutil.copytree(PLAYBOOKS, tmp_path_factory.mktemp("playbooks") / "playbooks")


@pytest.fixture
def devices(servers: SshServers, playbooks: Path) -> AnsibleDevices:
    return AnsibleDevices({Credential.OPEN: servers.client_key}, playbooks)


def run(devices: AnsibleDevices, scripts: dict[Target, list[Script]], *, deadline_s: float = 30.0) -> dict[str, tuple[Outcome, ...]]:
    ended = devices.run(scripts, credential=Credential.OPEN, deadline_s=deadline_s, verb="open")
    return {outcomes[0].device: outcomes for outcomes in ended}


def left_behind(*marks: object) -> list[str]:
    """Command lines of living processes that mention one of the marks, and our own children that are Ansible's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if any(str(mark) in line for mark in marks) or ("ansible_child" in line and parent == str(os.getpid())):
                found.append(line)
    return found


def test_scripts_run_in_order_and_text_arrives_and_comes_back_unchanged(
    devices: AnsibleDevices, target: Target, servers: SshServers
) -> None:
    text = "\n{{ 6 * 7 }} {% raw %} 'single' \"double\" $HOME \\n é\n\n"
    [outcomes] = run(devices, {target: [Script("cat", text), Script("true"), Script("sh", "echo out; echo err >&2")]}).values()
    assert [outcome.step for outcome in outcomes] == [DeviceStep.APPLIED] * 3
    assert [outcome.output for outcome in outcomes] == [text, "", "out\nerr\n"]
    assert list((servers.directory / "home").iterdir()) == [], "nothing is left on the device"


def test_a_refusal_ends_the_list_of_its_target_only(devices: AnsibleDevices, target: Target, servers: SshServers) -> None:
    other = servers.start()
    refused = [Script("true"), Script("sh", "echo no such set >&2; exit 1"), Script("true")]
    outcomes = run(devices, {target: refused, other: [Script("true"), Script("true")]})
    assert [outcome.step for outcome in outcomes[target.device]] == [DeviceStep.APPLIED, DeviceStep.REFUSED]
    assert outcomes[target.device][1].output == "no such set\n"
    assert outcomes[target.device][1].detail == "exit status 1: no such set"
    assert [outcome.step for outcome in outcomes[other.device]] == [DeviceStep.APPLIED] * 2


def test_who_cannot_be_believed_or_does_not_believe_us_is_refused_before_anything_runs(
    devices: AnsibleDevices, target: Target, servers: SshServers, playbooks: Path, tmp_path: Path
) -> None:
    def touching(name: str) -> list[Script]:
        return [Script(f"touch {tmp_path / name}")]

    impostor = replace(target, device="impostor", host_keys=(servers.public(servers.new_key("another-host")),))
    unpinned = replace(target, device="unpinned", host_keys=())
    nobody = replace(target, device="nobody", port=free_port())
    command_line = replace(target, device="router")
    outcomes = run(
        devices,
        {impostor: touching("a"), unpinned: touching("b"), nobody: touching("c"), command_line: [Script("", "interface up0", kind="cli")]},
    )
    stranger = AnsibleDevices({Credential.OPEN: servers.new_key("stranger")}, playbooks)
    outcomes |= run(stranger, {target: touching("d")})
    assert {device: (one.step, one.detail) for device, (one,) in outcomes.items()} == {
        "impostor": (DeviceStep.REFUSED, "the host key is not the pinned one"),
        "unpinned": (DeviceStep.REFUSED, "no host key is pinned for this device"),
        "nobody": (DeviceStep.REFUSED, "connection refused"),
        "router": (DeviceStep.REFUSED, "Ansible runs shell scripts only; this one is for a command line"),
        target.device: (DeviceStep.REFUSED, "authentication refused"),
    }
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_hangs_is_unknown_at_the_deadline_and_nothing_stays(
    devices: AnsibleDevices, target: Target, servers: SshServers, playbooks: Path, tmp_path: Path
) -> None:
    quick = servers.start()
    started = time.monotonic()
    hanging = Script("sh", f"echo $$ > {tmp_path}/pid; exec sleep 120")
    try:
        outcomes = run(devices, {target: [Script("true"), hanging, Script("true")], quick: [Script("true")]}, deadline_s=9)
        assert time.monotonic() - started < 9 + 3
        assert [outcome.step for outcome in outcomes[target.device]] == [DeviceStep.APPLIED, DeviceStep.UNKNOWN]
        assert [outcome.step for outcome in outcomes[quick.device]] == [DeviceStep.APPLIED]
        assert left_behind(playbooks, f"IdentityFile={servers.client_key}", servers.client_key) == []
    finally:
        end_remote(tmp_path / "pid")


def test_nothing_stays_when_the_orchestrator_is_killed(target: Target, servers: SshServers, playbooks: Path, tmp_path: Path) -> None:
    program = f"""
        from pathlib import Path
        from orchestrator.adapters.ansible_devices import AnsibleDevices, Credential, Script, Target
        devices = AnsibleDevices({{Credential.OPEN: Path({str(servers.client_key)!r})}}, Path({str(playbooks)!r}))
        script = Script("sh", "echo $$ > {tmp_path}/pid; exec sleep 120")
        list(devices.run({{{target!r}: [script]}}, credential=Credential.OPEN, deadline_s=60, verb="open"))
    """
    orchestrator = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    try:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip() != "", 20)
        assert left_behind(playbooks)
        orchestrator.send_signal(signal.SIGKILL)
        orchestrator.wait(timeout=10)
        wait_until(lambda: left_behind(playbooks, servers.client_key) == [], 5)
    finally:
        orchestrator.kill()
        orchestrator.wait(timeout=10)
        end_remote(tmp_path / "pid")


def test_no_secret_reaches_a_disk_or_another_process(
    devices: AnsibleDevices, target: Target, playbooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", SECRET)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ansible.cfg").write_text("[defaults]\nlog_path = " + str(tmp_path / "ansible.log") + "\n")
    monkeypatch.setenv("ANSIBLE_LOG_PATH", str(tmp_path / "other.log"))
    started = time.time() - 1
    # Laying bare what Ansible's processes see and where they keep it, from the device's end of the session.
    look = f"""cat >/dev/null
        for one in $(pgrep -f {playbooks}); do tr '\\0' '\\n' < /proc/$one/environ; done
        grep -rl planted- /dev/shm || true"""
    [(outcome,)] = run(devices, {target: [Script(look, f"# {SECRET}\n")]}).values()
    assert outcome.step is DeviceStep.APPLIED
    assert "ANSIBLE_HOST_KEY_CHECKING=True" in outcome.output, "the look at the processes saw none"
    assert SECRET not in outcome.output
    assert "/dev/shm" not in outcome.output.replace("=/dev/shm", "")
    for place in (tmp_path, playbooks, Path("/dev/shm"), Path("/var/tmp"), Path("/tmp"), Path.home()):
        assert written_with(SECRET.encode(), place, started) == []


def written_with(secret: bytes, place: Path, since: float) -> list[Path]:
    """Files of the place (three levels deep) written since then that hold the secret."""
    found = []
    for pattern in ("*", "*/*", "*/*/*"):
        for file in place.glob(pattern):
            with contextlib.suppress(OSError):
                if file.is_file() and file.stat().st_mtime >= since and file.stat().st_size < 5_000_000 and secret in file.read_bytes():
                    found.append(file)
    return found


def test_what_is_wrong_on_this_machine_is_said_before_anything_is_sent(devices: AnsibleDevices, target: Target, playbooks: Path) -> None:
    with pytest.raises(UnknownName, match=r"no playbook .*/dance\.yml"):
        devices.run({target: [Script("true")]}, credential=Credential.OPEN, deadline_s=5, verb="dance")
    with pytest.raises(EnvironmentMissing, match="cut key cannot be read"):
        devices.run({target: [Script("true")]}, credential=Credential.CUT, deadline_s=5, verb="open")
    assert left_behind(playbooks) == []


def test_every_verb_of_a_stage_has_its_playbook(target: Target, servers: SshServers) -> None:
    devices = AnsibleDevices({Credential.OPEN: servers.client_key}, PLAYBOOKS)
    for verb in ("open", "confirm", "close", "lift", "read_back"):
        [(outcome,)] = devices.run({target: [Script("cat", verb)]}, credential=Credential.OPEN, deadline_s=30, verb=verb)
        assert (outcome.step, outcome.output) == (DeviceStep.APPLIED, verb)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def end_remote(pid: Path) -> None:
    """The command on the device outlives its ssh session; it is the test's to end."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.kill(int(pid.read_text()), signal.SIGKILL)
