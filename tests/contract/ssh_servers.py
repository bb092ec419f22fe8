"""Real OpenSSH servers on loopback with keys of their own, for the contract of `ports.Devices`."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
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
        self._processes: dict[int, subprocess.Popen[bytes]] = {}  # by port
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.client_key = self.new_key("client")
        self.host_key = self.new_key("host")
        (directory / "home").mkdir()
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd's privilege separation directory

    def new_key(self, name: str, kind: str = "ed25519") -> Path:
        path = self.directory / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
        return path

    def public(self, key: Path) -> str:
        return " ".join(key.with_suffix(".pub").read_text().split()[:2])

    def start(
        self, *, force_command: str | None = None, host_key: Path | None = None, keys_from: str | None = None, local_keys: bool = True
    ) -> Target:
        """One more server on a port of its own. The session's home is empty: start-up files of the account falsify times.

        `keys_from`: the words of a shell that is asked for the account's keys (`AuthorizedKeysCommand`), as a device asks a
        server; without `local_keys` nobody else is asked.
        """
        port = free_port()
        authorized = self.directory / f"authorized-{port}"
        authorized.write_text(self.public(self.client_key) + "\n")
        authorized.chmod(0o600)
        known = f"AuthorizedKeysFile {authorized if local_keys else 'none'}\n"
        if keys_from is not None:
            asking = self.directory / f"asking-{port}"
            asking.write_text(keys_from)
            known += f"AuthorizedKeysCommand /bin/sh {asking}\nAuthorizedKeysCommandUser {self.user}\n"
        (self.directory / f"sshd-{port}").write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {host_key or self.host_key}\n{known}StrictModes no\nUsePAM no\n"
            f"PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nUseDNS no\n"
            f"SetEnv HOME={self.directory / 'home'}\nLogLevel ERROR\n" + (f"ForceCommand {force_command}\n" if force_command else "")
        )
        target = Target(f"device-{port}", "nftables", "127.0.0.1", self.user, (self.public(host_key or self.host_key),), port)
        self.start_again(target)
        return target

    def start_again(self, target: Target) -> None:
        """The same server, after `end`."""
        with (self.directory / f"log-{target.port}").open("ab") as log:
            command = [SSHD, "-D", "-e", "-f", str(self.directory / f"sshd-{target.port}")]
            self._processes[target.port] = subprocess.Popen(command, stderr=log)
        wait_for_port(target.port)

    def sessions(self, target: Target) -> list[int]:
        """The processes that serve one connection each."""
        listener = self._processes[target.port].pid
        children = Path(f"/proc/{listener}/task/{listener}/children").read_text().split()
        return [int(child) for child in children]

    def drop_sessions(self, target: Target) -> None:
        """Every connection of the server ends without a word."""
        for connection in self.sessions(target):
            below = Path(f"/proc/{connection}/task/{connection}/children").read_text().split()  # with privilege separation
            for process in (*map(int, below), connection):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def end(self, target: Target) -> None:
        """The server and its connections are gone, as after a power cut; its commands are the caller's to end."""
        self.drop_sessions(target)
        process = self._processes.pop(target.port)
        process.kill()
        process.wait(timeout=10)

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
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
