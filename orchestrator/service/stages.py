"""The verbs of the reopening: plan, show what to sign, vote, apply, cancel, revert, evidence, attestation, logbook.

Each takes the person who asks, as authenticated, and returns the state after it. Every one of them raises Refused
(with its rule) or InputError; refusals of what would open are recorded as AccessDenied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from orchestrator.domain import conditions, duties, eligibility
from orchestrator.domain.commands import ApplyStage, CancelStage, CastVote, Command, HandInWitness, PlanStage, RevertStage
from orchestrator.domain.decide import decide, overdue, went_stale
from orchestrator.domain.decide_witness import statement_of, witnessed
from orchestrator.domain.duties import Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import EventMaker
from orchestrator.domain.opened import to_be_planned
from orchestrator.domain.plan import Plan, Window
from orchestrator.domain.stage_names import RESUME, supplements
from orchestrator.domain.stages import LETS_THROUGH, RUNNING, VOTING, StageState
from orchestrator.domain.state import SiteState, moment
from orchestrator.domain.statement import NAMESPACE, read_statement, statement_for
from orchestrator.domain.windows import window_of
from orchestrator.domain.witness import NAMESPACE as WITNESS_NAMESPACE
from orchestrator.domain.witness import Saw, read_witness
from orchestrator.errors import IllegalTransition, LogUnavailable, Refused, Stale, UsageError
from orchestrator.ports import Signatures
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal
from orchestrator.service.lift_plan import lift_plan
from orchestrator.service.planning import Planner
from orchestrator.service.reisolating import Reisolating
from orchestrator.service.resumption_plan import resumption_plan
from orchestrator.service.runner import Runner
from orchestrator.service.windows import keep_time

Choice = Literal["approve", "deny"]


@dataclass(frozen=True)
class Stages:
    collaborators: Collaborators
    planner: Planner
    journal: Journal = field(init=False)
    runner: Runner = field(init=False)
    reisolating: Reisolating = field(init=False)

    def __post_init__(self) -> None:
        around = self.collaborators
        object.__setattr__(self, "journal", Journal(around.log, around.clock, around.take_in, around.masking))
        object.__setattr__(self, "runner", Runner(self.collaborators, self.journal, self.planner))
        object.__setattr__(self, "reisolating", Reisolating(self.collaborators, self.journal, self.runner))
        keep_time(self.collaborators, self.journal, self.planner, self.runner)
        self.runner.chores.add("what is overdue", 5.0, self.state)

    def state(self) -> SiteState:
        """The present state; plans whose time is over are expired on the way. With a log that cannot be written it can still be
        looked at: every decision asks for the time again."""
        state = self.journal.state()
        if not state.ratified or not overdue(state, self.journal.now()):
            return state
        try:
            return self.journal.decide(overdue)
        except LogUnavailable:
            return state

    def read(self, actor: str) -> SiteState:
        """The present state, for somebody who may read it."""
        state = self.state()
        duties.require(Verb.READ, eligibility.roles_of(state, actor, self.journal.now()))
        return state

    def do(self, command: Command) -> SiteState:
        """A command that needs nothing but the state."""
        self.state()
        return self.journal.decide(lambda state, now: decide(state, command, now))

    def plan(self, actor: str, stage: str, partners: Collection[str] | None = None, window: tuple[str, str] | None = None) -> SiteState:
        """Plans the stage; of one that is partially open, a supplement for those that are not, under a name of its own.

        `partners` defers the others; `window` is from when to when it is open, as people give times.
        """
        if (done := self.journal.repeated()) is not None:
            return done
        self.state()
        with self._refusals_recorded(actor, "plan", stage):
            state = self.journal.state()
            stage = stage if stage == RESUME else to_be_planned(state, stage)
            duties.require(Verb.PLAN, eligibility.roles_of(state, actor, self.journal.now()))
            wanted = conditions.declared(state, stage)
            dated = window_of(state, *window, self.journal.now()) if window is not None else None
            conditions.require_predecessors(state, wanted, self.journal.now(), conditions.flows_to(state, wanted, partners))
            return self.journal.decide(
                lambda state, now: decide(state, PlanStage(actor, self.made(state, stage, partners, now, dated)), now)
            )

    def vote_statement(self, actor: str, stage: str, choice: Choice, reason: str) -> str:
        """The exact text that this person signs to vote on the present plan."""
        state = self.read(actor)
        conditions.declared(state, stage)
        return statement_for(state, stage, self.journal.head(), actor, choice, reason).text()

    def vote(self, actor: str, stage: str, statement: str, signature: str) -> SiteState:
        """Hands in a signed vote; `actor` need not be its voter."""
        if (done := self.journal.repeated()) is not None:
            return done
        self.state()
        with self._refusals_recorded(actor, "vote", stage):
            head = read_statement(statement).log_head
            key = self.signatures().verified(NAMESPACE, statement.encode(), signature, at=self.journal.now())
            if self.journal.root_at(head.size) != head.root:
                raise Stale("the statement names a log that is not this one", rule="log-head", advice="sign a new statement")
            command = CastVote(actor, stage, statement, signature, key)
            return self.journal.decide(lambda state, now: decide(state, command, now))

    def witness(self, actor: str, stage: str, statement: str, signature: str) -> SiteState:
        """Hands in what a partner's contact has signed of this stage; the contact needs no access. Their key is valid now, and was
        when they saw it."""
        self.state()
        with self._refusals_recorded(actor, "witness", stage):
            said = read_witness(statement)
            signatures = self.signatures()
            signer = signatures.verify(WITNESS_NAMESPACE, statement.encode(), signature, at=self.journal.now())
            signatures.verify(WITNESS_NAMESPACE, statement.encode(), signature, at=moment(said.seen_at))
            root_then, began = self.journal.root_at(said.log_head.size), self._began(stage)
            command = HandInWitness(actor, stage, statement, signature, signer, root_then, began)
            return self.journal.decide(lambda state, now: witnessed(state, command, now))

    def witness_statement(self, actor: str, stage: str, partner: str, witness: str, seen: Mapping[str, Saw], seen_at: str) -> str:
        """The text that a partner's contact signs: of every flow of the stage's plan with them, what `seen` says (`""`: of all)."""
        state = self.read(actor)
        return statement_of(state, stage, partner, witness, seen, seen_at, self.journal.head()).text()

    def _began(self, stage: str) -> datetime | None:
        """When the stage began to open by its present plan."""
        status = self.journal.state().stage(stage)
        events = self.collaborators.log.read(status.planned_seq) if status.planned_seq >= 0 else ()
        return next((moment(event.at) for event in events if event.type is E.STAGE_APPLYING and event.stage == stage), None)

    def apply(self, actor: str, stage: str) -> SiteState:
        """Begins to apply; the rest happens in the background. A plan that has moved becomes `stale` here already."""
        if (done := self.journal.repeated()) is not None:
            return done
        self.state()
        self.journal.require_acting()
        with self._refusals_recorded(actor, "apply", stage):
            try:
                state = self.journal.decide(lambda state, now: decide(state, ApplyStage(actor, stage, self._digest_now(state, stage)), now))
            except Stale as stale:
                if stale.rule == "digest-moved" and self.journal.state().stage(stage).state in VOTING:
                    reason = str(stale)
                    self.journal.decide(lambda state, now: went_stale(state, stage, reason, now))
                raise
        self.runner.apply(stage)
        return state

    def signatures(self) -> Signatures:
        """Of the people in force: a key that is added to a file counts once that file is ratified, or once others have signed it."""
        state = self.journal.state()
        conditions.in_force(state)
        return self.collaborators.signatures(state.keys.effective)

    def cancel(self, actor: str, stage: str, reason: str) -> SiteState:
        return self.do(CancelStage(actor, stage, reason))

    def revert(self, actor: str, stage: str, reason: str) -> SiteState:
        """Begins to close, the supplements of the stage too; the rest happens in the background. Needs no votes: it only subtracts."""
        if (done := self.journal.repeated()) is not None:
            return done
        self.journal.require_acting()
        self.state()
        begun: list[str] = []

        def reverting(state: SiteState, now: datetime) -> list[NewEvent]:
            """All of it at once: a request that is repeated finds the whole in the log, or nothing."""
            closable = LETS_THROUGH | RUNNING - {StageState.REVERTING}
            begun[:] = [stage, *(name for name in reversed(supplements(stage, state.stages)) if state.stage(name).state in closable)]
            return [event for name in begun for event in decide(state, RevertStage(actor, name, reason), now)]

        state = self.journal.decide(reverting)
        for name in begun:
            self.runner.revert(name)
        return state

    def _digest_now(self, state: SiteState, stage: str) -> str:
        """Of the plan made again; of nothing when there is none (the decision then says why not)."""
        conditions.declared(state, stage)
        planned = state.stage(stage).plan
        if planned is None or state.stage(stage).state not in VOTING:
            return ""
        try:
            return self.made(state, stage, planned.partners, self.journal.now(), planned.window).digest
        except (Refused, UsageError):
            if stage == RESUME:
                raise  # too late, an indicator: its own conditions say it better
            return ""  # it cannot even be planned any more: that is moved enough

    def made(self, state: SiteState, stage: str, partners: Collection[str] | None, now: datetime, window: Window | None = None) -> Plan:
        """The plan of a stage, of a resumption, or of a lift, for which the devices are read. Records nothing."""
        if stage == RESUME:
            return resumption_plan(self.planner, state, now)
        if conditions.declared(state, stage).lifts:
            return lift_plan(self.collaborators, state, stage, now)
        return self.planner.plan(state, stage, partners, window)

    @contextmanager
    def _refusals_recorded(self, actor: str, verb: str, stage: str) -> Iterator[None]:
        """A refused try to open something is worth remembering; a wrong name or a wrong moment is not."""
        try:
            yield
        except IllegalTransition:
            raise
        except Refused as refusal:
            body = {"verb": verb, "rule": refusal.rule, "reason": str(refusal)[:1000]}
            known = stage if self.journal.state().ratified else None
            self.journal.decide(lambda state, now: [EventMaker(state, actor, now)(E.ACCESS_DENIED, body, stage=known)])
            raise
