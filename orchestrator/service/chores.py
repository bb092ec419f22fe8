"""What a server does by itself, again and again: one thread, one chore after the other, none of them ever ends the others.

A chore looks at the state and begins what is due (device work goes to the runner's threads); it returns quickly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Chore:
    """`every_s` may change between two turns (a policy was ratified): it is asked each time."""

    name: str
    every_s: Callable[[], float]
    do: Callable[[], object]
    last: float = field(default=float("-inf"))  # monotonic
    failure: str = ""  # of the last turn, for health; empty when it went well

    def turn(self, now: float) -> bool:
        """Does it if it is due. Whatever it raises, also when it is asked how often (the log may be
        unavailable just then), is kept as its failure: the next turn may go better."""
        try:
            if now - self.last < self.every_s():
                return False
            self.last = now
            self.do()
            self.failure = ""
        except Exception as failure:
            self.failure = f"{type(failure).__name__}: {failure}"
        return True


class Chores:
    """`acting` says whether this server acts on the log (another one may); without it nothing is done."""

    def __init__(self, stopping: threading.Event, acting: Callable[[], bool] = lambda: True, look_every_s: float = 1.0) -> None:
        self._stopping, self._acting, self._look_every_s = stopping, acting, look_every_s
        self.all: list[Chore] = []

    def add(self, name: str, every_s: float | Callable[[], float], do: Callable[[], object]) -> None:
        self.all.append(Chore(name, every_s if callable(every_s) else lambda: every_s, do))

    def turn(self, now: float | None = None) -> tuple[str, ...]:
        """One look at all of them; the names of those that were due. For tests, and for the thread."""
        if not self._acting():
            return ()
        moment = time.monotonic() if now is None else now
        return tuple(chore.name for chore in self.all if chore.turn(moment))

    def start(self) -> threading.Thread:
        """In a daemon thread, until `stopping` is set."""

        def run() -> None:
            while not self._stopping.wait(self._look_every_s):
                self.turn()

        thread = threading.Thread(target=run, daemon=True, name="chores")
        thread.start()
        return thread
