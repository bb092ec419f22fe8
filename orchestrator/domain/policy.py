"""The policy: what may be reopened to whom, in which order, under which conditions and by whose votes.

Pure data, as the YAML files in `policies/` say it; `orchestrator policy check` holds it against the inventory.
Names are keys in the files and fields here. Durations are ISO-like short text: `90s`, `15m`, `24h`, `7d`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from orchestrator.domain.expectations import Expectation
from orchestrator.domain.gates import Gate
from orchestrator.domain.network import Address, Model, Name, PortName, Prefix
from orchestrator.domain.obligations import Obligation
from orchestrator.domain.people import Delegation, Duty, PeopleChanges, Person
from orchestrator.domain.policy_words import Duration, Level, Role, StageName, Text
from orchestrator.domain.services import ServiceText


class Criteria(Model):
    """The three published criteria that decide the order."""

    care: Level
    """How critical it is for care."""
    volume: Level
    """How much it is used."""
    risk: Level
    """What reopening it risks for the information system, and how hard it is."""


class Application(Model):
    """A service of the hospital that talks to somebody outside."""

    name: Name
    title: Text
    """What people read."""
    zone: Name
    """Where it lives: a zone of the inside."""
    other_zones: tuple[Name, ...] = ()
    """Zones where parts of it stand too: a relay in the DMZ, a bastion."""
    owner: Name
    """A person with the role `application-owner`, who lists it under `owns`."""
    criteria: Criteria
    """The three published criteria."""


PartnerKind = Literal[
    "hospital", "practitioner", "patients", "public-service", "operator", "supplier", "vendor", "laboratory", "staff", "public"
]


class Partner(Model):
    """Somebody outside whom the hospital talks to."""

    name: Name
    title: Text
    """What people read."""
    kind: PartnerKind
    """What they are: it says who can sign an attestation, and who may be everybody."""
    zone: Name
    """The external zone that they arrive from."""
    networks: tuple[Prefix, ...] = Field(min_length=1)
    """What their traffic comes from or goes to, in both families."""
    contact: str = ""
    """Who is called, and who signs for them."""
    attestation: bool = False
    """Their attestation of remediation must be accepted before anything opens to them."""
    our_attestation: bool = False
    """They ask for ours, and must have accepted it."""


class Ipsec(Model):
    """Where an IPsec flow ends. Either `opaque: true` (it ends on the application itself or at a box of the partner's, and
    nothing here can see inside), or the device of ours that ends it and the networks that it carries."""

    opaque: bool = False
    """It ends on the application itself or at a box of the partner's: nothing here can see inside."""
    terminates_on: Name | None = None
    """The device of ours that ends it; on the flow's way."""
    inner: tuple[Prefix, ...] = ()
    """The networks of the site that it carries, each of one zone of the inside that is not compromised."""

    @model_validator(mode="after")
    def _says_where_it_ends(self) -> Ipsec:
        if self.opaque == (self.terminates_on is not None or bool(self.inner)):
            raise ValueError("IPsec is either `opaque: true`, or names `terminates_on` and its `inner` networks")
        if not self.opaque and (self.terminates_on is None or not self.inner):
            raise ValueError("IPsec that ends here names both `terminates_on` (the device) and `inner` (the networks it carries)")
        return self


class Flow(Model):
    """One permitted conversation, opened by its `direction` only."""

    name: Name
    application: Name
    """Whose it is."""
    partners: tuple[Name, ...] = Field(min_length=1)
    """With whom."""
    direction: Literal["in", "out"]
    """Who begins: `in` they do, `out` the application does."""
    services: tuple[ServiceText, ...] = Field(min_length=1)
    """Protocols and destination ports at the end that is called."""
    addresses: tuple[Address, ...] = Field(min_length=1)
    """The application's own, inside ones, in both families; published addresses follow from the device's translation."""
    exit: Name | None = None
    """When not the primary exit of the partner's zone."""
    terminates_on: Name | None = None
    """The device, when the flow ends on one itself (a VPN gateway)."""
    on_expiry: Literal["close", "alarm"] = "alarm"
    """What happens when an approved end date comes: the device closes it, or people are warned."""
    decisions: dict[str, Literal["keep", "cut"]] = Field(default_factory=dict)
    """For a vital flow: kept or cut, per isolation profile, decided in peacetime."""
    deny_from: tuple[Prefix, ...] = ()
    """Networks of the partners that stay shut out."""
    owner: Name | None = None
    """The person who answers for it (default: the application's owner)."""
    technical_owner: Name | None = None
    """The person who makes it work."""
    test: Text | None = None
    """How somebody shows that it works again, in their own words."""
    ipsec: Ipsec | None = None
    """Where a tunnel ends and what it carries; required for esp, and for udp/500 with udp/4500."""


class KeepEntry(Model):
    """The keep-list (*maintenu*): never cut, with its reason. Names a zone of the inside, or a flow of this policy."""

    name: Name
    zone: Name | None = None
    """A zone of the inside; or:"""
    flow: Name | None = None
    """A flow of this policy."""
    reason: str = Field(min_length=1)
    """Why it is never cut."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> KeepEntry:
        if (self.zone is None) == (self.flow is None):
            raise ValueError("an entry of the keep-list names either a `zone` or a `flow`")
        return self


class CareAssertion(Model):
    """Care goes on (invariant 4): `from_host` can use `service` of `to_host`. `transaction` makes it a real one."""

    name: Name
    title: Text
    """What people read."""
    from_host: Name
    """Who asks: a host of the inventory."""
    to_host: Name
    """Who answers: a host of the inventory."""
    service: ServiceText
    """By which service."""
    transaction: Literal["record", "image"] | None = None
    """Open a record, or send and fetch an image, when a connection alone proves nothing."""


class Sacrifice(Model):
    """A care flow that a profile gives up, by name, decided in peacetime."""

    care: Name
    """The care assertion that is given up."""
    reason: str = Field(min_length=1)
    """Why."""
    instead: str = Field(min_length=1)
    """What is done instead."""


class KeptFlow(Model):
    """A narrow flow kept through a profile's guard although it is inside: gateway to gateway, with its reason."""

    name: Name
    source: Prefix
    """One side, as a network."""
    destination: Prefix
    """The other side."""
    service: ServiceText
    """By which service."""
    reason: str = Field(min_length=1)
    """Why it is kept."""


class Profile(Model):
    """An isolation profile: what a cut-off guards, what it promises, and what it spares or gives up by name."""

    name: Name
    title: Text
    """What people read."""
    layers: dict[str, tuple[PortName, ...]] = Field(min_length=1)
    """What is guarded on which device: interfaces, or ports of a switch."""
    scope_zones: tuple[Name, ...] = ()
    """External zones: only traffic with an end there is dropped (none: everything behind the guard)."""
    cuts: tuple[Name, ...] = ()
    """Zones that must be separated from the inside afterwards; checked on the topology."""
    spares: dict[Name, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    """External zones that stay connected on purpose, each with its reason, although one of `cuts` can be reached through them."""
    keeps: tuple[KeptFlow, ...] = ()
    """Narrow kept flows inside the site, by name: gateway to gateway."""
    sacrifices: tuple[Sacrifice, ...] = ()
    """Care assertions that it gives up by name."""


class Predecessor(Model):
    """A stage that must be open before."""

    stage: StageName
    """The stage that is open."""
    open_for: Duration = timedelta(0)
    """For at least this time."""
    flows: tuple[Name, ...] = ()
    """Only these flows wait for it (none named: the whole stage)."""


class Canary(Model):
    """The partner that is opened first, alone, and verified before the others."""

    partner: Name
    """Opened and verified before the others."""


class DatedWindow(Model):
    """The stage opens in announced windows with a start and an end, and closes by itself (remote maintenance)."""

    longest: Duration
    """The longest window that can be announced."""


class Stage(Model):
    """A group of flows that are opened together (*palier*)."""

    name: StageName
    title: Text
    """What people read."""
    flows: tuple[Name, ...] = ()
    """What it opens, in this order."""
    partners: tuple[Name, ...] | None = None
    """Restricts the flows' partners (not said: all of them)."""
    requires: tuple[Predecessor, ...] = ()
    """Stages that are open before."""
    gates: tuple[Gate, ...] = Field(min_length=1)
    """Conditions, all of which must hold; an empty list is refused."""
    votes: dict[Role, Annotated[int, Field(ge=1, le=9)]] = Field(min_length=1)
    """Role → how many distinct persons, none of them the proposer."""
    observation: Duration
    """How long it is watched before it counts as open."""
    confirm_window: Duration = timedelta(minutes=5)
    """How long an opening lives on the device before it is confirmed."""
    plan_expiry: Duration = timedelta(hours=24)
    """How long its plan can be voted on and applied."""
    canary: Canary | None = None
    """One partner goes first."""
    checks: tuple[Name, ...] = ()
    """Names of tests that are asked on live traffic as well when the stage is verified."""
    window: DatedWindow | None = None
    """It opens in announced, dated windows only; its flows close by themselves."""
    open_for: Duration | None = None
    """How long an opening lasts before it is closed or extended (each flow's `on_expiry` says which)."""
    back_first: tuple[Name, ...] = ()
    """Its flows that are closed first when it goes back."""
    lifts: bool = False
    """This stage lifts the layer; it opens no flow."""


class Resumption(Model):
    """After a false alarm, one quorum vote resumes what was open and verified before the cut-off: same digests, gates that
    still hold, no open indicator of compromise."""

    votes: dict[Role, Annotated[int, Field(ge=1, le=9)]] = Field(min_length=1)
    """Role → how many distinct persons, none of them the proposer."""
    within: Duration = timedelta(hours=12)
    """Counted from the cut-off that was the false alarm; later, stages are planned and voted on anew."""


class DriftWatch(Model):
    """How the devices are watched for changes that nobody approved."""

    every: Duration = timedelta(minutes=5)
    """How often every device is read back."""
    repair: Literal["on-request", "at-once"] = "on-request"
    """Whether what should not be open is closed at once. Repairing never opens."""


class Rehearsal(Model):
    """The rehearsal overlay: shortens times so that an exercise fits in minutes. Everything made under it says REHEARSAL."""

    observation: Duration
    """In place of every stage's."""
    confirm_window: Duration
    """In place of every stage's."""
    predecessor_open_for: Duration = timedelta(0)
    """In place of every requirement's."""
    no_alert: Duration = timedelta(0)
    """The period that a monitor must speak of, at most."""


class Policy(Model):
    """All files of a site's policy, merged."""

    version: Literal[1]
    """Of this language."""
    site: Name
    """The inventory's site."""
    default_profile: Name
    """What `orchestrator cutoff` cuts when nothing else is said."""
    ratification: dict[Role, Annotated[int, Field(ge=1, le=9)]] = Field(min_length=1)
    """Votes that ratify a policy: role → number."""
    applications: tuple[Application, ...]
    partners: tuple[Partner, ...]
    flows: tuple[Flow, ...]
    keep: tuple[KeepEntry, ...]
    care: tuple[CareAssertion, ...]
    profiles: tuple[Profile, ...]
    stages: tuple[Stage, ...]
    people: tuple[Person, ...]
    timezone: str = "Europe/Paris"
    """IANA name: what weekly windows are written in."""
    compromised: tuple[Name, ...] = ()
    """Zones where the attacker is thought to be: nothing opens there before their eradication is recorded."""
    delegations: tuple[Delegation, ...] = ()
    duties: tuple[Duty, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    tests: tuple[Expectation, ...] = ()
    resume: Resumption | None = None
    """Who resumes after a false alarm, and how long (not said: nobody)."""
    drift: DriftWatch = DriftWatch()
    """How often the devices are compared with the log, and what is done about it."""
    people_changes: PeopleChanges = Field(default_factory=PeopleChanges)
    """How people's keys change without a ratification."""
    votes_signed_with: Literal["any-key", "security-key", "user-verification"] = "any-key"
    """What a vote that opens is signed with: any key, a security key that was touched, or one that verified its user (PIN,
    fingerprint)."""
    rehearsal: Rehearsal | None = None
    """The overlay of an exercise; in `rehearsal.yaml`, read only when asked for."""

    def application(self, name: str) -> Application:
        return self.applications_by_name[name]

    def partner(self, name: str) -> Partner:
        return self.partners_by_name[name]

    def flow(self, name: str) -> Flow:
        return self.flows_by_name[name]

    def profile(self, name: str) -> Profile:
        return self.profiles_by_name[name]

    def stage(self, name: str) -> Stage:
        return self.stages_by_name[name]

    def person(self, name: str) -> Person:
        return self.people_by_name[name]

    @cached_property
    def applications_by_name(self) -> dict[str, Application]:
        return _named(self.applications)

    @cached_property
    def partners_by_name(self) -> dict[str, Partner]:
        return _named(self.partners)

    @cached_property
    def flows_by_name(self) -> dict[str, Flow]:
        return _named(self.flows)

    @cached_property
    def profiles_by_name(self) -> dict[str, Profile]:
        return _named(self.profiles)

    @cached_property
    def stages_by_name(self) -> dict[str, Stage]:
        return _named(self.stages)

    @cached_property
    def people_by_name(self) -> dict[str, Person]:
        return _named(self.people)


_N = TypeVar("_N", Application, Partner, Flow, Profile, Stage, Person)


def _named(items: tuple[_N, ...]) -> dict[str, _N]:
    return {item.name: item for item in reversed(items)}
