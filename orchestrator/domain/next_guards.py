"""When devices are dead or distrusted: the fewest further guards with which a profile still keeps its promise.

The profile's guards on the other devices count as closed. Chosen is, in this order: what needs nobody's hands; what
gives up the fewest kept flows; the fewest devices and ports; what leaves whole what the inside needs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.domain.cabling import Point
from orchestrator.domain.cut_ground import Guard, closed_by, ground, points_of, promises, walk
from orchestrator.domain.cut_units import GrainOfCut, closing_whole, kept_by, units
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.domain.smallest_cuts import smallest_cut


@dataclass(frozen=True)
class Remedy:
    """What to do about devices that enforce nothing.

    `path` is the way that is open without them (None: everything is separated all the same, and nothing is to be done).
    `guards` close it, `gives_up` names what ends with them, `ends_care` what of it is care; `by_hand` are cables that
    somebody has to pull because no device can do it; `left` is the way that stays open until then. `promised` is false for
    a profile without `cuts`.
    """

    unable: tuple[str, ...]
    promised: bool
    path: tuple[Point, ...] | None = None
    guards: tuple[Guard, ...] = ()
    gives_up: tuple[str, ...] = ()
    ends_care: tuple[str, ...] = ()
    by_hand: tuple[Guard, ...] = ()
    left: tuple[Point, ...] | None = None

    @property
    def separates(self) -> bool:
        """Whether the promise is kept once `guards` are closed, without anybody's hands."""
        return self.promised and self.left is None


def next_guards(
    site: Site, policy: Policy, profile: str, dead: Collection[str], *, distrusted: Collection[str] = (), close_only: Collection[str] = ()
) -> tuple[tuple[str, str], ...]:
    """(device, guard) of the smallest further set; empty when nothing is to be done, or no device can do it."""
    return remedy(site, policy, profile, dead, distrusted=distrusted, close_only=close_only).guards


def remedy(
    site: Site, policy: Policy, profile: str, dead: Collection[str], *, distrusted: Collection[str] = (), close_only: Collection[str] = ()
) -> Remedy:
    """`close_only` are the devices whose dialect closes whole. Raises KeyError for a profile that the policy does not have.

    Each promise of the profile has its smallest set; a profile with several (inside zones) gets their union.
    """
    definition = policy.profile(profile)
    made = promises(site, definition)
    unable = frozenset(dead) | frozenset(distrusted)
    kept, whole = kept_by(site, policy, definition), closing_whole(site, close_only)
    path: tuple[Point, ...] | None = None
    left: tuple[Point, ...] | None = None
    guards: list[Guard] = []
    by_hand: list[Guard] = []
    for promise in made:
        on = ground(site, promise, distrusted=distrusted)
        closed = closed_by(site, definition, promise, unable=unable) | points_of((*guards, *by_hand))
        open_ = walk(on, closed).path
        if open_ is None:
            continue
        path = path or open_
        grain: GrainOfCut = "flow" if definition.scope_zones else "device"  # what closes whole cannot confine itself to a scope
        choices = units(site, on, kept, grain=grain, unable=unable, whole=whole, spare_kept=True)
        cut = smallest_cut(on, choices, closed)
        guards += cut.guards if cut is not None else ()
        by_hand += cut.by_hand if cut is not None else ()
        left = left or walk(on, closed | points_of(cut.guards if cut is not None else ())).path
    gives_up = kept.given_up(guards, whole)
    care = {assertion.name for assertion in policy.care} | {entry.name for entry in definition.keeps}
    ends_care = tuple(name for name in gives_up if name in care)
    return Remedy(tuple(sorted(unable)), bool(made), path, tuple(guards), gives_up, ends_care, tuple(by_hand), left)
