"""The cut proof: that a profile's layers separate what it promises, on the cables; or the path that is left.

The certificate is small and can be checked by hand: everything that the outside can reach without crossing a closed
guard (`reached`), and the guards that it meets (`first`). No cable leads from the one to the inside but through the
other. With devices dead or distrusted their guards are none, and the answer is what is left of the proof.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.domain.cabling import Point, bridging_hosts
from orchestrator.domain.cut_ground import Ground, Guard, Promise, closed_by, ground, guard_of, points_of, promises, walk
from orchestrator.domain.cut_transit import Transit, transits
from orchestrator.domain.cut_units import GrainOfCut, Kept, closing_whole, kept_by, units
from orchestrator.domain.network import Exit, Site
from orchestrator.domain.policy import Policy, Profile
from orchestrator.domain.profiles import kept_flows
from orchestrator.domain.smallest_cuts import Cut, smallest_cut, smallest_cuts

MOST_HOLES = 16


@dataclass(frozen=True)
class Separation:
    """One promise. `needed` are the guards without which alone a path opens; `second` those that nobody reaches."""

    promise: Promise
    path: tuple[Point, ...] | None
    first: tuple[Guard, ...]
    second: tuple[Guard, ...]
    needed: tuple[Guard, ...]
    reached: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.path is None


@dataclass(frozen=True)
class GuardedExit:
    """Which guards of the profile stand behind an exit; `path` is the way in that none of them stands in."""

    exit: Exit
    guards: tuple[Guard, ...]
    path: tuple[Point, ...] | None
    spared: bool


@dataclass(frozen=True)
class Hole:
    """A way in that no managed device can close: only `unplug` helps, by hand."""

    unplug: Guard
    path: tuple[Point, ...]


@dataclass(frozen=True)
class Smallest:
    """The smallest cuts of one promise at one grain. `best` cost least; `others` have the same number of units, but
    close a part of a device that the inside needs. `bounded`: there may be more. `gives_up` goes with each of them."""

    grain: GrainOfCut
    promise: Promise
    best: tuple[Cut, ...]
    others: tuple[Cut, ...]
    bounded: bool
    gives_up: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Proof:
    """What `cut prove` says of a profile. Without promises nothing is proved: `holds` is then false."""

    profile: str
    unable: tuple[str, ...]
    separations: tuple[Separation, ...]
    exits: tuple[GuardedExit, ...]
    holes: tuple[Hole, ...]
    smallest: tuple[Smallest, ...]
    bridges: tuple[str, ...]  # hosts with a leg on both sides: nothing says that they forward, or that they never will
    transit: tuple[Transit, ...]  # how the site reaches the outside through a spared zone, and what stops it
    kept: tuple[str, ...]  # conversations that pass all the same, decided in peacetime

    @property
    def holds(self) -> bool:
        return bool(self.separations) and all(item.holds for item in self.separations) and not self.bridges

    @property
    def open_transit(self) -> tuple[Transit, ...]:
        """What the separation does not speak of, and nothing stops: a way out through a zone that is spared."""
        return tuple(item for item in self.transit if item.stopped_by is None)


def prove(
    site: Site,
    policy: Policy,
    profile: str,
    *,
    dead: Collection[str] = (),
    distrusted: Collection[str] = (),
    close_only: Collection[str] = (),
) -> Proof:
    """Raises KeyError for a profile that the policy does not have. `close_only`: devices whose dialect keeps no flows."""
    definition = policy.profile(profile)
    unable = frozenset(dead) | frozenset(distrusted)
    kept, whole = kept_by(site, policy, definition), closing_whole(site, close_only)
    separations, holes, smallest = [], [], []
    for promise in promises(site, definition):
        on = ground(site, promise, distrusted=distrusted)
        separations.append(separation(site, definition, promise, on, unable=unable))
        holes += holes_of(site, kept, on, unable)
        grains: tuple[GrainOfCut, ...] = ("device", "flow")
        smallest += [_smallest(site, kept, whole, promise, on, grain, unable) for grain in grains]
    return Proof(
        profile, tuple(sorted(unable)), tuple(separations), tuple(exits_of(site, definition, unable=unable)),
        tuple(dict.fromkeys(holes)), tuple(smallest), _bridges(site, definition), transits(site, policy, definition, unable=unable),
        tuple(sorted({flow.name for flow in kept_flows(policy, profile)} | {entry.name for entry in definition.keeps})),
    )  # fmt: skip


def separation(
    site: Site, profile: Profile, promise: Promise, on: Ground, *, unable: Collection[str] = (), further: Collection[Guard] = ()
) -> Separation:
    """With the guards of the profile closed on every device that can be relied on, and `further` ones."""
    closed = closed_by(site, profile, promise, unable=unable) | points_of(further)
    found = walk(on, closed)
    first = tuple(dict.fromkeys(guard_of(point) for point in found.front))
    behind = sorted({guard_of(point) for point in closed if point in on.graph} - set(first))
    needed = () if found.path else tuple(guard for guard in first if walk(on, closed - points_of([guard])).path)
    boxes = tuple(str(point) for point in sorted(found.reached) if point.kind in ("core", "segment", "vlan"))
    return Separation(promise, found.path, first, tuple(behind), needed, boxes)


def exits_of(site: Site, profile: Profile, *, unable: Collection[str] = ()) -> list[GuardedExit]:
    """For each exit into a zone that the profile cuts: what stands between it and the inside, the outside left out."""
    found = []
    for promise in promises(site, profile)[:1]:
        if not site.zone(promise.zones[0]).is_external:
            continue
        on = ground(site, promise)
        closed = closed_by(site, profile, promise, unable=unable)
        for exit_ in site.exits:
            spared = exit_.zone in promise.spared
            start = [point for point in points_of([Guard(exit_.device, exit_.interface)]) if point in on.graph]
            inward = Ground(on.graph.subgraph(set(on.graph) - set(on.sources)), tuple(start), on.targets)
            way = walk(inward, closed)
            if spared or exit_.zone in promise.zones:
                found.append(GuardedExit(exit_, tuple(map(guard_of, way.front)), way.path, spared))
    return found


def holes_of(site: Site, kept: Kept, on: Ground, unable: Collection[str]) -> list[Hole]:
    """The ways that stay open when everything that can be driven is closed, each with the cable to pull."""
    choices = units(site, on, kept, unable=unable)
    drivable = {point for unit in choices if not unit.by_hand for point in unit.points if point.kind != "core"}
    if walk(on, drivable).path is None:
        return []
    cut = smallest_cut(on, choices, drivable)
    pulled = cut.by_hand if cut is not None else ()
    holes = []
    for guard in pulled[:MOST_HOLES]:
        others = points_of(other for other in pulled if other != guard)
        path = walk(on, drivable | others).path
        if path is not None:
            holes.append(Hole(guard, path))
    return holes


def _smallest(
    site: Site, kept: Kept, whole: Collection[str], promise: Promise, on: Ground, grain: GrainOfCut, unable: Collection[str]
) -> Smallest:
    choices = units(site, on, kept, grain=grain, unable=unable, whole=whole)
    cuts, bounded = smallest_cuts(on, choices)
    best = tuple(cut for cut in cuts if cut.cost == cuts[0].cost)
    others = cuts[len(best) :]
    given_up = tuple(kept.given_up(cut.guards, whole) for cut in (*best, *others))
    return Smallest(grain, promise, best, others, bounded, given_up)


def _bridges(site: Site, profile: Profile) -> tuple[str, ...]:
    return tuple(f"{host.name} ({outer} and {inner})" for host, outer, inner in bridging_hosts(site) if outer in profile.cuts)
