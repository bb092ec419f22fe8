"""The cut-off on the real rehearsal hospital while something else is broken: it cuts, and says what it knows.

Each test cuts with the brief pack (see cut_hospital.py) and leaves the hospital lifted.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab.layout import ADMIN
from orchestrator.settings import StateDirectory
from tests.lab.cut_hospital import ROOT, Cut, CutHospital, together
from tests.lab.reachability import Question, assert_answered, assert_silent

pytestmark = pytest.mark.lab

ALL = ["fw-ext", "fw-int", "rtr-backup", "rtr-isp", "sw-core", "sw-dmz", "vpn"]
GHT: list[Question] = [("tcp", "10.20.22.10", 104), ("tcp", "2001:db8:20:22::10", 2762)]
PORTAL: list[Question] = [("tcp", "203.0.113.20", 443), ("tcp", "2001:db8:20:11::10", 443)]
CLOSED = {"sister": GHT, "internet-host": PORTAL, "ws-backup": [("tcp", "198.51.100.10", 443)]}


@pytest.fixture(scope="module")
def routed(ratified: CutHospital) -> Iterator[CutHospital]:
    """BGP is waited for once, at the end of the file."""
    yield ratified
    ratified.lift()


@pytest.fixture
def uncut(routed: CutHospital) -> Iterator[CutHospital]:
    """The hospital, not cut; lifted afterwards whatever the test did."""
    try:
        yield routed
    finally:
        routed.lift(await_routes=False)


def assert_cut(hospital: CutHospital) -> None:
    """On live traffic, whatever the command said."""
    together(lambda node: assert_silent(hospital.hospital, node, CLOSED[node]), CLOSED)


# --- devices


def test_a_dead_device_and_an_impostor_are_named_and_the_others_are_cut_at_once(uncut: CutHospital) -> None:
    hospital = uncut.hospital
    new_key = "cd /etc/ssh && mkdir -p aside && mv ssh_host_ed25519_key* aside/ && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key"
    hospital.kill_device("fw-int")
    uncut.on("vpn", f"{new_key} && kill -HUP $(cat /run/sshd.pid)")
    try:
        cut = uncut.cut("total", pack=uncut.brief)
    finally:
        uncut.on("vpn", "cd /etc/ssh && mv aside/* . && rmdir aside && kill -HUP $(cat /run/sshd.pid)")
        hospital.revive("fw-int")
    assert cut.code == 2
    assert cut.steps == {**dict.fromkeys(ALL, "applied"), "fw-int": "unknown", "vpn": "refused"}
    assert "host key" in cut.device("vpn")["detail"]
    # A wave waits 2 s for its dead, whose session goes on until its own end.
    assert max(cut.device(name)["seconds_ms"] for name in ALL if name not in ("fw-int", "vpn")) < cut.device("fw-int")["seconds_ms"]
    assert {point.partition(":")[0] for point in cut.verdict["open"]} >= {"fw-int", "vpn"}
    assert_cut(uncut)  # what the two do not guard, others do
    mended = uncut.cut("total", pack=uncut.brief)
    assert mended.code == 0, mended.verdict["open"]
    assert mended.steps == dict.fromkeys(ALL, "applied")


# --- the orchestrator's own machine


@contextlib.contextmanager
def mounted(directory: Path, *words: str) -> Iterator[Path]:
    """`mount words… directory`, undone afterwards."""
    directory.mkdir()
    subprocess.run(["mount", *words, str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def merged(hospital: CutHospital, cut: Cut, state: Path, out: Path) -> list[str]:
    """Exports the log of a state directory, which merges its spool; returns the types of this cut-off's late events."""
    told = json.loads(hospital.must("audit", "export", "--out", str(out), "--json", "--state", str(state)))
    events = [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    late = [event["type"] for event in events if event["body"].get("late") and event["body"].get("epoch") == cut.epoch]
    assert told["merged_from_spool"] == len(late)
    return late


def test_with_a_read_only_state_directory_it_cuts_and_its_events_are_merged_later(uncut: CutHospital, tmp_path: Path) -> None:
    with mounted(tmp_path / "state", "--bind", str(uncut.state.root)) as state:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(state)], check=True)
        cut = uncut.cut("total", pack=uncut.brief, state=state)
        assert cut.code == 0, cut.verdict["open"]
        assert cut.verdict["recorded"] == "spool"
        assert_cut(uncut)
        found = json.loads(uncut.must("status", "--json", "--state", str(state)))
        assert found["last_cutoff"]["epoch"] == cut.epoch
        assert found["posture"] == "isolated"
        subprocess.run(["mount", "-o", "remount,rw,bind", str(state)], check=True)
        late = merged(uncut, cut, state, tmp_path / "export")
    assert late[0] == "CutoffOrdered"
    assert late.count("CutoffApplied") == len(ALL)
    assert late[-1] == "CutoffVerified"


def test_with_a_full_disk_it_cuts_and_its_events_are_merged_later(uncut: CutHospital, tmp_path: Path) -> None:
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs") as state:
        shutil.copytree(uncut.state.root, state, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        ballast = state / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass
        assert shutil.disk_usage(state).free < 4096
        cut = uncut.cut("total", pack=uncut.brief, state=state)
        assert cut.code == 0, cut.verdict["open"]
        assert cut.verdict["recorded"] == "spool"
        assert_cut(uncut)
        spooled = (state / "spool").read_bytes()  # allocated at ratification: there was room for it
        assert spooled.count(b'"CutoffApplied"') == len(ALL)
        ballast.unlink()
        late = merged(uncut, cut, state, tmp_path / "export")
    assert late[0] == "CutoffOrdered"
    assert late[-1] == "CutoffVerified"


@dataclass(frozen=True)
class Resolver:
    """A name server in the orchestrator's place that answers nobody and counts who asks."""

    process: subprocess.Popen[str]
    file: Path

    def questions(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


_RESOLVER = """
import select, socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print(0, flush=True)
asked = 0
while True:
    ready, _, _ = select.select([server, sys.stdin], [], [])
    if server in ready:
        server.recv(2048)
        asked += 1
    elif not sys.stdin.readline():
        break
    else:
        print(asked, flush=True)
"""


@pytest.fixture
def resolver(ratified: CutHospital, tmp_path: Path) -> Iterator[Resolver]:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    with subprocess.Popen(
        [*ratified.hospital.entering(ADMIN), sys.executable, "-c", _RESOLVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        yield Resolver(process, file)
        assert process.stdin is not None
        process.stdin.close()


def test_it_asks_no_name_server(uncut: CutHospital, resolver: Resolver) -> None:
    def with_resolver(*command: str) -> subprocess.CompletedProcess[str]:
        words = ["unshare", "--mount", "sh", "-c", f'mount --bind {resolver.file} /etc/resolv.conf && exec "$@"', "sh", *command]
        return subprocess.run(
            words, cwd=ROOT, env=uncut.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )

    look_up = "import socket\ntry: socket.getaddrinfo('name.invalid', 22)\nexcept OSError: pass"
    assert with_resolver(*uncut.hospital.entering(ADMIN), sys.executable, "-c", look_up).returncode == 0
    asked = resolver.questions()
    assert asked > 0  # it would be seen
    done = with_resolver(*uncut.command("cutoff", "--json", "--profile", "total", "--pack", str(uncut.brief)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert resolver.questions() == asked


# --- files


def copied(hospital: CutHospital, to: Path) -> StateDirectory:
    shutil.copytree(hospital.state.root, to, ignore=shutil.ignore_patterns("*.sock"))
    return StateDirectory(to)


def test_a_changed_pack_and_broken_files_warn_and_the_previous_pack_cuts(uncut: CutHospital, tmp_path: Path) -> None:
    state = copied(uncut, tmp_path / "state")
    envelope = json.loads(uncut.brief.read_text(encoding="utf-8"))
    envelope["body"]["profiles"]["total"]["devices"] = envelope["body"]["profiles"]["total"]["devices"][:1]
    stick = tmp_path / "stick.json"
    stick.write_text(json.dumps(envelope), encoding="utf-8")
    text = state.cut_pack.read_text(encoding="utf-8")
    state.cut_pack.write_text(text[: len(text) // 2], encoding="utf-8")
    shutil.copy(uncut.brief, state.previous_cut_pack)
    broken = tmp_path / "policy"
    broken.mkdir()
    (broken / "profiles.yaml").write_text("profiles: {total: [", encoding="utf-8")
    cut = uncut.cut("total", pack=stick, state=state.root, environment={"ORCHESTRATOR_POLICY": str(broken)})
    assert cut.code == 0, cut.verdict["open"]
    assert cut.verdict["pack"]["source"] == "previous cut pack"
    assert cut.steps == dict.fromkeys(ALL, "applied")
    for part in (f"the pack {stick} cannot be used: ", "the cut pack cannot be used: it is not JSON"):
        assert any(warning.startswith(part) for warning in cut.verdict["warnings"]), cut.verdict["warnings"]
    assert_cut(uncut)


def test_without_any_pack_the_files_on_disk_serve(uncut: CutHospital, tmp_path: Path) -> None:
    state = copied(uncut, tmp_path / "state")
    state.cut_pack.unlink()
    cut = uncut.cut("vendors", state=state.root)  # the narrowest: one device, few probes
    assert cut.code == 0, cut.verdict["open"]
    assert cut.verdict["pack"]["source"] == "files on disk"
    assert not cut.verdict["pack"]["ratified"]
    assert any("nobody ratified" in warning for warning in cut.verdict["warnings"])
    assert_silent(uncut.hospital, "vendor-1", [("tcp", "203.0.113.3", 8022), ("tcp", "2001:db8:20:28::40", 22)])
    assert_answered(uncut.hospital, "internet-host", PORTAL)


# --- the terminal


def finished(hospital: CutHospital, later_than: int, within_s: float = 90) -> dict[str, Any]:
    """What `orchestrator status` says of the newest cut-off once it has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        last: dict[str, Any] | None = hospital.status()["last_cutoff"]
        if last is not None and last["epoch"] > later_than and last["outcome"] != "running":
            return last
        time.sleep(0.3)
    raise AssertionError("the cut-off did not end")


def test_it_goes_on_when_its_terminal_dies(uncut: CutHospital) -> None:
    before = (uncut.status()["last_cutoff"] or {"epoch": 0})["epoch"]
    master, slave = pty.openpty()
    command = uncut.command("cutoff", "--profile", "total", "--pack", str(uncut.brief))
    process = subprocess.Popen(command, cwd=ROOT, env=uncut.environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        assert b"cutting" in os.read(master, 4096)
        os.close(master)
        os.kill(process.pid, signal.SIGHUP)
        assert finished(uncut, before)["outcome"] == "verified"
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert_cut(uncut)


def test_it_goes_on_when_it_is_told_to_stop(uncut: CutHospital) -> None:
    command = uncut.command("cutoff", "--profile", "total", "--pack", str(uncut.brief), "--by", "eng-1")
    process = subprocess.Popen(
        command, cwd=ROOT, env=uncut.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("cutting")
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        told, errors = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, told + errors
    assert "CUT OFF AND VERIFIED" in told
    assert "SIGINT: the cut-off goes on" in errors
    assert "SIGTERM: the cut-off goes on" in errors
    assert_cut(uncut)
