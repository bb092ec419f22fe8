"""The verbs of the delegations that are granted in the crisis: show what to sign, hand in, take back, list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain import delegating, eligibility
from orchestrator.domain.delegating import GrantDelegation, Lending, RevokeDelegation
from orchestrator.domain.standing import Loan
from orchestrator.errors import Stale
from orchestrator.service.stages import Stages


@dataclass(frozen=True)
class Delegations:
    stages: Stages

    def statement(self, lending: Lending) -> str:
        """The exact text that the giver signs in `reconnect-delegation@v1`. Raises Refused for what cannot be lent."""
        journal = self.stages.journal
        return delegating.delegation_statement(journal.state(), journal.head(), lending, journal.now()).text()

    def grant(self, actor: str, statement: str, signature: str) -> Loan:
        """Hands in a signed delegation; `actor` need be neither its giver nor its taker."""
        journal = self.stages.journal
        head = delegating.read_delegation(statement).log_head
        signer = self.stages.signatures().verify(delegating.NAMESPACE, statement.encode(), signature, at=journal.now())
        if journal.root_at(head.size) != head.root:
            raise Stale("the statement names a log that is not this one", rule="log-head", advice="sign a new statement")
        command = GrantDelegation(actor, statement, signature, signer)
        state = journal.decide(lambda state, now: delegating.grant(state, command, now))
        return next(loan for loan in eligibility.loans(state) if loan.signed == statement)

    def revoke(self, actor: str, delegation: str, reason: str) -> Loan:
        """Takes one back, at once. Needs no signature: it only subtracts."""
        command = RevokeDelegation(actor, delegation, reason)
        state = self.stages.journal.decide(lambda state, now: delegating.revoke(state, command, now))
        return next(loan for loan in eligibility.loans(state) if loan.name == delegation)

    def known(self, actor: str) -> tuple[Sequence[Loan], datetime]:
        """Every delegation, over ones included, and the time now."""
        return eligibility.loans(self.stages.read(actor)), self.stages.journal.now()
