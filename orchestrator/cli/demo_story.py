"""Tells the demo: chapters, commands as a person would type them, and their answers, indented and timed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


class StoryBroken(Exception):
    """A command of the story did not answer as it must; the demo fails."""


class Story:
    """Prints as it goes. `prefix` are global options of every command (`--lab NAME`, or `--state DIR`)."""

    def __init__(self, prefix: Sequence[str], environment: Mapping[str, str]) -> None:
        self._prefix = list(prefix)
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._began = time.monotonic()
        self._bold, self._dim, self._plain = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")

    def chapter(self, english: str, french: str) -> None:
        self._say(f"\n{self._bold}── {english} · {french} {self._plain}{self._dim}({time.monotonic() - self._began:.0f} s){self._plain}")

    def tell(self, text: str) -> None:
        self._say(f"   {text}")

    def arguments(self, *words: str) -> list[str]:
        """The full command line of `orchestrator words…`."""
        return [sys.executable, "-m", "orchestrator", *self._prefix, *words]

    @property
    def environment(self) -> dict[str, str]:
        return self._environment

    def run(self, *words: str, expect: int | None = 0, quiet: bool = False, lines: int = 40, last: int = 0, timeout_s: float = 180) -> str:
        """Runs `orchestrator words…`; returns what it printed. Raises StoryBroken unless the exit code is as expected.

        Shows at most `lines` lines as they come, or, when `last` is given, only so many of the end; none when `quiet`.
        """
        if not quiet:
            self._say(f"   {self._bold}$ orchestrator {' '.join(_short(word) for word in words)}{self._plain}")
        process = subprocess.Popen(
            self.arguments(*words), cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else subprocess.STDOUT, text=True,
        )  # fmt: skip
        watchdog = threading.Timer(timeout_s, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            printed = []
            for number, line in enumerate(process.stdout):
                printed.append(line)
                if not quiet and not last and number < lines:
                    self._say(f"     {line.rstrip()}")
            errors = process.stderr.read() if process.stderr else ""
            code = process.wait()
        finally:
            watchdog.cancel()
            process.kill()
        for line in printed[-last:] if last and not quiet else ():
            self._say(f"     {line.rstrip()}")
        if not quiet and not last and len(printed) > lines:
            self._say(f"     {self._dim}… {len(printed) - lines} more lines{self._plain}")
        if expect is not None and code != expect:
            if quiet:
                self._say("".join(printed) + errors)
            raise StoryBroken(f"`orchestrator {' '.join(words)}` ended with {code}, expected {expect}")
        return "".join(printed)

    def _say(self, text: str) -> None:
        print(text, flush=True)


def _short(word: str) -> str:
    """Long paths are for machines."""
    return f"…/{Path(word).name}" if word.startswith("/") and len(word) > 24 else word
