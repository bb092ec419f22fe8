"""The state of the site, as plain data: what the log says, and nothing else (see `folding.py` for how it is computed).

Everything is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from orchestrator.domain import device_step_states, stages
from orchestrator.domain import posture as postures
from orchestrator.domain.attestations import ACCEPTED, AttestationState, Way
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.drift_status import Watched
from orchestrator.domain.extensions import Extension
from orchestrator.domain.false_alarms import FalseAlarm, Interrupted
from orchestrator.domain.incidents import Incidents
from orchestrator.domain.layer import DeviceChange, Element, ordered
from orchestrator.domain.network import Prefix, Site
from orchestrator.domain.people_keys import PeopleKeys
from orchestrator.domain.plan import Plan
from orchestrator.domain.policy import Policy
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.probes import Check
from orchestrator.domain.recuts import Recut
from orchestrator.domain.stages import StageState
from orchestrator.domain.standing import Loan
from orchestrator.domain.subtractions import Block, Reisolation, Unblocking, networks_of
from orchestrator.domain.waivers import Waiver


@dataclass(frozen=True)
class Vote:
    """A vote as it was cast; `statement` is the exact text that was signed. `roles` are those it may count in."""

    person: str
    choice: Literal["approve", "deny"]
    roles: tuple[str, ...]
    reason: str
    statement: str
    signature: str
    at: str
    seq: int
    user_verified: bool | None = None  # as a security key says; None: not one


@dataclass(frozen=True)
class Deadline:
    """When a device closes by itself what a stage holds there: `closes_at` as it was read back (RFC 3339), after `sent_s` was
    sent for the approved end `ends_at`, shortened by `late_s` for what the command before had been late by."""

    closes_at: str
    sent_s: int
    ends_at: str
    late_s: int = 0


@dataclass(frozen=True)
class Counted:
    """What a device counted through a stage's openings while it was probed: how many there are, how many of them counted anything,
    packets in all. `unread`: why it could not be told."""

    openings: int = 0
    counting: int = 0
    packets: int = 0
    unread: str = ""


@dataclass(frozen=True)
class StageStatus:
    name: str
    state: StageState = stages.INITIAL
    plan: Plan | None = None
    plan_digest: str = ""
    proposer: str = ""
    planned_at: str = ""
    planned_seq: int = -1
    votes: Mapping[str, Vote] = field(default_factory=dict)
    conversations: Mapping[tuple[str, str], ConversationState] = field(default_factory=dict)  # (flow, partner)
    ends_at: str = ""  # when what it opened ends, or was to end (`alarm`); empty: not by time
    warned_h: int = 0  # how many hours before that end people were warned last; 0: not yet
    end_passed: str = ""  # since when an `alarm` is over and the stage open all the same
    counted: Mapping[str, Counted] = field(default_factory=dict)  # by device, of the last time that it was verified
    since: str = ""  # of the state
    opened_at: str = ""
    detail: str = ""  # why it is where it is, for people

    @property
    def approvals(self) -> tuple[Vote, ...]:
        return tuple(vote for vote in self.votes.values() if vote.choice == "approve")


@dataclass(frozen=True)
class DeviceStatus:
    """What the log says of one device. `slots`: slot → digest ("" when the log holds none). `openings` and `releases`
    are what a stage has made lasting there; `pending` is what may lie there until it is confirmed, closed or timed out.
    `hanging` are stages for which something was sent to open it and not answered: until a fence it may still arrive."""

    name: str
    step: DeviceStepState = device_step_states.INITIAL
    slots: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    laid_epoch: int | None = None  # of the last cut-off there; `epoch` may be a later fence's
    openings: Mapping[str, tuple[Element, ...]] = field(default_factory=dict)
    releases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pending: Mapping[str, DeviceChange] = field(default_factory=dict)
    hanging: frozenset[str] = frozenset()
    deadlines: Mapping[str, Deadline] = field(default_factory=dict)  # by stage, of what has been confirmed until an end
    blocked: tuple[Prefix, ...] = ()
    fingerprint: str = ""
    since: str = ""

    @property
    def opened(self) -> tuple[Element, ...]:
        """Every element that a stage has made lasting here, in normal form."""
        return ordered(element for elements in self.openings.values() for element in elements)

    @property
    def released(self) -> frozenset[str]:
        return frozenset(port for ports in self.releases.values() for port in ports)

    def ending(self, but: str = "") -> frozenset[Element]:
        """What the device closes by itself, or has closed by now; without what the stage `but` holds, or one that has no end."""
        lasting = {element for name, elements in self.openings.items() if name not in self.deadlines for element in elements}
        found = (element for name in self.deadlines if name != but for element in self.openings.get(name, ()))
        return frozenset(element for element in found if element not in lasting)

    def ending_guards(self, but: str = "") -> frozenset[str]:
        """The same, of guards that are released whole."""
        return frozenset(port for name in self.deadlines if name != but for port in self.releases.get(name, ()))

    def held_by_others(self, stage: str) -> frozenset[Element]:
        """Elements that other stages hold open here: closing `stage` must leave them."""
        return frozenset(element for name, elements in self.openings.items() if name != stage for element in elements)


@dataclass(frozen=True)
class Evidence:
    kind: str
    stage: str | None
    application: str | None
    document_sha256: str
    note: str
    by: str
    at: str
    seq: int
    rehearsal: bool = False  # attached in a rehearsal: it proves nothing outside of one
    zone: str | None = None  # of `eradication`: where
    difference: str | None = None  # of `difference-accepted` and `difference-withdrawn`: which


@dataclass(frozen=True)
class Attestation:
    """Of remediation, as last recorded: `theirs` (a partner's, to us) or `ours` (to a partner). `valid_until` is empty until
    it is accepted."""

    partner: str
    state: AttestationState
    document_sha256: str
    valid_until: str
    note: str
    by: str
    at: str
    seq: int
    rehearsal: bool = False
    way: Way = "theirs"
    reservation: str = ""

    def state_at(self, now: datetime) -> AttestationState:
        """What was accepted expires by time."""
        over = self.state in ACCEPTED and moment(self.valid_until) <= now
        return AttestationState.EXPIRED if over else self.state


@dataclass(frozen=True)
class PartnerReadiness:
    """Whether a partner has opened their side, as they last said."""

    partner: str
    ready: bool
    note: str
    by: str
    at: str
    seq: int
    rehearsal: bool = False


@dataclass(frozen=True)
class Witnessed:
    """What a partner's contact signed: that they saw what `plan_digest` of `stage` opens to `partner`. `seen` is (flow,
    service, `passes`|`blocked`|`cannot-tell`, their words)."""

    stage: str
    plan_digest: str
    partner: str
    witness: str
    seen: tuple[tuple[str, str, str, str], ...]
    seen_at: str
    by: str
    at: str
    seq: int
    rehearsal: bool = False


@dataclass(frozen=True)
class MonitorReport:
    """What a monitor says of a period (RFC 3339): so many alerts, in the zones that it covers."""

    monitor: str
    since: str
    until: str
    alerts: int
    coverage: tuple[str, ...]
    document_sha256: str
    note: str
    by: str
    at: str
    seq: int
    rehearsal: bool = False


@dataclass(frozen=True)
class CareResult:
    """The worst answer of a care assertion's probes when they were last asked."""

    care: str
    check: Check
    at: str
    seq: int
    rehearsal: bool = False


@dataclass(frozen=True)
class Ratified:
    """The policy and inventory in force. `keys_since` is the ratification that put these keys in force, `keys_at` its time:
    what was signed before it was signed under others."""

    policy: Policy
    site: Site
    policy_digest: str
    inventory_digest: str
    allowed_signers: str  # as ratified; what counts now is `SiteState.keys.effective`
    at: str
    seq: int
    keys_since: int = -1
    keys_at: str = ""


@dataclass(frozen=True)
class Cutoff:
    profile: str
    epoch: int
    at: str
    by: str
    verdict: Literal["ordered", "verified", "partial"] = "ordered"


@dataclass(frozen=True)
class SiteState:
    seq: int = -1  # of the last event folded
    posture: SitePosture = postures.INITIAL
    posture_since: str = ""
    epoch: int = 0
    ratified: Ratified | None = None
    keys: PeopleKeys = field(default_factory=PeopleKeys)  # the people's, as ratified and as changed since
    used_challenges: Mapping[str, str] = field(default_factory=dict)  # of log-ins: SHA-256 → until when it could be used
    last_cutoff: Cutoff | None = None
    incident_since: str = ""  # of the first cut-off since the site was last normal
    incident_seq: int = -1  # of its event
    devices: Mapping[str, DeviceStatus] = field(default_factory=dict)
    stages: Mapping[str, StageStatus] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    attestations: Mapping[tuple[str, Way], Attestation] = field(default_factory=dict)  # the last of each (partner, way)
    readiness: Mapping[str, PartnerReadiness] = field(default_factory=dict)  # by partner
    monitor_reports: tuple[MonitorReport, ...] = ()
    witnessed: Mapping[tuple[str, str], Witnessed] = field(default_factory=dict)  # the last by (stage, partner)
    care: Mapping[str, CareResult] = field(default_factory=dict)  # by care assertion
    waivers: Mapping[str, Waiver] = field(default_factory=dict)  # by id, in the order of their requests
    grants: Mapping[str, Loan] = field(default_factory=dict)  # delegations granted since, by their names
    revoked_delegations: Mapping[str, str] = field(default_factory=dict)  # when they were taken back: these, and the policy's
    fence_epoch: int = 0  # of the last re-isolation or takeover: every device that holds a layer is owed a fence of it
    takeover_epoch: int = 0
    reisolations: Mapping[str, Reisolation] = field(default_factory=dict)  # by id, in their order
    blocks: Mapping[str, Block] = field(default_factory=dict)  # by id, in their order
    unblockings: Mapping[str, Unblocking] = field(default_factory=dict)
    extensions: Mapping[str, Extension] = field(default_factory=dict)  # by id, in the order of their requests
    recuts: Mapping[str, Recut] = field(default_factory=dict)  # by id, in the order in which they were scheduled
    interrupted: Mapping[str, Interrupted] = field(default_factory=dict)  # by stage: open when a cut-off came
    false_alarm: FalseAlarm | None = None  # what was said of the last cut-off
    incidents: Incidents = field(default_factory=Incidents)
    watched: Watched = field(default_factory=Watched)  # drift, what lies beside the layers, devices that cannot be read, which server acts

    @property
    def rehearsal(self) -> bool:
        """Whether the ratified policy is under the rehearsal overlay: everything made under it says so."""
        return self.ratified is not None and self.ratified.policy.rehearsal is not None

    @property
    def run_epoch(self) -> int:
        """What runs now was begun under this epoch, or must stop: a cut-off or a takeover has come since."""
        return max(self.takeover_epoch, self.last_cutoff.epoch if self.last_cutoff is not None else 0)

    @property
    def blocklist(self) -> tuple[Prefix, ...]:
        """Every network that nothing is let through for, in normal form."""
        return networks_of(self.blocks.values())

    def counts(self, rehearsal: bool) -> bool:
        """What was made in a rehearsal counts in a rehearsal only; what was made in earnest counts in both."""
        return self.rehearsal or not rehearsal

    def of_this_incident(self, piece: Evidence) -> bool:
        """Since its first cut-off: in the log, or by the clock where that cut-off reached the log late, from the spool. (So
        that a clock that was wrong when the hospital was cut does not void what is attached afterwards.)"""
        return piece.seq > self.incident_seq or moment(piece.at) >= moment(self.incident_since)

    def attestation(self, partner: str, way: Way) -> Attestation | None:
        """The last one that counts."""
        found = self.attestations.get((partner, way))
        return found if found is not None and self.counts(found.rehearsal) else None

    def waivers_in_force(self, now: datetime, stage: str | None = None) -> tuple[Waiver, ...]:
        """Those that stand for a gate now: of one stage, or of all. As with votes and delegations, what was asked for before
        the people's keys were ratified anew stands for nothing: the key may be among those that were revoked."""
        keys_since = self.ratified.keys_since if self.ratified is not None else -1
        return tuple(
            waiver
            for waiver in self.waivers.values()
            if waiver.in_force(now) and waiver.seq > keys_since and self.counts(waiver.rehearsal) and stage in (None, waiver.stage)
        )

    def stage(self, name: str) -> StageStatus:
        """A stage that no event has named yet is a draft."""
        return self.stages.get(name) or StageStatus(name)

    def device(self, name: str) -> DeviceStatus:
        return self.devices.get(name) or DeviceStatus(name)


def moment(text: str) -> datetime:
    """The time of an event, timezone-aware."""
    return datetime.fromisoformat(text)
