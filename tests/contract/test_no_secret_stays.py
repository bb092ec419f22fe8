"""No secret on a disk, in another process's sight or in what is reported, while a device is changed and afterwards.

Planted: the private key's own text, and a token inside a script, as a pre-shared key would be.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.ansible_devices import AnsibleDevices
from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.dialects.base import Script
from orchestrator.ports import Credential, Devices, DeviceStep, Outcome
from tests.contract.ansible_runs import members, namespace_of, wait_until
from tests.contract.ssh_servers import SshServers

pytestmark = pytest.mark.lab
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
TOKEN = b"planted-correct-horse-battery-staple"
PLACES = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path.home(), Path("/var/log"))
DEEPEST, LARGEST = 6, 5_000_000


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServers]:
    made = SshServers(tmp_path_factory.mktemp("ssh"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(params=["netmiko", "ansible"])
def devices(request: pytest.FixtureRequest, servers: SshServers) -> Devices:
    keys = {Credential.OPEN: servers.client_key}
    return NetmikoDevices(keys) if request.param == "netmiko" else AnsibleDevices(keys, PLAYBOOKS)


def test_neither_key_nor_script_is_anywhere_but_on_its_way(
    devices: Devices, servers: SshServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As a person's account may be set up: everything that would make Ansible write more.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", TOKEN.decode())
    monkeypatch.setenv("ANSIBLE_LOG_PATH", str(tmp_path / "ansible.log"))
    monkeypatch.setenv("ANSIBLE_KEEP_REMOTE_FILES", "1")
    monkeypatch.setenv("ANSIBLE_DEBUG", "1")
    (tmp_path / ".ansible.cfg").write_text(f"[defaults]\nlog_path = {tmp_path}/other.log\n")
    key = servers.client_key.read_bytes().splitlines()[2]  # of the base64 text: the private half
    os.utime(servers.client_key, (0, 0))  # where the key is kept is not where it was written to
    begun, over = tmp_path / "begun", tmp_path / "over"
    target = servers.start()
    script = Script(f"cat > /dev/null; touch {begun}; while [ ! -e {over} ]; do sleep 0.1; done", f"# {TOKEN.decode()}\n")
    since, got = time.time() - 1, list[Outcome]()

    def change() -> None:
        for outcomes in devices.run({target: [script]}, credential=Credential.OPEN, deadline_s=40, verb="open"):
            got.extend(outcomes)

    caplog.set_level(logging.DEBUG)
    changing = threading.Thread(target=change)
    changing.start()
    try:
        wait_until(begun.exists, "the script on the device", 30)
        meanwhile = [*written_with((TOKEN, key), (*PLACES, tmp_path), since), *seen_in_processes((TOKEN, key))]
        namespace = namespace_of(os.getpid())
        private = [Path(f"/proc/{pid}/root/dev/shm") for pid in members(namespace)] if namespace else []
        in_private = written_with((key,), private[:1], 0.0)
        modes = {stat.S_IMODE(place.stat().st_mode) for place in private}
        kinds = {kind_of_file_system(pid) for pid in members(namespace)} if namespace else set()
    finally:
        over.touch()
        changing.join()

    assert [outcome.step for outcome in got] == [DeviceStep.APPLIED]
    assert meanwhile == []
    assert in_private == [], "a key is named by its path and never copied, not even into the private memory of the run"
    assert bool(private) == isinstance(devices, AnsibleDevices)
    assert modes <= {0o700}
    assert kinds <= {"tmpfs"}
    assert written_with((TOKEN, key), (*PLACES, tmp_path), since) == []
    reported = (repr(got) + caplog.text).encode()
    assert TOKEN not in reported
    assert key not in reported
    assert not (tmp_path / "ansible.log").exists()
    assert not (tmp_path / "other.log").exists()


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/log").write_bytes(b"x " + TOKEN)
    assert written_with((TOKEN,), (tmp_path,), time.time() - 60) == [tmp_path / "a/b/log"]
    assert written_with((TOKEN,), (tmp_path,), time.time() + 60) == []


def written_with(secrets: tuple[bytes, ...], places: tuple[Path, ...] | list[Path], since: float) -> list[Path]:
    """Files written since then that hold one of the secrets."""
    found = []
    for place in places:
        for directory, below, names in os.walk(place):
            if len(Path(directory).relative_to(place).parts) >= DEEPEST:
                below.clear()
            for path in (Path(directory) / name for name in names):
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    fresh = stat.S_ISREG(status.st_mode) and status.st_mtime >= since and status.st_size < LARGEST
                    if fresh and any(secret in path.read_bytes() for secret in secrets):
                        found.append(path)
    return found


def seen_in_processes(secrets: tuple[bytes, ...]) -> list[str]:
    """Other processes whose command line or environment shows one of the secrets."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if process.name != str(os.getpid()) and any(secret in (process / name).read_bytes() for secret in secrets):
                    found.append(f"{name} of {(process / 'cmdline').read_bytes()!r}")
    return found


def kind_of_file_system(pid: int) -> str:
    """What is mounted at /dev/shm as this process sees it (the last mount counts)."""
    kinds = [
        line.split(" - ")[1].split()[0] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/dev/shm"
    ]
    return kinds[-1]
