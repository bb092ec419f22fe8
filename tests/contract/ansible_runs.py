"""An Ansible run seen from outside: which processes belong to it, found by the PID namespace that they live in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Of all of its threads."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def namespace_of(orchestrator: int) -> str:
    """The PID namespace of the one run that this process has under way; empty when there is none (yet)."""
    own = str(Path(f"/proc/{orchestrator}/ns/pid").readlink())
    for unshare in children_of(orchestrator):
        for first in children_of(unshare):
            with contextlib.suppress(OSError):
                if (namespace := str(Path(f"/proc/{first}/ns/pid").readlink())) != own:
                    return namespace
    return ""


def members(namespace: str) -> dict[int, str]:
    """Everything alive in a PID namespace, with its command line; zombies do not count."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "ns/pid").readlink()) == namespace and (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def wait_until(holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)
