"""One thread at a time: the threads of a server stop before each thing that others can see, and go on when they are told.

Where they stop: before and after each call of a port that changes or asks the world (log appends, devices, probes, waiting)
and where they wait for their turn to send to devices. Between two stops nothing else runs, so a run repeats exactly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from orchestrator.service.stages import Stages

CONDUCTED = frozenset({"stage", "re-isolation", "beginning to act"})  # names of a server's threads
LOOK_EVERY_S = 0.0005
HANGS_AFTER_S = 30.0


class Killed(BaseException):
    """The server of this thread has been killed: nothing that it does has an effect any more."""


class Conductor:
    """Of all threads of all servers of one hospital."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._stopped: dict[threading.Thread, tuple[str, Callable[[], bool]]] = {}
        self._going: set[threading.Thread] = set()
        self._threads: list[threading.Thread] = []

    def stop_here(self, where: str, may_go: Callable[[], bool] = lambda: True) -> None:
        """Called by a thread of a server; others pass. Returns when it is its turn."""
        me = threading.current_thread()
        if me.name not in CONDUCTED:
            return
        with self._turn:
            self._stopped[me] = (where, may_go)
            self._turn.notify_all()
            while me not in self._going:
                self._turn.wait(HANGS_AFTER_S)
            self._going.remove(me)
            del self._stopped[me]

    def adopt(self, stages: Stages) -> None:
        """Its threads are conducted from now on. Call it after everything that may have started one."""
        for thread in self.of(stages):
            if thread not in self._threads:
                self._threads.append(thread)
        self._settle()

    def of(self, stages: Stages) -> list[threading.Thread]:
        """The threads of one server."""
        beginner = stages.runner.acting._beginner
        return [*stages.runner._threads, *stages.reisolating._threads, *([beginner] if beginner is not None else [])]

    def ready(self) -> list[threading.Thread]:
        """Those that could go on, the oldest first."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return [thread for thread in self._threads if thread in self._stopped and self._stopped[thread][1]()]

    def where(self, thread: threading.Thread) -> str:
        return self._stopped[thread][0]

    def go(self, thread: threading.Thread) -> None:
        """One step of this thread: to its next stop, or to its end."""
        with self._turn:
            self._going.add(thread)
            self._turn.notify_all()
        self._settle()

    def _settle(self) -> None:
        """Until every thread has stopped somewhere or ended."""
        waited = 0.0
        with self._turn:
            while any(thread in self._going or thread not in self._stopped for thread in self._threads if thread.is_alive()):
                self._turn.wait(LOOK_EVERY_S)
                waited += LOOK_EVERY_S
                assert waited < HANGS_AFTER_S, "a thread waits for something that is not announced"


class ConductedLock:
    """In the place of a lock that a server's threads wait for (its `Turn`, its look for drift): who gets it is chosen, too."""

    def __init__(self, conductor: Conductor, alive: Callable[[], bool]) -> None:
        self._conductor, self._alive = conductor, alive
        self._held = False

    def acquire(self) -> bool:
        self._conductor.stop_here("waits for its turn", lambda: not self._held or not self._alive())
        self._held = True
        return True

    def release(self) -> None:
        self._held = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None) -> None:
        self.release()
