"""What a server holds and leaves: memory, threads, descriptors, processes, sessions on devices, namespaces, files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.lab import namespaces
from tests.crash.real_site import RealSite

LASTING = ("log.sqlite", "log.sqlite-wal", "log.sqlite-shm", "log.head")  # grow with the log, or come and go with it


@dataclass(frozen=True)
class Footprint:
    """`rss_kib` and `log_events` may grow; all others must be the same again when nothing runs."""

    rss_kib: int
    log_events: int
    threads: int
    descriptors: int
    children: int  # of the server, and theirs
    processes: int  # in all namespaces of the hospital: the sessions on devices are processes there
    namespaces: int
    files: int  # temporary ones, and those in the state directory
    device_files: int  # in the places on the devices where sessions may leave something

    def differences(self, later: Footprint) -> dict[str, tuple[int, int]]:
        """What is not the same: name → (before, later). Memory and the log are not counted."""
        mine, theirs = vars(self), vars(later)
        return {name: (mine[name], theirs[name]) for name in mine if name not in ("rss_kib", "log_events") and mine[name] != theirs[name]}


def footprint(site: RealSite, server: int, temporary: Path) -> Footprint:
    """Of the server process, once nothing runs. `temporary`: the TMPDIR that it was given."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{server}/status").read_text(encoding="ascii").splitlines() if ":" in line)
    prefix = site.hospital.layout.prefix
    inodes = {os.stat(f"/run/netns/{name}").st_ino for name in namespaces.existing(prefix)}  # noqa: PTH116
    return Footprint(
        rss_kib=int(status["VmRSS"].split()[0]),
        log_events=len(site.facts()),
        threads=int(status["Threads"]),
        descriptors=len(list(Path(f"/proc/{server}/fd").iterdir())),
        children=len(_descendants(server)),
        processes=_processes_in(inodes),
        namespaces=len(inodes),
        files=_files(temporary) + sum(_files(path) for path in site.state.root.iterdir() if path.name not in LASTING),
        device_files=sum(_files_on(site, device) for device in ("fw-ext", "rtr-isp")),
    )


def _parents() -> Mapping[int, int]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z" or int(parent) != 1:
            found[int(entry.name)] = int(parent)
    return found


def _descendants(process: int) -> set[int]:
    parents = _parents()
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {process}} - found:
        found |= more
    return found


def _processes_in(inodes: set[int]) -> int:
    count = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            count += (entry / "ns/net").stat().st_ino in inodes
        except OSError:
            continue
    return count


def _files(path: Path) -> int:
    return sum(1 for _ in path.rglob("*")) if path.is_dir() else 1


def _files_on(site: RealSite, device: str) -> int:
    user = site.hospital.site.device(device).user
    done = site.hospital.exec(device, ["sh", "-c", f"find /tmp /var/tmp /home /root ~{user} -xdev 2>/dev/null | sort -u | wc -l"])
    return int(done.stdout)
