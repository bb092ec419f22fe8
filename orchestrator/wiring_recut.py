"""Starts the emergency command as a process of its own, as a person at a terminal would: no server can hinder it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

from orchestrator.settings import StateDirectory

OUTPUT = "recut-output.txt"


def emergency_command(state: StateDirectory) -> Callable[[str, str, str], object]:
    """Raises OSError when the process cannot be started. What it prints goes to a file of the state directory, where there is
    room for one; what it does, to its own progress file and the log, as ever."""

    def start(profile: str, reason: str, by: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestrator", "--state", str(state.root), "cutoff"]
        command += ["--profile", profile, "--reason", reason, "--by", by]
        process = _detached(command, state)
        threading.Thread(target=process.wait, daemon=True, name="recut").start()  # so that it does not stay behind as a zombie
        return process

    return start


def _detached(command: list[str], state: StateDirectory) -> subprocess.Popen[bytes]:
    """In a session of its own: no signal to the server's reaches it."""
    try:
        with (state.root / OUTPUT).open("ab") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True)
    except OSError:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
