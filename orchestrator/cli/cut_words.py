"""The cut proof as lines for people, and as JSON (docs/cut-proof.md lists the fields)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.domain.cabling import Point, told
from orchestrator.domain.cut_ground import Guard
from orchestrator.domain.cut_proof import Proof, Separation, Smallest
from orchestrator.domain.network import Site
from orchestrator.domain.next_guards import Remedy
from orchestrator.domain.smallest_cuts import Cut

WIDTH = 120


def lines(site: Site, proof: Proof, asked: Remedy, each: Mapping[str, Remedy]) -> list[str]:
    without = f" without {', '.join(proof.unable)}" if proof.unable else ""
    if not proof.separations:
        return [f"{site.name}, profile {proof.profile}: it promises no separation (`cuts` is empty): nothing to prove"]
    verdict = "NOT SEPARATED" if not proof.holds else "SEPARATED, BUT FOR A TRANSIT" if proof.open_transit else "SEPARATED"
    found = [f"{verdict} — {site.name}, profile {proof.profile}{without}"]
    for item in proof.separations:
        found += _separation(site, item)
    found += _listed("passes", proof.kept, "kept, decided in peacetime")
    found += [f"  exit       {line}" for line in _exits(proof)]
    found += [f"  hole       {told(hole.path)}: no device that we drive stands there; unplug {hole.unplug}" for hole in proof.holes]
    found += [
        f"  bridge     {bridge}: a host with a leg on both sides; nothing proves that it does not forward" for bridge in proof.bridges
    ]
    found += [f"  transit    {line}" for line in proof.transit]
    for smallest in proof.smallest:
        found += _smallest(smallest, whose=", ".join(smallest.promise.zones) if len(proof.separations) > 1 else "")
    if proof.unable or asked.path:
        found += [f"  next       {line}" for line in _remedy(asked)]
    for zone in dict.fromkeys(item.zone for item in proof.open_transit):
        exits = ", ".join(f"{exit_.device}[{exit_.interface}]" for exit_ in site.exits if exit_.zone == zone)
        found.append(f"  next       somebody decides to end what {zone} is spared for: a profile that cuts {zone} closes {exits}")
    for name, remedy in each.items():
        found += [f"  if {name} is lost: {line}" for line in (*_remedy(remedy), *_transit_without(proof, name))]
    return found


def as_json(site: Site, proof: Proof, asked: Remedy, each: Mapping[str, Remedy]) -> dict[str, Any]:
    return {
        "verb": "cut prove",
        "site": site.name,
        "profile": proof.profile,
        "without": list(proof.unable),
        "promised": bool(proof.separations),
        "separated": proof.holds,
        "promises": [_separation_json(site, item) for item in proof.separations],
        "exits": [
            {"exit": item.exit.name, "guards": _guards(item.guards), "spared": item.spared, "path": _path(item.path)}
            for item in proof.exits
        ],
        "holes": [{"unplug": _guard(hole.unplug), "path": told(hole.path)} for hole in proof.holes],
        "bridges": list(proof.bridges),
        "transit": list(map(str, proof.transit)),
        "open_transit": list(map(str, proof.open_transit)),
        "kept": list(proof.kept),
        "smallest": [_smallest_json(item) for item in proof.smallest],
        "next": _remedy_json(asked),
        "if_lost": {name: _remedy_json(remedy) for name, remedy in each.items()},
    }


def _separation(site: Site, item: Separation) -> Iterator[str]:
    zones = ", ".join(item.promise.zones)
    if item.path is not None:
        yield f"  {zones}: this path is left"
        yield f"    {told(item.path)}"
        return
    yield f"  {zones}: no cable leads on but through these guards"
    for guard in item.first:
        needed = "" if guard in item.needed else " (another one stands behind it)"
        yield f"    {guard} — {_grain(site, guard)}{needed}"
    yield from _listed("behind", map(str, item.second), "met by nobody while the others hold")
    yield from _listed("reached", item.reached, "")


def _exits(proof: Proof) -> Iterator[str]:
    for item in proof.exits:
        behind = ", ".join(map(str, item.guards)) or "nothing"
        left = f"; open: {told(item.path)}" if item.path is not None and not item.spared else ""
        yield f"{item.exit.name} ({item.exit.zone}): {'spared on purpose' if item.spared else behind}{left}"


def _smallest(item: Smallest, *, whose: str) -> Iterator[str]:
    ends = dict(zip((*item.best, *item.others), item.gives_up, strict=True))
    words = [(cut, word) for cuts, word in ((item.best, "smallest"), (item.others, "as small")) for cut in cuts]
    for number, (cut, word) in enumerate(words):
        head = f"  {word:<9}  {item.grain} grain{f', {whose}' if whose else ''}: " if not number or word != "smallest" else "         or  "
        yield f"{head}{{{_chosen(cut)}}}{f' — ends {_and(ends[cut])}' if ends[cut] else ''}"
    if item.bounded:
        yield "             (and more: the search was ended by its bound)"
    if not words:
        yield f"  smallest   {item.grain} grain{f', {whose}' if whose else ''}: none"


def _remedy(remedy: Remedy) -> Iterator[str]:
    if not remedy.promised:
        yield "nothing is promised"
    elif remedy.path is None:
        yield "separated all the same"
    else:
        if remedy.guards:
            ends = f" — ends {_and(remedy.gives_up)}" if remedy.gives_up else ""
            yield f"close {_and(map(str, remedy.guards))}{ends}{' (a person decides)' if remedy.ends_care else ''}"
        for guard in remedy.by_hand:
            yield f"unplug {guard} by hand: no device can do it"
        if remedy.left is not None:
            yield f"until then open: {told(remedy.left)}"


def _transit_without(proof: Proof, name: str) -> Iterator[str]:
    """What its guard no longer stops; the separation does not speak of it."""
    for zone in dict.fromkeys(item.zone for item in proof.transit if item.stopped_by is not None and item.stopped_by.device == name):
        yield f"but nothing else stops what it sends through {zone} to the internet"


def _separation_json(site: Site, item: Separation) -> dict[str, Any]:
    return {
        "zones": list(item.promise.zones),
        "from": list(item.promise.targets),
        "spared": list(item.promise.spared),
        "separated": item.holds,
        "path": _path(item.path),
        "first": [{**_guard(guard), "grain": _grain(site, guard), "needed": guard in item.needed} for guard in item.first],
        "second": _guards(item.second),
        "reached": list(item.reached),
    }


def _smallest_json(item: Smallest) -> dict[str, Any]:
    ends = dict(zip((*item.best, *item.others), item.gives_up, strict=True))

    def cuts(chosen: Iterable[Cut]) -> list[dict[str, Any]]:
        return [{"guards": _guards(cut.guards), "by_hand": _guards(cut.by_hand), "gives_up": list(ends[cut])} for cut in chosen]

    return {
        "grain": item.grain,
        "zones": list(item.promise.zones),
        "smallest": cuts(item.best),
        "alternatives": cuts(item.others),
        "bounded": item.bounded,
    }


def _remedy_json(remedy: Remedy) -> dict[str, Any]:
    return {
        "separated": remedy.promised and remedy.path is None,
        "separated_then": remedy.separates,
        "path": _path(remedy.path),
        "guards": _guards(remedy.guards),
        "gives_up": list(remedy.gives_up),
        "ends_care": list(remedy.ends_care),
        "by_hand": _guards(remedy.by_hand),
        "left": _path(remedy.left),
    }


def _grain(site: Site, guard: Guard) -> str:
    """The finest grain at which the device enforces."""
    grains = [grain.value for grain in site.device(guard.device).grain]
    return next((grain for grain in ("flow", "port", "route") if grain in grains), "manual")


def _listed(head: str, items: Iterable[str], why: str) -> Iterator[str]:
    text = ", ".join(items)
    if text:
        yield from textwrap.wrap(f"{text}{f' ({why})' if why else ''}", WIDTH, initial_indent=f"  {head:<10} ", subsequent_indent=" " * 13)


def _chosen(cut: Cut) -> str:
    return ", ".join([*map(str, cut.guards), *(f"{guard} by hand" for guard in cut.by_hand)])


def _and(names: Iterable[str]) -> str:
    return ", ".join(names)


def _path(path: tuple[Point, ...] | None) -> str | None:
    return told(path) if path is not None else None


def _guards(guards: Iterable[Guard]) -> list[dict[str, str]]:
    return [_guard(guard) for guard in guards]


def _guard(guard: Guard) -> dict[str, str]:
    return {"device": guard.device, "guard": guard.name}
