"""A cut-off on the simulated hospital: the pack, the surroundings and the questions that the tests share."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.dialects.base import Script
from orchestrator.domain.events import EventType, NewEvent
from orchestrator.domain.layer import TCP
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.profiles import layers_of
from orchestrator.errors import LogUnavailable, NotAuthenticated
from orchestrator.service.cutoff import Cutoff, Order, Surroundings
from orchestrator.service.cutoff_probes import baseline_of, probes_of
from orchestrator.service.cutoff_report import Verdict
from orchestrator.simulation.dialect import SimulatedDialect
from orchestrator.simulation.hospital import SimulatedHospital, SimulatedProbes

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 6, 23, 21, 4, 5, tzinfo=UTC)
SIGNED = "signed by the site"
NEGATIVE = (
    ("internet-host", "203.0.113.20", 443, "fibre"),
    ("sister", "10.20.22.10", 104, "ght-mpls"),
    ("ws-backup", "198.51.100.10", 9000, "backup-4g"),
)
CARE = (("ws-offices", "10.20.21.10", 443),)


@cache
def valmont() -> tuple[Site, Policy]:
    return read_inventory(ROOT / "inventory/valmont.yml").site, read_policy(ROOT / "policies/valmont").policy


def body(**changes: Any) -> dict[str, Any]:
    """A pack of the four profiles of Valmont, in the words of the simulation; a copy to be spoilt at will."""
    return {**copy.deepcopy(_body()), **changes}


@cache
def _body() -> dict[str, Any]:
    site, policy = valmont()
    profiles = {profile.name: _profile(site, policy, profile.name) for profile in policy.profiles}
    return {
        "schema": 1, "site": site.name, "made_at": "2026-06-01T08:00:00.000Z", "ratified": True, "policy_digest": "a" * 64,
        "inventory_digest": "b" * 64, "default_profile": policy.default_profile, "rehearsal": False, "internal": ["10.20.0.0/16"],
        "profiles": profiles, "people": {"camille": ["incident-commander"], "dominique": ["network-engineer"]},
    }  # fmt: skip


def _profile(site: Site, policy: Policy, name: str) -> dict[str, Any]:
    devices = []
    for layer in layers_of(site, policy, name):
        device = site.device(layer.device)
        dialect = SimulatedDialect(device.platform.value)
        scripts = {
            "lay": dialect.lay(layer),
            "persist": dialect.persist(layer),
            "read_back": dialect.read_back(),
            "sessions": dialect.sessions(),
        }
        devices.append(
            {
                "device": layer.device, "platform": device.platform.value, "address": str(device.management), "port": 22,
                "user": device.user,
                "host_keys": [], "wave": 0, "layer": layer.model_dump(mode="json"), "guards": list(layer.guard),
                "expected": dialect.expected((layer,)).model_dump(mode="json"), **{key: _words(script) for key, script in scripts.items()},
            }
        )  # fmt: skip
    kept = name in ("internet", "total")
    return {
        "title": {"en": f"profile {name}", "fr": f"profil {name}"}, "devices": devices, "failover_s": 0.01 if kept else 0,
        "probes": [probe.model_dump(mode="json") for probe in questions(total=name == "total")] if kept else [],
        "manual": ["unplug the fibre of the provider at rtr-isp"], "kept": [],
    }  # fmt: skip


def _words(script: Script) -> dict[str, str]:
    return {"kind": script.kind, "command": script.command, "text": script.text}


def questions(*, total: bool) -> list[Probe]:
    negative = [item for item in NEGATIVE if total or item[3] != "ght-mpls"]
    return [
        *(
            Probe(
                id=f"not-{exit_}", purpose=Purpose.NEGATIVE, vantage=start, destination=ip_address(end), kind="tcp", port=port, exit=exit_
            )
            for start, end, port, exit_ in negative
        ),
        *(
            Probe(id=f"care-{start}", purpose=Purpose.CARE, vantage=start, destination=ip_address(end), kind="tcp", port=port)
            for start, end, port in CARE
        ),
    ]


def verify(_body: Mapping[str, Any], signature: str) -> None:
    if signature != SIGNED:
        raise NotAuthenticated("the signature is refused: another key", rule="signature")


@dataclass
class Case:
    """One orchestrator with its state directory, over one simulated hospital."""

    root: Path
    hospital: SimulatedHospital = field(default_factory=lambda: SimulatedHospital(valmont()[0]))
    log: MemoryLog = field(default_factory=MemoryLog)
    spooled: list[NewEvent] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    now: datetime = NOW

    def write_pack(self, content: Mapping[str, Any] | None = None, *, name: str = "cut-pack.json", signature: str = SIGNED) -> None:
        (self.root / name).write_text(json.dumps({"body": content or body(), "signature": signature}), encoding="utf-8")

    def save_baseline(self) -> None:
        results = SimulatedProbes(self.hospital).run(probes_of(body()), deadline_s=1)
        assert all(result.passed for result in results), [result for result in results if not result.passed]
        CutoffFiles(self.root).save_baseline(baseline_of(results, "2026-06-23T20:00:00.000Z"))

    def surroundings(self, **changes: Any) -> Surroundings:
        def render(_profile: str | None) -> dict[str, Any]:
            raise FileNotFoundError("no policy here")

        made = Surroundings(
            candidates=(("cut pack", self.root / "cut-pack.json"), ("previous cut pack", self.root / "cut-pack.previous.json")),
            verify=verify, render=render, devices=lambda: self.hospital, probes=lambda _: SimulatedProbes(self.hospital),
            dialect=SimulatedDialect, log=lambda: self.log, spool=self.spooled.extend, files=CutoffFiles(self.root), now=lambda: self.now,
            elapsed=lambda: 0.5, wait=lambda _: None,
        )  # fmt: skip
        return replace(made, **changes)

    def cut(self, profile: str | None = None, **changes: Any) -> Verdict:
        return Cutoff(Order(profile, "drill", "camille"), self.surroundings(**changes), self.lines.append).run()

    def events(self, kind: EventType | None = None) -> list[NewEvent]:
        return [event for event in self.log.read() if kind is None or event.type is kind]

    def establish(self) -> None:
        """Sessions through every exit, one of care, one of the keep-list."""
        talks = (*((start, end, port) for start, end, port, _ in NEGATIVE), *CARE)
        for start, end, port in talks:
            assert self.hospital.establish(start, ip_address(end), TCP, port), (start, end, port)


def failing_log(reason: str = "the disk is full") -> Callable[[], MemoryLog]:
    def opened() -> MemoryLog:
        raise LogUnavailable(reason)

    return opened


def names(events: Sequence[NewEvent]) -> list[str]:
    return [event.type.value for event in events]
