"""What a partner's contact saw from their side, where no vantage point of ours stands: a signed statement.

    {"what": "partner-witness", "site", "stage", "plan_digest", "partner", "witness",
     "seen": [{"flow", "service", "saw": "passes"|"blocked"|"cannot-tell", "words"}], "seen_at", "log_head": {"size", "root"}}

It is signed in the namespace `partner-witness@v1`, with `ssh-keygen -Y sign` and no access to anything of ours, and
verified like a vote (`ports.Signatures`). It is evidence of a check, never a vote: it fills no place, and what was not
seen, or not well, is `inconclusive`. `log_head` is the log as the witness was shown it: it dates the statement from
below, and makes the contact one more witness of the log.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.domain.canonical import canonical
from orchestrator.domain.plain_text import plain
from orchestrator.domain.policy_words import Role
from orchestrator.domain.probes import Check
from orchestrator.domain.state import moment
from orchestrator.domain.statement import LogHead
from orchestrator.errors import NotAllowed, NotAuthenticated, Stale, UsageError

NAMESPACE = "partner-witness@v1"
CLOCKS_DIFFER_BY = timedelta(minutes=5)  # the partner's clock is not ours
STAYS_FRESH = timedelta(hours=4)
Saw: TypeAlias = Literal["passes", "blocked", "cannot-tell"]
_LONGEST = 20_000
_AGAIN = "the contact looks again and signs a new statement"


class Seen(BaseModel):
    """One flow as the partner saw it. `words` are theirs: what they tried, from where."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    flow: str = Field(min_length=1, max_length=100)
    service: str = Field(max_length=40)  # as the plan writes it: `tcp/443`
    saw: Saw
    words: Annotated[str, AfterValidator(plain)] = Field(default="", max_length=400)

    def check(self, expected: Literal["passes", "blocked"] = "passes") -> Check:
        """What it says of a flow that should pass (or be blocked)."""
        if self.saw == "cannot-tell":
            return Check.INCONCLUSIVE
        return Check.SUCCESSFUL if self.saw == expected else Check.FAILED


class WitnessStatement(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    what: Literal["partner-witness"] = "partner-witness"
    site: str
    stage: str
    plan_digest: str = Field(pattern="^[0-9a-f]{64}$")
    partner: str
    witness: str
    seen: tuple[Seen, ...] = Field(min_length=1, max_length=100)
    seen_at: str
    log_head: LogHead

    def text(self) -> str:
        """The exact text to sign."""
        return canonical(self.model_dump(mode="json")).decode()


def read_witness(text: str) -> WitnessStatement:
    """The statement of this text. Raises UsageError for what is not one, not in canonical form, or says a flow twice."""
    if len(text) > _LONGEST:
        raise UsageError("the statement is too long to be one")
    try:
        statement = WitnessStatement.model_validate_json(json.dumps(json.loads(text)))
        moment(statement.seen_at).astimezone()
    except (ValueError, ValidationError, RecursionError) as error:
        raise UsageError("the statement is not one of a witness", advice="sign the exact text that was given") from error
    if statement.text() != text:
        raise UsageError("the statement is not in canonical form", advice="sign the exact text that was given")
    if len({(one.flow, one.service) for one in statement.seen}) != len(statement.seen):
        raise UsageError("the statement says something twice of the same flow and service", advice="say once what was seen")
    if moment(statement.seen_at).tzinfo is None:
        raise UsageError("`seen_at` is no RFC 3339 time in UTC", advice="write it as 2026-06-23T21:04:05Z")
    return statement


def require_witness(
    statement: WitnessStatement,
    *,
    signer: str,
    roles: Collection[Role],
    contact_of: Collection[str],
    present: tuple[str, str, str],
    root_then: str | None,
    applied_at: datetime,
    now: datetime,
) -> None:
    """Refuses what does not count. `signer` is whose key made the signature, `roles` theirs, `contact_of` the partners that
    they may speak for; `present` are site, stage and plan digest as they are now; `root_then` is the root of our log at
    the size that the statement names (None: it was never that long); `applied_at` is when the stage began to open.

    Raises NotAuthenticated, NotAllowed, Stale: each names its rule.
    """
    if statement.witness != signer:
        raise NotAuthenticated(f"signed by {signer} in the name of {statement.witness}", rule="signature")
    if Role.PARTNER_CONTACT not in roles or statement.partner not in contact_of:
        raise NotAllowed(
            f"{signer} is no contact of {statement.partner}", rule="role", advice="the contact that the ratified policy names signs"
        )
    if (statement.site, statement.stage, statement.plan_digest) != present:
        raise Stale(f"the statement is about another plan than the present one of {present[1]}", rule="digest-moved", advice=_AGAIN)
    if statement.log_head.root != root_then:
        raise Stale("the statement names a log that is not a beginning of this one", rule="log-head", advice=_AGAIN)
    seen_at = moment(statement.seen_at)
    if seen_at < applied_at - CLOCKS_DIFFER_BY or seen_at > now + CLOCKS_DIFFER_BY or seen_at < now - STAYS_FRESH:
        raise Stale(
            f"it was seen at {statement.seen_at}: before the stage began to open, more than 4 hours ago, or in the future",
            rule="witness-time",
            advice=_AGAIN,
        )


def verdict(seen: Iterable[Seen], flows: Iterable[tuple[str, str]]) -> Check:
    """What the statement says of flows (name and service) that should pass: a failure of one is the failure of all, and what
    the witness does not speak of, nobody has seen."""
    said = {(one.flow, one.service): one.check() for one in seen}
    found = {said.get(wanted, Check.INCONCLUSIVE) for wanted in flows}
    if Check.FAILED in found:
        return Check.FAILED
    return Check.SUCCESSFUL if found == {Check.SUCCESSFUL} else Check.INCONCLUSIVE
