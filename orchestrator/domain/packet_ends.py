"""Who is meant by a name in a question about one packet: an address, a host, a device, a partner or an application.

A name may stand for several addresses, in both families; each pair of them is one packet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Literal, NamedTuple

from orchestrator.domain.network import Address, Device, Node, Prefix, Published, Site, ZoneKind
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.questions import addresses_in
from orchestrator.domain.services import FlowService
from orchestrator.domain.topology import owner_of
from orchestrator.errors import InputError, UnknownName, UsageError

MOST_PACKETS = 32
_NAMES = {1: "icmp", 50: "esp", 58: "icmpv6"}
Side = Literal["from", "to"]


class End(NamedTuple):
    """One end of the packet. `zone` is where it arrives from or goes to; `stands_for` is the network that the address
    was taken from, when that is larger."""

    address: Address
    zone: str
    name: str = ""
    what: str = "address"
    stands_for: Prefix | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.what})" if self.name else str(self.address)


class Packet(NamedTuple):
    """`direction`: who opens, seen from the site; `inside` when both ends are in it. `published`: the translation by
    which it was named. `terminates_on`: the device that it ends on (or begins on)."""

    direction: Literal["in", "out", "inside"]
    source: End
    destination: End
    service: FlowService
    terminates_on: str | None = None
    published: Published | None = None

    @property
    def inner(self) -> End:
        return self.source if self.direction == "out" else self.destination

    @property
    def outer(self) -> End:
        return self.destination if self.direction == "out" else self.source

    def is_service(self, declared: FlowService) -> bool:
        """Whether the service that a flow declares holds this packet; `icmp` means each family's own."""
        if _protocol(declared, self.source.address.version) != _protocol(self.service, self.source.address.version):
            return False
        if declared.ports is None or self.service.ports is None:
            return declared.ports == self.service.ports
        return declared.ports[0] <= self.service.ports[0] <= declared.ports[1]


def service_text(service: FlowService) -> str:
    """`tcp/443`, `esp`."""
    if service.ports is None:
        return _NAMES.get(service.protocol, f"protocol {service.protocol}")
    low, high = service.ports
    return f"{'tcp' if service.protocol == 6 else 'udp'}/{low}" + (f"-{high}" if high != low else "")


def packets_between(site: Site, policy: Policy, source: str, destination: str, service: FlowService) -> tuple[Packet, ...]:
    """Every packet that is meant, IPv4 first. Raises UnknownName for a name that nobody has, UsageError for a question that
    is no packet (a range of ports) or too many, InputError for one that does not meet the site."""
    if service.ports is not None and service.ports[0] != service.ports[1]:
        raise UsageError("one packet has one destination port", advice=f"write {service_text(service).partition('-')[0]}")
    starts, ends = _ends(site, policy, source, "from", service), _ends(site, policy, destination, "to", service)
    pairs = [(start, end) for start in starts for end in ends if start.address.version == end.address.version]
    if not pairs:
        raise InputError(f"{source} and {destination} have no family in common", advice="name two addresses of one family")
    found: dict[tuple[Address, Address], Packet] = {}
    for start, end in sorted(pairs, key=lambda pair: pair[0].address.version):
        packet = _packet(site, start, end, service)
        if packet is not None and not _is_other_family(packet):
            found.setdefault((packet.source.address, packet.destination.address), packet)
    if not found:
        raise InputError(f"no packet from {source} to {destination} meets this site", advice="one of the two ends must be inside the site")
    if len(found) > MOST_PACKETS:
        raise UsageError(
            f"{source} to {destination} is {len(found)} packets, and at most {MOST_PACKETS} are explained", advice="name an address"
        )
    return tuple(found.values())


def _ends(site: Site, policy: Policy, said: str, side: Side, service: FlowService) -> tuple[End, ...]:
    """The addresses that a name stands for. A name of several things means the first of application, partner, host, device;
    `host:sister` says which."""
    kind, _, rest = said.partition(":")
    known: dict[str, Callable[[str], Iterator[End] | None]] = {
        "application": lambda name: _of_application(site, policy, name, side, service),
        "partner": lambda name: _of_partner(site, policy, name),
        "host": lambda name: _of_node(site, site.hosts_by_name.get(name), "host"),
        "device": lambda name: _of_node(site, site.devices_by_name.get(name), "device"),
    }
    if kind in known:
        found = known[kind](rest)
        if found is None:
            raise UnknownName(f"there is no {kind} {rest!r}", advice="orchestrator policy graph --of topology names what there is")
        return _some(said, found)
    address = _address(said)
    if address is not None:
        return (_of_address(site, address),)
    for look in known.values():
        found = look(said)
        if found is not None:
            return _some(said, found)
    raise UnknownName(f"there is no application, partner, host or device {said!r}", advice="or write an address, such as 198.51.100.10")


def _some(said: str, found: Iterator[End]) -> tuple[End, ...]:
    ends = tuple(found)
    if not ends:
        raise InputError(f"{said} has no address that traffic of the site could have", advice="name an address")
    return ends


def _address(said: str) -> Address | None:
    try:
        return ip_address(said)
    except ValueError:
        return None


def _of_address(site: Site, address: Address) -> End:
    owner = owner_of(site, address)
    try:
        zone = site.zone(owner[1].zone) if owner is not None else site.zone_of(address)
    except KeyError:
        raise InputError(f"{address} is in no zone of the inventory", advice="name an address of one of its zones") from None
    if zone.kind is ZoneKind.MANAGEMENT:
        raise InputError(f"{address} is in the management network, which no profile may cut", advice="name an address of another zone")
    return End(address, zone.name, owner[0].name if owner is not None else "", _kind_of(owner[0]) if owner is not None else "address")


def _kind_of(node: Node) -> str:
    return "device" if isinstance(node, Device) else "host"


def _of_node(site: Site, node: Node | None, what: str) -> Iterator[End] | None:
    if node is None:
        return None
    return (End(own, zone, node.name, what) for external in (True, False) for zone, own in addresses_in(site, node, external=external))


def _of_application(site: Site, policy: Policy, name: str, side: Side, service: FlowService) -> Iterator[End] | None:
    """The addresses of its flows: of those that go this way with this service, else of those that go this way, else of all."""
    if name not in policy.applications_by_name:
        return None
    flows = [flow for flow in policy.flows if flow.application == name]
    this_way = [flow for flow in flows if flow.direction == ("out" if side == "from" else "in")]
    exactly = [flow for flow in this_way if any(_has(declared, service) for declared in flow.services)]
    chosen = exactly or this_way or flows
    addresses = dict.fromkeys(address for flow in chosen for address in flow.addresses)
    return (End(address, _of_address(site, address).zone, name, "application") for address in addresses)


def _has(declared: FlowService, service: FlowService) -> bool:
    if declared.protocol != service.protocol or declared.ports is None or service.ports is None:
        return declared == service
    return declared.ports[0] <= service.ports[0] <= declared.ports[1]


def _of_partner(site: Site, policy: Policy, name: str) -> Iterator[End] | None:
    partner = policy.partners_by_name.get(name)
    if partner is None:
        return None
    flows = [flow for flow in policy.flows if name in flow.partners]
    others = [network for other in policy.partners if other is not partner for network in other.networks]
    return (
        End(address, partner.zone, name, "partner", network if network.num_addresses > 1 else None)
        for network in partner.networks
        for address in (_one_of(site, network, partner, flows, others),)
    )


def _one_of(site: Site, network: Prefix, partner: Partner, flows: list[Flow], others: list[Prefix]) -> Address:
    """One address that stands for a network: a host's in the partner's zone that no other partner has, if there is one."""
    if network.num_addresses == 1:
        return network.network_address
    narrower = [other for other in others if other.prefixlen > network.prefixlen]
    avoided = [*narrower, *(prefix for flow in flows for prefix in flow.deny_from)]
    near = [own for host in site.hosts for zone, own in addresses_in(site, host, external=True) if zone == partner.zone and own in network]
    candidates = [*near, network[1]]
    return next((own for own in candidates if not any(own in prefix for prefix in avoided)), candidates[0])


def _packet(site: Site, start: End, end: End, service: FlowService) -> Packet | None:
    """None when it does not meet the site, or cannot be said of it."""
    if _is_outside(site, start) and (published := _published(site, end, service)) is not None:
        inside = _of_address(site, published.to)._replace(name=end.name, what=end.what)
        translated = FlowService(protocol=service.protocol, ports=(published.to_port, published.to_port))
        return Packet("in", start, inside, translated, None, published)
    start_device, end_device = _device_of(site, start), _device_of(site, end)
    if start_device is not None or end_device is not None:
        if _is_outside(site, start) and start_device is None and end_device is not None and _is_outside(site, end):
            return Packet("in", start, end, service, end_device)
        if _is_outside(site, end) and end_device is None and start_device is not None and _is_outside(site, start):
            return Packet("out", start, end, service, start_device)
        return None
    outside = (_is_outside(site, start), _is_outside(site, end))
    if all(outside):
        return None
    return Packet("in" if outside[0] else "out" if outside[1] else "inside", start, end, service)


def _published(site: Site, end: End, service: FlowService) -> Published | None:
    """Raises InputError for a published address whose port leads nowhere."""
    here = [(device, item) for device in site.devices for item in device.nat.published if item.public == end.address]
    transport = {6: "tcp", 17: "udp"}.get(service.protocol)
    found = next((item for _, item in here if item.protocol == transport and service.ports == (item.port, item.port)), None)
    if found is None and here and owner_of(site, end.address) is None:
        listed = ", ".join(f"{item.protocol}/{item.port}" for _, item in here)
        raise InputError(
            f"{here[0][0].name} publishes {end.address} for {listed} only: {service_text(service)} leads nowhere",
            advice="name one of these services, or the application's own address",
        )
    return found


def _device_of(site: Site, end: End) -> str | None:
    owner = owner_of(site, end.address)
    return owner[0].name if owner is not None and isinstance(owner[0], Device) else None


def _is_outside(site: Site, end: End) -> bool:
    return site.zone(end.zone).is_external


def _is_other_family(packet: Packet) -> bool:
    """ICMPv6 in IPv4."""
    return packet.service.protocol == 58 and packet.source.address.version == 4


def _protocol(service: FlowService, version: int) -> int:
    return 58 if service.protocol == 1 and version == 6 else service.protocol
