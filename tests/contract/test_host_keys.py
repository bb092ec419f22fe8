"""Host keys are always checked, by both adapters: no device is believed whose key is not the pinned one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.ansible_devices import NO_KEY, WRONG_KEY, AnsibleDevices
from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.dialects.base import Script
from orchestrator.ports import Credential, Devices, DeviceStep
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


@pytest.fixture(params=["netmiko", "ansible"])
def devices(request: pytest.FixtureRequest, servers: SshServers) -> Devices:
    keys = {Credential.OPEN: servers.client_key}
    return NetmikoDevices(keys) if request.param == "netmiko" else AnsibleDevices(keys, PLAYBOOKS)


def test_only_the_pinned_key_is_believed(devices: Devices, servers: SshServers, tmp_path: Path) -> None:
    target = servers.start()
    for name in ("a", "b", "c"):
        (servers.directory / name).unlink(missing_ok=True)
    own = target.host_keys[0]
    another = servers.public(servers.new_key("a"))
    ecdsa = servers.new_key("b", "ecdsa")
    swapped = servers.start(host_key=ecdsa)  # a server that shows a key of another type than the pinned one
    changed = servers.public(servers.new_key("c", "ecdsa"))
    cases = {
        "pinned": replace(target, host_keys=(own,)),
        "one-of-two": replace(target, host_keys=(changed, own)),
        "same-key-other-name": replace(target, host_keys=(own + " colleague@elsewhere",)),
        "changed": replace(target, host_keys=(another,)),
        "unknown": replace(target, host_keys=()),
        "type-swapped": replace(swapped, host_keys=(own,)),
        "type-swapped-and-changed": replace(swapped, host_keys=(own, changed)),
        "unreadable": replace(target, host_keys=("ssh-ed25519 AAAA",)),
    }
    scripts = {replace(one, device=name): [Script(f"touch {tmp_path / name}")] for name, one in cases.items()}
    outcomes = {outcome.device: outcome for (outcome,) in devices.run(scripts, credential=Credential.OPEN, deadline_s=40, verb="open")}
    believed = {name for name, outcome in outcomes.items() if outcome.step is DeviceStep.APPLIED}
    assert believed == {"pinned", "one-of-two", "same-key-other-name"}
    assert {path.name for path in tmp_path.iterdir()} == believed, "nothing ran elsewhere"
    refused = {name: outcome.detail for name, outcome in outcomes.items() if outcome.step is DeviceStep.REFUSED}
    assert refused.keys() == cases.keys() - believed
    assert refused["unknown"] == NO_KEY
    assert refused["changed"] == refused["type-swapped"] == refused["type-swapped-and-changed"] == WRONG_KEY
