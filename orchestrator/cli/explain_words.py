"""An explanation of one packet, as lines for people and as JSON (docs/policy.md shows both)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from orchestrator.domain.explaining import Declared, Explanation, Guard, Source, Step, Verdict
from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import box_of
from orchestrator.domain.packet_ends import End, service_text
from orchestrator.domain.policy import Policy

_DOES = {
    "stops": "stops it",
    "closed": "closed whole",
    "keeps": "keeps it",
    "opened": "lets it pass",
    "released": "released",
    "out-of-scope": "lets it pass: not within its scope",
}
_DIRECTIONS = {"in": "coming in", "out": "going out", "inside": "within the site"}


def lines(policy: Policy, profile: str, item: Explanation) -> list[str]:
    packet = item.packet
    found = [_head(item)]
    found += [f"  {side:<10} {_end(end)}" for side, end in (("from", packet.source), ("to", packet.destination))]
    found += [f"  {'decided by' if not number else '':<10} {text}" for number, text in enumerate(_decided(policy, profile, item))]
    found += _way(item)
    found += [f"  {'note':<10} {text}" for text in _remarks(profile, item)]
    found += _guards(item)
    found += _verdicts(profile, item)
    return found


def as_json(item: Explanation) -> dict[str, Any]:
    packet = item.packet
    return {
        "direction": packet.direction,
        "family": packet.source.address.version,
        "source": _end_json(packet.source),
        "destination": _end_json(packet.destination),
        "service": service_text(packet.service),
        "published": packet.published.model_dump(mode="json") if packet.published is not None else None,
        "reachable": item.way is not None,
        "exit": item.way.exit.name if item.way is not None and item.way.exit is not None else None,
        "way": [_step_json(step) for step in item.steps],
        "enforced_by": list(item.enforced_by),
        "guarded": item.is_guarded,
        "unpublished": item.unpublished,
        "declared": [_declared_json(one) for one in item.declared],
        "care": list(item.care),
        "opened_by": item.opened_by,
        "verdicts": [_verdict_json(verdict) for verdict in item.told],
    }


def _head(item: Explanation) -> str:
    packet = item.packet
    by = f" by the exit {item.way.exit.name}" if item.way is not None and item.way.exit is not None else ""
    return f"{packet.source.address} → {packet.destination.address} {service_text(packet.service)}, {_DIRECTIONS[packet.direction]}{by}"


def _end(end: End) -> str:
    who = str(end) if end.name else str(end.address)
    return f"{who}, zone {end.zone}" + (f"; {end.address} stands for {end.stands_for}" if end.stands_for is not None else "")


def _decided(policy: Policy, profile: str, item: Explanation) -> Iterator[str]:
    for one in item.declared:
        yield _declared(policy, profile, one)
    given_up = {sacrifice.care: sacrifice.instead for sacrifice in policy.profile(profile).sacrifices}
    for name in item.care:
        told = f"sacrificed by the profile {profile}; instead: {given_up[name]}" if name in given_up else "it must work whatever is cut"
        yield f"care assertion {name}: {told}"
    kept = {guard.by for verdict in item.verdicts for guard in verdict.guards if guard.does == "keeps" and isinstance(guard.by, str)}
    yield from (f"{name}, kept by the profile {profile}" for name in sorted(kept - {one.flow for one in item.declared}))
    if not item.declared and not item.care and not kept:
        yield "nothing: no flow of the policy declares it"


def _declared(policy: Policy, profile: str, one: Declared) -> str:
    flow = policy.flow(one.flow)
    head = f"flow {one.flow} ({flow.application}) with {one.partner}"
    if one.denied is not None:
        return f"{head} would hold it, but its deny_from takes out {one.denied}"
    if one.elsewhere is not None:
        return f"{head} declares it by the exit {one.elsewhere}, and the routes take it elsewhere"
    opened = f"opened by {one.stage}" if one.stage is not None else "opened by no stage"
    return f"{head}, {f'kept by the profile {profile}; ' if one.kept else ''}{opened}"


def _way(item: Explanation) -> Iterator[str]:
    if item.way is None:
        yield f"  {'way':<10} none: the routes of the inventory lead it nowhere"
        return
    if not item.steps:
        yield f"  {'way':<10} no device of the inventory lies between the two"
        return
    cells = [
        (step.device, "+".join(step.grain), f"{step.enters or '(itself)'} → {step.leaves or '(itself)'}", _sees(step))
        for step in item.steps
    ]
    widths = [max(len(cell[column]) for cell in cells) for column in range(3)]
    for number, cell in enumerate(cells):
        text = "  ".join(part.ljust(width) for part, width in zip(cell, widths, strict=False))
        changed = number and cell[3] != cells[number - 1][3] and cell[3] and cells[number - 1][3]
        yield f"  {'way' if not number else '':<10} {text}  {cell[3]}{'  (translated)' if changed else ''}".rstrip()


def _sees(step: Step) -> str:
    return "; ".join(
        f"{_bare(element.source)} → {_bare(element.destination)} {box_of(element).describe_service()}" for element in step.sees
    )


def _bare(prefix: object) -> str:
    """A prefix that is one address, as the address."""
    return str(prefix).removesuffix("/32").removesuffix("/128")


def _remarks(profile: str, item: Explanation) -> Iterator[str]:
    packet = item.packet
    if packet.published is not None:
        public, inner = f"{packet.published.public} port {packet.published.port}", f"{packet.published.to} port {packet.published.to_port}"
        yield f"{public} is a published address: it is delivered to {inner}"
    if item.unpublished:
        yield "no device publishes this service: nobody outside can address it over IPv4"
    if item.way is not None and not item.enforced_by:
        yield "it crosses no device that can tell one flow from another: only a whole port or interface could be closed"
    if item.way is not None and not item.is_guarded:
        yield f"the profile {profile} guards nothing on this way: it neither cuts nor opens it"


def _guards(item: Explanation) -> Iterator[str]:
    """Every guard on the way, and from which stage on it does something else."""
    seen = [(verdict, guard) for verdict in item.told for guard in verdict.guards]
    for number, key in enumerate(dict.fromkeys((guard.device, guard.names, guard.slot) for _, guard in seen)):
        device, names, slot = key
        told = [(verdict, guard) for verdict, guard in seen if (guard.device, guard.names, guard.slot) == key]
        runs = [next(iter(run)) for _, run in groupby(told, key=lambda pair: pair[1])]
        first = _guard(runs[0][1])
        yield f"  {'guards' if not number else '':<10} {device} {', '.join(names)}, slot {slot}: {first}"
        for verdict, guard in runs[1:]:
            yield f"  {'':<10}   after {verdict.after}: {_guard(guard)}"


def _guard(guard: Guard) -> str:
    through = f" through {box_of(guard.element).describe()}" if guard.element is not None else ""
    return f"{_DOES[guard.does]}{through}{_by(guard)}"


def _by(guard: Guard) -> str:
    if isinstance(guard.by, Source):
        return f", laid by {guard.by.stage} for {guard.by.flow} with {guard.by.partner}"
    if guard.by is None:
        return ""
    return f" by {guard.by}" if guard.does == "released" else f" for {guard.by}"


def _verdicts(profile: str, item: Explanation) -> Iterator[str]:
    heads = [_after(profile, verdict) for verdict in item.told]
    width = max((len(head) for head in heads), default=0)
    for number, (head, verdict) in enumerate(zip(heads, item.told, strict=True)):
        yield f"  {'verdict' if not number else '':<10} {head:<{width}}  {_says(verdict)}"


def _after(profile: str, verdict: Verdict) -> str:
    return f"after {verdict.after}" if verdict.after is not None else f"cut by {profile}"


def _says(verdict: Verdict) -> str:
    if verdict.lifted:
        return "passes: no layer of ours is left, the site's own rules decide"
    said = "passes" if verdict.passes else f"blocked at {verdict.device}"
    if verdict.refused is not None:
        return f"{said} (this stage would be refused here: {verdict.refused.rule})"
    return said


def _end_json(end: End) -> dict[str, Any]:
    stands_for = str(end.stands_for) if end.stands_for is not None else None
    return {"address": str(end.address), "zone": end.zone, "name": end.name or None, "what": end.what, "stands_for": stands_for}


def _step_json(step: Step) -> dict[str, Any]:
    sees = [_element_json(element) for element in step.sees]
    return {
        "device": step.device,
        "grain": [grain.value for grain in step.grain],
        "enters": step.enters,
        "leaves": step.leaves,
        "sees": sees,
    }


def _element_json(element: Element) -> dict[str, str]:
    return {"source": str(element.source), "destination": str(element.destination), "service": box_of(element).describe_service()}


def _declared_json(one: Declared) -> dict[str, Any]:
    return {**one._asdict(), "denied": str(one.denied) if one.denied is not None else None}


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "after": verdict.after,
        "open": list(verdict.stages),
        "passes": verdict.passes,
        "blocked_at": verdict.device,
        "lifted": verdict.lifted,
        "refused": verdict.refused.rule if verdict.refused is not None else None,
        "guards": [_guard_json(guard) for guard in verdict.guards],
    }


def _guard_json(guard: Guard) -> dict[str, Any]:
    return {
        "device": guard.device,
        "guard": list(guard.names),
        "slot": guard.slot,
        "profile": guard.profile,
        "does": guard.does,
        "element": _element_json(guard.element) if guard.element is not None else None,
        "for": guard.by._asdict() if isinstance(guard.by, Source) else guard.by,
    }
