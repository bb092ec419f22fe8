"""What falls due while the hospital is cut off: certificates, mail queues, legal deadlines. From configuration, shown
by `stage next`; nothing is notified by itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestrator.domain.network import Model, Name
from orchestrator.domain.policy_words import Duration, Moment, Text


class Obligation(Model):
    """`due` is a date, or `after_cut` a time after the first cut-off of the incident. `flows`: whose reopening fulfils it
    (a mail queue, revocation lists); without flows a person fulfils it (a report). `source` names law or document."""

    name: Name
    title: Text
    """What people read."""
    kind: Literal["certificate", "mail-queue", "legal", "contract", "other"]
    """What falls due."""
    due: Moment | None = None
    """A date; or:"""
    after_cut: Duration | None = None
    """A time after the first cut-off of the incident."""
    flows: tuple[Name, ...] = ()
    """Whose reopening fulfils it (none: a person does)."""
    owner: Name | None = None
    """The person who fulfils it."""
    source: str = Field(min_length=1)
    """The law or document that says so."""

    @model_validator(mode="after")
    def _has_one_date(self) -> Obligation:
        if (self.due is None) == (self.after_cut is None):
            raise ValueError("an obligation has either `due` (a date) or `after_cut` (a duration)")
        return self
