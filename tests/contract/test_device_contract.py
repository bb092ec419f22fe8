"""One contract for whoever drives a firewall: the simulated hospital, Netmiko and Ansible.

The last two reach a real nftables kernel in a namespace, over a real sshd. What a device is read back to hold after each
step is the same for all three, and the same bytes are sent by both real ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from orchestrator.adapters.ansible_devices import AnsibleDevices
from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.dialects.base import Dialect, Script
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.domain.layer import TCP, DeviceChange, Element, Layer, Observed, Opening
from orchestrator.ports import Credential, Devices, DeviceStep, Outcome, Target
from orchestrator.simulation.hospital import SimulatedHospital
from tests.contract.ssh_servers import SshServers
from tests.lab.small_device import Machine

ROOT = Path(__file__).parents[2]
CONFIRM_S = 4
KEPT = Element(source=ip_network("10.20.26.10/32"), destination=ip_network("198.51.100.35/32"), protocol=TCP, ports=(5671, 5671))
PORTAL = Element(source=ip_network("198.51.100.14/32"), destination=ip_network("10.20.11.10/32"), protocol=TCP, ports=(443, 443))
PORTAL_6 = Element(
    source=ip_network("2001:db8:100::14/128"), destination=ip_network("2001:db8:20:11::10/128"), protocol=TCP, ports=(443, 443)
)
LAYER = Layer(slot="internet-00000000", profile="internet", device="fw-ext", guard=("wan0",), keep=(KEPT,))
CHANGE = DeviceChange(
    device="fw-ext",
    openings=tuple(Opening(flow="portal", partner="sister", element=element) for element in (PORTAL, PORTAL_6)),
)


@dataclass(frozen=True)
class Driven:
    """A firewall, and who drives it. `wait` lets time pass for the device."""

    devices: Devices
    dialect: Dialect
    target: Target
    wait: Callable[[float], object]

    def run(self, verb: str, *scripts: Script, credential: Credential = Credential.OPEN) -> tuple[Outcome, ...]:
        (outcomes,) = self.devices.run({self.target: scripts}, credential=credential, deadline_s=30, verb=verb)
        return outcomes

    def step(self, verb: str, script: Script, **values: int) -> DeviceStep:
        return self.run(verb, script.filled(**values))[-1].step

    def observed(self) -> Observed:
        (outcome,) = self.run("read_back", self.dialect.read_back())
        assert outcome.step is DeviceStep.APPLIED, outcome
        return self.dialect.parse(outcome.output)


def simulated(_directory: Path) -> Iterator[Driven]:
    clock = [1000.0]
    hospital = SimulatedHospital(read_inventory(ROOT / "inventory" / "valmont.yml").site, now=lambda: clock[0])

    def wait(seconds: float) -> None:
        clock[0] += seconds

    yield Driven(hospital, hospital.dialect_for("nftables"), Target("fw-ext", "nftables", "", ""), wait)


def over_ssh(make: Callable[[SshServers], Devices]) -> Callable[[Path], Iterator[Driven]]:
    def driven(directory: Path) -> Iterator[Driven]:
        machine = Machine("fw", private=("/mnt",))
        servers = SshServers(directory)
        try:
            entering = directory / "enter"
            entering.write_text(f'#!/bin/sh\nexec nsenter -t {machine.holder} -n -m -p -- sh -c "$SSH_ORIGINAL_COMMAND"\n')
            entering.chmod(0o755)
            machine.run("ip link add wan0 type veth peer name far0 && ip link set wan0 up")
            target = servers.start(force_command=str(entering))
            yield Driven(make(servers), NftablesDialect(boot_directory="/mnt/containment"), target, time.sleep)
        finally:
            servers.stop()
            machine.close()

    return driven


def keys(servers: SshServers) -> dict[Credential, Path]:
    return dict.fromkeys(Credential, servers.client_key)


WAYS: dict[str, Callable[[Path], Iterator[Driven]]] = {
    "simulation": simulated,
    "netmiko": over_ssh(lambda servers: NetmikoDevices(keys(servers))),
    "ansible": over_ssh(lambda servers: AnsibleDevices(keys(servers), ROOT / "playbooks")),
}


@pytest.fixture(params=[pytest.param(name, marks=[] if name == "simulation" else [pytest.mark.lab]) for name in WAYS])
def driven(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driven]:
    yield from WAYS[request.param](tmp_path)


def test_the_life_of_a_layer_is_the_same_whoever_drives(driven: Driven) -> None:
    dialect, expected = driven.dialect, driven.dialect.expected((LAYER,))
    assert not driven.observed().present

    for _ in range(2):  # laying is idempotent
        assert driven.step("open", dialect.lay(LAYER), epoch=41) == "applied"
    laid = driven.observed()
    assert (laid.present, laid.epoch, laid.opened, laid.foreign) == (True, 41, (), ())
    assert laid.slots == expected.slots

    assert driven.step("open", dialect.open(CHANGE), epoch=40, confirm=CONFIRM_S) == "refused"
    assert driven.observed().fingerprint == laid.fingerprint, "a stale generation changes nothing"

    opening, reading = driven.run("open", dialect.open(CHANGE).filled(epoch=41, confirm=CONFIRM_S), dialect.read_back())
    assert opening.step == "applied"
    opened = dialect.parse(reading.output)  # in the same session: some of those who drive take seconds to come back
    assert opened.opened == CHANGE.elements
    assert {element for element, _ in opened.temporary} == set(CHANGE.elements)
    driven.wait(CONFIRM_S + 1.5)
    assert driven.observed().fingerprint == laid.fingerprint, "what nobody confirmed closes by itself"
    assert driven.step("confirm", dialect.confirm(CHANGE), epoch=41) == "refused"

    assert driven.step("open", dialect.open(CHANGE), epoch=41, confirm=60) == "applied"
    assert driven.step("confirm", dialect.confirm(CHANGE), epoch=41) == "applied"
    lasting = driven.observed()
    assert (lasting.opened, lasting.temporary) == (CHANGE.elements, ())

    for _ in range(2):  # what is gone already is no error
        assert driven.step("close", dialect.close(CHANGE)) == "applied"
    assert driven.observed().fingerprint == laid.fingerprint

    assert driven.step("lift", dialect.lift(), epoch=40) == "refused"
    assert driven.step("lift", dialect.lift(), epoch=41) == "applied"
    assert not driven.observed().present
    assert driven.step("open", dialect.open(CHANGE), epoch=41, confirm=CONFIRM_S) == "refused", "nothing opens where nothing lies"


def test_the_first_script_that_fails_ends_the_list(driven: Driven) -> None:
    stale = driven.dialect.open(CHANGE).filled(epoch=1, confirm=1)
    outcomes = driven.run("open", stale, driven.dialect.lay(LAYER).filled(epoch=41))
    assert [outcome.step for outcome in outcomes] == ["refused"]
    assert not driven.observed().present
