"""What repairing does about drift on one device. It only ever subtracts: it closes, shuts, blocks, fences, and lays again what
was laid. What was approved and is not there is never opened again: those stages are suspended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from orchestrator.domain.drift import ByTheLog, losing, suspended_by, without_end
from orchestrator.domain.drift_status import Deviation, Kind
from orchestrator.domain.layer import DeviceChange, Element, Layer, Observed, Opening
from orchestrator.domain.network import Prefix
from orchestrator.domain.state import SiteState

NEEDS_LAYING = frozenset({Kind.LAYER_MISSING, Kind.LAYER_CHANGED, Kind.NOT_MODELLED})
_LESS = frozenset({Kind.NOT_OPEN, Kind.ENDS, Kind.GUARD_SHUT})
BY_HAND = "drift"  # what an opening that nobody approved is said to serve


@dataclass(frozen=True)
class Repair:
    """In this order: `suspends` is said, then all of it is sent. `lays` are laid and made what it starts with; `persists` only
    the latter. `cannot` is for people."""

    tightens: bool = False
    lays: tuple[Layer, ...] = ()
    persists: tuple[Layer, ...] = ()
    fences: bool = False
    closes: DeviceChange | None = None
    blocks: tuple[Prefix, ...] = ()
    raises_epoch: bool = False
    suspends: tuple[str, ...] = ()
    did: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()

    @property
    def sends_nothing(self) -> bool:
        return not (self.tightens or self.lays or self.persists or self.fences or self.closes or self.blocks or self.raises_epoch)


def repair_of(
    state: SiteState, log: ByTheLog, seen: Observed, found: Iterable[Deviation], *, only_more: bool, lays_all: bool = False
) -> Repair:
    """`only_more`: what is less than approved is left for a person to say. `lays_all`: milder means have not helped."""
    kinds = {item.kind for item in found if item.more or not only_more}
    lays = bool(kinds & NEEDS_LAYING) or (lays_all and any(item.more for item in found))
    did: list[str] = []
    cannot: list[str] = []
    if lays and log.layers is None:
        cannot.append("no ratified profile defines a slot of it: cut it off again (orchestrator cutoff)")
        lays = False
    suspends: list[str] = list(suspended_by(state, log.device)) if lays else []
    extra, lasting = _extra(log, seen), without_end(log, seen) if Kind.NO_END in kinds else frozenset()
    guards = _guards(log, seen) if Kind.GUARD_OPEN in kinds else ()
    closes = None
    if not lays and (lasting or guards or (extra and Kind.OPEN in kinds)):
        elements = sorted((extra if Kind.OPEN in kinds else frozenset()) | lasting, key=Element.sort_key)
        openings = tuple(Opening(flow=BY_HAND, partner=BY_HAND, element=element) for element in elements)
        closes = DeviceChange(device=log.device, openings=openings, releases=guards)
        did.append(f"closed {len(openings)} openings" + (f" and {', '.join(guards)}" if guards else ""))
        suspends += losing(state, log.device, lasting, ())
    if kinds & _LESS:
        opened = set(seen.opened) | {element for element, _ in seen.temporary}
        gone = (log.must - opened) | ((log.must & {element for element, _ in seen.temporary}) - log.ends)
        suspends += losing(state, log.device, gone, log.released & set(seen.closed))
    if lays:
        did.append("laid the layer again, and made it what it starts with")
    tightens = Kind.LOOSENED in kinds and not lays
    if tightens:
        did.append("put the layer back in force")
    fences = Kind.EPOCH_OLDER in kinds and not lays
    if fences:
        did.append("fenced it at the epoch of the log")
    blocks = tuple(log.blocked) if Kind.NOT_BLOCKED in kinds else ()
    if blocks:
        did.append(f"put {len(blocks)} networks on its block list again")
    if Kind.EPOCH_NEWER in kinds:
        did.append("raised the epoch beyond the device's, and fenced it")
    persists = (log.layers or ()) if Kind.START_UP in kinds and not lays else ()
    if persists:
        did.append("made the layer what it starts with")
    suspended = tuple(dict.fromkeys(suspends))
    return Repair(
        tightens=tightens,
        lays=log.layers or () if lays else (),
        persists=persists,
        fences=fences,
        closes=closes,
        blocks=blocks,
        raises_epoch=Kind.EPOCH_NEWER in kinds,
        suspends=suspended,
        did=(
            *did,
            *(f"suspended {stage}: what it had open there is gone, and comes back by a new plan and new votes" for stage in suspended),
        ),
        cannot=tuple(cannot),
    )


def unconfirmed(log: ByTheLog, seen: Observed, leaving: Collection[Element] = ()) -> DeviceChange | None:
    """What is open on a device and not confirmed by the log, pending changes of closed stages included: after a restart it is
    closed. None: nothing."""
    opened = set(seen.opened) | {element for element, _ in seen.temporary}
    extra = opened - log.must - set(leaving)
    guards = _guards(log, seen)
    if not extra and not guards:
        return None
    openings = tuple(Opening(flow=BY_HAND, partner=BY_HAND, element=element) for element in sorted(extra, key=Element.sort_key))
    return DeviceChange(device=log.device, openings=openings, releases=guards)


def _extra(log: ByTheLog, seen: Observed) -> frozenset[Element]:
    return frozenset({*seen.opened, *(element for element, _ in seen.temporary)} - log.may)


def _guards(log: ByTheLog, seen: Observed) -> tuple[str, ...]:
    coarse = {guard for layer in log.layers or () if layer.coarse and layer.slot in seen.slots for guard in layer.guard}
    return tuple(sorted(coarse - set(seen.closed) - log.may_be_released))
