"""The policy's own tests (`tests:`): what must pass and what must be blocked, and at which stage.

Run by `policy check`, and again before a changed policy can be ratified; on live traffic where a vantage point can ask.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestrator.domain.network import Model, Name
from orchestrator.domain.policy_words import StageName, Text
from orchestrator.domain.services import ServiceText


class Expectation(Model):
    """A conversation that `source` opens to `destination` (each an address, a host, a partner or an application).

    After the cut-off by `profile` (default: the policy's) and after each stage of `after` with all that it requires; `after` empty:
    right after the cut-off. `until` asks the same of every point from there up to, without, the stage it names.
    """

    name: Name
    title: Text | None = None
    """What people read."""
    profile: Name | None = None
    """After a cut-off by this profile (default: the policy's)."""
    after: tuple[StageName, ...] = ()
    """With these stages open, and all that they require (none: right after the cut-off)."""
    until: StageName | None = None
    """As long as this stage is not open, whatever else is."""
    source: str = Field(min_length=1)
    """Who opens the conversation: an address, a host, a partner or an application (`partner:NAME` when a name is several things)."""
    destination: str = Field(min_length=1)
    """Whom it calls: the same."""
    service: ServiceText
    """One protocol and port."""
    expect: Literal["passes", "blocked"]
    """Whether it passes."""

    @model_validator(mode="after")
    def _ends_are_different(self) -> Expectation:
        if self.source == self.destination:
            raise ValueError("source and destination are the same")
        return self
