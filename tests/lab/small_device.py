"""One device and a few hosts in namespaces of their own: the smallest real setting in which a dialect can be tried.

Each machine is a holder process with its own network, mount and PID namespaces. Ending the holder ends all that runs
in it and removes its interfaces, also after a failed test. Nothing of the outer machine's /etc or /run is touched.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from orchestrator.dialects.base import Script

FILES = Path(__file__).parents[2] / "playbooks" / "files"
AGENT = Path(__file__).with_name("traffic_agent.py")


class Machine:
    """A node. `private` directories are empty and its own."""

    def __init__(self, name: str, private: Iterable[str] = ()) -> None:
        self.name = name
        mounts = " && ".join(["mount -t proc proc /proc", *(f"mkdir -p {path} && mount -t tmpfs none {path}" for path in private)])
        start = f"{mounts} && ip link set lo up && echo ready && {{ sleep infinity & while :; do wait; done; }}"  # it takes in orphans
        # The holder is the first process of its PID namespace: with it everything in there ends.
        self._outer = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", start],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._outer.stdout is not None
        assert self._outer.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        self.holder = int(children[0])
        self._agent: subprocess.Popen[str] | None = None

    def command(self, *arguments: str) -> list[str]:
        return ["nsenter", "-t", str(self.holder), "-n", "-m", "-p", "--", *arguments]

    def try_run(self, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command("sh", "-c", command), input=text, capture_output=True, text=True, timeout=20, check=False)

    def run(self, command: str, text: str = "") -> str:
        done = self.try_run(command, text)
        assert done.returncode == 0, f"{self.name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, script: Script, **values: int) -> str:
        """Runs a dialect's shell script as the session would; fails unless it is applied."""
        filled = script.filled(**values)
        return self.run(filled.command, filled.text)

    def refuses(self, script: Script, **values: int) -> str:
        """Runs a script that must be refused; returns what it said."""
        filled = script.filled(**values)
        done = self.try_run(filled.command, filled.text)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def install(self, name: str) -> None:
        """Puts a device-side script of ours where devices keep it (needs `/usr/local/sbin` among the private directories)."""
        self.run(f"cat > /usr/local/sbin/{name} && chmod 755 /usr/local/sbin/{name}", (FILES / name).read_text())

    def ask(self, *command: Any) -> Any:
        """One command to the traffic agent of this machine (see traffic_agent.py)."""
        if self._agent is None:
            self._agent = subprocess.Popen(
                self.command(sys.executable, str(AGENT)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        assert self._agent.stdin is not None
        assert self._agent.stdout is not None
        self._agent.stdin.write(json.dumps(command) + "\n")
        return json.loads(self._agent.stdout.readline())

    def close(self) -> None:
        self._outer.kill()  # --kill-child takes the holder, the holder its namespace
        self._outer.wait(timeout=10)
        assert self._outer.stdout is not None
        self._outer.stdout.close()
        if self._agent is not None:
            assert self._agent.stdin is not None
            assert self._agent.stdout is not None
            self._agent.wait(timeout=10)
            self._agent.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                self._agent.stdin.close()


def connect(one: Machine, interface: str, other: Machine, peer: str) -> None:
    """A cable. Transmit checksums are computed: a user-space switch passes frames on as they are."""
    subprocess.run(
        ["ip", "link", "add", interface, "netns", str(one.holder), "type", "veth", "peer", "name", peer, "netns", str(other.holder)],
        check=True,
    )
    for machine, name in ((one, interface), (other, peer)):
        machine.run(f"ethtool -K {name} tx off >/dev/null && ip link set {name} up")


def addresses(machine: Machine, interface: str, *prefixes: str) -> None:
    for prefix in prefixes:
        machine.run(f"ip addr add {prefix} dev {interface} {'nodad' if ':' in prefix else ''}")


def eventually(claim: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether the claim becomes true within the time."""
    given_up = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > given_up:
            return False
        time.sleep(0.05)
    return True


def arriving(machine: Machine, port: int, source: str, seconds: float = 0.4) -> int:
    """How many datagrams of this source the machine receives in the time, counted at the receiver."""
    before = machine.ask("counts", port).get(source, 0)
    time.sleep(seconds)
    return int(machine.ask("counts", port).get(source, 0)) - int(before)
