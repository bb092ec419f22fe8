"""The log in PostgreSQL as the emergency command writes it: a process of its own does.

Loading a database driver, verifying the chain and waiting for a server that may be gone cost the command nothing: neither
time on its own processor while it lays the layer, nor its life if the driver dies. One that could not append once is not
asked again: what follows goes to the spool, with what it refused, in order.

Between the two: one line of JSON for each append, one for its answer. `python -m` this module is the writing end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.errors import LogBroken, LogUnavailable

if TYPE_CHECKING:
    from orchestrator.domain.events import Event, Head, NewEvent

_CONNECT_S = 2


class PostgresWriter:
    """Implements `ports.Log` for whoever only appends. `failed` says why it takes nothing any more."""

    def __init__(self, url: str, head_file: Path) -> None:
        self._guard = threading.Lock()
        self.failed = ""
        command = [sys.executable, "-m", __name__, url, str(head_file)]
        try:  # in a session of its own: Ctrl-C at the terminal of the command does not end the record of it
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise LogUnavailable(f"the process that writes the log cannot be started: {error}") from error

    def append(self, events: Sequence[NewEvent], *, expected: int | None = None) -> Head:
        from orchestrator.domain.events import Head

        asked = {"events": [[e.type, e.at, e.actor, dict(e.body), e.stage, e.device] for e in events], "expected": expected}
        with self._guard:
            if self.failed:
                raise LogUnavailable(self.failed)
            try:
                answer = self._ask(json.dumps(asked).encode())
            except (OSError, ValueError) as error:
                self._fail(f"the process that writes the log has ended ({type(error).__name__})")
            if "error" in answer:
                self._fail(str(answer["error"]))
            return Head(int(answer["size"]), str(answer["root"]))

    def read(self, start: int = 0) -> Iterator[Event]:
        raise LogUnavailable(f"nobody reads through the process that writes the log (from {start})")

    def head(self) -> Head:
        raise LogUnavailable("nobody reads through the process that writes the log")

    def end(self) -> None:
        """Whatever it is doing; an append that it has sent may still happen, whole. Idempotent."""
        self._process.kill()
        self._process.wait()

    def _ask(self, line: bytes) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(line + b"\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def _fail(self, why: str) -> NoReturn:
        self.failed = why
        self._process.kill()
        self._process.wait()
        raise LogUnavailable(why)


def main(url: str, head_file: Path) -> None:
    """The writing end: until its input ends. The first error is answered, and ends it."""
    os.nice(5)  # what cuts goes first
    from orchestrator.adapters.postgres_log import PostgresLog
    from orchestrator.domain.events import EventType, NewEvent
    from orchestrator.errors import OrchestratorError

    log: PostgresLog | None = None
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        events = [NewEvent(EventType(type_), *rest) for type_, *rest in asked["events"]]
        try:
            log = log or PostgresLog(url, head_file, restart_s=0, connect_s=_CONNECT_S)
            head = log.append(events, expected=asked["expected"])
            answer: dict[str, Any] = {"size": head.size, "root": head.root}
        except (OrchestratorError, OSError) as failure:
            kind = "broken: " if isinstance(failure, LogBroken) else ""
            answer = {"error": kind + str(failure).splitlines()[0]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if "error" in answer:
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
