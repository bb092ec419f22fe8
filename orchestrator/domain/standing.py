"""What a person stands for by a policy: own roles, duty turns that run, and what others have lent them.

A delegation lends roles that its giver holds themselves: what was lent, or is held by a turn only, is not lent on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.people import Person
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.policy_words import Role

GRANTED = "grant-"  # how the names of delegations granted in the crisis begin; `policy check` keeps it free


@dataclass(frozen=True)
class Standing:
    """What one voter may fill a place with: roles of their `own`, and those `lent` to them, by giver."""

    own: frozenset[Role] = frozenset()
    lent: Mapping[str, frozenset[Role]] = field(default_factory=dict)

    @property
    def roles(self) -> frozenset[Role]:
        return self.own.union(*self.lent.values())

    def without(self, givers: Collection[str]) -> Standing:
        """The same, these givers having lent nothing."""
        return Standing(self.own, {giver: roles for giver, roles in self.lent.items() if giver not in givers})


@dataclass(frozen=True)
class Loan:
    """A delegation as it counts: one of the policy, or one granted in the crisis (`signed`: the statement of its giver).

    It runs from `starts` until `ends`, or until it was taken back.
    """

    name: str
    giver: str
    taker: str
    roles: tuple[Role, ...]
    applications: tuple[str, ...]  # for the role of application owner; empty: all of the giver's
    starts: datetime
    ends: datetime
    reason: str
    revoked_at: datetime | None = None
    signed: str = ""
    seq: int = -1  # of the event that granted it

    def runs(self, at: datetime) -> bool:
        return self.starts <= at < self.ends and (self.revoked_at is None or at < self.revoked_at)


def loans_of(policy: Policy) -> tuple[Loan, ...]:
    """The delegations that the policy itself makes."""
    return tuple(
        Loan(item.name, item.giver, item.taker, item.roles, item.applications, item.starts, item.ends, item.reason)
        for item in policy.delegations
    )


def turns_at(policy: Policy, person: str, at: datetime) -> frozenset[Role]:
    """The roles that the person's turns of duty give at this time."""
    return frozenset(duty.role for duty in policy.duties for turn in duty.turns if turn.person == person and turn.starts <= at < turn.ends)


def standing(policy: Policy, person: str, *, turns: Collection[Role], loans: Iterable[Loan]) -> Standing:
    """What the person stands for, whatever the stage. `turns` and `loans` are those that count (at a time, or ever)."""
    lent: dict[str, frozenset[Role]] = {}
    for loan in loans:
        giver = policy.people_by_name.get(loan.giver)
        if loan.taker == person and giver is not None and giver.name != person:
            lent[giver.name] = lent.get(giver.name, frozenset()) | (set(loan.roles) & set(giver.roles))
    return Standing(frozenset(policy.person(person).roles) | set(turns), lent)


def applications_of(policy: Policy, stage: Stage) -> frozenset[str]:
    """The applications whose flows the stage opens."""
    return frozenset(policy.flow(flow).application for flow in stage.flows)


def owned(policy: Policy, person: Person, among: Collection[str] | None = None) -> frozenset[str]:
    """The applications (of `among`) that the person answers for, whichever side says so."""
    names = policy.applications_by_name if among is None else among
    return frozenset(name for name in names if policy.application(name).owner == person.name or name in person.owns)


def standing_for(
    policy: Policy, stage: Stage, person: str, *, turns: Collection[Role], loans: Iterable[Loan], opens: Collection[str]
) -> Standing:
    """The places that the person may fill in the quorum of the stage: an application owner only for applications that it
    `opens` (`applications_of`), and by delegation only for those that were lent."""
    owner = bool(owned(policy, policy.person(person), opens))
    own = _counted(stage, frozenset(policy.person(person).roles) | set(turns), owner)
    lent: dict[str, frozenset[Role]] = {}
    for loan in loans:
        giver = policy.people_by_name.get(loan.giver)
        if loan.taker != person or giver is None or giver.name == person:
            continue
        theirs = owned(policy, giver, opens)
        owns = theirs & set(loan.applications) if loan.applications else theirs
        if roles := _counted(stage, frozenset(loan.roles) & set(giver.roles), bool(owns)):
            lent[giver.name] = lent.get(giver.name, frozenset()) | roles
    return Standing(own, lent)


def _counted(stage: Stage, roles: Collection[Role], owns: bool) -> frozenset[Role]:
    return frozenset(role for role in roles if role in stage.votes and (owns or role is not Role.APPLICATION_OWNER))
