"""Who may be asked by a probe: only what declares, in the inventory, that it answers. Never a biomedical device.

An infusion pump that meets a packet it does not know may stop. So planning chooses among declared answers only
(`questions.answer_kind`), and what it chose is held against the inventory once more, by name, before it is in a plan.
"""

from __future__ import annotations

from functools import lru_cache

from orchestrator.domain.network import Address, Device, Host, Node, Site
from orchestrator.domain.probes import Probe
from orchestrator.errors import Refused

NEVER_PROBED = frozenset({"biomedical"})  # zones: whatever their hosts declare
_TRANSPORTS = {"udp": "udp", "dns": "udp"}  # the other kinds go by TCP
_ADVICE = "only hosts whose `services` in the inventory name it are asked, and none of a biomedical zone: let a person look instead"


def may_be_pinged(node: Node) -> bool:
    """Routers and firewalls of ours, vantage points, and hosts that declare any service at all."""
    return isinstance(node, Device) or bool(node.services) or (isinstance(node, Host) and node.is_vantage_point)


def is_never_probed(site: Site, address: Address) -> bool:
    zone = site.zone_table.longest(address)
    return zone is not None and zone.name in NEVER_PROBED


def require_responder(site: Site, probe: Probe) -> None:
    """Raises Refused (rule `not-a-responder`) when the probe would reach somebody who has not declared to answer it."""
    address, port = behind(site, probe)
    owner = site.owners.get(address)
    where = f"{address}" if owner is None else f"{owner[0].name} ({address}, zone {owner[1].zone})"
    asked = probe.kind + (f"/{port}" if port is not None else "")
    if is_never_probed(site, address):
        raise Refused(f"{where} is never probed: {probe.id}", rule="not-a-responder", advice=_ADVICE)
    if owner is None:
        raise Refused(f"nobody in the inventory has {where}: {probe.id}", rule="not-a-responder", advice=_ADVICE)
    if probe.kind == "icmp":
        declared = may_be_pinged(owner[0])
    else:
        transport = _TRANSPORTS.get(probe.kind, "tcp")
        declared = any(service.transport == transport and service.port == port for service in owner[0].services)
    if not declared:
        raise Refused(f"{where} does not declare that it answers {asked}: {probe.id}", rule="not-a-responder", advice=_ADVICE)


def behind(site: Site, probe: Probe) -> tuple[Address, int | None]:
    """Where a probe arrives: behind a translation, the inside address and port."""
    if probe.port is None:
        return probe.destination, None
    transport = _TRANSPORTS.get(probe.kind, "tcp")
    return _translations(site).get((probe.destination, probe.port, transport), (probe.destination, probe.port))


@lru_cache(maxsize=8)
def _translations(site: Site) -> dict[tuple[Address, int, str], tuple[Address, int]]:
    return {(one.public, one.port, one.protocol): (one.to, one.to_port) for device in site.devices for one in device.nat.published}
