"""The policy: what may be reopened to whom, in which order, under which conditions and by whose votes.

Pure data, as the YAML files in `policies/` say it; `orchestrator policy check` holds it against the inventory.
Names are keys in the files and fields here. Durations are ISO-like short text: `90s`, `15m`, `24h`, `7d`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from orchestrator.domain.network import Address, Model, Name, PortName, Prefix

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\s*([smhd])", value)):
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration is a whole number and a unit: 90s, 15m, 24h or 7d")


StageName = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9-]{1,40}$")]


def _whole_seconds(value: timedelta) -> str:
    """As JSON: the same notation, so that a policy read back from the log is the same policy."""
    return f"{int(value.total_seconds())}s"


Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(_whole_seconds, return_type=str, when_used="json")]


class Role(StrEnum):
    INCIDENT_COMMANDER = "incident-commander"
    NETWORK_ENGINEER = "network-engineer"
    SECURITY_OFFICER = "security-officer"
    APPLICATION_OWNER = "application-owner"
    DIRECTOR = "director"
    AUDITOR = "auditor"
    PARTNER_CONTACT = "partner-contact"


class Level(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    VITAL = "vital"


class Text(Model):
    """What people read, in both languages."""

    en: str
    fr: str


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


class Partner(Model):
    """`networks` are what its traffic comes from or goes to, in both families; `zone` an external zone."""

    name: Name
    title: Text
    zone: Name
    networks: tuple[Prefix, ...] = Field(min_length=1)
    contact: str = ""
    attestation: bool = False  # its attestation of remediation must be accepted before anything opens to it


class FlowService(Model):
    """`tcp/443`, `udp/500`, `tcp/8000-8010`, `esp`, `icmp`: protocol (IANA number) and destination ports."""

    protocol: int
    ports: tuple[int, int] | None = None


def _service(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(tcp|udp)/(\d{1,5})(?:-(\d{1,5}))?", value)
    if match:
        low, high = int(match[2]), int(match[3] or match[2])
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"{value!r}: ports are 1 to 65535, the lower one first")
        return {"protocol": 6 if match[1] == "tcp" else 17, "ports": (low, high)}
    numbers = {"icmp": 1, "esp": 50, "icmpv6": 58}
    if value in numbers:
        return {"protocol": numbers[value]}
    raise ValueError(f"{value!r} is no service: write tcp/443, udp/500, tcp/8000-8010, esp, icmp or icmpv6")


ServiceText = Annotated[FlowService, BeforeValidator(_service)]


class Flow(Model):
    """One permitted conversation, opened by its `direction` only: `in` from the partners to `addresses`, `out` the
    other way. `addresses` are the application's own, inside ones; published addresses follow from the device's NAT.
    `terminates_on` names the device when the flow ends on a device itself (a VPN gateway).
    `decisions`: for a vital flow, keep or cut per isolation profile, made in peacetime.
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


class EvidenceGate(Model):
    """A gate that a piece of evidence of this kind lifts; `fresh` bounds its age.

    `flows` confines it to some flows of the stage (empty: the whole stage waits for it).
    """

    evidence: Name
    title: Text
    fresh: Duration | None = None
    flows: tuple[Name, ...] = ()


class Predecessor(Model):
    stage: StageName
    open_for: Duration = timedelta(0)


class Canary(Model):
    """The partner that is opened first, alone, and verified before the others."""

    partner: Name


class Stage(Model):
    """A group of flows that are opened together (*palier*). `votes`: role → how many distinct persons."""

    name: StageName
    title: Text
    flows: tuple[Name, ...] = ()
    partners: tuple[Name, ...] | None = None  # restricts the flows' partners; None: all of them
    requires: tuple[Predecessor, ...] = ()
    gates: tuple[EvidenceGate, ...] = Field(min_length=1)
    votes: dict[Role, Annotated[int, Field(ge=1, le=9)]] = Field(min_length=1)
    observation: Duration
    confirm_window: Duration = timedelta(minutes=5)
    plan_expiry: Duration = timedelta(hours=24)
    canary: Canary | None = None
    lifts: bool = False  # this stage lifts the layer (P8)


class Person(Model):
    """A natural person: one id across keys. Keys are in `allowed_signers`, never here."""

    name: Name
    title: str
    roles: tuple[Role, ...] = Field(min_length=1)
    owns: tuple[Name, ...] = ()  # applications, for application owners
    genesis: bool = False  # of the printed and sealed genesis set


class Rehearsal(Model):
    """The rehearsal overlay: shortens times so that an exercise fits in minutes. Everything made under it says REHEARSAL."""

    observation: Duration
    confirm_window: Duration
    predecessor_open_for: Duration = timedelta(0)


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
