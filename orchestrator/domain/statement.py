"""The statement that a voter signs: canonical JSON text that says everything the vote is bound to.

    {"what": "vote", "site", "stage", "plan_digest", "policy_digest", "inventory_digest", "becomes_possible_digest",
     "window": {"starts", "ends"} (where the plan has one), "rehearsal", "log_head": {"size", "root"}, "voter",
     "choice": "approve"|"deny", "reason", "expires"}

It is signed in the namespace `reconnect-approval@v1`. `log_head` is the log as its voter saw it: it makes each voter a
witness, and it must be younger than the plan, so that a vote on an earlier plan with the same digest cannot be replayed.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.domain.canonical import canonical, digest
from orchestrator.domain.events import Head
from orchestrator.domain.plain_text import plain
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.errors import Stale, UsageError

NAMESPACE = "reconnect-approval@v1"
_LONGEST = 4000


class LogHead(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    size: int = Field(ge=0)
    root: str = Field(pattern="^[0-9a-f]{64}$")


class StatementWindow(BaseModel):
    """From when to when, of a plan that opens in a dated window."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    starts: str
    ends: str


class Statement(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    what: Literal["vote"] = "vote"
    site: str
    stage: str
    plan_digest: str
    policy_digest: str
    inventory_digest: str
    becomes_possible_digest: str
    window: StatementWindow | None = None
    rehearsal: bool
    log_head: LogHead
    voter: str
    choice: Literal["approve", "deny"]
    reason: Annotated[str, AfterValidator(plain)] = Field(max_length=1000)
    expires: str

    def text(self) -> str:
        """The exact text to sign."""
        return canonical(self.model_dump(exclude_none=True)).decode()


def expiry(status: StageStatus) -> datetime:
    """When the plan of the stage, and with it its votes, ends. What was approved in time waits for its window, and is of use
    until that is over."""
    assert status.plan is not None
    if status.plan.window is not None:
        return moment(status.plan.window.ends)
    return moment(status.planned_at) + timedelta(seconds=status.plan.expires_after_s)


def statement_for(state: SiteState, stage: str, head: Head, voter: str, choice: Literal["approve", "deny"], reason: str) -> Statement:
    """What this voter signs for the present plan. Raises Stale (rule `no-plan`) when there is none."""
    status = state.stage(stage)
    if status.plan is None or state.ratified is None:
        raise Stale(f"{stage} has no plan to vote on", rule="no-plan", advice=f"orchestrator stage plan {stage}")
    return Statement(
        site=status.plan.site,
        stage=stage,
        plan_digest=status.plan_digest,
        policy_digest=status.plan.policy_digest,
        inventory_digest=status.plan.inventory_digest,
        becomes_possible_digest=digest([line.model_dump(mode="json") for line in status.plan.becomes_possible]),
        window=StatementWindow(**status.plan.window.model_dump()) if status.plan.window is not None else None,
        rehearsal=status.plan.rehearsal,
        log_head=LogHead(size=head.size, root=head.root),
        voter=voter,
        choice=choice,
        reason=reason,
        expires=expiry(status).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def read_statement(text: str) -> Statement:
    """The statement of this text. Raises UsageError for what is not one, or not in canonical form."""
    if len(text) > _LONGEST:
        raise UsageError("the statement is too long to be one")
    try:
        statement = Statement.model_validate(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise UsageError("the statement is not one of ours", advice="sign the exact text that GET …/vote-statement gives") from error
    if statement.text() != text:
        raise UsageError("the statement is not in canonical form", advice="sign the exact text that GET …/vote-statement gives")
    return statement
