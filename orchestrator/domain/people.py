"""People and who stands in for whom: natural persons, dated delegations, duty roles."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from orchestrator.domain.network import Model, Name
from orchestrator.domain.policy_words import Duration, Moment, Role, Text


class Person(Model):
    """A natural person: one id across keys. Keys are in `allowed_signers`, never here. A deputy may have no role of
    their own, and act by delegation or in turns of duty only."""

    name: Name
    title: str
    """What people read; no name."""
    roles: tuple[Role, ...] = ()
    """What they decide as."""
    owns: tuple[Name, ...] = ()
    """Applications, for application owners."""
    speaks_for: tuple[Name, ...] = ()
    """Partners, for a partner's contact: whose sight of an opening their signature stands for."""
    genesis: bool = False
    """Of the printed and sealed set that ratifies the first policy."""


class Delegation(Model):
    """`giver` lends `roles` to `taker` from `starts` to `ends`. A delegate fills a place instead of the giver, never
    beside: who votes or proposes themselves has lent nothing for that plan. `applications`: for the role of
    application owner, which of the giver's."""

    name: Name
    giver: Name
    """Who lends."""
    taker: Name
    """Who acts."""
    roles: tuple[Role, ...] = Field(min_length=1)
    """Which of the giver's own roles."""
    applications: tuple[Name, ...] = ()
    """For the role of application owner: which of the giver's."""
    starts: Moment
    """From."""
    ends: Moment
    """To."""
    reason: str = Field(min_length=1)
    """Why."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Delegation:
        if self.ends <= self.starts:
            raise ValueError("a delegation ends after it starts")
        return self


class Turn(Model):
    """One person's turn on duty."""

    person: Name
    """Whose."""
    starts: Moment
    """From."""
    ends: Moment
    """To."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Turn:
        if self.ends <= self.starts:
            raise ValueError("a turn ends after it starts")
        return self


class Duty(Model):
    """A duty role (*astreinte*): whoever's turn it is holds `role` for that time, beside their own roles."""

    name: Name
    title: Text
    """What people read."""
    role: Role
    """What whoever is on duty decides as."""
    turns: tuple[Turn, ...] = Field(min_length=1)
    """Whose turn it is, and when."""


class PeopleChanges(Model):
    """How people's keys change without a ratification: signed by others, in force after a delay in which one officer can stop
    it. Revocation is at once, and not slowed by this."""

    signers: int = Field(default=3, ge=2, le=9)
    """How many distinct persons sign; never the person whose keys they are."""
    roles: tuple[Role, ...] = Field(
        default=(Role.INCIDENT_COMMANDER, Role.NETWORK_ENGINEER, Role.SECURITY_OFFICER, Role.DIRECTOR), min_length=1
    )
    """One of which every signer has as their own."""
    delay: Duration = timedelta(hours=1)
    """How long it is shown before it is in force."""
