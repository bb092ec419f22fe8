"""What people ask for. A command is plain data; `decide` answers with events or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.attestations import AttestationState, Way
from orchestrator.domain.plan import Plan
from orchestrator.domain.signers import Verified
from orchestrator.domain.subtractions import What


@dataclass(frozen=True)
class Command:
    actor: str  # the person who asks, as authenticated


@dataclass(frozen=True)
class PlanStage(Command):
    """`plan` was just made from the state that this is decided on."""

    plan: Plan


@dataclass(frozen=True)
class CastVote(Command):
    """`key` is whose key signed `statement`, verified; `actor` is who hands it in (votes can be carried)."""

    stage: str
    statement: str
    signature: str
    key: Verified

    @property
    def signer(self) -> str:
        return self.key.person


@dataclass(frozen=True)
class ApplyStage(Command):
    """`digest_now` is of the plan made again from the state that this is decided on."""

    stage: str
    digest_now: str


@dataclass(frozen=True)
class CancelStage(Command):
    stage: str
    reason: str


@dataclass(frozen=True)
class RevertStage(Command):
    stage: str
    reason: str


@dataclass(frozen=True)
class AttachEvidence(Command):
    """`zone` for the kind `eradication`, which always names one."""

    kind: str
    document_sha256: str
    stage: str | None = None
    application: str | None = None
    note: str = ""
    zone: str | None = None


@dataclass(frozen=True)
class RecordAttestation(Command):
    """One move of an attestation. Without a document, the one before is meant; `valid_until` (RFC 3339) where it is accepted.

    `at_once`: the states on the way there are recorded as well, by somebody who has done all of it in one sitting.
    """

    partner: str
    state: AttestationState
    document_sha256: str = ""
    valid_until: str = ""
    note: str = ""
    way: Way = "theirs"
    reservation: str = ""
    at_once: bool = False


@dataclass(frozen=True)
class SayPartnerReady(Command):
    """The partner has said that they have opened their side; or, not `ready`, that they have not (any more)."""

    partner: str
    ready: bool
    note: str = ""


@dataclass(frozen=True)
class HandInWitness(Command):
    """What a partner's contact has signed. `signer` is whose key it is, verified; `root_then` the root of our log at the size
    that the statement names; `began` when the stage began to open (None: it has not)."""

    stage: str
    statement: str
    signature: str
    signer: str
    root_then: str | None
    began: datetime | None


@dataclass(frozen=True)
class ReportMonitor(Command):
    """What a monitor says of the time from `since` to `until` (RFC 3339): so many alerts in the zones of `coverage`."""

    monitor: str
    since: str
    until: str
    alerts: int
    coverage: tuple[str, ...]
    document_sha256: str
    note: str = ""


@dataclass(frozen=True)
class RequestWaiver(Command):
    stage: str
    gate: str
    reason: str
    accepted_risk: str
    until: str
    partner: str | None = None


@dataclass(frozen=True)
class GrantWaiver(Command):
    waiver: str


@dataclass(frozen=True)
class EndWaiver(Command):
    waiver: str
    reason: str


@dataclass(frozen=True)
class RequestExtension(Command):
    """`until` as people give times."""

    stage: str
    until: str
    reason: str


@dataclass(frozen=True)
class GrantExtension(Command):
    extension: str


@dataclass(frozen=True)
class ScheduleRecut(Command):
    """`at` as people give times."""

    at: str
    profile: str
    reason: str


@dataclass(frozen=True)
class CancelRecut(Command):
    recut: str
    reason: str


@dataclass(frozen=True)
class Reisolate(Command):
    """Close, alone and at once, what is meant by this name. `epoch` has just been raised. `by` is who says to order it where
    nobody is logged in. `although_vital`: partners that may be blocked although their flows are kept."""

    what: What
    name: str
    reason: str
    epoch: int
    by: str = ""
    although_vital: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockNetworks(Command):
    """Addresses and networks as people write them; `until` (RFC 3339) or empty; `by` as for `Reisolate`."""

    networks: tuple[str, ...]
    reason: str
    until: str = ""
    by: str = ""
    although_vital: tuple[str, ...] = ()


@dataclass(frozen=True)
class RequestUnblock(Command):
    networks: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class GrantUnblock(Command):
    unblocking: str


@dataclass(frozen=True)
class EnterLogbook(Command):
    text: str
    stage: str | None = None
    kind: str = "note"  # one of `decide_records.LOGBOOK_KINDS`


@dataclass(frozen=True)
class DeclareFalseAlarm(Command):
    """The last cut-off, and every one since the epoch `since` (None: the last one alone), was a false alarm."""

    reason: str
    since: int | None = None


@dataclass(frozen=True)
class DeferStage(Command):
    """The stage is left closed by decision, for those who wait for it."""

    stage: str
    reason: str


@dataclass(frozen=True)
class AcceptDifferences(Command):
    """What a lift makes possible beyond the flow matrix is accepted, by name; `withdrawn`: not any more."""

    names: tuple[str, ...]
    reason: str
    withdrawn: bool = False
