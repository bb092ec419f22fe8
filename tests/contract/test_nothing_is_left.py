"""Whoever is killed in the middle of an Ansible run, none of its processes is left: playbook, workers, ssh, its masters.

They are counted by the PID namespace that they live in, so that one that nobody thought of is counted too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.ansible_devices import AnsibleDevices
from orchestrator.dialects.base import Script
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from tests.contract.ansible_runs import children_of, members, namespace_of, wait_until
from tests.contract.ssh_servers import SshServers

pytestmark = pytest.mark.lab
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServers]:
    made = SshServers(tmp_path_factory.mktemp("ssh"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Script]:
    """Hangs until the test is over: a remote command outlives its session, and is the test's to end."""
    yield Script(f"touch {tmp_path}/begun; while [ -d {tmp_path} ] && [ ! -e {tmp_path}/over ]; do sleep 0.1; done")
    (tmp_path / "over").touch()


ORCHESTRATOR = """
    import sys, threading
    from pathlib import Path
    from orchestrator.adapters.ansible_devices import AnsibleDevices, Credential, Script, Target
    devices = AnsibleDevices({{Credential.OPEN: Path({key!r})}}, Path({playbooks!r}))
    def call():
        for outcomes in devices.run({scripts!r}, credential=Credential.OPEN, deadline_s=60, verb="open"):
            print(outcomes[-1].device, outcomes[-1].step, outcomes[-1].detail, flush=True)
    {how}
"""
IN_A_THREAD = "caller = threading.Thread(target=call); caller.start(); caller.join()"


def start(servers: SshServers, scripts: dict[Target, list[Script]], how: str) -> subprocess.Popen[str]:
    program = textwrap.dedent(ORCHESTRATOR).format(key=str(servers.client_key), playbooks=str(PLAYBOOKS), scripts=scripts, how=how)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("victim", ["first process", "unshare", "orchestrator", "orchestrator in a thread"])
def test_nothing_is_left_after_a_kill(servers: SshServers, tmp_path: Path, hanging: Script, victim: str) -> None:
    targets = [servers.start() for _ in range(3)]
    orchestrator = start(servers, {target: [hanging] for target in targets}, IN_A_THREAD if "thread" in victim else "call()")
    try:
        wait_until((tmp_path / "begun").exists, "the command on the device")
        namespace = namespace_of(orchestrator.pid)
        wait_until(lambda: sum("ssh" in line and "mux" in line for line in members(namespace).values()) == 3, "three ssh masters")
        running = " ".join(members(namespace).values())
        assert "ansible_child.py" in running
        assert running.count("ansible-playbook") >= 4, f"the playbook and three workers: {running}"
        (unshare,) = children_of(orchestrator.pid)
        (first,) = children_of(unshare)
        os.kill({"first process": first, "unshare": unshare}.get(victim, orchestrator.pid), signal.SIGKILL)
        wait_until(lambda: members(namespace) == {}, f"all of them gone: {members(namespace)}", 5)
        said, _ = orchestrator.communicate(timeout=20)
    finally:
        orchestrator.kill()
        orchestrator.communicate(timeout=10)
    if "orchestrator" not in victim:  # it is told, and no device is taken for changed
        assert sorted(said.splitlines()) == sorted(
            f"{target.device} unknown no answer within the deadline, or Ansible died" for target in targets
        )


def outcomes_of(servers: SshServers, scripts: dict[Target, list[Script]]) -> Iterator[tuple[Outcome, ...]]:
    devices = AnsibleDevices({Credential.OPEN: servers.client_key}, PLAYBOOKS)
    return devices.run(scripts, credential=Credential.OPEN, deadline_s=60, verb="open")


def test_a_run_that_nobody_waits_for_any_more_is_ended(servers: SshServers, tmp_path: Path, hanging: Script) -> None:
    quick, slow = servers.start(), servers.start()
    outcomes = outcomes_of(servers, {quick: [Script("true")], slow: [hanging]})
    assert next(outcomes)[0].step is DeviceStep.APPLIED
    wait_until((tmp_path / "begun").exists, "the command on the device")
    namespace = namespace_of(os.getpid())
    assert members(namespace)
    assert isinstance(outcomes, Generator)
    outcomes.close()
    assert members(namespace) == {}


def test_a_run_outlives_the_thread_that_began_it(servers: SshServers) -> None:
    """A parent-death signal would end it: the kernel sends that when the *thread* ends which started the process."""
    first, second = servers.start(), servers.start()
    outcomes = outcomes_of(servers, {first: [Script("true")], second: [Script("sleep 1")]})
    begun: list[tuple[Outcome, ...]] = []
    beginner = threading.Thread(target=lambda: begun.append(next(outcomes)))
    beginner.start()
    beginner.join()
    steps = [one.step for listed in (*begun, *outcomes) for one in listed]
    assert steps == [DeviceStep.APPLIED, DeviceStep.APPLIED]


def test_without_the_last_events_only_what_was_said_counts(servers: SshServers, tmp_path: Path, hanging: Script) -> None:
    quick, slow = servers.start(), servers.start()
    outcomes = outcomes_of(servers, {quick: [Script("true")], slow: [Script("true"), hanging]})
    told = {next(outcomes)[0].device: DeviceStep.APPLIED}
    assert told == {quick.device: DeviceStep.APPLIED}
    wait_until((tmp_path / "begun").exists, "the command on the device")
    playbooks = [pid for pid, line in members(namespace_of(os.getpid())).items() if "ansible-playbook" in line]
    for pid in playbooks:
        os.kill(pid, signal.SIGKILL)
    ((done, lost),) = outcomes
    assert (done.step, lost.step) == (DeviceStep.APPLIED, DeviceStep.UNKNOWN)
    assert "ended" in lost.detail or "died" in lost.detail
