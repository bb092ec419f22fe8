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
from orchestrator.domain.people import Delegation, Duty, Person
from orchestrator.domain.policy_words import Duration, Level, Role, StageName, Text
from orchestrator.domain.services import ServiceText


class Criteria(Model):
    """The three published criteria that decide the order."""

    care: Level
    volume: Level
    risk: Level


class Application(Model):
    """`zone` is where it lives; `other_zones` where parts of it stand too (a relay in the DMZ, a bastion)."""

    name: Name
    title: Text
    zone: Name
    other_zones: tuple[Name, ...] = ()
    owner: Name  # a person with the role application-owner
    criteria: Criteria


PartnerKind = Literal[
    "hospital", "practitioner", "patients", "public-service", "operator", "supplier", "vendor", "laboratory", "staff", "public"
]


class Partner(Model):
    """`networks` are what its traffic comes from or goes to, in both families; `zone` an external zone."""

    name: Name
    title: Text
    kind: PartnerKind
    zone: Name
    networks: tuple[Prefix, ...] = Field(min_length=1)
    contact: str = ""
    attestation: bool = False  # its attestation of remediation must be accepted before anything opens to it
    our_attestation: bool = False  # and ours by it: after an attack, partners ask for one too


class Ipsec(Model):
    """Where an IPsec flow ends. Either `opaque: true` (it ends on the application itself or at a box of the partner's, and
    nothing here can see inside), or the device of ours that ends it and the networks that it carries."""

    opaque: bool = False
    terminates_on: Name | None = None
    inner: tuple[Prefix, ...] = ()

    @model_validator(mode="after")
    def _says_where_it_ends(self) -> Ipsec:
        if self.opaque == (self.terminates_on is not None or bool(self.inner)):
            raise ValueError("IPsec is either `opaque: true`, or names `terminates_on` and its `inner` networks")
        if not self.opaque and (self.terminates_on is None or not self.inner):
            raise ValueError("IPsec that ends here names both `terminates_on` (the device) and `inner` (the networks it carries)")
        return self


class Flow(Model):
    """One permitted conversation, opened by its `direction` only: `in` from the partners to `addresses`, `out` the
    other way. `addresses` are the application's own, inside ones; published addresses follow from the device's NAT.
    `terminates_on` names the device when the flow ends on a device itself (a VPN gateway).
    `decisions`: for a vital flow, keep or cut per isolation profile, made in peacetime.
    `owner` and `technical_owner` are persons who answer for it (default: the application's owner; nobody named);
    `test` is how somebody shows that it works again, in their own words.
    """

    name: Name
    application: Name
    partners: tuple[Name, ...] = Field(min_length=1)
    direction: Literal["in", "out"]
    services: tuple[ServiceText, ...] = Field(min_length=1)
    addresses: tuple[Address, ...] = Field(min_length=1)
    exit: Name | None = None  # when not the primary exit of the partner's zone
    terminates_on: Name | None = None
    on_expiry: Literal["close", "alarm"] = "alarm"
    decisions: dict[str, Literal["keep", "cut"]] = Field(default_factory=dict)
    deny_from: tuple[Prefix, ...] = ()
    owner: Name | None = None
    technical_owner: Name | None = None
    test: Text | None = None
    ipsec: Ipsec | None = None


class KeepEntry(Model):
    """The keep-list (*maintenu*): never cut, with its reason. Names a zone of the inside, or a flow of this policy."""

    name: Name
    zone: Name | None = None
    flow: Name | None = None
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _names_one_thing(self) -> KeepEntry:
        if (self.zone is None) == (self.flow is None):
            raise ValueError("an entry of the keep-list names either a `zone` or a `flow`")
        return self


class CareAssertion(Model):
    """Care goes on (invariant 4): `from_host` can use `service` of `to_host`. `transaction` makes it a real one."""

    name: Name
    title: Text
    from_host: Name
    to_host: Name
    service: ServiceText
    transaction: Literal["record", "image"] | None = None


class Sacrifice(Model):
    """A care flow that a profile gives up, by name, decided in peacetime."""

    care: Name
    reason: str = Field(min_length=1)
    instead: str = Field(min_length=1)


class KeptFlow(Model):
    """A narrow flow kept through a profile's guard although it is inside: gateway to gateway, with its reason."""

    name: Name
    source: Prefix
    destination: Prefix
    service: ServiceText
    reason: str = Field(min_length=1)


class Profile(Model):
    """An isolation profile. `layers` says what is guarded on which device: interfaces, or ports of a switch.

    `scope_zones` confines the drop to traffic with an end in these external zones (empty: everything behind the guard).
    `cuts` promises a separation: an external zone from the inside, or an inside zone from everything else.
    `spares` names the external zones that stay connected on purpose, each with its reason, although one of `cuts` can be
    reached through them (the sister hospitals have an internet exit of their own).
    """

    name: Name
    title: Text
    layers: dict[str, tuple[PortName, ...]] = Field(min_length=1)
    scope_zones: tuple[Name, ...] = ()
    cuts: tuple[Name, ...] = ()  # the zones that must be separated from the inside afterwards; checked on the topology
    spares: dict[Name, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    keeps: tuple[KeptFlow, ...] = ()
    sacrifices: tuple[Sacrifice, ...] = ()


class Predecessor(Model):
    """`stage` is open, for at least `open_for`; `flows` confines the wait to some flows (empty: the whole stage waits)."""

    stage: StageName
    open_for: Duration = timedelta(0)
    flows: tuple[Name, ...] = ()


class Canary(Model):
    """The partner that is opened first, alone, and verified before the others."""

    partner: Name


class DatedWindow(Model):
    """The stage opens in announced windows with a start and an end, and closes by itself (remote maintenance)."""

    longest: Duration


class Stage(Model):
    """A group of flows that are opened together (*palier*). `votes`: role → how many distinct persons.

    `checks` are names of the policy's `tests:` that are asked on live traffic as well when the stage is verified.
    `window`: it opens in dated windows only. `open_for`: how long an opening lasts before it is closed or extended
    (what then happens is each flow's `on_expiry`). `back_first`: its flows that are closed first when it goes back.
    """

    name: StageName
    title: Text
    flows: tuple[Name, ...] = ()
    partners: tuple[Name, ...] | None = None  # restricts the flows' partners; None: all of them
    requires: tuple[Predecessor, ...] = ()
    gates: tuple[Gate, ...] = Field(min_length=1)
    votes: dict[Role, Annotated[int, Field(ge=1, le=9)]] = Field(min_length=1)
    observation: Duration
    confirm_window: Duration = timedelta(minutes=5)
    plan_expiry: Duration = timedelta(hours=24)
    canary: Canary | None = None
    checks: tuple[Name, ...] = ()
    window: DatedWindow | None = None
    open_for: Duration | None = None
    back_first: tuple[Name, ...] = ()
    lifts: bool = False  # this stage lifts the layer (P8)


class Rehearsal(Model):
    """The rehearsal overlay: shortens times so that an exercise fits in minutes. Everything made under it says REHEARSAL."""

    observation: Duration
    confirm_window: Duration
    predecessor_open_for: Duration = timedelta(0)
    no_alert: Duration = timedelta(0)  # the period that a monitor must speak of, at most


class Policy(Model):
    version: Literal[1]
    site: Name
    default_profile: Name
    ratification: dict[Role, Annotated[int, Field(ge=1, le=9)]] = Field(min_length=1)  # votes that ratify a policy
    applications: tuple[Application, ...]
    partners: tuple[Partner, ...]
    flows: tuple[Flow, ...]
    keep: tuple[KeepEntry, ...]
    care: tuple[CareAssertion, ...]
    profiles: tuple[Profile, ...]
    stages: tuple[Stage, ...]
    people: tuple[Person, ...]
    timezone: str = "Europe/Paris"  # IANA name: what weekly windows are written in
    compromised: tuple[Name, ...] = ()  # zones where the attacker is thought to be: nothing opens there before eradication
    delegations: tuple[Delegation, ...] = ()
    duties: tuple[Duty, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    tests: tuple[Expectation, ...] = ()
    rehearsal: Rehearsal | None = None

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
