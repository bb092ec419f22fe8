"""What a cut-off closes instead when devices do not take the layer: worked out at ratification, carried in the cut pack.

For every device of the profile alone, for every two of them (up to `MOST_FOR_PAIRS` devices: two that stand in for each
other fail together), and for each alone together with what was to stand in for it. More at once is not worked out: the
cut-off then closes what is known for some of them, and says that nothing was proved for all.

Only what may be closed without asking is in `lay`: kept flows to the outside may end with it, and the verdict names them
(the device that should have kept them narrow is lost anyway). What would end care inside is left to a person, by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import combinations
from typing import Any

from orchestrator.domain.cabling import told
from orchestrator.domain.cut_ground import Guard
from orchestrator.domain.cut_transit import transits
from orchestrator.domain.layer import Layer
from orchestrator.domain.network import Site
from orchestrator.domain.next_guards import Remedy, remedy
from orchestrator.domain.policy import Policy, Profile
from orchestrator.domain.profiles import further_layer

MOST_FOR_PAIRS = 8


def instead(
    site: Site, policy: Policy, profile: Profile, *, close_only: Collection[str], entry: Callable[[Layer], dict[str, Any]]
) -> dict[str, Any]:
    """The `instead` of a profile in the pack; `entry` renders the device entry of a layer."""
    found: dict[tuple[str, ...], Remedy] = {}

    def look_at(dead: Iterable[str]) -> Remedy:
        key = tuple(sorted(set(dead)))
        if key not in found:
            found[key] = remedy(site, policy, profile.name, key, close_only=close_only)
        return found[key]

    devices = sorted(profile.layers)
    for name in devices:
        for guard in look_at([name]).guards:
            look_at([name, guard.device])
    for pair in combinations(devices, 2) if len(devices) <= MOST_FOR_PAIRS else ():
        look_at(pair)
    guards = sorted({guard for answer in found.values() for guard in answer.guards if not answer.ends_care})
    return {
        "guards": {str(guard): entry(_layer(site, policy, profile, guard, close_only)) for guard in guards},
        "dead": {"+".join(key): _with_transit(site, policy, profile, key, _answer(answer)) for key, answer in found.items()},
    }


def _layer(site: Site, policy: Policy, profile: Profile, guard: Guard, close_only: Collection[str]) -> Layer:
    return further_layer(site, policy, profile.name, guard.device, guard.name, whole=guard.device in close_only)


def _answer(answer: Remedy) -> dict[str, Any]:
    path, by_hand = told(answer.path) if answer.path else "", [_unplug(guard) for guard in answer.by_hand]
    if answer.ends_care:
        ends = f" — only if somebody decides to end {', '.join(answer.ends_care)}"
        by_hand = [*by_hand, *(_unplug(guard) + ends for guard in answer.guards)]
        return {"path": path, "lay": [], "gives_up": [], "by_hand": by_hand, "left": path}
    lay, gives_up = [str(guard) for guard in answer.guards], list(answer.gives_up)
    return {"path": path, "lay": lay, "gives_up": gives_up, "by_hand": by_hand, "left": told(answer.left) if answer.left else ""}


def _with_transit(site: Site, policy: Policy, profile: Profile, dead: Collection[str], answer: dict[str, Any]) -> dict[str, Any]:
    """A way out through a spared zone that only a lost device stopped: told as open, and never closed without a person,
    because the zone was spared for a reason."""
    still = [item for item in transits(site, policy, profile, unable=dead) if item.stopped_by is None]
    if not still:
        return answer
    zones = dict.fromkeys(item.zone for item in still)
    exits = [exit_ for exit_ in site.exits if exit_.zone in zones]
    ends = [
        f"{_unplug(Guard(exit_.device, exit_.interface))} — only if somebody decides to end what {exit_.zone} is spared for"
        for exit_ in exits
    ]
    return {**answer, "by_hand": [*answer["by_hand"], *ends], "left": answer["left"] or str(still[0])}


def _unplug(guard: Guard) -> str:
    return f"{guard.device}: unplug {guard.name}"
