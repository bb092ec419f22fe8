"""A late command is harmless (invariant 9): commands that hang on the device and wake up after the generation has moved on."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from orchestrator.domain.layer import Observed
from tests.contract.ansible_runs import members, namespace_of, wait_until
from tests.contract.ssh_servers import SshServers
from tests.lab.frozen import Frozen, ended, state_of, wait_until_stopped
from tests.lab.iptables_site import KINDS, IptablesSite, site_of
from tests.lab.nftables_site import FAMILIES, INSIDE, OUTSIDE, Site, inbound, layer, opening, talks

pytestmark = pytest.mark.lab
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
KEPT = layer(inbound(4, 8080), inbound(6, 8080))


@pytest.fixture(params=KINDS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = site_of(request.param, tmp_path / "boot")
    try:
        made.up()
        for family in FAMILIES:
            for port in (443, 8080, 9000):
                made.echo("i", family, port)
        made.did(made.dialect.lay(KEPT), epoch=100)
        made.did(made.dialect.persist(KEPT), epoch=100)
        yield made
    finally:
        made.down()


def reached(site: Site, port: int) -> list[bool]:
    return [site.connection("o", family, INSIDE[family], port) is not None for family in FAMILIES]


def moves_on(site: Site, how: str, epoch: int = 200) -> None:
    """A re-isolation or a takeover raises the generation alone; a cut-off lays."""
    if how == "fence":
        site.did(site.dialect.fence(), epoch=epoch)
    else:
        site.did(site.dialect.lay(KEPT), epoch=epoch)
        site.did(site.dialect.persist(KEPT), epoch=epoch)


@pytest.mark.parametrize("how", ["fence", "lay"])
def test_whatever_hangs_and_wakes_up_later_changes_nothing(site: Site, how: str) -> None:
    blocked = (ip_network(f"{OUTSIDE[4]}/32"), ip_network(f"{OUTSIDE[6]}/128"))
    first, second = opening(inbound(4, 443), inbound(6, 443)), opening(inbound(4, 9000), inbound(6, 9000))
    site.did(site.dialect.open(second), epoch=100, confirm=30)
    late = {
        "open": Frozen(site, site.dialect.open(first), epoch=100, confirm=600),
        "confirm": Frozen(site, site.dialect.confirm(second), epoch=100),
        "confirm until": Frozen(site, site.dialect.confirm(second, until=True), epoch=100, until=600),
        "loosen": Frozen(site, site.dialect.loosen(), epoch=100, confirm=600),
        "unblock": Frozen(site, site.dialect.unblock(()), epoch=100),
        "lift": Frozen(site, site.dialect.lift(), epoch=100),
    }
    moves_on(site, how)
    site.did(site.dialect.block(blocked))
    before = site.observed()
    assert (before.epoch, before.blocked, before.foreign) == (200, blocked, ())
    for name, one in late.items():
        status, said = one.thaw()
        assert status != 0, f"{name}: {said}"
    seen = site.observed()
    assert (seen.epoch, seen.slots, seen.opened, seen.blocked, seen.loosened_s) == (200, before.slots, before.opened, blocked, None)
    assert all(left <= 30 for _, left in seen.temporary), "no late confirmation has made anything lasting"
    assert (seen.foreign, seen.boots_with) == ((), (KEPT.slot,))
    assert reached(site, 8080) == reached(site, 443) == [False, False]
    site.did(site.dialect.unblock(()), epoch=200)
    assert reached(site, 8080) == [True, True]
    assert reached(site, 443) == [False, False]
    assert reached(site, 9000) == [how == "fence"] * 2


def test_the_fence_changes_the_generation_and_nothing_else(site: Site) -> None:
    change = opening(inbound(4, 443), inbound(6, 443))
    site.did(site.dialect.open(change), epoch=100, confirm=60)
    sessions = [site.connection("o", family, INSIDE[family], 443) for family in FAMILIES]
    before = site.observed()
    for epoch in (200, 200, 150):
        site.did(site.dialect.fence(), epoch=epoch)
        seen = site.observed()
        assert (seen.epoch, seen.slots, seen.opened, seen.foreign) == (200, before.slots, before.opened, ())
        assert all(40 < left <= 60 for _, left in seen.temporary)
        assert all(talks(one) for one in sessions)
    assert site.on_router(site.dialect.confirm(change), epoch=100)[0] != 0
    site.did(site.dialect.confirm(change), epoch=200)
    site.reboot()
    assert site.observed().epoch == 200, "it boots with the raised generation"
    assert site.on_router(site.dialect.open(change), epoch=100)[0] != 0


def test_fencing_a_device_without_a_layer_is_no_error(site: Site) -> None:
    site.did(site.dialect.lift(), epoch=100)
    site.did(site.dialect.fence(), epoch=200)
    assert site.observed() == Observed(present=False)


def test_a_lift_that_hung_halfway_takes_no_newer_boot_file_away(site: Site) -> None:
    """It stops after the running layer went; then the site is cut off again; then it wakes up."""
    if isinstance(site, IptablesSite):
        tool, real = "ip6tables-restore", site.real("ip6tables-restore")
    else:
        tool, real = "nft", "/usr/sbin/nft"
    # The tool as it is, but whoever called it is frozen when it has done its work.
    site.put_program(tool, f'#!/bin/sh\n{real} "$@"\nstatus=$?\nkill -s STOP -- "-$(cut -d " " -f 5 /proc/$$/stat)"\nexit $status\n')
    filled = site.filled(site.dialect.lift(), epoch=100)
    hung = site.start(filled.command, filled.text)
    wait_until_stopped(hung.pid)
    if isinstance(site, IptablesSite):
        site.restore_tool(tool)
    else:
        site.take_program(tool)
    assert not site.observed().present
    site.did(site.dialect.lay(KEPT), epoch=200)
    site.did(site.dialect.persist(KEPT), epoch=200)
    os.killpg(hung.pid, signal.SIGCONT)
    ended(hung)
    seen = site.observed()
    assert (seen.present, seen.epoch, seen.boots_with, seen.foreign) == (True, 200, (KEPT.slot,), ())
    site.reboot()
    assert site.observed().slots == site.dialect.expected((KEPT,)).slots
    assert reached(site, 443) == [False, False]


@pytest.mark.parametrize("site", ["nftables"], indirect=True)
def test_an_nft_that_read_half_its_order_before_the_generation_moved_is_refused(site: Site) -> None:
    words = site.filled(site.dialect.open(opening(inbound(4, 443), inbound(6, 443))), epoch=100, confirm=600)
    half = len(words.text) // 2
    slow = subprocess.Popen(
        site.words_for(f"exec {words.command}"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert slow.stdin is not None
    assert slow.stdout is not None
    with slow:
        slow.stdin.write(words.text[:half])
        slow.stdin.flush()
        time.sleep(0.2)
        site.did(site.dialect.fence(), epoch=200)
        said, _ = slow.communicate(words.text[half:], timeout=20)
    assert slow.returncode != 0, said
    assert (site.observed().opened, site.observed().epoch) == ((), 200)
    assert reached(site, 443) == [False, False]


@pytest.mark.parametrize("site", ["iptables-nft", "iptables-legacy"], indirect=True)
@pytest.mark.parametrize("how", ["fence", "lay"])
def test_one_that_has_looked_and_hangs_before_its_transaction_opens_nothing(site: Site, how: str) -> None:
    """It has read what it must know, and its text is finished; it is stopped with the whole transaction in hand, the first one
    (IPv4) or, with IPv4 done, the second one (IPv6)."""
    assert isinstance(site, IptablesSite)
    change, epoch = opening(inbound(4, 443), inbound(6, 443)), 100
    for tool in ("iptables-restore", "ip6tables-restore"):
        for late in (site.dialect.open(change), site.dialect.confirm(change), site.dialect.loosen(), site.dialect.lift()):
            if late == site.dialect.confirm(change):
                site.did(site.dialect.open(change), epoch=epoch, confirm=30)
            stops = f'#!/bin/sh\nkill -s STOP -- "-$(cut -d " " -f 5 /proc/$$/stat)"\nexec {site.real(tool)} "$@"\n'
            site.put_program(tool, stops)
            filled = site.filled(late, epoch=epoch, confirm=600)
            hung = site.start(filled.command, filled.text)
            wait_until_stopped(hung.pid)
            site.restore_tool(tool)
            epoch += 1
            moves_on(site, how, epoch)
            os.killpg(hung.pid, signal.SIGCONT)
            status, said = ended(hung)
            assert status != 0, said
            seen = site.observed()
            assert (seen.epoch, seen.slots, seen.foreign) == (epoch, site.dialect.expected((KEPT,)).slots, ())
            assert (seen.loosened_s, seen.boots_with) == (None, (KEPT.slot,))
            if late != site.dialect.confirm(change) or how == "lay":
                assert seen.opened == ()
                assert reached(site, 443) == [False, False]
            assert len(seen.temporary) == len(seen.opened), "what has a deadline keeps it"
            assert all(left <= 30 for _, left in seen.temporary)
            site.did(site.dialect.close(change))


@pytest.mark.parametrize("site", ["nftables"], indirect=True)
@pytest.mark.parametrize(("verb", "how"), [("open", "fence"), ("confirm", "lay"), ("open", "nothing")])
def test_what_hangs_under_ansible_outlives_its_run_and_opens_nothing_after_the_fence(
    site: Site, tmp_path: Path, verb: str, how: str
) -> None:
    """The orchestrator is killed, and all of its run of Ansible with it; on the device `nft` still has the order in hand. Where
    nothing moves on, that order does open: it was whole."""
    change = opening(inbound(4, 443), inbound(6, 443))
    if verb == "confirm":
        site.did(site.dialect.open(change), epoch=100, confirm=300)
    script = (site.dialect.open(change) if verb == "open" else site.dialect.confirm(change)).filled(epoch=100, confirm=300)
    gate, arrived = tmp_path / "gate", tmp_path / "arrived"
    os.mkfifo(gate)
    (tmp_path / "ssh").mkdir()
    servers = SshServers(tmp_path / "ssh")
    enter = tmp_path / "enter"
    enter.write_text("#!/bin/sh\nexec " + shlex.join(site.words_for('exec sh -c "$SSH_ORIGINAL_COMMAND"')) + "\n")
    enter.chmod(0o755)
    target = servers.start(force_command=str(enter))
    waits = f"#!/bin/sh\ntrap '' HUP TERM\necho $$ > {arrived}.new; mv {arrived}.new {arrived}\nread _ < {gate}\n"
    site.put_program("nft", waits + 'exec /usr/sbin/nft "$@"\n')
    program = f"""
        from pathlib import Path
        from orchestrator.adapters.ansible_devices import AnsibleDevices, Credential, Script, Target
        devices = AnsibleDevices({{Credential.OPEN: Path({str(servers.client_key)!r})}}, Path({str(PLAYBOOKS)!r}))
        list(devices.run({{{target!r}: [{script!r}]}}, credential=Credential.OPEN, deadline_s=120, verb={verb!r}))
    """
    orchestrator = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    late = 0
    try:
        wait_until(arrived.exists, "the command arrives on the device", 100)
        late, run = int(arrived.read_text()), namespace_of(orchestrator.pid)
        assert members(run)
        orchestrator.kill()
        orchestrator.wait(timeout=10)
        wait_until(lambda: not members(run), "nothing of the run is left")
        site.take_program("nft")
        assert state_of(late) == "S", "it waits on the device, whatever became of the run"
        if how != "nothing":
            moves_on(site, how)
        before = site.observed()
        gate.write_text("go on\n")
        wait_until(lambda: not Path(f"/proc/{late}").exists() or state_of(late) == "Z", "the late command ends")
    finally:
        if late:
            with contextlib.suppress(ProcessLookupError):
                os.kill(late, signal.SIGKILL)
        orchestrator.kill()
        orchestrator.wait(timeout=10)
        servers.stop()
    seen = site.observed()
    assert (seen.slots, seen.foreign) == (before.slots, ())
    assert len(seen.temporary) == len(seen.opened), "it has made nothing lasting"
    if how == "nothing":
        assert (before.opened, seen.opened) == ((), change.elements)
        return
    assert (seen.epoch, before.opened, seen.opened) == (200, (), ())
    assert reached(site, 443) == [False, False]


@pytest.mark.parametrize("site", ["iptables-nft", "iptables-legacy"], indirect=True)
@pytest.mark.parametrize("how", ["fence", "lay"])
def test_one_that_hangs_inside_its_transaction_holds_no_cut_up_and_writes_nothing_back(site: Site, how: str) -> None:
    """It has read the rules, and the older kind the lock too: only the last line of its order is missing."""
    order = "*filter\n-X containment-e100\n-N containment-e100\n-I containment-open 1 -j RETURN\n"
    hung = subprocess.Popen(
        site.words_for("exec iptables-restore --noflush"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert hung.stdin is not None
    try:
        hung.stdin.write(order)
        hung.stdin.flush()
        time.sleep(0.3)
        assert hung.poll() is None
        hung.send_signal(signal.SIGSTOP)
        wait_until_stopped(hung.pid)
        moves_on(site, how)
        assert site.observed().epoch == 200
        assert (isinstance(site, IptablesSite) and site.kind == "legacy") == (state_of(hung.pid) == "Z")
        hung.send_signal(signal.SIGCONT)
        said, _ = hung.communicate("COMMIT\n", timeout=20)
        assert hung.returncode != 0, said
    finally:
        hung.kill()
        hung.wait(timeout=10)
    seen = site.observed()
    assert (seen.epoch, seen.opened, seen.foreign, seen.slots) == (200, (), (), site.dialect.expected((KEPT,)).slots)
    assert reached(site, 443) == [False, False]
    assert reached(site, 8080) == [True, True]


@pytest.mark.parametrize("site", ["iptables-nft", "iptables-legacy"], indirect=True)
def test_a_confirmation_that_hung_until_its_window_had_passed_makes_nothing_lasting(site: Site) -> None:
    """It has looked, and the window was open; the generation has not moved. The nftables kind finds no element any more."""
    assert isinstance(site, IptablesSite)
    change = opening(inbound(4, 443))  # with IPv6 in it, the look before the second transaction would notice
    site.did(site.dialect.open(change), epoch=100, confirm=4)
    real = site.real("iptables-restore")
    site.put_program("iptables-restore", f'#!/bin/sh\nkill -s STOP -- "-$(cut -d " " -f 5 /proc/$$/stat)"\nexec {real} "$@"\n')
    filled = site.filled(site.dialect.confirm(change), epoch=100)
    hung = site.start(filled.command, filled.text)
    wait_until_stopped(hung.pid)
    time.sleep(4)
    site.restore_tool("iptables-restore")
    os.killpg(hung.pid, signal.SIGCONT)
    status, said = ended(hung)
    assert status != 0
    assert "the window passed while this was on its way" in said
    assert site.observed().opened == ()
    assert reached(site, 443) == [False, False]


@pytest.mark.parametrize("site", ["iptables-legacy"], indirect=True)
def test_a_lock_that_somebody_else_holds_is_waited_for(site: Site) -> None:
    assert isinstance(site, IptablesSite)
    held = site.start(f"exec flock {site.lock} sleep 1.5")
    time.sleep(0.2)
    site.did(site.dialect.block((ip_network(f"{OUTSIDE[4]}/32"),)))
    assert ended(held)[0] == 0, "it was not ended: it is no iptables"
    assert reached(site, 8080) == [False, True]


def test_a_frozen_session_is_no_danger_to_the_cut_key_either(site: Site) -> None:
    """What only subtracts may come late: it changes nothing for the worse, and leaves the generation alone."""
    late = [
        Frozen(site, site.dialect.lay(KEPT), epoch=90),
        Frozen(site, site.dialect.fence(), epoch=90),
        Frozen(site, site.dialect.tighten(), epoch=90),
    ]
    moves_on(site, "lay")
    before = site.observed()
    assert [one.thaw()[0] for one in late] == [0, 0, 0]
    assert site.observed() == before
