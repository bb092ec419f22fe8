"""`make bench-cutoff`: how long until nothing passes any more, this product beside its peers, on the same devices.

N nftables devices in namespaces, each with sshd and a clean account; a stream through each of them. In every round the
competitors take turns: each is a whole process, start-up included, and lays the same layer. A figure is the time from
starting the process to the last datagram through the last device, counted at the receiver. Medians over the rounds.
The last line is one JSON object. Everything shares the machine's processors: compare within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cutoff_site import Streams, bench_layer, devices_up
from orchestrator.adapters import sshsig
from orchestrator.adapters.site_key import load_or_create_site_key
from orchestrator.dialects.base import Script
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.domain.canonical import canonical
from orchestrator.domain.pack import NAMESPACE
from orchestrator.lab import namespaces
from orchestrator.lab.hospital import Hospital
from orchestrator.settings import StateDirectory

HERE = Path(__file__).parent / "competitors"
BIN = Path(sys.executable).parent
FORKS = 20
QUIET_NS = 200_000_000  # a device that let nothing through for so long is cut
COMPETITORS = ("product", "playbook", "raw", "nornir", "floor")


@dataclass(frozen=True)
class Run:
    """One competitor once: seconds to the last datagram through the last device, and of the whole process."""

    cut_s: float
    wall_s: float


class Bench:
    """The devices, and the files that the competitors are given."""

    def __init__(self, hospital: Hospital, streams: Streams) -> None:
        self._hospital, self._streams = hospital, streams
        self._names = [device.name for device in hospital.site.devices]
        self._work = hospital.directory / "bench"
        self._work.mkdir(exist_ok=True)
        self._commands = self._prepare()

    def once(self, competitor: str) -> Run:
        """Raises RuntimeError when the competitor left a device open."""
        self._forget_layers()
        # Ansible's connections outlive it by a minute: the next run would find them open.
        namespaces.end_processes([self._hospital.layout.namespace("admin")])
        self._streams.await_all()
        log = self._work / f"{competitor}.log"
        enter = ["ip", "netns", "exec", self._hospital.layout.namespace("admin")]
        with log.open("w") as output:
            started = time.monotonic_ns()
            process = subprocess.Popen(
                [*enter, *self._commands[competitor]], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=self._environment(), cwd=self._work,
            )  # fmt: skip
            process.wait(timeout=180)
            ended = time.monotonic_ns()
        time.sleep(2 * QUIET_NS / 1e9)
        last, now = self._streams.last(), time.monotonic_ns()
        still = [self._names[index] for index, at in last.items() if now - at < QUIET_NS]
        if still or len(last) != len(self._names):
            raise RuntimeError(f"{competitor} left open: {', '.join(still)}\n{log.read_text()[-2000:]}")
        return Run((max(last.values()) - started) / 1e9, (ended - started) / 1e9)

    def _environment(self) -> dict[str, str]:
        ssh = f"-C -o UserKnownHostsFile={self._hospital.known_hosts} -o IdentitiesOnly=yes -o ControlMaster=auto -o ControlPersist=60s"
        return {
            "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}", "HOME": str(self._work), "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self._work / "ansible.cfg"), "ANSIBLE_HOST_KEY_CHECKING": "True", "ANSIBLE_SSH_ARGS": ssh,
            "ANSIBLE_LOCAL_TEMP": str(self._work / "ansible"),
        }  # fmt: skip

    def _prepare(self) -> dict[str, list[str]]:
        state = StateDirectory(self._work / "state")
        key = self._hospital.key("cut")
        layer = self._work / "layer.nft"
        layer.write_text(NftablesDialect().lay(bench_layer("dev1")).filled(epoch=1).text)
        devices = [{"name": device.name, "address": str(device.management), "user": device.user} for device in self._hospital.site.devices]
        listed = self._work / "devices.json"
        listed.write_text(json.dumps({"key": str(key), "known_hosts": str(self._hospital.known_hosts), "devices": devices}))
        self._write_pack(state)
        state.cut_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        state.cut_key.write_bytes(key.read_bytes())
        state.cut_key.chmod(0o600)
        (self._work / "ansible.cfg").write_text("[defaults]\n")  # what ships: nothing of this machine's
        inventory = self._work / "inventory.json"
        hosts = {
            item["name"]: {
                "ansible_host": item["address"], "ansible_user": item["user"], "ansible_ssh_private_key_file": str(key),
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            for item in devices
        }  # fmt: skip
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        playbook = [str(BIN / "ansible-playbook"), "--forks", str(FORKS), "-i", str(inventory), "-e", f"layer_file={layer}"]
        python = sys.executable
        return {
            "product": [python, "-m", "orchestrator", "--state", str(state.root), "cutoff", "--by", "bench", "--reason", "bench"],
            "playbook": [*playbook, str(HERE / "ordinary.yml")],
            "raw": [*playbook, str(HERE / "raw.yml")],
            "nornir": [python, str(HERE / "netmiko_by_nornir.py"), str(listed), str(layer)],
            "floor": [python, str(HERE / "floor_asyncssh.py"), str(listed), str(layer)],
        }

    def _write_pack(self, state: StateDirectory) -> None:
        """A cut pack as ratification would write it; without vantage points there is nothing to probe."""
        site_key = load_or_create_site_key(state.site_key)
        profile = {
            "title": {"en": "bench", "fr": "banc"}, "devices": [self._pack_entry(name) for name in self._names], "probes": [],
            "failover_s": 0, "manual": [], "kept": [],
        }  # fmt: skip
        body = {
            "schema": 1, "site": "bench", "made_at": "2026-01-01T00:00:00.000Z", "ratified": True, "policy_digest": "0" * 64,
            "inventory_digest": "0" * 64, "default_profile": "bench", "rehearsal": True, "internal": ["10.20.0.0/16"],
            "profiles": {"bench": profile}, "people": {}, "vantage_points": {},
        }  # fmt: skip
        signature = sshsig.sign(site_key.private, NAMESPACE, canonical(body))
        state.cut_pack.write_text(json.dumps({"body": body, "signature": signature}))

    def _pack_entry(self, name: str) -> dict[str, Any]:
        layer, dialect, device = bench_layer(name), NftablesDialect(), self._hospital.site.device(name)
        known = dict(line.split(" ", 1) for line in self._hospital.known_hosts.read_text().splitlines())
        return {
            "device": name, "platform": "nftables", "address": str(device.management), "port": 22, "user": device.user,
            "host_keys": [known[str(device.management)]], "wave": 0, "layer": layer.model_dump(mode="json"), "guards": list(layer.guard),
            "lay": _words(dialect.lay(layer)), "persist": _words(dialect.persist(layer)), "read_back": _words(dialect.read_back()),
            "sessions": _words(dialect.sessions()), "expected": dialect.expected((layer,)).model_dump(mode="json"),
        }  # fmt: skip

    def _forget_layers(self) -> None:
        for name in self._names:
            forget = (
                "nft delete table inet containment 2>/dev/null; rm -f /etc/containment/* /etc/containment/.??* /run/containment.nft; true"
            )
            self._hospital.exec(name, ["sh", "-c", forget])


def _words(script: Script) -> dict[str, str]:
    return {"kind": script.kind, "command": script.command, "text": script.text}


def measure(name: str, count: int, rounds: int, competitors: Sequence[str]) -> dict[str, list[Run]]:
    """All competitors in turn, round after round, on the same devices."""
    _say(f"{count} devices, {rounds} rounds: {', '.join(competitors)}")
    runs: dict[str, list[Run]] = {competitor: [] for competitor in competitors}
    with devices_up(name, count) as (hospital, streams):
        bench = Bench(hospital, streams)
        for number in range(rounds):
            order = [*competitors[number % len(competitors) :], *competitors[: number % len(competitors)]]
            for competitor in order:
                run = bench.once(competitor)
                runs[competitor].append(run)
                _say(f"  round {number + 1} {competitor:<9} last packet {run.cut_s:6.2f} s   whole process {run.wall_s:6.2f} s")
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-cutoff", description=__doc__)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=COMPETITORS, default=COMPETITORS, help="fewer competitors, while tuning")
    parser.add_argument("--no-growth", action="store_true", help="do not measure twice as many devices")
    parser.add_argument("--name", default="bench", help="name of the hospital that holds the devices")
    options = parser.parse_args(argv)
    runs = measure(options.name, options.devices, options.rounds, options.only)
    doubled = {} if options.no_growth else measure(options.name, 2 * options.devices, options.rounds, ("product",))
    print(json.dumps(report(options.devices, runs, doubled)))
    return 0


def report(devices: int, runs: dict[str, list[Run]], doubled: dict[str, list[Run]]) -> dict[str, Any]:
    """Medians in seconds; ratios of medians."""
    cut = {competitor: statistics.median(run.cut_s for run in listed) for competitor, listed in runs.items()}
    found: dict[str, Any] = {"devices": devices, "rounds": len(next(iter(runs.values())))}
    found |= {f"{competitor}_s": round(cut[competitor], 2) for competitor in cut}
    found["walls_s"] = {competitor: round(statistics.median(run.wall_s for run in listed), 2) for competitor, listed in runs.items()}
    if "playbook" in cut:
        found["times_faster_than_playbook"] = round(cut["playbook"] / cut["product"], 1)
    if "floor" in cut:
        found["times_floor"] = round(cut["product"] / cut["floor"], 2)
    if doubled:
        twice = statistics.median(run.cut_s for run in doubled["product"])
        found[f"product_{2 * devices}_s"] = round(twice, 2)
        found[f"growth_{devices}_to_{2 * devices}"] = round(twice / cut["product"], 2)
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
