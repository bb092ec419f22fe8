"""What requests look like on the wire. Strict: an unknown member is an error, and a number is no text."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from orchestrator.domain.attestations import Way
from orchestrator.domain.plain_text import plain
from orchestrator.domain.subtractions import What

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])]
Short = Annotated[str, Field(max_length=100)]
_UNSEEN = (  # what `plain` refuses, as the description of the API can say it (surrogates are in no text that arrives)
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U00013438\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
ONE_LINE: JsonDict = {"pattern": f"^[^\t\n{_UNSEEN}]*$"}
LINES: JsonDict = {"pattern": f"^[^{_UNSEEN}]*$"}
Note = Annotated[str, Field(max_length=1000, json_schema_extra=ONE_LINE), AfterValidator(plain)]
Time = Annotated[str, Field(max_length=40, description="RFC 3339")]
Signature = Annotated[str, Field(max_length=8000, description="armoured SSHSIG, as `ssh-keygen -Y sign` writes it")]


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ChallengeRequest(Wire):
    person: Short


class Challenge(Wire):
    challenge: str = Field(description="sign exactly this text in the namespace orchestrator-login@v1")


class LoginRequest(Wire):
    person: Short
    challenge: Annotated[str, Field(max_length=2000)]
    signature: Signature


class PeopleChangeRequest(Wire):
    statement: Annotated[str, Field(max_length=20_000)]
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=20, description="of the same statement, by different people")]


class KeyRevocation(Wire):
    fingerprint: Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$", description="as `ssh-keygen -l` prints it")]
    reason: Annotated[Note, Field(min_length=1)]


class Token(Wire):
    token: str
    person: str
    expires: str


class WindowRequest(Wire):
    starts: Time = Field(description="RFC 3339, or without a zone in the site's; `now`")
    ends: Time


class PlanRequest(Wire):
    partners: Annotated[list[Short], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="only these partners; the others are deferred"
    )
    window: WindowRequest | None = Field(default=None, description="of a stage that opens in dated windows: from when to when")


class ExtensionRequest(Wire):
    until: Time
    reason: Annotated[Note, Field(min_length=1)]


class RecutRequest(Wire):
    at: Time
    profile: Short
    reason: Annotated[Note, Field(min_length=1)]


class StatementText(Wire):
    statement: str = Field(description="sign exactly this text in the namespace reconnect-approval@v1")


class VoteRequest(Wire):
    statement: Annotated[str, Field(max_length=4000)]
    signature: Signature


class WitnessRequest(Wire):
    statement: Annotated[str, Field(max_length=20_000)]
    signature: Signature


class WitnessStatementRequest(Wire):
    partner: Short
    witness: Short = Field(description="the contact who signs: a person of the policy who speaks for the partner")
    seen_at: Time
    saw: Literal["passes", "blocked", "cannot-tell"] = Field(default="cannot-tell", description="of every flow that `flows` does not name")
    flows: Annotated[dict[Short, Literal["passes", "blocked", "cannot-tell"]], Field(max_length=100)] = Field(default_factory=dict)


class DelegationRequest(Wire):
    statement: Annotated[str, Field(max_length=20_000)]
    signature: Signature


class ReasonRequest(Wire):
    reason: Note = ""


class FalseAlarmRequest(Wire):
    reason: Annotated[Note, Field(min_length=1)]
    since: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="the epoch of the first cut-off of the alarm (default: the last one alone)"
    )


class DifferencesRequest(Wire):
    names: Annotated[list[Short], Field(min_length=1, max_length=200, description="as `GET /v1/lift` names them, or a pair of zones")]
    reason: Annotated[Note, Field(min_length=1)]


class EvidenceRequest(Wire):
    kind: Annotated[str, Field(max_length=31, description="as the gates of the stages name it")]
    document_sha256: Sha256
    stage: Short | None = None
    application: Short | None = None
    zone: Short | None = Field(default=None, description="of the kind `eradication`, and of no other: where")
    note: Note = ""


class AttestationRequest(Wire):
    partner: Short
    way: Way = "theirs"
    state: Annotated[str, Field(max_length=30, description="a state of the table in docs/stages.md")]
    document_sha256: Sha256 | None = Field(default=None, description="needed when one is received; else the one before is meant")
    valid_until: Time | None = Field(default=None, description="where it is accepted: RFC 3339")
    reservation: Note = ""
    at_once: bool = Field(default=False, description="record the states on the way there as well")
    note: Note = ""


class ReadinessRequest(Wire):
    partner: Short
    ready: bool
    note: Note = ""


class MonitorReportRequest(Wire):
    monitor: Short
    since: Time
    until: Time | None = Field(default=None, description="default: now")
    alerts: Annotated[int, Field(ge=0)]
    coverage: Annotated[list[Short], Field(min_length=1, max_length=200, description="zones")]
    document_sha256: Sha256
    note: Note = ""


class WaiverRequest(Wire):
    stage: Short
    gate: Annotated[str, Field(max_length=100, description="its id, as `GET /v1/stages/{stage}` lists it")]
    partner: Short | None = None
    reason: Annotated[Note, Field(min_length=1)]
    accepted_risk: Annotated[Note, Field(min_length=1)]
    until: Time


Vital = Annotated[list[Short], Field(max_length=100, description="partners that may be blocked although their flows are kept")]
Networks = Annotated[
    list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=1000, description="addresses or networks, IPv4 or IPv6")
]


class ReisolationRequest(Wire):
    what: What
    name: Short
    reason: Annotated[Note, Field(min_length=1)]
    although_vital: Vital = []


class BlockRequest(Wire):
    networks: Networks
    reason: Annotated[Note, Field(min_length=1)]
    until: Time | None = Field(default=None, description="default: until it is removed")
    although_vital: Vital = []


class UnblockRequest(Wire):
    networks: Networks
    reason: Annotated[Note, Field(min_length=1)]


class DriftRepairRequest(Wire):
    devices: Annotated[list[Short], Field(min_length=1, max_length=1000)] | None = Field(default=None, description="default: all")


class DriftAcceptance(Wire):
    device: Short
    section: Short
    reason: Annotated[Note, Field(min_length=1)]


SaidText = Annotated[Note, Field(min_length=1)]


class SaidReason(Wire):
    reason: SaidText


class IncidentRequest(Wire):
    name: Annotated[str, Field(max_length=64, description="letters, digits and . _ -", examples=["2026-INC-4"])]
    title: SaidText


class CutoffRequest(Wire):
    profile: Short | None = Field(default=None, description="default: the policy's")
    reason: SaidText


class DeviceTrustRequest(Wire):
    reason: SaidText
    document_sha256: Sha256


class ManualActRequest(Wire):
    device: Short
    act: SaidText
    done_at: Time
    document_sha256: Sha256 | None = None


LogbookKind = Literal["note", "decision", "accepted-risk-of-acting", "accepted-risk-of-not-acting", "communication", "shift-handover"]


class LogbookRequest(Wire):
    kind: LogbookKind = "note"
    text: Annotated[str, Field(min_length=1, max_length=4000, json_schema_extra=LINES), AfterValidator(partial(plain, lines=True))]
    stage: Short | None = None
