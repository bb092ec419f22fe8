"""The site as the inventory declares it: zones, devices, interfaces, links, exits.

Pure data. The YAML adapter builds a `Site`; the planner, the cut proof, the simulation and the rehearsal
hospital all read this one model, so that none of them can disagree about what is plugged where.

Addresses are `ipaddress` objects; an interface keeps its prefix length (`IPv4Interface`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.domain.prefix_table import PrefixTable

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network
InterfaceAddress = IPv4Interface | IPv6Interface

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
PortName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,14}$")]  # IFNAMSIZ: 15 characters on Linux
PortNumber = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    """Strict and frozen: an unknown key is an error, and nothing changes after loading (use tuples, not lists)."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but a changed copy forgets what was derived from the original (`cached_property`)."""
        copied = super().model_copy(update=update, deep=deep)
        fields = type(self).model_fields
        if len(copied.__dict__) > len(fields):
            for name in copied.__dict__.keys() - fields.keys():
                del copied.__dict__[name]
        return copied


class ZoneKind(StrEnum):
    INTERNAL = "internal"
    DMZ = "dmz"
    EXTERNAL = "external"
    MANAGEMENT = "management"


class Platform(StrEnum):
    """What drives the device: one dialect each."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"
    OPENVSWITCH = "openvswitch"
    FRR = "frr"


class Grain(StrEnum):
    """How finely a device enforces (design, section 3)."""

    FLOW = "flow"
    PORT = "port"
    ROUTE = "route"
    MANUAL = "manual"


class Zone(Model):
    name: Name
    kind: ZoneKind
    prefixes: tuple[Prefix, ...]
    vlan: Annotated[int, Field(ge=1, le=4093)] | None = None
    transit: bool = False  # an external zone that has an internet exit of its own

    @property
    def is_external(self) -> bool:
        return self.kind is ZoneKind.EXTERNAL


class Segment(Model):
    """An unmanaged layer-2 segment."""

    name: Name
    zone: Name
    description: str = ""


class Interface(Model):
    name: PortName
    zone: Name
    link: str  # "segment" or "switch/port"
    addresses: tuple[InterfaceAddress, ...] = ()


class SwitchPort(Model):
    name: PortName
    zone: Name
    link: str | None = None  # a segment, when no host or device of the inventory plugs itself in


class Route(Model):
    to: Prefix
    via: Address


class Published(Model):
    """One destination translation: `public`:`port` is delivered to `to`:`to_port`."""

    public: Address
    protocol: Literal["tcp", "udp"]
    port: PortNumber
    to: Address
    to_port: PortNumber


class Nat(Model):
    masquerade: tuple[PortName, ...] = ()  # source translation of IPv4 leaving by these interfaces
    masquerade_ipv6: bool = False
    published: tuple[Published, ...] = ()

    @cached_property
    def published_to(self) -> dict[Address, tuple[Published, ...]]:
        """By the inside address that they lead to."""
        found: dict[Address, tuple[Published, ...]] = {}
        for item in self.published:
            found[item.to] = (*found.get(item.to, ()), item)
        return found


class BgpNeighbor(Model):
    address: Address
    asn: int


class Bgp(Model):
    asn: int
    neighbors: tuple[BgpNeighbor, ...]
    announces: tuple[Prefix, ...] = ()


class Service(Model):
    """What a host declares that it answers; `http` is TCP with a page behind it, `tls` has a certificate for `name`, `dns`
    (over UDP) resolves `name` and refuses `outside`, a name that it must not ask others for."""

    kind: Literal["tcp", "udp", "http", "tls", "dns"]
    port: PortNumber
    name: str = ""
    outside: str = ""

    @model_validator(mode="after")
    def _is_named(self) -> Service:
        if (self.kind in ("tls", "dns")) is not bool(self.name):
            raise ValueError(f"{self.kind}/{self.port}: tls and dns are declared with a name, as tls/443/portal.example; others without")
        if self.outside and self.kind != "dns":
            raise ValueError(f"{self.kind}/{self.port}: only dns has a second name, which it refuses: dns/53/ours.example/outside.example")
        return self

    @property
    def transport(self) -> Literal["tcp", "udp"]:
        return "udp" if self.kind in ("udp", "dns") else "tcp"


class Node(Model):
    """What devices and hosts have in common."""

    name: Name
    interfaces: tuple[Interface, ...] = ()
    management: Address | None = None
    user: str = "containment"
    routes: tuple[Route, ...] = ()
    nat: Nat = Nat()
    bgp: Bgp | None = None
    services: tuple[Service, ...] = ()

    def interface(self, name: str) -> Interface:
        """The interface of that name; raises KeyError."""
        for candidate in self.interfaces:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


class Device(Node):
    """A firewall, router, switch or gateway that the orchestrator may drive."""

    platform: Platform
    grain: tuple[Grain, ...]
    ports: tuple[SwitchPort, ...] = ()
    management_via: Name | None = None  # the device that its management path crosses, if not out of band

    @property
    def attachments(self) -> tuple[Interface | SwitchPort, ...]:
        """Interfaces and ports: everything that a guard can name."""
        return (*self.interfaces, *self.ports)

    def port(self, name: str) -> SwitchPort:
        """The switch port of that name; raises KeyError."""
        for candidate in self.ports:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


class Host(Node):
    """A vantage point (it has a management address: it probes for us) or a declared responder."""

    gateway: tuple[Address, ...] = ()
    inside_gateway: tuple[Address, ...] = ()

    @property
    def is_vantage_point(self) -> bool:
        return self.management is not None


class Outside(Node):
    """A router that belongs to others. Only the rehearsal hospital builds it; nothing ever drives it."""


class Exit(Model):
    """Where the site meets an external zone."""

    name: Name
    device: Name
    interface: PortName  # an interface of the device, or a port of a switch
    zone: Name
    primary_for: tuple[Name, ...] = ()
    failover_s: Annotated[float, Field(ge=0, le=3600)] = 0.0  # longest declared failover time, seconds


class Site(Model):
    name: Name
    zones: tuple[Zone, ...]
    segments: tuple[Segment, ...]
    devices: tuple[Device, ...]
    hosts: tuple[Host, ...]
    outside: tuple[Outside, ...]
    exits: tuple[Exit, ...]
    orchestrator: Interface

    def __hash__(self) -> int:
        """Cheap on purpose: graphs and ways are cached per site, and hashing every address each time cost more than they do."""
        return hash((self.name, len(self.zones), len(self.devices), len(self.hosts)))

    def __eq__(self, other: object) -> bool:
        """As cheap as the hash: the same site read twice is met in every cache, and comparing it address by address takes
        longer than what is cached."""
        return self is other or (isinstance(other, Site) and self._as_text == other._as_text)

    @cached_property
    def _as_text(self) -> str:
        return self.model_dump_json()

    def zone(self, name: str) -> Zone:
        return self.zones_by_name[name]

    def device(self, name: str) -> Device:
        return self.devices_by_name[name]

    def host(self, name: str) -> Host:
        return self.hosts_by_name[name]

    def exit(self, name: str) -> Exit:
        return named(self.exits)[name]

    @cached_property
    def zones_by_name(self) -> dict[str, Zone]:
        return named(self.zones)

    @cached_property
    def devices_by_name(self) -> dict[str, Device]:
        return named(self.devices)

    @cached_property
    def hosts_by_name(self) -> dict[str, Host]:
        return named(self.hosts)

    @cached_property
    def owners(self) -> dict[Address, tuple[Node, Interface]]:
        """Who has each address, and on which interface: devices before outside routers before hosts."""
        return {
            address.ip: (node, interface)
            for node in reversed((*self.devices, *self.outside, *self.hosts))
            for interface in node.interfaces
            for address in interface.addresses
        }

    def zone_of(self, address: Address) -> Zone:
        """The zone whose longest prefix holds the address; raises KeyError when no zone does."""
        zone = self.zone_table.longest(address)
        if zone is None:
            raise KeyError(str(address))
        return zone

    @cached_property
    def zone_table(self) -> PrefixTable[Zone]:
        return PrefixTable((prefix, zone) for zone in self.zones for prefix in zone.prefixes)


_N = TypeVar("_N", Zone, Device, Host, Exit)


def named(items: tuple[_N, ...]) -> dict[str, _N]:
    """By name; of two with the same name the first one."""
    return {item.name: item for item in reversed(items)}
