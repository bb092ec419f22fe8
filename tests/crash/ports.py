"""The ports of an orchestrator that will be killed: every call is announced to the world outside, which may answer *die*.

The world (the parent process) keeps the hospital and the clock. The log is the product's own, in a file; that an append has
been acknowledged is told to the world, so that nothing acknowledged can be lost unseen.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, Protocol

from orchestrator.dialects.base import Script
from orchestrator.domain.events import Event, Head, NewEvent
from orchestrator.domain.probes import Probe, ProbeResult
from orchestrator.ports import Credential, DeviceStep, Log, Outcome, Target

DIE = "die"


class Asked(Protocol):
    """Whoever is told what is reached, and may end this process."""

    def ask(self, kind: str, /, *what: Any) -> Any: ...


SEEN_BY_NOBODY = frozenset({"now", "acknowledged"})


class Line:
    """To the world and back, one question at a time. Asking may be the last thing that this process does. `stop_here` is called
    before each question that others can notice: whoever conducts the threads chooses there which one goes on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.stop_here: Callable[[str], None] = lambda _kind: None

    def ask(self, kind: str, /, *what: Any) -> Any:
        if kind not in SEEN_BY_NOBODY:
            self.stop_here(kind)
        with self._lock:
            self._connection.send((kind, *what))
            answer = self._connection.recv()
            if answer == DIE:
                os.kill(os.getpid(), signal.SIGKILL)
        return answer


class AnnouncedLog:
    """The port Log: the product's own durable log, each append announced before and after."""

    def __init__(self, line: Asked, log: Log, *, name: str = "log") -> None:
        self._line, self._log, self._name = line, log, name

    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        what = "+".join(dict.fromkeys(event.type.value for event in events))
        point = f"{self._name} {what}"
        self._line.ask("before", point)
        head = self._log.append(events, expected=expected)
        self._line.ask("after", point)
        self._line.ask("acknowledged", head.size, head.root)
        return head

    def read(self, start: int = 0) -> Iterator[Event]:
        return self._log.read(start)

    def head(self) -> Head:
        return self._log.head()


class DistantDevices:
    """The port Devices: each script of each device is a call of its own to the hospital outside."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def run(
        self, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
    ) -> Iterator[tuple[Outcome, ...]]:
        for target, texts in scripts.items():
            outcomes: list[Outcome] = []
            for script in texts:
                point = f"device {target.device} {verb_of(script)}"
                outcomes.append(self._line.ask("device", point, target, script, credential, deadline_s, verb))
                if outcomes[-1].step is not DeviceStep.APPLIED:
                    break
            yield tuple(outcomes)


class DistantProbes:
    """The port Probes."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def run(self, probes: Sequence[Probe], *, deadline_s: float) -> tuple[ProbeResult, ...]:
        results: tuple[ProbeResult, ...] = self._line.ask("probes", tuple(probes), deadline_s)
        return results


class DistantClock:
    """The port Clock, and how to wait: the world's time goes on, with every deadline on the way."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def now(self) -> datetime:
        moment: datetime = self._line.ask("now")
        return moment

    def wait(self, seconds: float) -> None:
        self._line.ask("wait", seconds)


def verb_of(script: Script) -> str:
    """The word of a simulated device's script."""
    return str(json.loads(script.text)["verb"])
