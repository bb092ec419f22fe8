"""Ansible and Netmiko give the same device state for the same change, verb by verb, on every platform that both can drive.

One real device per platform. The whole life of a layer is played on all of them by one adapter and then by the other; after
each verb, what a device is read back to hold and the site's own configuration must be the same. Vendor command lines have
no Ansible module here: a router's layer is laid by Netmiko each time, and the router's wrapper is called by both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.ansible_devices import AnsibleDevices
from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.dialects.base import Dialect, Script
from orchestrator.dialects.frr import FrrDialect
from orchestrator.dialects.iptables import IptablesDialect
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.dialects.openvswitch import OpenvswitchDialect
from orchestrator.domain.layer import TCP, DeviceChange, Element, Layer, Observed, Opening
from orchestrator.ports import Credential, Devices, DeviceStep, Outcome, Target
from tests.contract.ssh_servers import SshServers
from tests.lab.small_device import Machine
from tests.lab.small_router import BY_HAND, PRIVATE
from tests.lab.small_router import START as START_ROUTER
from tests.lab.small_switch import small_switch

pytestmark = pytest.mark.lab
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
NFTABLES_SITE = "table inet site {\n  chain forward { type filter hook forward priority 0; tcp dport 666 drop; }\n}\n"
IPTABLES_SITE = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m tcp --dport 666 -j DROP\nCOMMIT\n"
EPOCH, NEXT_EPOCH = 41, 42


def element(source: str, destination: str, port: int) -> Element:
    return Element(source=ip_network(source), destination=ip_network(destination), protocol=TCP, ports=(port, port))


KEPT = element("192.0.2.1/32", "192.0.2.2/32", 5671)
OPENED = (element("192.0.2.2/32", "192.0.2.1/32", 443), element("2001:db8:60::2/128", "2001:db8:60::1/128", 443))
BLOCKED = (ip_network("198.51.100.0/24"), ip_network("2001:db8:bad::/48"))


@dataclass(frozen=True)
class Case:
    """A device of one platform and grain: the layer laid on it, and what is opened in it."""

    machine: Machine
    dialect: Dialect
    layer: Layer
    change: DeviceChange


def flow_case(machine: Machine, dialect: Dialect, guard: str) -> Case:
    openings = tuple(Opening(flow="portal", partner="sister", element=one) for one in OPENED)
    layer = Layer(slot="internet-00000000", profile="internet", device="device", guard=(guard,), keep=(KEPT,))
    return Case(machine, dialect, layer, DeviceChange(device="device", openings=openings))


def coarse_case(machine: Machine, dialect: Dialect, guard: str) -> Case:
    layer = Layer(slot="internet-00000000", profile="internet", device="device", guard=(guard,), coarse=True)
    return Case(machine, dialect, layer, DeviceChange(device="device", releases=(guard,)))


@contextmanager
def firewall(dialect: Dialect, site: str, rules: str) -> Iterator[Case]:
    machine = Machine("flt-fw", private=("/mnt", "/run"))
    try:
        machine.run("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")  # link-local addresses are there at once
        machine.run("ip link add wan0 address 02:00:00:00:00:01 type veth peer name far0 && ip link set far0 up && ip link set wan0 up")
        machine.run(site, rules)
        yield flow_case(machine, dialect, "wan0")
    finally:
        machine.close()


@contextmanager
def switch(make: Callable[[Machine, Dialect, str], Case]) -> Iterator[Case]:
    with small_switch() as bench:
        yield make(bench.switch, OpenvswitchDialect(), "p-ght")


@contextmanager
def router() -> Iterator[Case]:
    machine = Machine("flt-router", PRIVATE)
    try:
        machine.install("containment-router")
        machine.run("cat > /etc/frr/frr.conf && chown frr:frr /etc/frr/frr.conf", BY_HAND)
        machine.run("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
        machine.run("for name in up0 in0; do ip link add $name type veth peer name far-$name; ip link set far-$name up; done")
        machine.run(START_ROUTER)
        yield coarse_case(machine, FrrDialect(), "up0")
    finally:
        machine.close()


PLATFORMS: dict[str, Callable[[], AbstractContextManager[Case]]] = {
    "nftables": lambda: firewall(NftablesDialect("/mnt/containment"), "nft -f -", NFTABLES_SITE),
    "iptables": lambda: firewall(IptablesDialect("/mnt/containment"), "iptables-restore", IPTABLES_SITE),
    "openvswitch-ports": lambda: switch(coarse_case),
    "openvswitch-flows": lambda: switch(flow_case),
    "frr": router,
}


@dataclass(frozen=True)
class Step:
    """One verb: its playbook, its script, the values put in, and what the device must answer."""

    verb: str
    script: Callable[[Case], Script]
    epoch: int = EPOCH
    answer: DeviceStep = DeviceStep.APPLIED


LIFE = (
    Step("open", lambda case: case.dialect.lay(case.layer)),
    Step("open", lambda case: case.dialect.persist(case.layer)),
    Step("open", lambda case: case.dialect.open(case.change), epoch=EPOCH - 1, answer=DeviceStep.REFUSED),
    Step("open", lambda case: case.dialect.open(case.change)),
    Step("close", lambda case: case.dialect.close(case.change)),
    Step("open", lambda case: case.dialect.open(case.change)),
    Step("confirm", lambda case: case.dialect.confirm(case.change)),
    Step("block", lambda case: case.dialect.block(BLOCKED)),
    Step("unblock", lambda case: case.dialect.unblock(BLOCKED[:1])),
    Step("fence", lambda case: case.dialect.fence(), epoch=NEXT_EPOCH),
    Step("unblock", lambda case: case.dialect.unblock(()), answer=DeviceStep.REFUSED),
    Step("close", lambda case: case.dialect.close(case.change)),
    Step("loosen", lambda case: case.dialect.loosen(), answer=DeviceStep.REFUSED),
    Step("loosen", lambda case: case.dialect.loosen(), epoch=NEXT_EPOCH),
    Step("tighten", lambda case: case.dialect.tighten(), epoch=NEXT_EPOCH),
    Step("lift", lambda case: case.dialect.lift(), answer=DeviceStep.REFUSED),
    Step("lift", lambda case: case.dialect.lift(), epoch=NEXT_EPOCH),
)


@dataclass(frozen=True)
class Held:
    """What one adapter's step led to. Seconds that are left differ from one reading to the next; that there are some does not."""

    verb: str
    answer: DeviceStep
    observed: dict[str, Any]
    site: str


def normal(observed: Observed) -> dict[str, Any]:
    content = observed.model_dump(mode="json")
    content["temporary"] = [one for one, _ in content["temporary"]]
    content["loosened_s"] = content["loosened_s"] is not None
    return content


def life_of(cases: dict[Target, Case], devices: Devices, netmiko: Devices) -> dict[str, list[Held]]:
    """By device. The state is always read by the same adapter."""
    held: dict[str, list[Held]] = {target.device: [] for target in cases}
    for step in LIFE:
        able = {target: case for target, case in cases.items() if step.verb not in ("block", "unblock") or case.dialect.traits.blocks}
        scripts = {target: (step.script(case).filled(epoch=step.epoch, confirm=600, until=900),) for target, case in able.items()}
        lines = {target: listed for target, listed in scripts.items() if listed[0].kind == "cli"}
        answers = run(netmiko, step.verb, lines) | run(
            devices, step.verb, {target: scripts[target] for target in scripts.keys() - lines.keys()}
        )
        readings = run(netmiko, "read_back", {target: (case.dialect.read_back(), case.dialect.snapshot()) for target, case in able.items()})
        for target, case in able.items():
            ((answer,), (reading, snapshot)) = answers[target.device], readings[target.device]
            assert answer.step is step.answer, f"{target.device}: {step}: {answer.detail}: {answer.output}"
            held[target.device].append(Held(step.verb, answer.step, normal(case.dialect.parse(reading.output)), snapshot.output))
    return held


def run(devices: Devices, verb: str, scripts: Mapping[Target, Sequence[Script]]) -> dict[str, tuple[Outcome, ...]]:
    answers = devices.run(scripts, credential=Credential.OPEN, deadline_s=90, verb=verb)
    return {outcomes[0].device: outcomes for outcomes in answers}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[SshServers]:
    made = SshServers(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def login(servers: SshServers, name: str, case: Case, *, only: str = "") -> Target:
    """A login on the device; a login without a command is its command line. `only`: commands that it runs and no others."""
    enter = f"nsenter -t {case.machine.holder} -n -m -p --"
    lines = [
        "#!/bin/sh",
        f'[ -n "$SSH_ORIGINAL_COMMAND" ] || exec {enter} vtysh',
        f'case "$SSH_ORIGINAL_COMMAND" in {only or "*"}) exec {enter} sh -c "$SSH_ORIGINAL_COMMAND" ;; esac',
        'echo "refused: this login knows one command only" >&2; exit 126',
    ]
    script = servers.directory / f"enter-{name}"
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return replace(servers.start(force_command=str(script)), device=name, platform=name)


def test_both_leave_the_same_state_after_every_verb(servers: SshServers) -> None:
    keys = {Credential.OPEN: servers.client_key}
    netmiko, ansible = NetmikoDevices(keys), AnsibleDevices(keys, PLAYBOOKS)
    with ExitStack() as machines:
        made = {name: machines.enter_context(make()) for name, make in PLATFORMS.items()}
        cases = {login(servers, name, case): case for name, case in made.items()}
        snapshots: dict[Target, tuple[Script, ...]] = {target: (case.dialect.snapshot(),) for target, case in cases.items()}
        before = {device: outcome.output for device, (outcome,) in run(netmiko, "read_back", snapshots).items()}
        by_netmiko = life_of(cases, netmiko, netmiko)
        by_ansible = life_of(cases, ansible, netmiko)
        after = {device: outcome.output for device, (outcome,) in run(netmiko, "read_back", snapshots).items()}
    for name, life in by_netmiko.items():
        for one, other in zip(life, by_ansible[name], strict=True):
            assert one == other, name
        assert len({str(held.observed) for held in life}) > 4, f"{name}: the steps were told apart at all"
        assert after[name] == before[name], name
    assert by_netmiko.keys() == PLATFORMS.keys()


def test_a_login_that_runs_our_wrapper_only_is_netmikos(servers: SshServers) -> None:
    """Ansible's modules need a Python that such a login does not run: refused, and nothing has happened."""
    keys = {Credential.OPEN: servers.client_key}
    with router() as case:
        target = login(servers, "frr", case, only="containment-router*")
        reading = {target: (case.dialect.read_back(),)}
        ((by_ansible,),) = run(AnsibleDevices(keys, PLAYBOOKS), "read_back", reading).values()
        assert (by_ansible.step, by_ansible.output) == (DeviceStep.REFUSED, "")
        assert "refused: this login knows one command only" in by_ansible.detail
        ((by_netmiko,),) = run(NetmikoDevices(keys), "read_back", reading).values()
        assert by_netmiko.step is DeviceStep.APPLIED
        assert not case.dialect.parse(by_netmiko.output).present
