"""The two hospitals that the demo can be told on: the one in namespaces, and the one in memory."""

from __future__ import annotations

import json
import os
import time
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.cli.demo_story import ROOT
from orchestrator.domain.layer import TCP
from orchestrator.domain.network import Site
from orchestrator.errors import EnvironmentMissing
from orchestrator.lab import namespaces
from orchestrator.lab.hospital import Hospital
from orchestrator.lab.machine import require_machine
from orchestrator.lab.streams import StreamResult, Streams, start_streams, valmont_streams
from orchestrator.simulation.store import StoredHospital

INVENTORY = ROOT / "inventory" / "valmont.yml"


def why_not_real() -> str:
    """Why the rehearsal hospital cannot run on this machine; empty when it can."""
    try:
        require_machine()
    except EnvironmentMissing as missing:
        return Exception.__str__(missing)
    return ""


class DemoHospital(Protocol):
    """What the story needs of a hospital."""

    @property
    def kind(self) -> str: ...

    site: Site
    state: Path
    prefix: tuple[str, str]  # global options of every command
    environment: dict[str, str]

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def start_traffic(self) -> str:
        """Starts conversations between inside and outside; returns a line about them."""
        ...

    def stop_traffic(self, started_ns: int) -> float:
        """Seconds from `started_ns` (monotonic) to the last packet of any of them, either way; the largest counts."""
        ...

    def keep(self) -> None: ...

    def how_to_visit(self) -> str: ...


class RealHospital:
    """In network namespaces, with streams through every exit in both families."""

    kind = "namespaces"

    def __init__(self, name: str) -> None:
        self.site = read_inventory(INVENTORY).site
        self.hospital = Hospital(self.site, name)
        self.state = self.hospital.layout.state
        self.prefix = ("--lab", name)
        self.environment = {"ORCHESTRATOR_INVENTORY": str(INVENTORY), "ORCHESTRATOR_POLICY": str(ROOT / "policies" / "valmont")}
        self._streams: Streams | None = None
        self._keep = False
        self.results: list[StreamResult] = []

    def __enter__(self) -> Self:
        started = time.monotonic()
        try:
            self.hospital.up(lambda line: print(f"   {line}", flush=True))
        except BaseException:
            self.hospital.down()
            raise
        print(f"   up in {time.monotonic() - started:.1f} s: {len(self.site.devices)} devices, {len(self.site.hosts)} hosts", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._streams is not None:
            self._streams.stop()
        if not self._keep:
            self.hospital.down()
            left = namespaces.existing(self.hospital.layout.prefix)
            print(f"\n   the hospital is down, {f'left behind: {sorted(left)}' if left else 'nothing of it is left'}", flush=True)

    def start_traffic(self) -> str:
        self._streams = start_streams(self.hospital, valmont_streams(self.site))
        return f"{len(self._streams.specs)} streams flow: TCP, and UDP one way each, through every exit, in both families"

    def stop_traffic(self, started_ns: int) -> float:
        assert self._streams is not None
        self.results = self._streams.stop()
        self._streams = None
        slowest = max(self.results, key=lambda result: result.last_ns)
        for result in self.results:
            seconds = (result.last_ns - started_ns) / 1e9
            print(f"     {result.name:<34} last packet after {seconds:5.2f} s ({result.received} received)")
        return (slowest.last_ns - started_ns) / 1e9

    def keep(self) -> None:
        self._keep = True

    def how_to_visit(self) -> str:
        return f"orchestrator lab shell fw-ext --name {self.hospital.name} · orchestrator lab down --name {self.hospital.name}"


class StoredSimulation:
    """In memory (and in one file, so that every command meets the same hospital)."""

    kind = "simulation"

    def __init__(self, directory: Path) -> None:
        self.site = read_inventory(INVENTORY).site
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        file = self.state / "simulated-hospital.json"
        self._hospital = StoredHospital(self.site, file)
        self.prefix = ("--state", str(self.state))
        self.environment = {
            "ORCHESTRATOR_INVENTORY": str(INVENTORY),
            "ORCHESTRATOR_POLICY": str(ROOT / "policies" / "valmont"),
            "ORCHESTRATOR_SIMULATION": str(file),
        }

    def __enter__(self) -> Self:
        (self.state / "known_hosts").write_text("", encoding="utf-8")
        print(f"   in memory: {len(self.site.devices)} devices, {len(self.site.hosts)} hosts", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def start_traffic(self) -> str:
        talks = [
            ("record", "198.51.100.36", 443), ("record", "2001:db8:100::36", 443), ("internet-host", "203.0.113.20", 443),
            ("internet-host", "2001:db8:20:11::10", 443), ("ws-backup", "198.51.100.10", 9000), ("pacs", "198.51.100.99", 9000),
            ("sister", "10.20.22.10", 104), ("internet-host", "203.0.113.3", 443),
        ]  # fmt: skip
        with self._hospital.opened() as hospital:
            alive = sum(hospital.establish(start, ip_address(end), TCP, port) for start, end, port in talks)
        return f"{alive} conversations are established through every exit (simulated)"

    def stop_traffic(self, started_ns: int) -> float:  # noqa: ARG002 (the record counts from the process's own start)
        """Nothing flows in memory: when the last device had laid its layer, as the cut-off itself recorded it."""
        newest = max(self.state.glob("cutoff-*.json"), key=lambda path: path.stat().st_mtime_ns)
        devices = json.loads(newest.read_text(encoding="utf-8"))["devices"]
        return float(max(device["seconds_ms"] for device in devices)) / 1000

    def keep(self) -> None:
        return None

    def how_to_visit(self) -> str:
        return f"nothing to visit (pid {os.getpid()}): the simulated hospital ends with the demo"
