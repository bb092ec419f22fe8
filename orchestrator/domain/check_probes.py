"""A stage's `checks`: tests of the policy that are asked on live traffic as well, when the stage is verified."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.expectations import Expectation
from orchestrator.domain.network import Host, Site
from orchestrator.domain.packet_ends import Packet, packets_between, service_text
from orchestrator.domain.packet_ways import question_of, way_of_packet
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.questions import Containment, Way, answer_kind, answer_name, probe_of
from orchestrator.domain.resolver_probes import with_refusals
from orchestrator.domain.responders import require_responder
from orchestrator.domain.topology import owner_of
from orchestrator.errors import Refused


def check_probes(site: Site, policy: Policy, stage: Stage, after: Containment) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """The probes, and what no vantage point can ask. What should pass and is stopped all the same belongs to a partner
    that this plan leaves out: it is told, not asked. Raises Refused (`check-contradicted`) for what should be blocked and
    would not be."""
    tests = {test.name: test for test in policy.tests}
    probes: list[Probe] = []
    unasked: list[str] = []
    for test in (tests[name] for name in stage.checks):
        for packet in packets_between(site, policy, test.source, test.destination, test.service):
            way = way_of_packet(site, packet)
            stopped = after.stops(way) if way is not None else "no route"
            if test.expect == "blocked" and stopped is None:
                raise Refused(
                    f"{stage.name} would let pass what its check {test.name} wants blocked: {_said(packet)}",
                    rule="check-contradicted",
                    advice="orchestrator policy explain says by what it passes",
                )
            asked = test.expect == "blocked" or stopped is None
            found = [one for probe in _probes(site, test, packet, way) for one in with_refusals(site, probe)] if way and asked else []
            if not found:
                why = "no vantage point can ask it" if asked else f"stopped by {stopped}: its partner is not in this plan"
                unasked.append(f"check {test.name}, {_said(packet)}: {why}")
            for probe in found:
                require_responder(site, probe)
            probes += found
    return tuple(probes), tuple(unasked)


def _probes(site: Site, test: Expectation, packet: Packet, way: Way) -> Iterator[Probe]:
    purpose = Purpose.POSITIVE if test.expect == "passes" else Purpose.NEGATIVE
    question = question_of(packet)
    if question is not None:
        probe = probe_of(site, purpose, question, way, about=test.name)
        if probe is not None:
            yield probe
        return
    owner, kind = owner_of(site, packet.source.address), answer_kind(site, packet.destination.address, packet.service)
    if owner is not None and isinstance(owner[0], Host) and owner[0].is_vantage_point and kind is not None:
        yield Probe(
            id=f"{purpose.value}:{owner[0].name}/{packet.source.address}>{packet.destination.address}:{service_text(packet.service)}",
            purpose=purpose, vantage=owner[0].name, destination=packet.destination.address, kind=kind,
            port=packet.service.ports[0] if packet.service.ports else None, source=packet.source.address, about=test.name,
            name=answer_name(site, packet.destination.address, packet.service),
        )  # fmt: skip


def _said(packet: Packet) -> str:
    return f"{packet.source.address} → {packet.destination.address} {service_text(packet.service)}"
