"""Whose turn it is on a device: openings wait for everybody, a cut for no opening, and a platform takes so many at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.ansible_devices import AnsibleDevices
from orchestrator.adapters.device_turns import HELD, LIMITS, OTHERS, DeviceTurns, Limit, limits_with
from orchestrator.adapters.netmiko_devices import NetmikoDevices
from orchestrator.dialects.base import Script
from orchestrator.errors import InputError
from orchestrator.ports import Credential, Devices, DeviceStep, Outcome, Target
from tests.contract.ssh_servers import SshServers

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
FOREVER = 3600.0


def firewall(number: int = 0, platform: str = "nftables") -> Target:
    return Target(f"fw-{number}", platform, "192.0.2.1", "containment")


def take(
    turns: DeviceTurns, *targets: Target, credential: Credential = Credential.OPEN, within_s: float = 0.0, waited_s: float = 0.0
) -> set[str]:
    now = time.monotonic()
    taken = turns.take(dict.fromkeys(targets, None), credential, since=now - waited_s, expires=now + within_s)
    return {target.device for target in taken}


def test_one_opening_at_a_time_on_a_device() -> None:
    turns, one, other = DeviceTurns(), firewall(1), firewall(2)
    assert take(turns, one) == {"fw-1"}
    assert take(turns, one, other) == {"fw-2"}
    turns.leave(one, Credential.OPEN)
    assert take(turns, one, other) == {"fw-1"}


def test_a_cut_never_waits_for_an_opening() -> None:
    turns, one = DeviceTurns({"nftables": Limit(1, 1, "")}), firewall()
    assert take(turns, one) == {"fw-0"}
    assert take(turns, one, credential=Credential.CUT) == {"fw-0"}


def test_an_opening_waits_for_the_cut_and_goes_on_when_it_is_over() -> None:
    turns, one = DeviceTurns(), firewall()
    assert take(turns, one, credential=Credential.CUT) == {"fw-0"}
    assert take(turns, one) == set()
    threading.Timer(0.1, turns.leave, (one, Credential.CUT)).start()
    assert take(turns, one, within_s=FOREVER) == {"fw-0"}


def test_a_cut_waits_for_another_cut_for_a_moment_only() -> None:
    turns, one = DeviceTurns(), firewall()
    assert take(turns, one, credential=Credential.CUT) == {"fw-0"}
    assert take(turns, one, credential=Credential.CUT) == set()
    assert take(turns, one, credential=Credential.CUT, within_s=FOREVER) == {"fw-0"}, "nobody gave the turn back"


def test_a_platform_takes_so_many_openings_and_no_cut_waits_for_them() -> None:
    turns = DeviceTurns({"frr": Limit(2, 3, "")})
    routers = [firewall(number, "frr") for number in range(5)]
    assert take(turns, *routers) == {"fw-0", "fw-1"}
    assert take(turns, *routers[2:]) == set()
    assert take(turns, firewall(9, "nftables")) == {"fw-9"}, "another platform has a limit of its own"
    assert take(turns, *routers, credential=Credential.CUT) == {"fw-0", "fw-1", "fw-2"}
    assert take(turns, *routers[3:], credential=Credential.CUT, waited_s=FOREVER) == {"fw-3", "fw-4"}, "a cut does not wait for long"
    turns.leave(routers[0], Credential.OPEN)
    assert take(turns, routers[4]) == set(), "its cut is not over"


def test_limits_can_be_set_and_every_platform_has_one() -> None:
    changed = limits_with("frr=4, cisco_ios=2,")
    assert (changed["frr"].opening, changed["frr"].cutting) == (4, LIMITS["frr"].cutting)
    assert (changed["cisco_ios"].opening, changed["cisco_ios"].cutting) == (2, OTHERS.cutting)
    assert changed["nftables"] == LIMITS["nftables"]
    for wrong in ("frr", "frr=0", "frr=-1", "=3", "frr=²"):
        with pytest.raises(InputError, match="ORCHESTRATOR_LIMITS"):
            limits_with(wrong)
    turns = DeviceTurns()
    assert len(take(turns, *(firewall(number, "unheard-of") for number in range(OTHERS.opening + 1)))) == OTHERS.opening


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServers]:
    made = SshServers(tmp_path_factory.mktemp("ssh"))
    try:
        yield made
    finally:
        made.stop()


def run(devices: Devices, target: Target, command: str, credential: Credential, deadline_s: float = 20) -> Outcome:
    ((outcome,),) = devices.run({target: [Script(command)]}, credential=credential, deadline_s=deadline_s, verb="open")
    return outcome


@pytest.mark.lab
@pytest.mark.parametrize("holder", ["netmiko", "ansible"])
def test_both_adapters_share_the_turns_and_a_cut_passes_a_session_that_hangs(servers: SshServers, tmp_path: Path, holder: str) -> None:
    turns, keys = DeviceTurns(), dict.fromkeys(Credential, servers.client_key)
    adapters: dict[str, Devices] = {
        "netmiko": NetmikoDevices(keys, turns=turns),
        "ansible": AnsibleDevices(keys, PLAYBOOKS, turns=turns),
    }
    other = adapters["ansible" if holder == "netmiko" else "netmiko"]
    target = servers.start()
    hanging = f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/end ]; do sleep 0.1; done"
    held: list[Outcome] = []
    opening = threading.Thread(target=lambda: held.append(run(adapters[holder], target, hanging, Credential.OPEN)))
    opening.start()
    try:
        given_up = time.monotonic() + 20
        while not (tmp_path / "begun").exists() and time.monotonic() < given_up:
            time.sleep(0.05)
        cut = run(other, target, "true", Credential.CUT)
        second = run(other, target, f"touch {tmp_path}/second", Credential.OPEN, deadline_s=1)
    finally:
        (tmp_path / "end").touch()
        opening.join()
    assert cut.step is DeviceStep.APPLIED
    assert (second.step, second.detail) == (DeviceStep.UNKNOWN, HELD)
    assert not (tmp_path / "second").exists()
    assert [one.step for one in held] == [DeviceStep.APPLIED]
    assert run(other, target, "true", Credential.OPEN).step is DeviceStep.APPLIED, "the turn was given back"
