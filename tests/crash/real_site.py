"""The rehearsal hospital as the proofs use it: cut off, with a server that is a process, people who sign, streams that knock.

People ask the server over HTTP on its Unix socket, as the commands do. The devices are read over SSH on sessions of our own.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.adapters.sshsig import sign
from orchestrator.cli.demo_lifting import lifting, words
from orchestrator.domain.layer import Observed
from orchestrator.domain.stages import LETS_THROUGH, RUNNING, StageState
from orchestrator.domain.statement import NAMESPACE
from orchestrator.lab.hospital import Hospital
from orchestrator.lab.streams import StreamResult, Streams, StreamSpec, valmont_streams
from tests.crash.approved import Fact
from tests.crash.one_death import state_of
from tests.crash.world import facts
from tests.lab.cut_hospital import ROOT, CutHospital, together

LOGIN = "orchestrator-login@v1"
STAGE = "P0-lifelines"
PROPOSER, VOTERS = "eng-1", ("commander", "eng-2")
STARTS_WITHIN_S, ENDS_WITHIN_S = 240.0, 240.0
KNOCKING_MS = 20  # between two packets of a stream


class NotInTime(Exception):
    """Something did not happen within its time."""


class RealSite:
    """A hospital that is up. On construction it is ratified, cut off, and everything that the stage waits for is handed in."""

    def __init__(self, hospital: Hospital, directory: Path) -> None:
        self.hospital, self.directory = hospital, directory
        self.case = CutHospital(hospital, directory)
        self.state = self.case.state
        self.policy = read_policy(ROOT / "policies" / "valmont", rehearsal=True).policy
        self._tokens: dict[str, str] = {}
        cut = self.case.cut("total", pack=self.case.brief)
        assert set(cut.steps.values()) == {"applied"}, cut.told
        self.after_the_cut = self.observed()
        with self.serving():
            self._hand_in()

    def _hand_in(self) -> None:
        rssi = str(self.directory / "people" / "rssi")
        self.case.must("login", "--as", "rssi", "--key", rssi)
        for command in lifting(self.policy, self.policy.stage(STAGE), datetime.now(UTC)):
            self.case.must(*words(command), "--as", "rssi")
        self.case.must("care", "probe", "--as", "rssi")

    # --- the server ---------------------------------------------------------------------------------------------

    def command(self, *words: str, module: str = "orchestrator") -> list[str]:
        """As `orchestrator --lab NAME words…` runs it; or another module in its place."""
        return ["ip", "netns", "exec", self.hospital.layout.namespace("admin"), sys.executable, "-m", module, *words]

    def environment(self, **more: str) -> dict[str, str]:
        return {**self.case.environment, "ORCHESTRATOR_STATE": str(self.state.root), "PYTHONUNBUFFERED": "1", **more}

    @contextmanager
    def serving(self, *, crash: dict[str, Any] | None = None, more: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """A server that acts, and has taken up what it found. `crash`: where it will be killed (killed_process.py); `more` of
        the environment."""
        module = "orchestrator" if crash is None else "tests.crash.killed_process"
        environment = self.environment(**(more or {}), **({"ORCHESTRATOR_CRASH": json.dumps(crash)} if crash is not None else {}))
        with (self.directory / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                self.command("serve", module=module), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._tokens.clear()
        try:
            await_(lambda: process.poll() is not None or self.acts(), STARTS_WITHIN_S, "the server acts")
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()

    def acts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking:  # the HTTP client leaves a socket behind where nobody listens
            if asking.connect_ex(str(self.state.root / "api.sock")):
                return False
        try:
            with self._http() as http:
                return bool(http.get("/v1/health").json()["acts"])
        except (httpx.TransportError, ValueError, KeyError):
            return False

    def _http(self) -> httpx.Client:
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.state.root / "api.sock")), base_url="http://orchestrator", timeout=60
        )

    # --- people -------------------------------------------------------------------------------------------------

    def ask(self, person: str, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        """Raises AssertionError with what the server answered, httpx.TransportError when it dies meanwhile."""
        with self._http() as http:
            token = self._tokens.get(person) or self._login(http, person)
            for _ in range(2):
                headers = {"Authorization": f"Bearer {token}"}
                answer = http.request(method, path, json=body if method == "POST" else None, params=query, headers=headers)
                if answer.status_code != 401:
                    break
                token = self._login(http, person)  # fifteen minutes are over
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def _login(self, http: httpx.Client, person: str) -> str:
        challenge = http.post("/v1/login/challenge", json={"person": person}).json()["challenge"]
        signature = sign(self._key(person), LOGIN, challenge.encode())
        answer = http.post("/v1/login", json={"person": person, "challenge": challenge, "signature": signature})
        assert answer.is_success, answer.text
        self._tokens[person] = answer.json()["token"]
        return self._tokens[person]

    def _key(self, person: str) -> Ed25519PrivateKey:
        key = load_ssh_private_key((self.directory / "people" / person).read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key

    def approve(self, stage: str = STAGE) -> None:
        """Planned and voted on; that care goes on is asked again, since an answer counts for minutes only."""
        self.ask("rssi", "POST", "/v1/care/probe", {})
        self.ask(PROPOSER, "POST", f"/v1/stages/{stage}/plan", {})
        for voter in VOTERS:
            statement = self.ask(voter, "GET", f"/v1/stages/{stage}/vote-statement", choice="approve")["statement"]
            signature = sign(self._key(voter), NAMESPACE, statement.encode())
            self.ask(voter, "POST", f"/v1/stages/{stage}/votes", {"statement": statement, "signature": signature})

    def apply(self, stage: str = STAGE) -> None:
        self.ask(PROPOSER, "POST", f"/v1/stages/{stage}/apply")

    def revert(self, stage: str = STAGE) -> None:
        self.ask(PROPOSER, "POST", f"/v1/stages/{stage}/revert", {"reason": "an alert"})

    def open(self, stage: str = STAGE) -> None:
        self.approve(stage)
        self.apply(stage)
        assert self.settled()[stage] in LETS_THROUGH, self.last_words()

    # --- what can be seen ---------------------------------------------------------------------------------------

    def facts(self, start: int = 0) -> list[Fact]:
        return list(facts(self.state.log, start))

    def stages(self) -> dict[str, StageState]:
        """By the log."""
        return {name: status.state for name, status in state_of(self.state.root).stages.items()}

    def settled(self) -> dict[str, StageState]:
        """The same as soon as nothing runs."""
        await_(lambda: not RUNNING & set(self.stages().values()), ENDS_WITHIN_S, "nothing runs any more")
        return self.stages()

    def last_words(self) -> str:
        return "; ".join(str(fact.body.get("reason", "")) for fact in self.facts()[-5:])

    def observed(self) -> dict[str, Observed]:
        """Every device that profile `total` lays a layer on, read back over SSH."""
        names = [entry["device"] for entry in self.case.body["profiles"]["total"]["devices"]]
        return together(self.case.observed, dict.fromkeys(names))


class Traffic:
    """Streams that no vote covers knock at every exit, all the time; one stream is of a flow of the stage."""

    def __init__(self, site: RealSite) -> None:
        self._voted = _of_the_stage(site)
        self._streams = Streams(site.hospital, (*valmont_streams(site.hospital.site), self._voted), KNOCKING_MS)

    def leaks(self) -> list[StreamResult]:
        """Of the streams that no vote covers, those of which anything has ever arrived since the cut-off."""
        return [result for result in self._streams.snapshot() if result.received and result.name != self._voted.name]

    def of_the_stage(self) -> StreamResult:
        return next(result for result in self._streams.snapshot() if result.name == self._voted.name)

    def flows(self) -> bool:
        """Whether packets of the stage's flow arrive now."""
        before = self.of_the_stage().received
        time.sleep(20 * KNOCKING_MS / 1000)
        return self.of_the_stage().received > before

    def last_arrival(self) -> datetime | None:
        """Of a packet of the stage's flow, on the wall clock."""
        last_ns = self.of_the_stage().last_ns
        return datetime.fromtimestamp(time.time() - (time.monotonic_ns() - last_ns) / 1e9, UTC) if last_ns else None

    def stop(self) -> None:
        self._streams.stop()


def _of_the_stage(site: RealSite) -> StreamSpec:
    """The blood supply's tunnel: UDP, one way, from the record's host to one address outside."""
    address = "198.51.100.37"
    hosts = {
        host.name: {str(item.ip) for interface in host.interfaces for item in interface.addresses} for host in site.hospital.site.hosts
    }
    source = next(name for name, addresses in hosts.items() if "10.20.21.10" in addresses)
    receiver = next(name for name, addresses in hosts.items() if address in addresses)
    return StreamSpec("blood-supply", "fibre", 4, "udp", source, receiver, address, 500)


def await_(true: Callable[[], object], within_s: float, what: str) -> None:
    """Raises NotInTime."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            raise NotInTime(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.1)


@contextmanager
def real_site(name: str, directory: Path, tell: Callable[[str], None] = print) -> Iterator[RealSite]:
    """A hospital of one's own; removed afterwards, whatever happens."""
    from orchestrator.adapters.inventory_yaml import read_inventory

    hospital = Hospital(read_inventory(ROOT / "inventory" / "valmont.yml").site, name)
    try:
        hospital.up(tell)
        yield RealSite(hospital, directory)
    finally:
        hospital.down()
