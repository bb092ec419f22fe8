"""Planned re-cuts: at their date the emergency command is started, as a process of its own that no server can hinder."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.domain.decide_recuts import done_already, started
from orchestrator.domain.recuts import Recut
from orchestrator.errors import LogUnavailable
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal


@dataclass
class Recuts:
    """The last look at the log is remembered: a log that cannot be read at the date keeps no cut-off from being started."""

    collaborators: Collaborators
    journal: Journal
    _known: tuple[Recut, ...] = ()
    _begun: set[tuple[str, str]] = field(default_factory=set)  # (id, date): by this server, recorded or not

    def start_due(self) -> tuple[str, ...]:
        """Starts what is due, and says so afterwards: after a crash in between it is started again, which cuts no more than
        the first time. Returns what was started now."""
        now = self.journal.now()
        try:
            state = self.journal.state()
            self._known = tuple(state.recuts.values())
            for recut in self._known:
                if (recut.is_due(now) or recut.asks(now)) and done_already(state, recut):
                    self._say(recut, "a cut-off with its profile was ordered since its date")
            self._known = tuple(self.journal.state().recuts.values())
        except LogUnavailable:
            pass
        found = []
        for recut in self._known:
            if recut.is_due(now) and (recut.id, recut.at) not in self._begun:
                self.collaborators.start_cutoff(recut.profile, f"planned re-cut {recut.id}: {recut.reason}", recut.by)
                self._begun.add((recut.id, recut.at))
                found.append(recut.id)
        for recut in self._known:
            if (recut.id, recut.at) in self._begun:
                self._say(recut, "the emergency command was started")
        return tuple(found)

    def _say(self, recut: Recut, reason: str) -> None:
        try:
            self.journal.decide(lambda state, now: started(state, recut.id, reason, now))
        except LogUnavailable:
            return  # again at the next look; the cut-off itself goes to the spool
