"""`playbooks/cutoff.yml`: the cut without the orchestrator, by plain `ansible-playbook`, against real OpenSSH servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ports import Target
from tests.contract.ssh_servers import SshServers, free_port

pytestmark = pytest.mark.lab

PLAYBOOK = Path(__file__).parents[2] / "playbooks" / "cutoff.yml"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[SshServers]:
    made = SshServers(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def entry(target: Target, name: str, wave: int, record: Path, *, kind: str = "shell") -> dict[str, Any]:
    def script(step: str) -> dict[str, str]:
        if kind == "cli":
            return {"kind": "cli", "command": "", "text": f"{step} {name} {{{{ raw }}}}"}
        command = f"tee -a {record}"
        return {"kind": "shell", "command": command, "text": f"{name} {step} {{epoch}} {{{{ raw }}}}\n"}

    return {
        "device": name, "platform": "nftables", "address": target.address, "port": target.port, "user": target.user,
        "host_keys": list(target.host_keys), "wave": wave, "lay": script("lay"), "persist": script("persist"),
        "read_back": script("read_back"),
    }  # fmt: skip


def play(servers: SshServers, devices: list[dict[str, Any]], tmp_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    pack = tmp_path / "cut-pack.json"
    pack.write_text(json.dumps({"body": {"default_profile": "internet", "profiles": {"internet": {"devices": devices}}}, "signature": ""}))
    inventory = tmp_path / "inventory.yml"
    inventory.write_text("all: {hosts: {}}\n")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(PLAYBOOK), "-e", f"pack={pack}"]
    command += ["-e", f"key={servers.client_key}", "-e", f"read_backs={tmp_path / 'held'}", *more]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORKS": "20"}
    environment |= {"TMPDIR": str(tmp_path), "ANSIBLE_LOCALHOST_WARNING": "False"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)


def test_all_devices_are_cut_far_waves_first_whatever_the_kind(servers: SshServers, tmp_path: Path) -> None:
    record = tmp_path / "record"
    near, far = servers.start(), servers.start()
    router = servers.start(force_command=f"/usr/bin/tee -a {record}")
    done = play(
        servers,
        [entry(near, "near", 1, record), entry(far, "far", 0, record), entry(router, "router", 2, record, kind="cli")],
        tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = record.read_text().splitlines()
    first = [line for line in lines if " lay " in line or line.startswith("lay ")]
    assert [line.split()[0] for line in first] == ["far", "near", "lay"]
    assert first[2] == "lay router {{ raw }}"
    epochs = {line.split()[2] for line in lines if line.startswith(("far ", "near "))}
    assert len(epochs) == 1, "one generation for every step on every device"
    assert 0 <= time.time() - int(epochs.pop()) < 90
    assert all(line.endswith("{{ raw }}") for line in first)
    assert not list(tmp_path.glob("known-hosts-*"))
    assert (tmp_path / "held" / "far.txt").read_text().startswith("far read_back ")


def test_a_dead_device_and_an_impostor_stop_nobody_and_the_verdict_names_them(servers: SshServers, tmp_path: Path) -> None:
    record = tmp_path / "record"
    alive = servers.start()
    dead = Target("dead", "nftables", "127.0.0.1", alive.user, alive.host_keys, free_port())
    impostor = Target("impostor", "nftables", "127.0.0.1", alive.user, (servers.public(servers.new_key("other")),), alive.port)
    done = play(
        servers, [entry(dead, "dead", 0, record), entry(impostor, "impostor", 0, record), entry(alive, "alive", 1, record)], tmp_path
    )
    assert done.returncode != 0
    assert "NOT CUT OR NOT KNOWN: dead" in done.stdout
    assert "NOT CUT OR NOT KNOWN: impostor" in done.stdout
    assert "alive: laid, lasting, read back" in done.stdout
    assert [line.split()[:2] for line in record.read_text().splitlines()] == [["alive", step] for step in ("lay", "persist", "read_back")]


def test_an_unknown_profile_is_refused_before_anything_is_sent(servers: SshServers, tmp_path: Path) -> None:
    record = tmp_path / "record"
    done = play(servers, [entry(servers.start(), "alive", 0, record)], tmp_path, "-e", "profile=moon")
    assert done.returncode != 0
    assert "no profile moon in the pack; it has internet" in done.stdout
    assert not record.exists()
