"""The `orchestrator` command as a process that is killed at a point: the entry point of the proofs, not of the product.

    python -m tests.crash.killed_process serve        (or `cutoff …`; options as of `orchestrator`)

ORCHESTRATOR_CRASH is {"trace": FILE, "since", "name", "nth", "form"}: what is reached, from the first point named `since` on, is
written to the file, a line each; at the named point the process ends by SIGKILL. Everything else is as it is wired: real log,
real sessions.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.dialects.base import Script
from orchestrator.ports import Credential, Devices, Log, Outcome, Target
from tests.crash.ports import AnnouncedLog

BEFORE, AFTER, AMIDST = "just before", "just after, outcome lost", "in the middle of it"
AMIDST_S = 0.3  # after the session was begun


class Points:
    """In the place of the line to the world (`ports.Line`): counts, writes down, and kills this process."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._wanted = (str(wanted.get("name", "")), int(wanted.get("nth", 0)), str(wanted.get("form", "")))
        self._trace = open(wanted["trace"], "a", encoding="utf-8", buffering=1)  # noqa: SIM115, PTH123 (as long as the process lives)
        self._since, self._begun = str(wanted.get("since", "")), not wanted.get("since")
        self._counts: Counter[str] = Counter()
        self._mine = threading.local()  # name → number of what this thread has begun: another may begin the same meanwhile
        self._lock = threading.Lock()

    def ask(self, kind: str, /, *what: Any) -> None:
        name = str(what[0])
        with self._lock:
            self._begun = self._begun or name.startswith(self._since)
            if not self._begun:
                return
            if kind == "acknowledged":
                self._trace.write(f"acknowledged\t{what[0]}\t{what[1]}\n")
            if kind == "before":
                self._counts[name] += 1
                number = self._numbers[name] = self._counts[name]
                self._trace.write(f"{name}\t{number}\n")
                self._kill_if(name, number, BEFORE)
                if self._wanted == (name, number, AMIDST):
                    threading.Timer(AMIDST_S, self._kill, (name, AMIDST)).start()
            elif kind == "after":
                self._kill_if(name, self._numbers.get(name, 0), AFTER)

    @property
    def _numbers(self) -> dict[str, int]:
        if not hasattr(self._mine, "numbers"):
            self._mine.numbers = {}
        numbers: dict[str, int] = self._mine.numbers
        return numbers

    def _kill_if(self, name: str, number: int, form: str) -> None:
        if self._wanted == (name, number, form):
            self._kill(name, form)

    def _kill(self, name: str, form: str) -> None:
        self._trace.write(f"killed {form} {name}\n")
        os.kill(os.getpid(), signal.SIGKILL)


class AnnouncedDevices:
    """The port Devices: each device of a run is a point, before the run and after its own outcome."""

    def __init__(self, points: Points, devices: Devices) -> None:
        self._points, self._devices = points, devices

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        for target in scripts:
            self._points.ask("before", f"device {target.device} {verb}")
        for outcomes in self._devices.run(scripts, credential=credential, deadline_s=deadline_s, verb=verb):
            self._points.ask("after", f"device {outcomes[0].device} {verb}")
            yield outcomes


def main() -> int:
    points = Points(json.loads(os.environ["ORCHESTRATOR_CRASH"]))
    if "cutoff" in sys.argv[1:]:
        _announce_the_cutoff(points)
    else:
        _announce_the_server(points)
    from orchestrator.cli import main as orchestrator

    return orchestrator(sys.argv[1:])


def _announce_the_server(points: Points) -> None:
    from orchestrator import wiring
    from orchestrator.service.stages import Stages

    wired = wiring.reopening

    def reopening(*arguments: Any, **named: Any) -> Stages:
        stages = wired(*arguments, **named)
        around = stages.collaborators
        chosen = around.devices_by_platform
        announced = replace(
            around,
            log=AnnouncedLog(points, around.log),
            devices_by_platform=lambda platform: AnnouncedDevices(points, chosen(platform)),
            reader=AnnouncedDevices(points, around.reader),
        )
        return Stages(announced, stages.planner)

    wiring.reopening = reopening


def _announce_the_cutoff(points: Points) -> None:
    from orchestrator import wiring_cutoff
    from orchestrator.service.cutoff_surroundings import Surroundings

    wired = wiring_cutoff.emergency_surroundings

    def surroundings(*arguments: Any, **named: Any) -> Surroundings:
        around = wired(*arguments, **named)

        def opened() -> Log:
            return AnnouncedLog(points, around.log())

        return replace(around, log=opened, devices=lambda: AnnouncedDevices(points, around.devices()))

    wiring_cutoff.emergency_surroundings = surroundings


if __name__ == "__main__":
    sys.exit(main())
