"""One packet, explained: which way it takes, what each guard on the way does with it, and which flow and stage decide.

Nothing is decided here. The ways are those of `questions`, the layers those of `profiles`, and what is open after each
stage is what `stands` had planned for it: so an explanation cannot differ from a plan.

1 the way of the packet, and how each device sees it
2 what the policy declares about it
3 per stand (after the cut, after each stage), what every guard on the way does, and the verdict
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from orchestrator.domain.cabling import Same
from orchestrator.domain.compile import elements_along, elements_of, prefix_of
from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Grain, Prefix, Site
from orchestrator.domain.packet_ends import Packet
from orchestrator.domain.packet_ways import question_of, way_of_packet
from orchestrator.domain.policy import Flow, Partner, Policy
from orchestrator.domain.profiles import kept_flows
from orchestrator.domain.questions import Question, Way, publication
from orchestrator.domain.stands import Stand
from orchestrator.domain.topology import Hop, exit_of
from orchestrator.errors import Refused

Does = Literal["stops", "closed", "keeps", "opened", "released", "out-of-scope"]  # `closed`: whole, at a coarse grain


class Source(NamedTuple):
    """What an element or a release on a device is there for."""

    stage: str
    flow: str
    partner: str


class Step(NamedTuple):
    """One device on the way, in the order in which the packet meets them, and the packet as this device sees it."""

    device: str
    grain: tuple[Grain, ...]
    enters: str | None
    leaves: str | None
    sees: tuple[Element, ...]


class Guard(NamedTuple):
    """What one slot does with the packet at one device. `element` is what lets it pass; `by` says what for."""

    device: str
    names: tuple[str, ...]
    slot: str
    profile: str
    does: Does
    element: Element | None = None
    by: Source | str | None = None


class Declared(NamedTuple):
    """A flow of the policy that this packet belongs to. `stage`: the one that opens it. `denied`: the part of `deny_from`
    that takes it out. `kept`: the profile keeps it. `elsewhere`: the exit of the flow, when the packet takes another."""

    flow: str
    partner: str
    stage: str | None
    denied: Prefix | None
    kept: bool
    elsewhere: str | None


class Verdict(NamedTuple):
    """`device`: the first one, as the packet goes, that stops it; None when it passes."""

    after: str | None
    stages: tuple[str, ...]
    passes: bool
    device: str | None
    guards: tuple[Guard, ...]
    refused: Refused | None = None
    lifted: bool = False


@dataclass(frozen=True)
class Explanation:
    """`steps` is empty when the routes lead nowhere (`way` is None) or no device lies between the ends. `verdicts`: one per
    stand, the cut first; `last_only`: only the last of them was asked for, and is told."""

    packet: Packet
    way: Way | None
    steps: tuple[Step, ...]
    declared: tuple[Declared, ...]
    care: tuple[str, ...]
    unpublished: bool
    verdicts: tuple[Verdict, ...]
    last_only: bool = False

    @property
    def told(self) -> tuple[Verdict, ...]:
        """The verdicts that were asked for."""
        return self.verdicts[-1:] if self.last_only else self.verdicts

    @property
    def enforced_by(self) -> tuple[str, ...]:
        """The devices on the way that can tell flows from one another."""
        return tuple(step.device for step in self.steps if Grain.FLOW in step.grain)

    @property
    def is_guarded(self) -> bool:
        """Whether the cut lays anything on the way that concerns this packet."""
        return any(guard.does != "out-of-scope" for verdict in self.verdicts for guard in verdict.guards)

    @property
    def opened_by(self) -> str | None:
        """The stage from which on it passes; None when it passes from the cut on, or never."""
        before = [verdict.passes for verdict in self.verdicts]
        turns = [verdict for verdict in self.verdicts if verdict.passes and not verdict.lifted]
        return turns[0].after if turns and not before[0] else None


# --- 1 the way ------------------------------------------------------------------------------------------------------


def explain(site: Site, policy: Policy, profile: str, packet: Packet, at: Sequence[Stand], *, last_only: bool = False) -> Explanation:
    """What happens to this packet at each of the stands, and why. `profile` is the one that the stands were made with."""
    question = question_of(packet)
    way = way_of_packet(site, packet)
    steps = tuple(_steps(site, packet, way)) if way is not None else ()
    declared = tuple(_declared(site, policy, profile, packet, way))
    unpublished = question is not None and way is not None and _is_unpublished(site, packet, question, way)
    verdicts = tuple(_verdict(site, policy, packet, way, stand) for stand in at) if way is not None else ()
    return Explanation(packet, way, steps, declared, tuple(_care(site, policy, packet)), unpublished, verdicts, last_only)


def _in_order(packet: Packet, way: Way) -> tuple[Hop, ...]:
    """As the packet meets them: a way is kept from outside to inside."""
    if packet.direction != "out":
        return way.hops
    return tuple(Hop(hop.device, hop.leaves, hop.enters) for hop in reversed(way.hops))


def _steps(site: Site, packet: Packet, way: Way) -> Iterator[Step]:
    sees = way.sights
    if way.exit is not None:
        ways = {(packet.inner.address, prefix_of(packet.outer.address)): way.hops}
        sees = elements_along(_telling_flows_apart(Same(site)), _as_flow(packet, way.exit.name), ways)
    for hop in _in_order(packet, way):
        yield Step(hop.device, site.device(hop.device).grain, hop.enters, hop.leaves, tuple(sees.get(hop.device, ())))


@lru_cache(maxsize=4)
def _telling_flows_apart(same: Same) -> Site:
    """The same site, as if every device told flows from one another: what the coarse ones see is asked of it."""
    devices = tuple(device.model_copy(update={"grain": (Grain.FLOW,)}) for device in same.site.devices)
    return same.site.model_copy(update={"devices": devices})


def _as_flow(packet: Packet, exit_name: str) -> Flow:
    direction: Literal["in", "out"] = "out" if packet.direction == "out" else "in"
    return Flow.model_construct(
        name="question", application="question", partners=("question",), direction=direction, services=(packet.service,),
        addresses=(packet.inner.address,), exit=exit_name, terminates_on=packet.terminates_on, deny_from=(),
    )  # fmt: skip


def _is_unpublished(site: Site, packet: Packet, question: Question, way: Way) -> bool:
    """Behind a translation that does not publish it, nobody outside can even address it (IPv4)."""
    if packet.direction != "in" or packet.terminates_on is not None or packet.source.address.version != 4:
        return False
    translates = any(hop.enters in site.device(hop.device).nat.masquerade for hop in way.hops)
    return translates and packet.service.ports is not None and publication(site, question, way) is None


# --- 2 what the policy declares -------------------------------------------------------------------------------------


def _declared(site: Site, policy: Policy, profile: str, packet: Packet, way: Way | None) -> Iterator[Declared]:
    if packet.direction == "inside":
        return
    kept = {flow.name for flow in kept_flows(policy, profile)}
    for flow in policy.flows:
        if flow.direction != packet.direction or packet.inner.address not in flow.addresses or flow.terminates_on != packet.terminates_on:
            continue
        if not any(packet.is_service(service) for service in flow.services):
            continue
        denied = next((prefix for prefix in flow.deny_from if packet.outer.address in prefix), None)
        for partner in (policy.partner(name) for name in flow.partners):
            if any(packet.outer.address in network for network in partner.networks):
                yield Declared(
                    flow.name,
                    partner.name,
                    _stage_of(policy, flow, partner),
                    denied,
                    flow.name in kept,
                    _elsewhere(site, flow, partner, way),
                )


def _stage_of(policy: Policy, flow: Flow, partner: Partner) -> str | None:
    for stage in policy.stages:
        if flow.name in stage.flows and (stage.partners is None or partner.name in stage.partners):
            return stage.name
    return None


def _elsewhere(site: Site, flow: Flow, partner: Partner, way: Way | None) -> str | None:
    usual = exit_of(site, flow, partner)
    if way is None or way.exit is None or (way.exit.device, way.exit.interface) == (usual.device, usual.interface):
        return None
    crossed = {(hop.device, hop.enters) for hop in way.hops}
    return None if (usual.device, usual.interface) in crossed else usual.name


def _care(site: Site, policy: Policy, packet: Packet) -> Iterator[str]:
    if packet.direction != "inside":
        return
    owners = [site.owners.get(end.address) for end in (packet.source, packet.destination)]
    names = tuple(owner[0].name if owner is not None else "" for owner in owners)
    yield from (item.name for item in policy.care if (item.from_host, item.to_host) == names and packet.is_service(item.service))


# --- 3 the verdicts -------------------------------------------------------------------------------------------------


def _verdict(site: Site, policy: Policy, packet: Packet, way: Way, stand: Stand) -> Verdict:
    guards = tuple(_guards(site, policy, packet, way, stand))
    device = next((guard.device for guard in guards if guard.does in ("stops", "closed")), None)
    return Verdict(stand.after, stand.stages, device is None, device, guards, stand.refused, stand.lifted)


def _guards(site: Site, policy: Policy, packet: Packet, way: Way, stand: Stand) -> Iterator[Guard]:
    lies = stand.containment
    for hop in _in_order(packet, way):
        sights = tuple(way.sights.get(hop.device, ()))
        for layer in lies.layers.get(hop.device, ()):
            names = tuple(name for name in layer.guard if name in (hop.enters, hop.leaves))
            if not names:
                continue
            stops = stand.alone(layer).stops(way._replace(hops=(hop,))) is not None
            yield Guard(hop.device, names, layer.slot, layer.profile, *_why(site, policy, stand, layer, names, sights, stops=stops))


def _why(
    site: Site, policy: Policy, stand: Stand, layer: Layer, names: Sequence[str], sights: Sequence[Element], *, stops: bool
) -> tuple[Does, Element | None, Source | str | None]:
    if stops:
        return ("closed" if layer.coarse else "stops"), None, None
    if layer.coarse:
        return "released", None, next((stand.releases.get((layer.device, name)) for name in names), None)
    for sight in sights:
        for stage, opening in stand.openings.get(layer.device, ()):
            if _holds(opening.element, sight):
                return "opened", opening.element, Source(stage, opening.flow, opening.partner)
        for element in layer.keep:
            if _holds(element, sight):
                return "keeps", element, _kept_for(site, policy, layer, sight)
    return "out-of-scope", None, None


def _kept_for(site: Site, policy: Policy, layer: Layer, sight: Element) -> str | None:
    """The flow, or the kept flow of the profile, that this sight of a packet is kept for."""
    profile = policy.profile(layer.profile)
    for flow in kept_flows(policy, profile.name):
        for name in flow.partners:
            if any(
                _holds(element, sight) for element in elements_of(site, flow, policy.partner(name), profile.layers).get(layer.device, ())
            ):
                return flow.name
    for kept in profile.keeps:
        element = Element(source=kept.source, destination=kept.destination, protocol=kept.service.protocol, ports=kept.service.ports)
        if _holds(element, sight):
            return kept.name
    return None


def _holds(element: Element, sight: Element) -> bool:
    """Whether an element holds the sight of one packet."""
    port = sight.ports[0] if sight.ports is not None else None
    return element.matches(sight.source.network_address, sight.destination.network_address, sight.protocol, port)
