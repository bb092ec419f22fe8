"""The gates (*conditions*) that a stage waits for: what each kind asks for, and how they are joined.

A gate is one line of a stage's `gates`, all of which must hold. The key that it begins with says its kind; `all_of`
and `any_of` join others, to any depth. An empty list is refused: nothing asked for is never "satisfied".
Whether a gate holds is answered in `gate_answers.py`, from the state alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.domain.network import Model, Name
from orchestrator.domain.policy_words import Duration, Moment, StageName, Text

Weekday: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["22:00"])]


class SingleGate(Model):
    """What the kinds share. `flows` and `partners` confine it (empty: everything that the stage opens waits for it).

    `takes` is how long it usually takes to lift, for `stage next`; by default a figure of its kind. `waivable` says
    whether a waiver (*dérogation*) may stand for it; eradication and care never can be waived.
    """

    kind: ClassVar[str]
    never_waived: ClassVar[bool] = False

    title: Text
    """What people read."""
    flows: tuple[Name, ...] = ()
    """Only these flows wait for it (none named: everything that the stage opens)."""
    partners: tuple[Name, ...] = ()
    """Only these partners wait for it."""
    takes: Duration | None = None
    """How long it usually takes to lift, for `stage next` (default: a figure of its kind)."""
    waivable: bool = True
    """Whether a waiver may stand for it; never for eradication and care."""

    @property
    def id(self) -> str:
        """How refusals and waivers name it: `<kind>` or `<kind>:<what>`; an evidence gate by its evidence alone."""
        return self.kind

    @property
    def awaited(self) -> str | None:
        """The stage that must be open before this gate can hold."""
        return None

    @property
    def may_be_waived(self) -> bool:
        return self.waivable and not self.never_waived


class EvidenceGate(SingleGate):
    """Evidence of this kind is attached; `fresh` bounds its age (a scan, a rebuild, secrets rotated, a test plan passed)."""

    kind: ClassVar[str] = "evidence"

    evidence: Name
    """The kind of evidence."""
    fresh: Duration | None = None
    """How old it may be."""

    @property
    def id(self) -> str:
        return self.evidence


class AttestationGate(SingleGate):
    """The attestation of remediation of every partner concerned is accepted and valid: `theirs` (by us) or `ours` (by
    them). `reservations`: whether an acceptance with reservation counts."""

    kind: ClassVar[str] = "attestation"

    attestation: Literal["theirs", "ours"]
    """`theirs` (accepted by us) or `ours` (accepted by them)."""
    reservations: bool = True
    """Whether an acceptance with reservation counts."""

    @property
    def id(self) -> str:
        return f"attestation-{self.attestation}"


class PartnerReadyGate(SingleGate):
    """Every partner concerned has said that they have opened their side, not longer ago than `partner_ready`."""

    kind: ClassVar[str] = "partner-ready"

    partner_ready: Duration
    """How long ago they may have said so."""


class PredecessorGate(SingleGate):
    """Another stage is open, for at least `open_for`. (As a gate, so that it can be one of several, or confined to flows.)"""

    kind: ClassVar[str] = "predecessor"

    predecessor: StageName
    """The stage that is open."""
    open_for: Duration = Field(default=..., validate_default=True)
    """For at least this time."""

    @property
    def id(self) -> str:
        return f"predecessor:{self.predecessor}"

    @property
    def awaited(self) -> str | None:
        return self.predecessor


class PartnerWitnessGate(SingleGate):
    """A partner's contact has signed that what this earlier stage opened to them passes, as they see it from their side
    (`orchestrator check witness`). Doubt and silence are inconclusive and hold."""

    kind: ClassVar[str] = "partner-witness"

    partner_witness: StageName
    """The stage that they have seen."""
    contacts_of: tuple[Name, ...] = ()
    """Partners of that stage whose contacts have seen it (none named: the partner that this stage opens to)."""
    fresh: Duration | None = None
    """How long ago they may have seen it."""

    @property
    def id(self) -> str:
        return f"partner-witness:{self.partner_witness}"

    @property
    def awaited(self) -> str | None:
        return self.partner_witness


class NoAlertGate(SingleGate):
    """The monitor said "no alert" of a period of `no_alert` that ended not longer ago than `fresh`, and its coverage
    holds every zone of `coverage`. Silence is inconclusive and holds (invariant 8)."""

    kind: ClassVar[str] = "no-alert"

    no_alert: Duration
    """The period that the monitor speaks of."""
    monitor: Name
    """Who says so."""
    coverage: tuple[Name, ...] = Field(min_length=1)
    """Zones that it must have watched."""
    fresh: Duration
    """How long ago the period may have ended."""


class EradicationGate(SingleGate):
    """Eradication is recorded for these compromised zones."""

    kind: ClassVar[str] = "eradication"
    never_waived: ClassVar[bool] = True

    eradication: tuple[Name, ...] = Field(min_length=1)
    """Compromised zones."""


class CareGate(SingleGate):
    """These care assertions held when they were last probed, not longer ago than `fresh`."""

    kind: ClassVar[str] = "care"
    never_waived: ClassVar[bool] = True

    care: tuple[Name, ...] = Field(min_length=1)
    """Care assertions."""
    fresh: Duration
    """How long ago they may have been probed."""


class WeeklyWindow(Model):
    """Local time of the site (`timezone`). A window whose `until` is not after its `from` ends on the next day."""

    days: tuple[Weekday, ...] = Field(min_length=1)
    """Days of the week."""
    opens: ClockTime
    """From, local time."""
    closes: ClockTime
    """To; not after `opens`: on the next day."""
    not_before: Moment | None = None
    """A first date."""
    not_after: Moment | None = None
    """A last date."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> WeeklyWindow:
        if self.not_before is not None and self.not_after is not None and self.not_after <= self.not_before:
            raise ValueError("`not_after` comes after `not_before`")
        return self


class WindowGate(SingleGate):
    """The time is within a window in which changes are wanted (not at the hour of the morning rounds)."""

    kind: ClassVar[str] = "window"

    window: WeeklyWindow
    """When changes are wanted."""


class AllOf(Model):
    """Every one of them."""

    kind: ClassVar[str] = "all-of"
    all_of: tuple[Gate, ...] = Field(min_length=1)
    """Gates, all of which must hold."""


class AnyOf(Model):
    """One of them is enough."""

    kind: ClassVar[str] = "any-of"
    any_of: tuple[Gate, ...] = Field(min_length=2)
    """Gates, one of which must hold."""


KINDS: dict[str, type[Model]] = {
    "evidence": EvidenceGate,
    "attestation": AttestationGate,
    "partner_ready": PartnerReadyGate,
    "predecessor": PredecessorGate,
    "partner_witness": PartnerWitnessGate,
    "no_alert": NoAlertGate,
    "eradication": EradicationGate,
    "care": CareGate,
    "window": WindowGate,
    "all_of": AllOf,
    "any_of": AnyOf,
}


def _kind(value: Any) -> str | None:
    """The key that says the kind; None (refused, with the list of kinds) when there is none or more than one."""
    keys = [key for key in KINDS if (key in value if isinstance(value, dict) else hasattr(value, key))]
    return keys[0] if len(keys) == 1 else None


Gate: TypeAlias = Annotated[
    Annotated[EvidenceGate, Tag("evidence")]
    | Annotated[AttestationGate, Tag("attestation")]
    | Annotated[PartnerReadyGate, Tag("partner_ready")]
    | Annotated[PredecessorGate, Tag("predecessor")]
    | Annotated[PartnerWitnessGate, Tag("partner_witness")]
    | Annotated[NoAlertGate, Tag("no_alert")]
    | Annotated[EradicationGate, Tag("eradication")]
    | Annotated[CareGate, Tag("care")]
    | Annotated[WindowGate, Tag("window")]
    | Annotated[AllOf, Tag("all_of")]
    | Annotated[AnyOf, Tag("any_of")],
    Discriminator(
        _kind,
        custom_error_type="gate_kind",
        custom_error_message="a gate says its kind by exactly one of: " + ", ".join(KINDS),
    ),
]
AllOf.model_rebuild()
AnyOf.model_rebuild()


def single_gates(gates: tuple[Gate, ...]) -> Iterator[SingleGate]:
    """Every single gate within, joined ones included, in order."""
    for gate in gates:
        if isinstance(gate, AllOf):
            yield from single_gates(gate.all_of)
        elif isinstance(gate, AnyOf):
            yield from single_gates(gate.any_of)
        else:
            yield gate
