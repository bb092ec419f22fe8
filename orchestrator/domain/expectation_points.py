"""The points at which the policy's own tests are asked: after the cut, and with which stages open.

What a stage opens is put together here without its scripts and probes, so that a check stays quick; a test holds it
equal to what the planner plans. Nothing that a stage opens is taken away by another one, so what is open at a point
does not depend on the order in which its stages were opened, and a point with more stages never opens less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

from orchestrator.domain.compile import elements_of, is_guarded, paths_of
from orchestrator.domain.gates import AllOf, Gate, PredecessorGate
from orchestrator.domain.layer import Element, Layer, Opening
from orchestrator.domain.network import Site
from orchestrator.domain.planning import conversations
from orchestrator.domain.policy import Flow, Partner, Policy, Stage
from orchestrator.domain.profiles import layers_of
from orchestrator.domain.questions import Containment
from orchestrator.domain.release_proof import prove_releases
from orchestrator.domain.stands import Stand, order_of
from orchestrator.errors import Refused


class Opened(NamedTuple):
    """A stage that is open, with those of its flows that are."""

    stage: str
    flows: tuple[str, ...]


Point: TypeAlias = tuple[Opened, ...]  # in the order of the stages; (): right after the cut


def needed(policy: Policy, stages: Iterable[str]) -> frozenset[str]:
    """These stages and every stage that has to be open before one of them is, whole."""
    found, left = set[str](), list(stages)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [other for other, _ in _needs(policy.stage(name))]
    return frozenset(found)


class _Free:
    """Which flows of which stages can be open while one stage is not: of a stage whose requirements are confined to some
    flows, the others can."""

    def __init__(self, policy: Policy, without: str) -> None:
        self._policy = policy
        self._known: dict[str, tuple[str, ...] | None] = {without: None}

    def of(self, name: str) -> tuple[str, ...] | None:
        """None: nothing of this stage can be open (`()` for one that opens no flow: it lifts the layer)."""
        if name not in self._known:
            self._known[name] = None  # a circle of stages never opens
            stage = self._policy.stage(name)
            held = [confined for other, confined in _needs(stage) if self.of(other) is None]
            flows = tuple(flow for flow in stage.flows if not any(not confined or flow in confined for confined in held))
            whole = any(not confined for confined in held)
            self._known[name] = None if whole or (stage.flows and not flows) else flows
        return self._known[name]


def _needs(stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(stage that must be open, the flows that wait for it; none named: all of them). One of several counts as none."""
    yield from ((item.stage, item.flows) for item in stage.requires)
    yield from _needed_gates(stage.gates)


def _needed_gates(gates: tuple[Gate, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for gate in gates:
        if isinstance(gate, PredecessorGate) and not gate.partners:
            yield gate.predecessor, gate.flows
        elif isinstance(gate, AllOf):
            yield from _needed_gates(gate.all_of)


class _Piece(NamedTuple):
    """What one flow opens with all its partners, by itself."""

    openings: tuple[tuple[str, Opening], ...]  # (device, opening)
    releases: tuple[tuple[str, str], ...]  # (device, guard)


@dataclass
class Points:
    """What lies on the devices at each point, worked out once each."""

    site: Site
    policy: Policy
    _asked: dict[tuple[tuple[str, ...], str | None], tuple[Point, ...]] = field(default_factory=dict)
    _layers: dict[str, dict[str, tuple[Layer, ...]]] = field(default_factory=dict)
    _pieces: dict[tuple[str, str, str], _Piece] = field(default_factory=dict)
    _stands: dict[tuple[str, Point], Stand] = field(default_factory=dict)

    def asked(self, after: tuple[str, ...], until: str | None) -> tuple[Point, ...]:
        """The stages of `after` with everything that they require, whole; then, for `until`, one more at a time every stage
        that can be open while that one is not: each point holds the one before it."""
        if (after, until) not in self._asked:
            start = self._closure(after)
            self._asked[after, until] = (start, *(self._before(until, start) if until is not None else ()))
        return self._asked[after, until]

    @cached_property
    def _order(self) -> tuple[str, ...]:
        return order_of(self.policy)

    def _closure(self, stages: tuple[str, ...]) -> Point:
        wanted = needed(self.policy, stages)
        return tuple(Opened(name, self.policy.stage(name).flows) for name in self._order if name in wanted)

    def _before(self, until: str, start: Point) -> Iterator[Point]:
        free, point = _Free(self.policy, until), start
        for name in self._order:
            can = free.of(name)
            if can is not None and not any(opened.stage == name for opened in start):
                point = (*point, Opened(name, can))
                yield point

    def at(self, profile: str, point: Point) -> Stand:
        """As `stands.stands` has it. A stage that the planner would refuse opens nothing, and is named in `refused`."""
        key = (profile, point)
        if key not in self._stands:
            self._stands[key] = self._at(profile, point)
        return self._stands[key]

    def _at(self, profile: str, point: Point) -> Stand:
        names = tuple(opened.stage for opened in point)
        after = names[-1] if names else None
        if any(self.policy.stage(name).lifts for name in names):
            return Stand(after, names, Containment({}), lifted=True)
        layers = self._laid(profile)
        openings: dict[str, list[tuple[str, Opening]]] = {}
        releases: dict[tuple[str, str], str] = {}
        refused: Refused | None = None
        for opened in point:
            pieces = [self._piece(profile, opened.stage, flow) for flow in opened.flows]
            fresh = {place for piece in pieces for place in piece.releases} - releases.keys()
            try:
                prove_releases(self.site, _by_device(fresh), layers, released=_by_device(releases))
            except Refused as refusal:
                refused = refusal
                continue
            releases.update((place, opened.stage) for place in sorted(fresh))
            for piece in pieces:
                for device, opening in piece.openings:
                    openings.setdefault(device, []).append((opened.stage, opening))
        containment = Containment(
            layers, {device: tuple(item.element for _, item in found) for device, found in openings.items()}, _by_device(releases)
        )
        told = {device: tuple(found) for device, found in openings.items()}
        return Stand(after, names, containment, told, releases, refused)

    def _laid(self, profile: str) -> dict[str, tuple[Layer, ...]]:
        if profile not in self._layers:
            self._layers[profile] = {layer.device: (layer,) for layer in layers_of(self.site, self.policy, profile)}
        return self._layers[profile]

    def _piece(self, profile: str, stage: str, flow: str) -> _Piece:
        key = (profile, stage, flow)
        if key not in self._pieces:
            pairs = [pair for pair in conversations(self.policy, self.policy.stage(stage)) if pair[0].name == flow]
            self._pieces[key] = self._opens(Containment(self._laid(profile)), pairs)
        return self._pieces[key]

    def _opens(self, cut: Containment, pairs: list[tuple[Flow, Partner]]) -> _Piece:
        layers = [(device, layer) for device, laid in cut.layers.items() for layer in laid]
        guards = {device: set(layer.guard) for device, layer in layers}
        fine = {device: set(layer.guard) for device, layer in layers if not layer.coarse}
        coarse = {device: set(layer.guard) for device, layer in layers if layer.coarse}
        openings: list[tuple[str, Opening]] = []
        releases: dict[tuple[str, str], None] = {}
        for flow, partner in pairs:
            for device, elements in elements_of(self.site, flow, partner, fine).items():
                wanted: tuple[Element, ...] = cut.concerned(device, elements)
                openings += [(device, Opening(flow=flow.name, partner=partner.name, element=element)) for element in wanted]
            for hop in (hop for hops in paths_of(self.site, flow, partner) for hop in hops if is_guarded(hop, guards)):
                places = sorted(coarse.get(hop.device, set()) & {hop.enters, hop.leaves})
                releases |= dict.fromkeys((hop.device, str(name)) for name in places)
        return _Piece(tuple(openings), tuple(releases))


def _by_device(places: Mapping[tuple[str, str], str] | set[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for device, guard in places:
        found.setdefault(device, set()).add(guard)
    return found
