"""A rehearsal hospital that is ratified and can be cut: what the tests of the cut-off share.

Commands run as a person types them, in processes of their own. Beside the ratified cut pack there is a *brief* one,
signed by the same site key: the same texts for the same devices, fewer probes, no second look after the failover time,
and three more profiles that cut with the devices of one platform only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.adapters.site_key import load_or_create_site_key
from orchestrator.adapters.sshsig import sign
from orchestrator.cli.demo_people import People
from orchestrator.dialects import dialect_for
from orchestrator.dialects.base import Dialect, Script
from orchestrator.domain.canonical import canonical
from orchestrator.domain.layer import Observed
from orchestrator.domain.pack import NAMESPACE
from orchestrator.domain.probes import Probe
from orchestrator.lab import readiness
from orchestrator.lab.hospital import Hospital
from orchestrator.service.cutoff_probes import key
from orchestrator.settings import StateDirectory

ROOT = Path(__file__).parents[2]
VALMONT = ROOT / "policies" / "valmont"
COMMAND_S = 120
# Which exits the devices of one platform close in profile `total`: each exit has one device of each such platform.
EXITS_OF = {
    "nftables": ("fibre", "staff-vpn", "ght-mpls"),
    "frr": ("fibre", "staff-vpn", "backup-4g"),
    "openvswitch": ("ght-mpls", "backup-4g"),
}


@dataclass(frozen=True)
class Cut:
    """How a cut-off ended: its exit code, its JSON, and what it told on standard error."""

    code: int
    verdict: dict[str, Any]
    told: str

    @property
    def steps(self) -> dict[str, str]:
        return {device["device"]: device["step"] for device in self.verdict["devices"]}

    def device(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(device for device in self.verdict["devices"] if device["device"] == name)
        return found

    @property
    def epoch(self) -> int:
        return int(self.verdict["epoch"])


class CutHospital:
    """Ratifies on construction, and keeps the baseline of the probes."""

    def __init__(self, hospital: Hospital, directory: Path) -> None:
        self.hospital = hospital
        self.state = StateDirectory(hospital.layout.state)
        self.directory = directory
        (directory / "run").mkdir()
        self.environment = {
            **os.environ,
            "ORCHESTRATOR_INVENTORY": str(ROOT / "inventory" / "valmont.yml"),
            "ORCHESTRATOR_POLICY": str(VALMONT),
            "XDG_RUNTIME_DIR": str(directory / "run"),
        }
        self.ratify()
        self.must("probe", "--save-baseline")
        self.body: dict[str, Any] = json.loads(self.state.cut_pack.read_text(encoding="utf-8"))["body"]
        self.brief = self.write_pack("brief.json", self._brief_profiles())

    # ── commands ──

    def command(self, *words: str) -> list[str]:
        """The full command line of `orchestrator words…` in this hospital."""
        return [sys.executable, "-m", "orchestrator", "--lab", self.hospital.name, *words]

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=ROOT, env={**self.environment, **(environment or {})}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=COMMAND_S, check=False,
        )  # fmt: skip

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"orchestrator {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def cut(
        self, profile: str = "total", *, pack: Path | None = None, state: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Cut:
        """`orchestrator cutoff --json`; with the state directory's own pack unless one is given."""
        words = ["cutoff", "--json", "--profile", profile, "--by", "eng-1", "--reason", "test"]
        words += ["--pack", str(pack)] if pack else []
        words += ["--state", str(state)] if state else []
        done = self.run(*words, environment=environment)
        assert done.stdout, done.stderr
        return Cut(done.returncode, json.loads(done.stdout), done.stderr)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.must("status", "--json"))
        return found

    # ── devices ──

    def devices_of(self, platform: str) -> list[str]:
        """Of profile `total`."""
        return [entry["device"] for entry in self.body["profiles"]["total"]["devices"] if entry["platform"] == platform]

    def apply(self, device: str, script: Script, **values: int) -> str:
        """Runs a shell script of a dialect over SSH with the open key; returns what the device printed."""
        filled = script.filled(**values)
        done = self.hospital.ssh(device, filled.command, stdin=filled.text)
        assert done.returncode == 0, f"{device}: {filled.command}: {done.stdout}{done.stderr}"
        return done.stdout

    def on(self, device: str, command: str) -> str:
        """Runs a command of the site's own people on the device."""
        done = self.hospital.exec(device, ["sh", "-c", command])
        assert done.returncode == 0, f"{device}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def observed(self, device: str) -> Observed:
        dialect = self._dialect(device)
        return dialect.parse(self.apply(device, dialect.read_back()))

    def snapshots(self, devices: Iterable[str] | None = None) -> dict[str, str]:
        """Everything on the devices that is not ours."""
        return together(lambda device: self.apply(device, self._dialect(device).snapshot()), devices or self._all())

    def lift(self, devices: Iterable[str] | None = None, *, await_routes: bool = True) -> None:
        """Takes the layer off wherever it lies, in whatever generation, and waits until BGP has its routes back."""

        def one(device: str) -> None:
            observed = self.observed(device)
            if observed.present or observed.boots_with:
                self.apply(device, self._dialect(device).lift(), epoch=observed.epoch or 0)

        together(one, devices or self._all())
        if await_routes:
            readiness.wait_for_routes(self.hospital.layout, self.hospital.site, within_s=20)

    def _dialect(self, device: str) -> Dialect:
        return dialect_for(self.hospital.site.device(device).platform.value)

    def _all(self) -> list[str]:
        return [device.name for device in self.hospital.site.devices]

    # ── the packs ──

    def write_pack(self, name: str, profiles: Mapping[str, Any]) -> Path:
        """A pack like the ratified one, with other profiles, signed by the site."""
        body = {**self.body, "profiles": profiles, "default_profile": next(iter(profiles))}
        signature = sign(load_or_create_site_key(self.state.site_key).private, NAMESPACE, canonical(body))
        path = self.directory / name
        path.write_text(json.dumps({"body": body, "signature": signature}), encoding="utf-8")
        return path

    def _brief_profiles(self) -> dict[str, Any]:
        ratified = self.body["profiles"]
        profiles = {name: {**ratified[name], "failover_s": 0, "probes": self._few(name)} for name in ("total", "internet", "vendors")}
        for platform, exits in EXITS_OF.items():
            devices = [entry for entry in ratified["total"]["devices"] if entry["platform"] == platform]
            profiles[f"only-{platform}"] = {**profiles["total"], "devices": devices, "probes": self._few("total", exits)}
        return profiles

    def _few(self, profile: str, exits: Sequence[str | None] = ()) -> list[dict[str, Any]]:
        """Of each exit, family and kind the first probe that passes uncut; and all of care."""
        baseline = json.loads(self.state.baseline.read_text(encoding="utf-8"))["passed"]
        chosen: dict[Any, dict[str, Any]] = {}
        for item in self.body["profiles"][profile]["probes"]:
            probe = Probe.model_validate(item)
            if probe.purpose.value == "care":
                chosen[probe.id] = item
            elif baseline[key(probe)] and (not exits or probe.exit in exits):
                chosen.setdefault((probe.exit, probe.destination.version, probe.kind), item)
        return list(chosen.values())

    def begin_anew(self) -> None:
        """Another log: this one tells of layers that `lift` has taken off by hand, and a server would miss them."""
        for pattern in ("log.sqlite*", "log.head", "volatile.sqlite*", "cutoff-*.json", "spool"):
            for path in self.state.root.glob(pattern):
                path.unlink()
        self.state.spool_fallback.unlink(missing_ok=True)
        self.ratify()

    def ratify(self, folder: Path = VALMONT) -> None:
        """This policy is in force from now on, also for every command. Who took another one gives Valmont's back."""
        self.environment["ORCHESTRATOR_POLICY"] = str(folder)
        policy = read_policy(folder, rehearsal=True).policy
        people = People(policy.people, self.directory / "people")
        self.state.allowed_signers.write_text(people.allowed_signers(), encoding="utf-8")
        statement = self.directory / "statement.json"
        self.must("policy", "ratify", "--rehearsal", "--statement-out", str(statement))
        words: list[str] = []
        for person in people.quorum(policy.ratification, genesis=True):
            words += ["--signature", f"{person}={people.sign(person, 'policy-ratification@v1', statement)}"]
        self.must("policy", "ratify", "--rehearsal", "--statement", str(statement), *words)


def together(work: Callable[[str], Any], names: Iterable[str]) -> dict[str, Any]:
    """Does it for all of them at once; raises the first error."""
    chosen = list(names)
    with ThreadPoolExecutor(max(1, len(chosen))) as pool:
        return dict(zip(chosen, pool.map(work, chosen), strict=True))
