"""What people sign to change somebody's keys: canonical JSON, in the namespace `reconnect-people@v1`, one text for all of them.

    {"what": "people", "site", "policy_digest", "keys_digest", "rehearsal", "log_head": {"size", "root"},
     "action": "add-key"|"remove-key"|"re-enrol"|"remove-person", "person", "adds": ["type base64"],
     "removes": ["SHA256:…"], "reason", "expires"}

`keys_digest` is of the keys that count when it is signed: when those have changed, it is signed anew. Roles are the
policy's, and change by ratification only.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.domain.canonical import canonical
from orchestrator.domain.plain_text import plain
from orchestrator.domain.statement import LogHead
from orchestrator.errors import UsageError

NAMESPACE = "reconnect-people@v1"
Action = Literal["add-key", "remove-key", "re-enrol", "remove-person"]
_LONGEST = 20_000
_SIGN_THIS = "sign the exact text that GET /v1/people/statement gives"


class PeopleStatement(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    what: Literal["people"] = "people"
    site: str
    policy_digest: str
    keys_digest: str
    rehearsal: bool
    log_head: LogHead
    action: Action
    person: str
    adds: tuple[str, ...] = Field(max_length=5)
    removes: tuple[str, ...] = Field(max_length=50)
    reason: Annotated[str, AfterValidator(plain)] = Field(min_length=1, max_length=1000)
    expires: str

    def text(self) -> str:
        """The exact text to sign."""
        return canonical(self.model_dump(mode="json")).decode()


def read_people_statement(text: str) -> PeopleStatement:
    """The statement of this text. Raises UsageError for what is not one, or not in canonical form."""
    if len(text) > _LONGEST:
        raise UsageError("the statement is too long to be one")
    try:
        statement = PeopleStatement.model_validate(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise UsageError("this is no statement about people", advice=_SIGN_THIS) from error
    if statement.text() != text:
        raise UsageError("the statement is not in canonical form", advice=_SIGN_THIS)
    return statement
