"""The terminal of the emergency command: it may die, and nothing stops for it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import TextIO

ASK_FOR_S = 10.0
_COLOURS = {"applied": "32", "verified": "32", "laid": "36", "refused": "31", "unknown": "33", "open": "31", "warning": "33"}
_HANGS_UP = (signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGQUIT)


class Terminal:
    """Writes lines to a stream; when the stream is gone, to nobody. Never raises."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = _is_terminal(stream) and "NO_COLOR" not in os.environ

    def line(self, text: str) -> None:
        try:
            self._stream.write(f"{self._painted(text) if self._coloured else text}\n")
            self._stream.flush()
        except (OSError, ValueError):  # EPIPE, EIO: whoever read it has gone
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _painted(self, text: str) -> str:
        for word in text.split()[:2]:
            if word in _COLOURS:
                return text.replace(word, f"\x1b[{_COLOURS[word]}m{word}\x1b[0m", 1)
        return text


def outlive_the_terminal(terminal: Terminal) -> None:
    """From here on, neither the loss of the terminal nor Ctrl-C stops this process: half a cut-off is the worst one."""

    def goes_on(number: int, _frame: object) -> None:
        terminal.line(f"({signal.Signals(number).name}: the cut-off goes on; it only subtracts, and stopping midway helps nobody)")

    for number in _HANGS_UP:
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, goes_on)


def ask_name(terminal: Terminal, default: str) -> str:
    """Asks who ordered it, for ten seconds at most, and only where somebody can answer. Empty for no answer."""
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        return ""
    terminal.line(f"Who ordered this? Name, for the record (Enter or {ASK_FOR_S:.0f} s: {default}):")
    typed = b""
    deadline = time.monotonic() + ASK_FOR_S
    try:
        while b"\n" not in typed:
            ready, _, _ = select.select([sys.stdin], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(sys.stdin.fileno(), 256) if ready else b""
            if not piece:
                break
            typed += piece
    except (OSError, ValueError):  # the terminal went away while it was asked
        return ""
    return typed.partition(b"\n")[0].decode(errors="replace").strip()


def login_name() -> str:
    """Who is at this terminal, as far as the system knows."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"


def seconds_since_start() -> float:
    """Since this process was started, Python's own start-up included (Linux; elsewhere since the first call)."""
    try:
        with open("/proc/self/stat", "rb") as stat, open("/proc/uptime", "rb") as uptime:  # noqa: PTH123 - pathlib costs start-up
            ticks = int(stat.read().rpartition(b")")[2].split()[19])
            return max(0.0, float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # closed, or not there at all
        return False
