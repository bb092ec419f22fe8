"""Network namespaces and the processes inside them, found by looking and not by remembering.

What a crashed hospital left behind is found by the prefix of its namespaces: every process of a hospital lives in
one of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import EnvironmentMissing

NETNS = Path("/run/netns")
COMMAND_S = 20.0  # no command of iproute2 takes this long


def ip_batch(text: str, namespace: str | None = None) -> None:
    """Runs `ip -batch`; raises EnvironmentMissing with the tool's own words when a line fails."""
    if not text.strip():
        return
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(["ip", *where, "-batch", "-"], input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode:
        raise EnvironmentMissing(
            f"the network could not be built: {done.stderr.strip()}", advice="look for leftovers: orchestrator lab down"
        )


def existing(prefix: str) -> set[str]:
    """Names of the namespaces that start with the prefix."""
    return {path.name for path in NETNS.iterdir() if path.name.startswith(prefix)} if NETNS.is_dir() else set()


def add(names: Iterable[str]) -> None:
    ip_batch("".join(f"netns add {name}\n" for name in names))


def delete(names: Iterable[str]) -> None:
    ip_batch("".join(f"netns del {name}\n" for name in names))


def identity(namespace: str) -> int | None:
    """The namespace's inode, by which processes inside it are known; None when there is none."""
    try:
        return (NETNS / namespace).stat().st_ino
    except OSError:
        return None


def links(namespace: str) -> set[str]:
    """Names of the interfaces in the namespace."""
    done = subprocess.run(["ip", "-n", namespace, "-o", "link"], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    return {line.split(": ", 2)[1].split("@")[0] for line in done.stdout.splitlines() if ": " in line}


def processes_in(namespaces: Iterable[str]) -> dict[int, str]:
    """process id → namespace, for every process inside one of them (zombies have left theirs)."""
    wanted = {inode: name for name in namespaces if (inode := identity(name)) is not None}
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                inode = (entry / "ns/net").stat().st_ino
            except OSError:
                continue
            if inode in wanted:
                found[int(entry.name)] = wanted[inode]
    return found


def end_processes(namespaces: Iterable[str], *, within_s: float = 10.0) -> None:
    """Kills every process inside the namespaces, except this one and those that wait for it.

    Raises EnvironmentMissing when some are still there after `within_s`.
    """
    names = list(namespaces)
    spared = _this_and_ancestors()
    deadline = time.monotonic() + within_s
    while left := {pid: name for pid, name in processes_in(names).items() if pid not in spared}:
        if time.monotonic() > deadline:
            raise EnvironmentMissing(f"processes of the rehearsal hospital do not end: {left}", advice="try `orchestrator lab down` again")
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def _this_and_ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found
