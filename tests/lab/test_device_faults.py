"""Faults of a real device under real sshd, by both adapters: the outcome of each, the message that a person reads, and what
the device then holds.

`applied`: it did it. `refused`: it said no, and nothing ran. `unknown`: it did not answer; only a read-back tells, and
the tests read back.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from orchestrator.adapters.ansible_devices import WRONG_KEY, AnsibleDevices
from orchestrator.adapters.device_words import LOST, NO_ANSWER
from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.dialects.base import Script
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.domain.layer import TCP, DeviceChange, Element, Layer, Observed, Opening
from orchestrator.lab.accounts import write_accounts
from orchestrator.lab.keys import make_keys
from orchestrator.lab.layout import Layout
from orchestrator.ports import Credential, Devices, DeviceStep, Outcome, Target
from tests.contract.ssh_servers import SshServers, free_port
from tests.lab.small_device import Machine, eventually

pytestmark = pytest.mark.lab
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
INVENTORY = Path(__file__).parents[2] / "inventory/valmont.yml"
PORTAL = Element(source=ip_network("198.51.100.14/32"), destination=ip_network("10.20.11.10/32"), protocol=TCP, ports=(443, 443))
LAYER = Layer(slot="internet-00000000", profile="internet", device="fw", guard=("wan0",))
CHANGE = DeviceChange(device="fw", openings=(Opening(flow="portal", partner="sister", element=PORTAL),))


class Firewall:
    """An nftables firewall in namespaces of its own, logged in to through a shell that a test may spoil."""

    dialect = NftablesDialect(boot_directory="/mnt/containment")

    def __init__(self, servers: SshServers) -> None:
        self.servers = servers
        self.spoiled = servers.directory / "spoiled"
        self.enter = servers.directory / "enter"
        self.boot()
        self.enter.chmod(0o755)
        self.target = servers.start(force_command=str(self.enter))

    def boot(self) -> None:
        self.machine = Machine("flt-fw", private=("/mnt",))
        self.machine.run("ip link add wan0 type veth peer name far0 && ip link set wan0 up")
        shell = f'nsenter -t {self.machine.holder} -n -m -p -- sh -c "$SSH_ORIGINAL_COMMAND"'
        self.enter.write_text(f"#!/bin/sh\n[ ! -e {self.spoiled} ] || . {self.spoiled}\nexec {shell}\n")

    def spoil(self, words: str) -> None:
        """Shell words that every login runs before its command."""
        self.spoiled.write_text(words + "\n")

    def heal(self) -> None:
        self.spoiled.unlink(missing_ok=True)

    def lay(self) -> None:
        self.machine.apply(self.dialect.lay(LAYER), epoch=41)

    def observed(self) -> Observed:
        return self.dialect.parse(self.machine.apply(self.dialect.read_back()))


@pytest.fixture
def firewall(tmp_path: Path) -> Iterator[Firewall]:
    servers = SshServers(tmp_path)
    made = None
    try:
        made = Firewall(servers)
        yield made
    finally:
        servers.stop()
        if made is not None:
            made.machine.close()


@dataclass(frozen=True)
class Way:
    """One adapter: its name, and what makes it with so many seconds for a device."""

    name: str
    make: Callable[[dict[Credential, Path], float], Devices]

    def run(self, firewall: Firewall, *scripts: Script, device_s: float = 30, target: Target | None = None) -> tuple[Outcome, ...]:
        devices = self.make({Credential.OPEN: firewall.servers.client_key}, device_s)
        (outcomes,) = devices.run({target or firewall.target: scripts}, credential=Credential.OPEN, deadline_s=45, verb="open")
        return outcomes


WAYS = (
    Way("netmiko", lambda keys, device_s: NetmikoDevices(keys, device_deadline_s=device_s)),
    Way("ansible", lambda keys, device_s: AnsibleDevices(keys, PLAYBOOKS, device_deadline_s=device_s)),
)


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


def opening(epoch: int = 41) -> Script:
    return Firewall.dialect.open(CHANGE).filled(epoch=epoch, confirm=120)


# Before anything is sent: refused, with the reason, and the device as it was.


def test_connection_refused(firewall: Firewall, way: Way) -> None:
    (outcome,) = way.run(firewall, opening(), target=replace(firewall.target, port=free_port()))
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "connection refused")


def test_wrong_host_key(firewall: Firewall, way: Way) -> None:
    firewall.lay()
    another = firewall.servers.public(firewall.servers.new_key("another"))
    (outcome,) = way.run(firewall, opening(), target=replace(firewall.target, host_keys=(another,)))
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, WRONG_KEY)
    assert firewall.observed().opened == ()


def test_authentication_refused(firewall: Firewall, way: Way) -> None:
    firewall.lay()
    (firewall.servers.directory / f"authorized-{firewall.target.port}").write_text("")
    (outcome,) = way.run(firewall, opening())
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "authentication refused")
    assert firewall.observed().opened == ()


# In the middle of it: unknown, and the device is read back.


def test_a_session_that_drops_after_the_change_is_unknown_and_read_back(firewall: Firewall, way: Way) -> None:
    """The change was made and its answer lost: neither success nor failure is guessed."""
    firewall.lay()
    dropping = threading.Thread(target=lambda: eventually(lambda: bool(firewall.observed().opened), 25) and drop(firewall))
    dropping.start()
    script = opening()
    (outcome,) = way.run(firewall, Script(f"{script.command}; sleep 20", script.text))
    dropping.join()
    assert outcome.step is DeviceStep.UNKNOWN
    assert outcome.detail == LOST
    assert firewall.observed().opened == (PORTAL,)


def test_a_session_that_drops_before_the_change_is_unknown_and_nothing_is_open(firewall: Firewall, way: Way) -> None:
    firewall.lay()
    note = firewall.servers.directory / "begun"
    script = opening()
    dropping = threading.Thread(target=lambda: eventually(note.exists, 25) and drop(firewall))
    dropping.start()
    (outcome,) = way.run(firewall, Script(f"touch {note}; sleep 6; kill -9 $$; {script.command}", script.text))
    dropping.join()
    assert outcome.step is DeviceStep.UNKNOWN
    assert firewall.observed().opened == ()


def drop(firewall: Firewall) -> bool:
    firewall.servers.drop_sessions(firewall.target)
    return True


def test_a_device_that_hangs_is_unknown_and_does_not_hold_up_the_others(firewall: Firewall, way: Way) -> None:
    """Each device has an end of its own: the run has far more time than the one that hangs."""
    firewall.lay()
    other = replace(firewall.servers.start(), device="other")
    devices = way.make({Credential.OPEN: firewall.servers.client_key}, 8)
    script = opening()
    scripts = {firewall.target: [Script("true"), Script(f"sleep 60; {script.command}", script.text)], other: [Script("sleep 1")]}
    outcomes = {listed[0].device: listed for listed in devices.run(scripts, credential=Credential.OPEN, deadline_s=3600, verb="open")}
    assert [one.step for one in outcomes[firewall.target.device]] == [DeviceStep.APPLIED, DeviceStep.UNKNOWN]
    assert outcomes[firewall.target.device][1].detail == NO_ANSWER
    assert [one.step for one in outcomes["other"]] == [DeviceStep.APPLIED]
    firewall.machine.run("pkill -x sleep || :")


def test_a_machine_that_takes_the_connection_and_says_nothing_is_unknown(firewall: Firewall, way: Way) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (outcome,) = way.run(firewall, opening(), target=replace(firewall.target, port=silent.getsockname()[1]), device_s=3)
    assert outcome.step is DeviceStep.UNKNOWN
    assert outcome.detail == NO_ANSWER


def test_a_device_that_is_rebooted_in_the_middle_is_unknown_and_closed_when_it_is_back(firewall: Firewall, way: Way) -> None:
    firewall.lay()
    firewall.machine.apply(firewall.dialect.persist(LAYER), epoch=41)
    boot_files = firewall.machine.run("cd /mnt/containment && tar -cf - . | base64")

    def power_cut() -> None:
        if eventually(lambda: bool(firewall.observed().opened), 25):
            firewall.servers.end(firewall.target)
            firewall.machine.close()

    cutting = threading.Thread(target=power_cut)
    cutting.start()
    script = opening()
    (outcome,) = way.run(firewall, Script(f"{script.command}; sleep 20", script.text), device_s=25)
    cutting.join()
    assert outcome.step is DeviceStep.UNKNOWN

    (gone,) = way.run(firewall, firewall.dialect.read_back())
    assert (gone.step, gone.detail) == (DeviceStep.REFUSED, "connection refused")

    firewall.boot()
    firewall.machine.run("mkdir -p /mnt/containment && base64 -d | tar -xf - -C /mnt/containment", boot_files)
    firewall.machine.run("for file in /mnt/containment/*.nft; do nft -f $file; done")
    firewall.servers.start_again(firewall.target)
    (back,) = way.run(firewall, firewall.dialect.read_back())
    assert back.step is DeviceStep.APPLIED
    seen = firewall.dialect.parse(back.output)
    assert (seen.present, seen.opened, seen.epoch) == (True, (), 41)
    (late,) = way.run(firewall, firewall.dialect.confirm(CHANGE).filled(epoch=41))
    assert late.step is DeviceStep.REFUSED, "what did not survive is not confirmed"


# Slow, or talkative.


def test_a_slow_login_is_waited_for_and_one_that_is_too_slow_is_unknown(firewall: Firewall, way: Way) -> None:
    firewall.lay()
    firewall.spoil("sleep 0.7")
    (outcome,) = way.run(firewall, opening())
    assert outcome.step is DeviceStep.APPLIED
    assert firewall.observed().opened == (PORTAL,)
    firewall.machine.apply(firewall.dialect.close(CHANGE))
    firewall.spoil("sleep 20; exit 1")
    (outcome,) = way.run(firewall, opening(), device_s=3)
    assert outcome.step is DeviceStep.UNKNOWN
    assert outcome.detail == NO_ANSWER
    assert firewall.observed().opened == ()


GARBAGE = r"printf '\000\377\376\033[2J\033[31mred\033]0;title\007\342\200\256\r\n'; head -c 3000 /dev/urandom"


def test_garbage_is_taken_as_it_is_and_told_without_control_characters(firewall: Firewall, way: Way) -> None:
    (outcome,) = way.run(firewall, Script(r"printf '\nno: \033[2J\342\200\256 set\n'; exit 3"))
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "exit status 3: no: \\u001b[2J\\u202e set")
    (read,) = way.run(firewall, Script(GARBAGE))
    if way.name == "netmiko":
        assert read.step is DeviceStep.APPLIED, "the exit status decides; what cannot be read is the dialect's to refuse"
    else:
        assert (read.step, read.detail) == (DeviceStep.UNKNOWN, "it printed something that is no text")


def test_endless_output_is_cut_off_and_unknown(firewall: Firewall, way: Way) -> None:
    (outcome,) = way.run(firewall, Script("yes 0123456789abcdef0123456789abcdef"), device_s=40)
    assert outcome.step is DeviceStep.UNKNOWN
    assert outcome.detail.startswith("it printed more than")
    assert len(outcome.output) <= 16 * 1024 * 1024


def test_a_greeting_without_end_is_unknown(firewall: Firewall, way: Way) -> None:
    """Something else than sshd answers, and never stops."""
    over = threading.Event()

    def talk(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                while not over.wait(0.01):
                    connection.sendall(b"\x1b[2J" + os.urandom(500).replace(b"\n", b""))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        talking = threading.Thread(target=talk, args=(listening,))
        talking.start()
        try:
            target = replace(firewall.target, port=listening.getsockname()[1])
            (outcome,) = way.run(firewall, opening(), target=target, device_s=4)
        finally:
            over.set()
            listening.close()
            talking.join()
    assert outcome.step is DeviceStep.UNKNOWN
    assert outcome.detail
    assert outcome.detail.isprintable()


# The servers that a device asks who may log in.


def login_by_aaa(firewall: Firewall, words: str, *, local_keys: bool = False) -> Target:
    """A login whose keys a server gives: these shell words are its answer."""
    return firewall.servers.start(force_command=str(firewall.enter), keys_from=words, local_keys=local_keys)


def test_aaa_that_is_dead_refuses_and_aaa_that_is_slow_is_waited_for(firewall: Firewall, way: Way) -> None:
    firewall.lay()
    dead = login_by_aaa(firewall, "echo 'cannot reach the directory' >&2; exit 1")
    (outcome,) = way.run(firewall, opening(), target=dead)
    assert (outcome.step, outcome.detail) == (DeviceStep.REFUSED, "authentication refused")
    hanging = login_by_aaa(firewall, "sleep 60")
    (outcome,) = way.run(firewall, opening(), target=hanging, device_s=3)
    assert outcome.step is DeviceStep.UNKNOWN
    assert outcome.detail == NO_ANSWER
    assert firewall.observed().opened == ()
    slow = login_by_aaa(firewall, f"sleep 1; cat {firewall.servers.client_key}.pub")
    (outcome,) = way.run(firewall, opening(), target=slow)
    assert outcome.step is DeviceStep.APPLIED
    assert firewall.observed().opened == (PORTAL,)


@pytest.mark.parametrize("words", ["exit 1", "sleep 60"])
def test_a_local_key_needs_no_aaa(firewall: Firewall, way: Way, words: str) -> None:
    """The cut key is in a file of the device. OpenSSH reads it before it asks a server, so that a dead one changes nothing."""
    cut = login_by_aaa(firewall, words, local_keys=True)
    (outcome,) = way.run(firewall, firewall.dialect.lay(LAYER).filled(epoch=41), target=cut, device_s=20)
    assert outcome.step is DeviceStep.APPLIED
    assert firewall.observed().present


def test_no_device_of_the_rehearsal_hospital_asks_a_server_who_may_log_in(tmp_path: Path) -> None:
    site = read_inventory(INVENTORY).site
    layout = Layout("flt", tmp_path)
    for node in (*site.devices, *site.hosts):
        layout.disk(node.name).mkdir(parents=True)
    layout.known_hosts.parent.mkdir(parents=True)
    make_keys(layout, site.devices)
    for device in site.devices:
        write_accounts(layout, device)
        etc = layout.disk(device.name) / "etc"
        if not (etc / "ssh/sshd_config").exists():
            continue
        settings = dict(line.split(" ", 1) for line in (etc / "ssh/sshd_config").read_text().splitlines())
        assert settings["UsePAM"] == "no", device.name
        assert settings["AuthorizedKeysFile"] == "/etc/ssh/authorized_keys/%u", device.name
        assert not {"AuthorizedKeysCommand", "TrustedUserCAKeys", "KerberosAuthentication"} & settings.keys(), device.name


# Clocks.


@pytest.mark.parametrize("seconds_off", [40, -40])
def test_a_clock_that_is_off_moves_no_deadline(firewall: Firewall, way: Way, seconds_off: int) -> None:
    """Deadlines are lengths of time, counted by the device; nobody compares its clock with ours."""
    firewall.lay()
    firewall.spoil(f"export PATH={firewall.servers.directory}/off:$PATH")
    shim = firewall.servers.directory / "off" / "date"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec /bin/date -d "{seconds_off:+d} seconds" "$@"\n')
    shim.chmod(0o755)
    (clock, opened, reading) = way.run(
        firewall, Script("date +%s"), firewall.dialect.open(CHANGE).filled(epoch=41, confirm=6), firewall.dialect.read_back()
    )
    assert abs(int(clock.output) - time.time() - seconds_off) < 30, "the device's clock is off at all"
    assert (opened.step, reading.step) == (DeviceStep.APPLIED, DeviceStep.APPLIED)
    ((element, left),) = firewall.dialect.parse(reading.output).temporary
    assert element == PORTAL
    assert 0 < left <= 6
    assert eventually(lambda: firewall.observed().opened == (), 12)
    (again, lasting) = way.run(
        firewall,
        firewall.dialect.open(CHANGE).filled(epoch=41, confirm=60),
        firewall.dialect.confirm(CHANGE, until=True).filled(epoch=41, until=3),
    )
    assert (again.step, lasting.step) == (DeviceStep.APPLIED, DeviceStep.APPLIED)
    assert eventually(lambda: firewall.observed().opened == (), 12)
