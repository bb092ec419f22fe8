"""Processes on the router that are frozen with their order written out, and wake up when the world has moved on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from orchestrator.dialects.base import Script
from tests.lab.nftables_site import Site


class Frozen:
    """A script of the dialect, filled in, its standard input written and closed; it stops itself before its first command."""

    def __init__(self, site: Site, script: Script, **values: int) -> None:
        filled = site.filled(script, **values)
        self.process = site.start(f"kill -STOP $$; {filled.command}", filled.text)
        wait_until_stopped(self.process.pid)

    def thaw(self) -> tuple[int, str]:
        """(exit status, everything printed)."""
        os.killpg(self.process.pid, signal.SIGCONT)
        return ended(self.process)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits for the end; (exit status, everything printed)."""
    assert process.stdout is not None
    said = process.stdout.read()
    return process.wait(timeout=20), said


def wait_until_stopped(pid: int) -> None:
    given_up = time.monotonic() + 10
    while state_of(pid) != "T":
        assert time.monotonic() < given_up, f"{pid} does not stop"
        time.sleep(0.01)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
