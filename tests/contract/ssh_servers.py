"""Real OpenSSH servers on loopback with keys of their own, for the contract of `ports.Devices`."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import time
from pathlib import Path

from orchestrator.ports import Target

SSHD = "/usr/sbin/sshd"


class SshServers:
    """Starts sshd processes in a directory and ends exactly those."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.client_key = self.new_key("client")
        self.host_key = self.new_key("host")
        (directory / "home").mkdir()
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd's privilege separation directory

    def new_key(self, name: str) -> Path:
        path = self.directory / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        return path

    def public(self, key: Path) -> str:
        return " ".join(key.with_suffix(".pub").read_text().split()[:2])

    def start(self, *, force_command: str | None = None) -> Target:
        """One more server on a port of its own. The session's home is empty: start-up files of the account falsify times."""
        port = free_port()
        name = f"device-{port}"
        authorized = self.directory / f"authorized-{port}"
        authorized.write_text(self.public(self.client_key) + "\n")
        authorized.chmod(0o600)
        config = self.directory / f"sshd-{port}"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {self.host_key}\nAuthorizedKeysFile {authorized}\nStrictModes no\nUsePAM no\n"
            f"PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nUseDNS no\n"
            f"SetEnv HOME={self.directory / 'home'}\nLogLevel ERROR\n" + (f"ForceCommand {force_command}\n" if force_command else "")
        )
        with (self.directory / f"log-{port}").open("wb") as log:
            self._processes.append(subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log))
        wait_for_port(port)
        return Target(name, "nftables", "127.0.0.1", self.user, (self.public(self.host_key),), port)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}")
