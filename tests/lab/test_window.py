"""A dated window on the real rehearsal hospital: it opens by itself, the server is killed in it, and at its end the device closes
by itself, with the session that was open; another server reads that back and says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.cli.demo_lifting import lifting, words
from orchestrator.domain.making import stamp
from orchestrator.domain.network import Site
from orchestrator.errors import EnvironmentMissing
from orchestrator.lab.hospital import Hospital
from orchestrator.lab.machine import require_machine
from tests.lab.cut_hospital import ROOT, VALMONT, CutHospital
from tests.lab.small_device import eventually

pytestmark = pytest.mark.lab

STAGE, DEVICE, BASTION = "P6-remote-maintenance", "vpn", ("203.0.113.3", 8022)
LASTS = timedelta(seconds=75)
SESSION = f"""
import socket, sys, time
talk = socket.create_connection({BASTION!r}, timeout=5)
talk.settimeout(1.0)
talk.recv(200)
while True:
    try:
        talk.sendall(b"still here\\n")
        if not talk.recv(200):
            break
        print(time.time(), flush=True)
    except TimeoutError:
        pass
    time.sleep(0.2)
"""


class Dated(CutHospital):
    """Ratified with a policy in which the window waits for no predecessor and for no hour of the day."""

    def ratify(self, folder: Path = VALMONT) -> None:
        policy = self.directory / "policy"
        shutil.copytree(folder, policy)
        shutil.copy(ROOT / "policies" / "policy.schema.json", self.directory)
        stages = policy / "stages.yaml"
        text = stages.read_text(encoding="utf-8")
        start = text.index(f"  {STAGE}:")
        end = text.index("  P7-public:")
        kept = [line for line in text[start:end].splitlines() if "requires:" not in line and "- {window:" not in line]
        stages.write_text(text[:start] + "\n".join(kept) + "\n" + text[end:], encoding="utf-8")
        tests = policy / "tests.yaml"
        asked = [line for line in tests.read_text(encoding="utf-8").splitlines() if "vendor-not-before-care" not in line]
        tests.write_text("\n".join(asked) + "\n", encoding="utf-8")
        super().ratify(policy)


@pytest.fixture
def cut(site: Site, tmp_path: Path) -> Iterator[Dated]:
    try:
        require_machine()
    except EnvironmentMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    hospital = Hospital(site, f"w{os.getpid() % 100000}")
    try:
        hospital.up()
        dated = Dated(hospital, tmp_path)
        assert dated.cut("vendors", pack=dated.brief).code == 0
        yield dated
    finally:
        hospital.down()


def serve(cut: Dated) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(cut.command("serve"), cwd=ROOT, env=cut.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert eventually(lambda: (cut.state.root / "api.sock").exists() or server.poll() is not None, 30)
    assert server.poll() is None
    return server


def log_in(cut: Dated, *people: str) -> None:
    for person in people:
        cut.must("login", "--as", person, "--key", str(cut.directory / "people" / person))


def shown(cut: Dated) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cut.must("stage", "show", STAGE, "--as", "rssi", "--json"))
    return found


def test_the_session_dies_at_the_end_although_nobody_is_there(cut: Dated, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    server = serve(cut)
    session = None
    try:
        log_in(cut, "eng-1", "eng-2", "rssi")
        policy = read_policy(Path(cut.environment["ORCHESTRATOR_POLICY"]), rehearsal=True).policy
        for command in lifting(policy, policy.stage(STAGE), datetime.now(UTC)):
            cut.must(*words(command), "--as", "rssi")
        starts = datetime.now(UTC) + timedelta(seconds=10)
        ends = starts + LASTS
        cut.must("stage", "plan", STAGE, "--partner", "vendor-1", "--from", stamp(starts), "--until", stamp(ends), "--as", "eng-1")
        for person in ("eng-2", "rssi"):
            cut.must("stage", "vote", STAGE, "--key", str(cut.directory / "people" / person), "--yes", "--as", person)
        assert eventually(lambda: shown(cut)["state"] == "partially-open", 60), shown(cut)["detail"]

        with heard.open("w") as out:
            session = subprocess.Popen([*cut.hospital.entering("vendor-1"), "/usr/bin/python3", "-c", SESSION], stdout=out)
        assert eventually(lambda: len(heard.read_text().split()) > 3, 20), "a session is established"
        server.kill()
        server.wait(10)
        at_kill = time.time()
        assert eventually(lambda: float(heard.read_text().split()[-1]) > at_kill, 10), "it goes on without the orchestrator"
        assert datetime.now(UTC) < ends, "this machine is too slow for a window of that length"
        time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 8)

        replies = [float(line) for line in heard.read_text().split()]
        late = replies[-1] - ends.timestamp()
        assert late < 5, f"the last reply came {late:.1f} s after the end"
        assert cut.observed(DEVICE).opened == ()
        again = cut.hospital.exec(
            "vendor-1", ["/usr/bin/python3", "-c", f"import socket; socket.create_connection({BASTION!r}, timeout=3)"]
        )
        assert again.returncode != 0

        (cut.state.root / "api.sock").unlink(missing_ok=True)
        server = serve(cut)
        log_in(cut, "rssi")
        assert eventually(lambda: shown(cut)["state"] == "ended", 40), shown(cut)["state"]
    finally:
        if session is not None:
            session.kill()
            session.wait(10)
        server.terminate()
        server.wait(60)
