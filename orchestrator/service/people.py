"""The verbs of people and their keys: show what to sign, hand in, stop, revoke, end sessions, list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.domain import decide_people
from orchestrator.domain.decide import decide
from orchestrator.domain.decide_people import ChangePeople, EndSessions, RevokeKey, StopPeopleChange, Wish
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import EventMaker
from orchestrator.domain.people_keys import Change
from orchestrator.domain.people_statement import NAMESPACE, read_people_statement
from orchestrator.domain.state import SiteState
from orchestrator.errors import IllegalTransition, Refused, Stale
from orchestrator.service.stages import Stages


@dataclass(frozen=True)
class People:
    stages: Stages

    def statement(self, actor: str, wish: Wish) -> str:
        """The exact text that k others sign in `reconnect-people@v1`. Raises Refused for what cannot be."""
        state, journal = self.stages.read(actor), self.stages.journal
        return decide_people.statement_for(state, journal.head(), wish, journal.now()).text()

    def request(self, actor: str, statement: str, signatures: Sequence[str]) -> Change:
        """Hands in a signed change; `actor` need be none of its signers."""
        journal = self.stages.journal
        self.stages.state()
        with self._refusals_recorded(actor, "people-change"):
            head = read_people_statement(statement).log_head
            keys = self.stages.signatures()
            signed = tuple((keys.verified(NAMESPACE, statement.encode(), text, at=journal.now()), text) for text in signatures)
            if journal.root_at(head.size) != head.root:
                raise Stale("the statement names a log that is not this one", rule="log-head", advice="sign a new statement")
            state = journal.decide(lambda state, now: decide(state, ChangePeople(actor, statement, signed), now))
        return state.keys.changes[decide_people.change_id(statement)]

    def stop(self, actor: str, change: str, reason: str) -> Change:
        """One officer, or the person whose keys they are."""
        return self.stages.do(StopPeopleChange(actor, change, reason)).keys.changes[change]

    def revoke(self, actor: str, person: str, fingerprint: str, reason: str) -> SiteState:
        """At once, and for good; votes, delegations and waivers of the person fall with it, and their sessions of this key."""
        with self._refusals_recorded(actor, "key-revoke"):
            return self.stages.do(RevokeKey(actor, person, fingerprint, reason))

    def end_sessions(self, actor: str, person: str, reason: str) -> SiteState:
        """Every token of the person is worth nothing from now on."""
        return self.stages.do(EndSessions(actor, person, reason))

    def known(self, actor: str) -> SiteState:
        return self.stages.read(actor)

    @contextmanager
    def _refusals_recorded(self, actor: str, verb: str) -> Iterator[None]:
        """A refused try to change somebody's keys is worth remembering."""
        try:
            yield
        except IllegalTransition:
            raise
        except Refused as refusal:
            body = {"verb": verb, "rule": refusal.rule, "reason": str(refusal)[:1000]}
            self.stages.journal.decide(lambda state, now: [EventMaker(state, actor, now)(E.ACCESS_DENIED, body)])
            raise
