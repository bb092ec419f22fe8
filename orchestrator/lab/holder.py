"""The holder of a node: process 1 of its own process namespace, with its own mounts and host name.

Its script (`rc` on the node's disk) boots the node. Killing the holder kills every daemon of the node, and nothing
that the node did to files reaches the machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

from orchestrator.errors import DeviceUnknown, EnvironmentMissing
from orchestrator.lab import namespaces
from orchestrator.lab.layout import Layout
from orchestrator.lab.machine import SYSTEM_PATH

ENVIRONMENT = {"PATH": SYSTEM_PATH, "HOME": "/", "LANG": "C.UTF-8", "TERM": "dumb"}


def start(layout: Layout, node: str) -> None:
    """Boots the node. Returns at once; `pid_of` tells when the holder is there."""
    disk = layout.disk(node)
    (disk / "holder").unlink(missing_ok=True)
    own = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
    with (disk / "boot.log").open("ab") as log:
        # setsid -f forks: the holder is nobody's child, and outlives the command that built the hospital.
        subprocess.run(
            ["setsid", "-f", "ip", "netns", "exec", layout.namespace(node), *own, "/bin/sh", "rc"],
            cwd=disk, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=namespaces.COMMAND_S,
        )  # fmt: skip


def pid_of(layout: Layout, node: str) -> int | None:
    """The holder's process id, when it lives: recorded, in the node's namespace, and process 1 of its own."""
    try:
        pid = int((layout.disk(node) / "holder").read_text())
        if Path(f"/proc/{pid}/ns/net").stat().st_ino != namespaces.identity(layout.namespace(node)):
            return None
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return pid if line.split()[-1] == "1" and len(line.split()) > 2 else None
    except (OSError, ValueError):
        return None
    return None


def has_file(pid: int, path: str) -> bool:
    """Whether a file exists as the node sees it. `path` is absolute."""
    return Path(f"/proc/{pid}/root{path}").exists()


def end(layout: Layout, node: str) -> None:
    """Kills the holder and waits until nothing of the node runs any more."""
    pid = pid_of(layout, node)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    namespaces.end_processes([layout.namespace(node)])


def run(
    layout: Layout, node: str, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, held: bool = True
) -> CompletedProcess[str]:
    """Runs a command inside the node and returns what it printed; never raises for its exit status.

    `held`: enter the node's mounts and processes too (its holder must live: else DeviceUnknown); otherwise only its
    network namespace. Raises subprocess.TimeoutExpired; the command is then killed.
    """
    process = subprocess.Popen(
        [*entering(layout, node, held=held), *argv], env=ENVIRONMENT, text=True, start_new_session=True,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = process.communicate(stdin, timeout=timeout)
    except BaseException:
        # nsenter waits for its child in the other process namespace: both are in this session's group.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return CompletedProcess(list(argv), process.returncode, output, errors)


def entering(layout: Layout, node: str, *, held: bool = True) -> list[str]:
    """The words that precede a command to run it inside the node."""
    if not held:
        if namespaces.identity(layout.namespace(node)) is None:
            raise EnvironmentMissing(f"there is no namespace {layout.namespace(node)}", advice=f"orchestrator lab up --name {layout.name}")
        return ["ip", "netns", "exec", layout.namespace(node)]
    pid = pid_of(layout, node)
    if pid is None:
        raise DeviceUnknown(f"{node} is down", advice=f"orchestrator lab up --name {layout.name}")
    return ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--uts", "--wd=/", "--"]


def log_of(layout: Layout, node: str, lines: int = 8) -> str:
    """The end of what the node said while booting."""
    try:
        return "\n".join((layout.disk(node) / "boot.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def wait_until_gone(pid: int, within_s: float = 5.0) -> None:
    """Waits until no process has this id; raises EnvironmentMissing after `within_s`."""
    deadline = time.monotonic() + within_s
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise EnvironmentMissing(f"process {pid} does not end")
        time.sleep(0.01)
