"""A switch of the rehearsal hospital: its own Open vSwitch, one access port per inventory port, a VLAN per zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from orchestrator.domain.network import Device, Site, Zone

BRIDGE = "br0"
EXTERNAL_VLAN = 60  # an external zone has no VLAN of its own in the inventory
DATABASE = "/etc/openvswitch/conf.db"


@dataclass(frozen=True)
class SwitchService:
    """A service on the switch itself, so that a test can see whether the layer covers it. Only the rehearsal has it."""

    device: str
    port: str
    zone: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    services: tuple[tuple[str, int], ...]


SERVICE_ON_A_SWITCH = SwitchService(
    device="sw-dmz",
    port="svc-ght",
    zone="ght",
    addresses=(IPv4Interface("192.0.2.180/26"), IPv6Interface("2001:db8:60::180/64")),
    services=(("tcp", 9100), ("udp", 9100)),
)


def service_on(site: Site, device: Device) -> SwitchService | None:
    """The service that runs on this switch, if any."""
    service = SERVICE_ON_A_SWITCH
    there = device.name == service.device and any(zone.name == service.zone for zone in site.zones)
    return service if there else None


def vlan_of(zone: Zone) -> int:
    return zone.vlan if zone.vlan is not None else EXTERNAL_VLAN


def first_configuration(site: Site, device: Device, ports: Sequence[str]) -> str:
    """The `ovs-vsctl` words of the switch's first boot; its database keeps them from then on."""
    words = [f"add-br {BRIDGE}", f"set bridge {BRIDGE} datapath_type=netdev stp_enable=false"]
    words += [f"add-port {BRIDGE} {name} tag={vlan_of(site.zone(device.port(name).zone))}" for name in ports]
    service = service_on(site, device)
    if service is not None:
        tag = vlan_of(site.zone(service.zone))
        words.append(f"add-port {BRIDGE} {service.port} tag={tag} -- set interface {service.port} type=internal")
    return " -- ".join(words)


def service_batch(service: SwitchService) -> str:
    """`ip -batch` lines that give the service its addresses."""
    lines = [f"link set {service.port} up"]
    for address in service.addresses:
        lines.append(f"address replace {address} dev {service.port}" + (" nodad" if address.version == 6 else ""))
    return "\n".join(lines) + "\n"
