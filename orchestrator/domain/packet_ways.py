"""The way that a packet takes, whatever it was named by: a conversation with the outside, or one within the site."""

from __future__ import annotations

from orchestrator.domain.network import Site
from orchestrator.domain.packet_ends import Packet
from orchestrator.domain.questions import Question, Way, inside_way, way_of


def question_of(packet: Packet) -> Question | None:
    """None for a packet within the site."""
    if packet.direction == "inside":
        return None
    inner, outer = packet.inner, packet.outer
    return Question(packet.direction, inner.address, outer.address, outer.zone, packet.service, packet.terminates_on)


def way_of_packet(site: Site, packet: Packet) -> Way | None:
    """None when the routes of the inventory lead nowhere."""
    question = question_of(packet)
    if question is not None:
        return way_of(site, question)
    owners = [site.owners.get(end.address) for end in (packet.source, packet.destination)]
    start, end = (site.hosts_by_name.get(owner[0].name) if owner is not None else None for owner in owners)
    if start is None or end is None:
        return None
    return inside_way(site, start, end, packet.service, packet.source.address.version)
