"""A whole device against the log: what became possible there that nobody approved, what is no longer possible, in packets.

`by_the_log` says what a device should hold, `compare` what differs. What a stage that was closed has left behind, and what a
running one lays, is neither missing nor foreign: closing, expiry and recovery deal with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.differences import between_elements
from orchestrator.domain.drift_status import Deviation, Kind
from orchestrator.domain.layer import Element, Layer, Observed
from orchestrator.domain.network import Prefix
from orchestrator.domain.packet_elements import box_of, packets_of
from orchestrator.domain.packets import Box, PacketSet, span, whole
from orchestrator.domain.stages import LETS_THROUGH, RUNNING, StageState
from orchestrator.domain.state import DeviceStatus, SiteState, moment
from orchestrator.errors import Refused

MOST_LINES = 40
LATE_S = 120  # a device that closes so much later than it was last read to close was told so by somebody else
_HOLDS = LETS_THROUGH | RUNNING


@dataclass(frozen=True)
class ByTheLog:
    """What a device should hold. `must` is open; `may` lies there rightly besides. `ends` closes by itself, after `left_s` where
    that is known. `layers` are those of its slots, in full; None when no ratified profile defines one of them. `boots`: what it
    should start with."""

    device: str
    slots: Mapping[str, str]
    epoch: int | None
    must: frozenset[Element]
    may: frozenset[Element]
    ends: frozenset[Element]
    left_s: Mapping[Element, float]
    released: frozenset[str]
    may_be_released: frozenset[str]
    blocked: tuple[Prefix, ...]
    layers: tuple[Layer, ...] | None
    boots: frozenset[str]
    loosened: bool  # a lift that is being tried has taken the layer off for a time


def by_the_log(state: SiteState, device: DeviceStatus, layers: tuple[Layer, ...] | None, expected: Observed | None, now: str) -> ByTheLog:
    """`expected` is what the dialect says that these layers read back as; `now` (RFC 3339) decides what has ended by now."""
    holding = {name for name, status in state.stages.items() if status.state in _HOLDS}
    over = {name for name, deadline in device.deadlines.items() if moment(deadline.closes_at) <= moment(now)}
    pending = list(device.pending.values())
    released = frozenset(port for name, ports in device.releases.items() if name in holding - over for port in ports)
    coarse = {guard for layer in layers or () if layer.coarse for guard in layer.guard}
    boots = (frozenset(expected.boots_with) or frozenset(expected.slots)) if expected is not None else frozenset(device.slots)
    lifting = any((plan := state.stage(name).plan) is not None and plan.lifts for name in holding)
    return ByTheLog(
        device=device.name,
        slots={slot: content or (expected.slots.get(slot, "") if expected is not None else "") for slot, content in device.slots.items()},
        epoch=device.epoch,
        must=frozenset(element for name, elements in device.openings.items() if name in holding - over for element in elements),
        may=frozenset(device.opened) | {element for change in pending for element in change.elements},
        ends=device.ending() | {element for change in pending for element in change.elements},
        left_s=_left(device, now),
        released=released,
        may_be_released=device.released | {port for change in pending for port in change.releases},
        blocked=device.blocked,
        layers=layers,
        boots=boots - (device.released & coarse),
        loosened=lifting,
    )


def _left(device: DeviceStatus, now: str) -> dict[Element, float]:
    """By the log, in how many seconds the device closes each element by itself: of several ends the last one counts."""
    found: dict[Element, float] = {}
    for name, deadline in device.deadlines.items():
        left = (moment(deadline.closes_at) - moment(now)).total_seconds()
        for element in device.openings.get(name, ()):
            found[element] = max(left, found.get(element, left))
    return found


def without_end(log: ByTheLog, seen: Observed) -> frozenset[Element]:
    """What is open as approved, and would not close by itself, or not before long after its end."""
    left = dict(seen.temporary)
    lasting = set(seen.opened) - left.keys()
    late = {element for element, seconds in left.items() if seconds > log.left_s.get(element, seconds) + LATE_S}
    return log.must & log.ends & (lasting | late)


def compare(log: ByTheLog, seen: Observed) -> tuple[Deviation, ...]:
    """Everything that differs, the gravest first. Empty: the device is as the log says."""
    layer = list(_layer(log, seen))
    if any(found.kind in (Kind.LAYER_MISSING, Kind.LOOSENED) for found in layer) and not seen.slots:
        return tuple(layer)  # nothing of ours is in force there: what was opened in it says nothing
    return (*layer, *_open(log, seen), *_guards(log, seen), *_blocked(log, seen), *_epoch(log, seen), *_start_up(log, seen))


def suspended_by(state: SiteState, device: str) -> tuple[str, ...]:
    """The stages that hold something open on a device: what laying its layer again takes from."""
    status = state.device(device)
    return tuple(
        name
        for name, stage in state.stages.items()
        if stage.state in _HOLDS - {StageState.REVERTING} and (name in status.openings or name in status.releases or name in status.pending)
    )


def losing(state: SiteState, device: str, elements: Iterable[Element], guards: Iterable[str]) -> tuple[str, ...]:
    """The stages that hold one of these open there, by the log."""
    status, lost, shut = state.device(device), set(elements), set(guards)
    return tuple(
        name
        for name in suspended_by(state, device)
        if lost & set(status.openings.get(name, ())) or shut & set(status.releases.get(name, ()))
    )


# --- the layer ------------------------------------------------------------------------------------------------------


def _layer(log: ByTheLog, seen: Observed) -> Iterator[Deviation]:
    if seen.loosened_s is not None:
        if not log.loosened:
            text = "the layer is taken off for a time: everything passes that the site's own rules let through"
            yield Deviation(Kind.LOOSENED, True, text, _everything(log, set(log.slots)))
        return
    missing = {slot for slot in log.slots if slot not in seen.slots}
    if missing and not log.loosened:
        text = f"the layer {', '.join(sorted(missing))} is not there: what it should stop passes by the site's own rules"
        yield Deviation(Kind.LAYER_MISSING, True, text, _everything(log, missing))
    changed = {slot for slot, content in log.slots.items() if content and seen.slots.get(slot, content) != content}
    if changed:
        text = f"the content of the layer {', '.join(sorted(changed))} is not what was laid: it counts as not there"
        yield Deviation(Kind.LAYER_CHANGED, True, text, _everything(log, changed))
    if more := sorted(set(seen.slots) - set(log.slots)):
        yield Deviation(Kind.LAYER_UNKNOWN, False, f"the layer {', '.join(more)} is there, and the log knows nothing of it")
    for line in seen.foreign:
        text = f"inside our own layer stands what we did not lay, and do not model: {line[:300]}"
        yield Deviation(Kind.NOT_MODELLED, True, text, ("what this line lets through cannot be told: it counts as open",))


def _everything(log: ByTheLog, lost: set[str]) -> tuple[str, ...]:
    """What may pass without these slots and may not pass with them, guard by guard; the site's own rules may stop some of it."""
    if log.layers is None:
        return ("any → any, through every guard of that layer, where the site's own rules let it",)
    found: list[str] = []
    for guard in sorted({guard for layer in log.layers if layer.slot in lost for guard in layer.guard}):
        there = [layer for layer in log.layers if guard in layer.guard]
        left = [layer for layer in there if layer.slot not in lost]
        if not left:
            found.append(f"any → any through {guard}, where the site's own rules let it")
            continue
        if any(layer.coarse for layer in left):
            continue  # another layer holds it shut
        try:
            appears = _passing(left, log.must) - _passing(there, log.must)
            found += [f"{box.describe()} through {guard}" for box in appears.summary()]
        except Refused:
            found.append(f"through {guard} more than can be listed, where the site's own rules let it")
    return shortened(found)


def _passing(layers: Sequence[Layer], opened: frozenset[Element]) -> PacketSet:
    """What all of these layers let pass."""
    found = PacketSet(_all())
    for layer in layers:
        allowed = PacketSet() if layer.coarse else packets_of([*layer.keep, *opened])
        if layer.scope:
            inside = [box for prefix in layer.scope for box in _with_an_end_in(prefix)]
            allowed = allowed | (PacketSet(_all()) - PacketSet(inside))
        found = found & allowed
    return found


def _all() -> Iterator[Box]:
    for family in (4, 6):
        yield Box(4 if family == 4 else 6, whole(4 if family == 4 else 6), whole(4 if family == 4 else 6))


def _with_an_end_in(prefix: Prefix) -> Iterator[Box]:
    family = prefix.version
    yield Box(family, span(prefix), whole(family))
    yield Box(family, whole(family), span(prefix))


# --- what is open in it ---------------------------------------------------------------------------------------------


def _open(log: ByTheLog, seen: Observed) -> Iterator[Deviation]:
    temporary = {element for element, _ in seen.temporary}
    opened = set(seen.opened) | temporary
    if extra := opened - log.may:
        text = f"{len(extra)} openings lie in the layer that nobody approved"
        yield Deviation(Kind.OPEN, True, text, appears=_boxes(log.may & opened, opened)[0] or _listed(extra))
    if missing := log.must - opened:
        text = f"{len(missing)} openings that were approved are not there: less passes than was approved"
        yield Deviation(Kind.NOT_OPEN, False, text, disappears=_boxes(opened | missing, opened)[1] or _listed(missing))
    if lasting := without_end(log, seen):
        text = f"{len(lasting)} openings have lost their end: they would not close by themselves, or long after it"
        yield Deviation(Kind.NO_END, True, text, _listed(lasting))
    if ending := (log.must & temporary) - log.ends:
        text = f"{len(ending)} openings have a deadline that nobody approved: they close by themselves"
        yield Deviation(Kind.ENDS, False, text, disappears=_listed(ending))


def _boxes(before: Iterable[Element], after: Iterable[Element]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What appears and what disappears, as exact sets of packets; empty when it is too much to list, or nothing."""
    try:
        found = between_elements(before, after)
        appears, disappears = found.appears.summary(), found.disappears.summary()
    except Refused:
        return (), ()
    return shortened([box.describe() for box in appears]), shortened([box.describe() for box in disappears])


def _listed(elements: Iterable[Element]) -> tuple[str, ...]:
    return shortened([box_of(element).describe() for element in sorted(elements, key=Element.sort_key)])


def _guards(log: ByTheLog, seen: Observed) -> Iterator[Deviation]:
    coarse = {guard for layer in log.layers or () if layer.coarse and layer.slot in seen.slots for guard in layer.guard}
    if open_ := sorted(coarse - set(seen.closed) - log.may_be_released):
        through = tuple(f"any → any through {name}, both ways, where the devices behind it let it" for name in open_)
        yield Deviation(Kind.GUARD_OPEN, True, f"{', '.join(open_)} should be closed and is not", through)
    if shut := sorted(log.released & set(seen.closed)):
        through = tuple(f"any → any through {name}" for name in shut)
        yield Deviation(Kind.GUARD_SHUT, False, f"{', '.join(shut)} was released by a stage and is closed", disappears=through)


def _blocked(log: ByTheLog, seen: Observed) -> Iterator[Deviation]:
    missing = _outside(log.blocked, seen.blocked)
    if missing:
        text = f"{len(missing)} networks are not on its block list and should be"
        yield Deviation(Kind.NOT_BLOCKED, True, text, _ends(missing))
    if more := _outside(seen.blocked, log.blocked):
        yield Deviation(
            Kind.BLOCKED, False, f"{len(more)} networks are on its block list, and the log knows nothing of it", (), _ends(more)
        )


def _outside(networks: Iterable[Prefix], others: Iterable[Prefix]) -> list[Prefix]:
    listed = list(others)
    return [one for one in networks if not any(one.version == other.version and one.subnet_of(other) for other in listed)]  # type: ignore[arg-type]


def _ends(networks: Iterable[Prefix]) -> tuple[str, ...]:
    return shortened([f"any ↔ {network}, of what is kept and opened" for network in networks])


def _epoch(log: ByTheLog, seen: Observed) -> Iterator[Deviation]:
    if log.epoch is None or not seen.slots or seen.epoch == log.epoch:
        return
    if seen.epoch is None or seen.epoch < log.epoch:
        text = f"its epoch is {seen.epoch}, not {log.epoch}: a command that comes late could still open something"
        yield Deviation(Kind.EPOCH_OLDER, True, text)
    else:
        text = f"its epoch is {seen.epoch}, and the log knows {log.epoch}: somebody has cut or fenced it without this log"
        yield Deviation(Kind.EPOCH_NEWER, False, text)


def _start_up(log: ByTheLog, seen: Observed) -> Iterator[Deviation]:
    lost = sorted(log.boots - set(seen.boots_with))
    if lost and seen.slots:
        text = f"it would not start with {', '.join(lost)}: a restart opens what that stops"
        yield Deviation(Kind.START_UP, True, text, _everything(log, set(lost) & set(log.slots)) if set(lost) & set(log.slots) else ())


def shortened(lines: list[str]) -> tuple[str, ...]:
    """At most `MOST_LINES`; the last one says how many more there are."""
    if len(lines) <= MOST_LINES:
        return tuple(lines)
    return (*lines[: MOST_LINES - 1], f"… and {len(lines) - MOST_LINES + 1} more")


def told(found: Deviation) -> tuple[str, ...]:
    """For people: the text, then `+` what becomes possible, `-` what no longer is, and the lines that differ."""
    return (
        found.text,
        *(f"  + {line}" for line in found.appears),
        *(f"  - {line}" for line in found.disappears),
        *(f"    {line}" for line in found.diff),
    )
