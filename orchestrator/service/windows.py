"""What a server does about time by itself: opens approved windows at their start, ends them at their end, renews deadlines on
devices, warns before ends. None of it is needed for closing: the devices do that themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from orchestrator.domain import ends_told, expiry, stages
from orchestrator.domain.decide import open_window, went_stale
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.state import SiteState
from orchestrator.domain.windows import due_to_open
from orchestrator.errors import IllegalTransition, Refused, UsageError
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.ending import end
from orchestrator.service.journal import Journal
from orchestrator.service.planning import Planner
from orchestrator.service.recuts import Recuts
from orchestrator.service.renewing import renew, to_be_renewed
from orchestrator.service.runner import Runner

EVERY_S = 1.0
TRY_AGAIN_AFTER = timedelta(minutes=2)  # a device that does not answer: each try writes to the log


def keep_time(collaborators: Collaborators, journal: Journal, planner: Planner, runner: Runner) -> None:
    """From now on these are among the server's chores."""
    windows = Windows(collaborators, journal, planner, runner)
    runner.chores.add("start planned re-cuts", EVERY_S, Recuts(collaborators, journal).start_due)
    runner.chores.add("end what is over", EVERY_S, windows.end_over)
    runner.chores.add("renew deadlines", EVERY_S, windows.renew_due)
    runner.chores.add("open windows", EVERY_S, windows.open_due)
    runner.chores.add("warn before ends", EVERY_S, windows.tell)


@dataclass
class Windows:
    """Each method is a chore: looks, begins what is due, returns. Nothing is begun while a cut-off is at work."""

    collaborators: Collaborators
    journal: Journal
    planner: Planner
    runner: Runner
    _tried: dict[tuple[str, str], datetime] = field(default_factory=dict)  # (chore, stage) → when it was begun last
    _said: set[tuple[str, str, str]] = field(default_factory=set)  # (stage, plan, rule): why it did not open, said once

    def open_due(self) -> tuple[str, ...]:
        """Applies approved stages whose window has begun, if every condition holds now; else again at the next look, as long
        as the window lasts. Returns those that were begun."""
        begun: list[str] = []
        state = self.journal.state()
        if any(status.state in stages.RUNNING for status in state.stages.values()):
            return ()
        for status in due_to_open(state, self.journal.now()):
            begun += self._opened(status.name)
            if begun:
                break  # one stage at a time
        return tuple(begun)

    def _opened(self, stage: str) -> list[str]:
        decided: list[NewEvent] = []

        def decision(state: SiteState, now: datetime) -> tuple[NewEvent, ...]:
            decided[:] = open_window(state, stage, self._digest_now(state, stage), now)
            return tuple(decided)

        try:
            self.journal.decide(decision)
        except IllegalTransition:
            return []  # the posture, another stage: no one need be told each second
        except Refused as refusal:
            self._say_why_not(stage, refusal)
            return []
        if not decided:
            return []
        self.runner.apply(stage)
        return [stage]

    def _digest_now(self, state: SiteState, stage: str) -> str:
        plan = state.stage(stage).plan
        try:
            return self.planner.plan(state, stage, plan.partners, plan.window).digest if plan is not None else ""
        except (Refused, UsageError):
            return ""

    def _say_why_not(self, stage: str, refusal: Refused) -> None:
        """Once for each plan and rule. A plan that has moved is stale, as if it had been applied by hand."""
        status = self.journal.state().stage(stage)
        if refusal.rule == "digest-moved" and status.state in stages.VOTING:
            self.journal.decide(lambda state, now: went_stale(state, stage, str(refusal)[:1000], now))
        told = (stage, status.plan_digest, refusal.rule)
        if told not in self._said:
            self._said.add(told)
            body = {"verb": "apply", "rule": refusal.rule, "reason": f"at the start of its window: {refusal}"[:1000]}
            self.journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.ACCESS_DENIED, body, stage=stage)])

    def end_over(self) -> tuple[str, ...]:
        """Begins to end what is over. Returns the stages."""
        found = [status.name for status in expiry.over(self.journal.state(), self.journal.now())]
        return self._begun("end", found, end)

    def renew_due(self) -> tuple[str, ...]:
        """Begins to renew deadlines on devices. Returns the stages."""
        state = self.journal.state()
        found = [status.name for status in state.stages.values() if to_be_renewed(state, status, self.journal)]
        return self._begun("renew", found, renew)

    def tell(self) -> int:
        """Warnings and passed ends, into the log. Returns how many events."""
        state = self.journal.state()
        if not (events := ends_told.told(state, self.journal.now())):
            return 0
        self.journal.decide(ends_told.told)
        return len(events)

    def _begun(self, chore: str, found: list[str], work: Callable[[Collaborators, Journal, str], None]) -> tuple[str, ...]:
        """In the background, each stage not more often than it makes sense."""
        now = self.journal.now()
        self._tried = {key: at for key, at in self._tried.items() if key[0] != chore or key[1] in found}
        if self.journal.state().posture is SitePosture.ISOLATING:
            return ()
        due = [name for name in found if now - self._tried.get((chore, name), datetime.min.replace(tzinfo=now.tzinfo)) >= TRY_AGAIN_AFTER]
        for name in due:
            self._tried[chore, name] = now
            self.runner.begin(partial(work, self.collaborators, self.journal, name), f"{chore}: {name}")
        return tuple(due)
