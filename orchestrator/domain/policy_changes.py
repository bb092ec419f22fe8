"""What two policies, each with its inventory, say differently: of reachability, of order, of people, of everything else.

Reachability is compared as exact packet sets (`differences.py`); the rest name by name and key by key, as the files
write it. Nothing that differs is left out: what no heading of its own has stands under `other` or `inventory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.domain.compile import elements_of, without_prefixes
from orchestrator.domain.differences import between_elements, between_policies, stage_by_stage
from orchestrator.domain.layer import Element, Layer
from orchestrator.domain.network import Model, Site
from orchestrator.domain.policy import Policy
from orchestrator.domain.profiles import EVERYTHING, layers_of
from orchestrator.domain.rule_lists import Difference

PEOPLE = ("people", "delegations", "duties")
ORDER = ("stages",)
_OF_ORDER = ("default_profile", "rehearsal", "timezone", "compromised")
_NAMED_IN_SITE = ("zones", "segments", "devices", "hosts", "outside", "exits")


@dataclass(frozen=True)
class Change:
    """One thing that is said differently. `key` is empty when the whole entry appears or disappears."""

    section: str
    name: str
    kind: Literal["added", "removed", "changed"]
    key: str = ""
    before: str = ""
    after: str = ""

    @property
    def place(self) -> str:
        return ".".join(part for part in (self.section, self.name, self.key) if part)

    def describe(self) -> str:
        if self.kind != "changed":
            return f"{'+' if self.kind == 'added' else '-'} {self.place}"
        return f"~ {self.place}: {self.before or '(nothing)'} → {self.after or '(nothing)'}"


@dataclass(frozen=True)
class PolicyDifference:
    """`reachability`: stage → packets that it opens, and no longer opens; `overall` is of all stages together, where a
    flow that only moves to another stage makes no difference. `cut`: (profile, device) → what passes the cut itself, where
    both cut there. `devices`: when flows go another way, what all stages open on each device of flow grain, as that
    device sees it. `looser`: the changes by which more passes than these packets show: a cut that stops less, a stage that
    lifts the layer, networks within a tunnel."""

    overall: Difference
    reachability: Mapping[str, Difference]
    cut: Mapping[tuple[str, str], Difference]
    devices: Mapping[str, Difference]
    guards: tuple[Change, ...]
    looser: tuple[Change, ...]
    order: tuple[Change, ...]
    people: tuple[Change, ...]
    keys: tuple[Change, ...]
    other: tuple[Change, ...]
    inventory: tuple[Change, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        return (*self.guards, *self.order, *self.people, *self.keys, *self.other, *self.inventory)

    @property
    def widens(self) -> bool:
        """Whether any packet becomes possible: once all stages are open, on any device, or because a cut stops less."""
        packets = (self.overall, *self.cut.values(), *self.devices.values())
        return bool(self.looser) or any(difference.appears for difference in packets)

    def __bool__(self) -> bool:
        return bool(self.overall or self.reachability or self.cut or self.changes)


def between(
    before: tuple[Site, Policy], after: tuple[Site, Policy], keys_before: str | None = None, keys_after: str | None = None
) -> PolicyDifference:
    """The difference. `keys_*` are texts of `allowed_signers`; compared when both are given.

    Raises Refused (`packet-set-too-complex`) and what `layers_of` raises for files that `policy check` refuses.
    """
    one, other = before[1], after[1]
    sections = {name for name, _ in _named(one)} | {name for name, _ in _named(other)}
    told = {*PEOPLE, *ORDER}
    cut, guards, looser = _cuts(before, after)
    ratification = _entry("ratification", "", _plain(one, "ratification"), _plain(other, "ratification"))
    return PolicyDifference(
        overall=between_policies(one, other),
        reachability=stage_by_stage(one, other),
        cut=cut,
        devices=_on_devices(before, after) if before[0] != after[0] or _ways(one) != _ways(other) else {},
        guards=tuple(guards),
        looser=(*looser, *_lifting(one, other), *_tunnels(one, other)),
        order=tuple(_of_sections(one, other, ORDER)) + tuple(_turned(one, other)),
        people=(*_of_sections(one, other, PEOPLE), *ratification, *_single("resume", _plain(one, "resume"), _plain(other, "resume"))),
        keys=tuple(_keys(keys_before, keys_after)) if keys_before is not None and keys_after is not None else (),
        other=(
            *_of_sections(one, other, sorted(sections - told)),
            *(change for key in _OF_ORDER for change in _single(key, _plain(one, key), _plain(other, key))),
            *_single("site", one.site, other.site),
        ),
        inventory=tuple(_inventories(before[0], after[0])),
    )


def _cuts(
    before: tuple[Site, Policy], after: tuple[Site, Policy]
) -> tuple[dict[tuple[str, str], Difference], list[Change], list[Change]]:  # fmt: skip
    """What passes the layers that both lay; how the layers differ; and those of these changes that stop less."""
    one, other = _layers(*before), _layers(*after)
    kept: dict[tuple[str, str], Difference] = {}
    guards: list[Change] = []
    looser: list[Change] = []
    for place in sorted({*one, *other}):
        old, new = one.get(place), other.get(place)
        if old and new and (difference := between_elements(old.keep, new.keep)):
            kept[place] = difference
        found: list[Change] = []
        was, now = (", ".join(layer.guard) if layer else "" for layer in (old, new))
        if was != now:
            found.append(Change("profiles", place[0], "changed", f"layers.{place[1]}", was, now))
        if old and new and (old.coarse, set(old.scope)) != (new.coarse, set(new.scope)):
            told = _told(_reach(old), _reach(new))
            found.append(Change("profiles", place[0], "changed", f"layers.{place[1]} (what it stops)", *told))
        guards += found
        if old and _stops_less(old, new):
            looser += found
    return kept, guards, looser


def _stops_less(old: Layer, new: Layer | None) -> bool:
    """Whether something that the old layer stopped is none of the new one's business. What it keeps is compared as packets."""
    if new is None or set(old.guard) - set(new.guard):
        return True
    if old.coarse and not new.coarse and new.scope:
        return True
    concerned = old.scope or EVERYTHING
    return bool(new.scope) and any(without_prefixes(prefix, new.scope) for prefix in concerned)


def _ways(policy: Policy) -> tuple[frozenset[tuple[str, str | None, str | None]], frozenset[tuple[str, str]]]:
    """What decides over which devices a flow goes, beside the inventory and its addresses."""
    flows = frozenset((flow.name, flow.exit, flow.terminates_on) for flow in policy.flows)
    return flows, frozenset((partner.name, partner.zone) for partner in policy.partners)


def _lifting(one: Policy, other: Policy) -> Iterator[Change]:
    before = {stage.name for stage in one.stages if stage.lifts}
    for stage in other.stages:
        if stage.lifts and stage.name not in before:
            yield Change("stages", stage.name, "changed", "lifts", "false", "true")


def _tunnels(one: Policy, other: Policy) -> Iterator[Change]:
    """Of a flow that both have, networks within its tunnel that were not declared, or a tunnel that became opaque."""
    before = {flow.name: flow.ipsec for flow in one.flows}
    for flow in other.flows:
        old, new = before.get(flow.name), flow.ipsec
        if old is None or new is None or old.opaque:
            continue
        if new.opaque or any(without_prefixes(network, old.inner) for network in new.inner):
            yield Change("flows", flow.name, "changed", "ipsec", *_told(old.model_dump(mode="json"), new.model_dump(mode="json")))


def _reach(layer: Layer) -> list[str]:
    """What the layer stops unless it keeps it."""
    if layer.coarse:
        return ["everything, closed whole"]
    return [str(prefix) for prefix in layer.scope] or ["everything that is not kept"]


def _on_devices(before: tuple[Site, Policy], after: tuple[Site, Policy]) -> dict[str, Difference]:
    """Another translation, route or exit sends the same flow over other devices, or makes them see it otherwise."""
    one, other = _opened_on(*before), _opened_on(*after)
    found = {name: between_elements(one.get(name, ()), other.get(name, ())) for name in sorted({*one, *other})}
    return {name: difference for name, difference in found.items() if difference}


def _opened_on(site: Site, policy: Policy) -> dict[str, list[Element]]:
    """Device → what all stages together open on it, wherever a cut may guard it."""
    found: dict[str, list[Element]] = {}
    for stage in policy.stages:
        for flow in map(policy.flow, stage.flows):
            for name in flow.partners if stage.partners is None else set(flow.partners) & set(stage.partners):
                for device, elements in elements_of(site, flow, policy.partner(name)).items():
                    found.setdefault(device, []).extend(elements)
    return found


def _layers(site: Site, policy: Policy) -> dict[tuple[str, str], Layer]:
    return {(profile.name, layer.device): layer for profile in policy.profiles for layer in layers_of(site, policy, profile.name)}


def _named(policy: Policy) -> Iterator[tuple[str, tuple[Model, ...]]]:
    """The sections that hold entries with names."""
    for section in type(policy).model_fields:
        value = getattr(policy, section)
        if isinstance(value, tuple) and section not in _OF_ORDER:
            yield section, value


def _of_sections(one: Policy, other: Policy, sections: Iterable[str]) -> Iterator[Change]:
    for section in sections:
        yield from _entries(section, getattr(one, section), getattr(other, section))


def _entries(section: str, before: Iterable[Any], after: Iterable[Any]) -> Iterator[Change]:
    old = {item.name: item for item in before}
    new = {item.name: item for item in after}
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            yield Change(section, name, "removed")
        elif name not in old:
            yield Change(section, name, "added")
        elif old[name] != new[name]:
            yield from _entry(section, name, old[name].model_dump(mode="json"), new[name].model_dump(mode="json"))


def _entry(section: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys((*before, *after)):
        if before.get(key) != after.get(key):
            yield Change(section, name, "changed", str(key), *_told(before.get(key), after.get(key)))


def _single(key: str, before: Any, after: Any) -> Iterator[Change]:
    if before != after:
        yield Change(key, "", "changed", "", *_told(before, after))


def _told(before: Any, after: Any) -> tuple[str, str]:
    """Of two long lists, or entries with keys, only what they do not share."""
    if isinstance(before, list) and isinstance(after, list):
        gone, come = [item for item in before if item not in after], [item for item in after if item not in before]
        if gone or come:
            return _said(gone), _said(come)
    if isinstance(before, dict) and isinstance(after, dict):
        parts = {key: _told(before.get(key), after.get(key)) for key in {**before, **after} if before.get(key) != after.get(key)}
        sides = [", ".join(f"{key}: {pair[side] or '(nothing)'}" for key, pair in parts.items()) for side in (0, 1)]
        return f"{{{sides[0]}}}", f"{{{sides[1]}}}"
    return _said(before), _said(after)


def _said(value: Any) -> str:
    """As the files would say it, on one line."""
    if value is None or value in ([], {}, ""):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_said(item) or "—" for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_said(item)}" for key, item in value.items() if _said(item)) + "}"
    return str(value)


def _turned(one: Policy, other: Policy) -> Iterator[Change]:
    """Stages that both have, written in another order: it is the last criterion of what comes first."""
    names = [[stage.name for stage in policy.stages] for policy in (one, other)]
    both = set(names[0]) & set(names[1])
    old, new = ([name for name in chosen if name in both] for chosen in names)
    if old != new:
        yield Change("stages", "", "changed", "", _said(old), _said(new))


def _plain(policy: Policy, key: str) -> Any:
    return policy.model_dump(mode="json", include={key})[key]


def _keys(before: str, after: str) -> Iterator[Change]:
    """Per person: only that their lines differ, for a key is not for reading."""
    one, other = _lines_of(before), _lines_of(after)
    for person in dict.fromkeys((*one, *other)):
        old, new = one.get(person, []), other.get(person, [])
        if old != new:
            kind: Literal["added", "removed", "changed"] = "changed" if old and new else "added" if new else "removed"
            yield Change("allowed_signers", person, kind, "", f"{len(old)} keys", f"{len(new)} keys")


def _lines_of(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (line.strip() for line in text.splitlines()):
        if line and not line.startswith("#"):
            for person in line.split()[0].split(","):
                found.setdefault(person, []).append(line)
    return found


def _inventories(one: Site, other: Site) -> Iterator[Change]:
    for section in _NAMED_IN_SITE:
        yield from _entries(section, getattr(one, section), getattr(other, section))
    for key in ("name", "orchestrator"):
        yield from _single(key, *(site.model_dump(mode="json", include={key})[key] for site in (one, other)))
