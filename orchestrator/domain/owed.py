"""What the log owes to each device: to be closed, fenced or blocked there, and not read back to be so yet.

Computed from the state and nothing else, so that whoever comes after a crash owes the same. It only subtracts.

What a stage has laid for a conversation that was closed alone stays in one case: every packet of it is needed by another
conversation that the stage still holds open (other stages hold their own). What two boxes only share in part is closed with
the one that it was laid for; whom that takes something from, `taken_from` names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.domain.blocklist import within
from orchestrator.domain.conditions import in_force
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.layer import DeviceChange, Element, Opening
from orchestrator.domain.needs import Held, Needs, all_living, living
from orchestrator.domain.network import Prefix
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.domain.state import DeviceStatus, SiteState, StageStatus

_CLOSES_IN = LETS_THROUGH | {StageState.SUSPENDED}


@dataclass(frozen=True)
class Owed:
    """To one device. `settles`: per stage what leaves its account once it is read back closed; `closes`: what is taken off the
    device for it, which is that without what other stages hold. `fence`: the epoch; None: it is there."""

    device: str
    fence: int | None = None
    settles: Mapping[str, DeviceChange] = field(default_factory=dict)
    closes: DeviceChange | None = None
    block: tuple[Prefix, ...] = ()

    @property
    def is_nothing(self) -> bool:
        return self.fence is None and not self.settles and not self.block


def owed(state: SiteState, blocking: Collection[str] = ()) -> tuple[Owed, ...]:
    """Per device that is owed something. `blocking` are the devices whose platform keeps a block list."""
    if state.ratified is None:
        return ()
    needs = Needs(in_force(state))
    everything = all_living(state)
    closing = [status for status in state.stages.values() if status.state in _CLOSES_IN and _was_narrowed(status)]
    found = []
    for device in state.devices.values():
        settles = {status.name: change for status in closing if (change := _leaving(status, device, needs, everything)) is not None}
        missing = device.name in blocking and not within(state.blocklist, device.blocked)
        fence = state.fence_epoch if device.slots and (device.epoch or 0) < state.fence_epoch else None
        one = Owed(device.name, fence, settles, _sent(device, settles), state.blocklist if missing and device.slots else ())
        if not one.is_nothing:
            found.append(one)
    return tuple(found)


def whole(state: SiteState, stage: str) -> tuple[DeviceChange, ...]:
    """What is taken off the devices when all of a stage is closed."""
    status = state.stage(stage)
    held = {device.name: held_by(status, device) for device in state.devices.values()}
    sent = [_sent(state.device(name), {stage: change}) for name, change in held.items() if change is not None]
    return tuple(change for change in sent if change is not None)


def taken_from(state: SiteState, closed: Iterable[DeviceChange]) -> tuple[tuple[Held, str], ...]:
    """Whom it takes something from, and on which device, when this is taken off the devices: conversations of any stage that
    live on and need a packet of it."""
    if state.ratified is None:
        return ()
    needs, everything = Needs(in_force(state)), all_living(state)
    found: dict[tuple[Held, str], None] = {}
    for change in closed:
        losers = [*needs.taken(change.elements, change.device, everything)]
        losers += [held for held in everything for port in change.releases if needs.crosses(held.conversation, change.device, port)]
        found |= dict.fromkeys((held, change.device) for held in losers)
    return tuple(found)


def kept_for(state: SiteState, closing: str) -> tuple[tuple[Held, str], ...]:
    """Who keeps what a stage holds, and on which device, when all of the stage is closed: conversations of other stages that
    hold the very same opening."""
    found: dict[tuple[Held, str], None] = {}
    everything = all_living(state)
    for device in state.devices.values():
        held = held_by(state.stage(closing), device)
        mine = set(held.elements) if held is not None else set()
        for name, elements in device.openings.items() if mine else ():
            if name != closing and (common := mine.intersection(elements)):
                labels = _labels(state.stage(name), device.name)
                pairs = {pair for element in common for pair in _pairs(labels.get(element, ()))}
                found |= dict.fromkeys((other, device.name) for other in everything if other.stage == name and other.conversation in pairs)
    return tuple(found)


def handing_over(state: SiteState, closing: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(device, stage, guards): guards that were released for the stage that closes, and that a conversation of another stage
    crosses as well. That stage holds them from then on."""
    if state.ratified is None:
        return
    needs, others = Needs(in_force(state)), [held for held in all_living(state) if held.stage != closing]
    for device in state.devices.values():
        mine = [port for port in device.releases.get(closing, ()) if not _released_by_others(device, closing, port)]
        heirs: dict[str, list[str]] = {}
        for port in mine:
            heir = next((held.stage for held in others if needs.crosses(held.conversation, device.name, port)), None)
            if heir is not None:
                heirs.setdefault(heir, []).append(port)
        yield from ((device.name, heir, tuple(ports)) for heir, ports in heirs.items())


def held_by(status: StageStatus, device: DeviceStatus) -> DeviceChange | None:
    """All that the log says a stage holds on a device, or may (`pending`), with what it serves; None: nothing."""
    labels = _labels(status, device.name)
    pending = device.pending.get(status.name)
    openings = {item.element: item for item in (pending.openings if pending is not None else ())}
    openings |= {element: labels[element][0] for element in device.openings.get(status.name, ()) if labels.get(element)}
    bare = [element for element in device.openings.get(status.name, ()) if element not in openings]
    openings |= {element: Opening(flow="unknown", partner="unknown", element=element) for element in bare}
    releases = dict.fromkeys((*device.releases.get(status.name, ()), *(pending.releases if pending is not None else ())))
    if not openings and not releases:
        return None
    return DeviceChange(device=device.name, openings=tuple(openings.values()), releases=tuple(sorted(releases)))


# --- within -------------------------------------------------------------------------------------------------------


def _was_narrowed(status: StageStatus) -> bool:
    return ConversationState.REISOLATED in status.conversations.values()


def _leaving(status: StageStatus, device: DeviceStatus, needs: Needs, everything: Collection[Held]) -> DeviceChange | None:
    """What the stage holds there for nobody any more."""
    held = held_by(status, device)
    if held is None:
        return None
    labels, stay = _labels(status, device.name), set(living(status))
    candidates = [item for item in held.openings if stay.isdisjoint(_pairs(labels.get(item.element, ())))]
    needed = needs.index(stay, device.name) if candidates and stay else None
    openings = tuple(opening for opening in candidates if needed is None or not needed.holds(opening.element))
    crossing = [other.conversation for other in everything]
    releases = tuple(port for port in held.releases if not any(needs.crosses(pair, device.name, port) for pair in crossing))
    return DeviceChange(device=device.name, openings=openings, releases=releases) if openings or releases else None


def _sent(device: DeviceStatus, settles: Mapping[str, DeviceChange]) -> DeviceChange | None:
    """The union of it, without what any stage goes on holding."""
    if not settles:
        return None
    gone = {name: set(change.elements) for name, change in settles.items()}
    kept = {element for name, elements in device.openings.items() for element in elements if element not in gone.get(name, ())}
    held = {
        port for name, ports in device.releases.items() for port in ports if port not in (settles[name].releases if name in settles else ())
    }
    openings = {item.element: item for change in settles.values() for item in change.openings if item.element not in kept}
    releases = {port: None for change in settles.values() for port in change.releases if port not in held}
    return DeviceChange(device=device.name, openings=tuple(openings.values()), releases=tuple(sorted(releases)))


def _labels(status: StageStatus, device: str) -> dict[Element, list[Opening]]:
    """What each element of the stage's plan serves there."""
    found: dict[Element, list[Opening]] = {}
    for part in status.plan.devices if status.plan is not None else ():
        if part.device == device:
            for opening in (*part.change.openings, *part.change.shared):
                found.setdefault(opening.element, []).append(opening)
    return found


def _pairs(openings: Iterable[Opening]) -> set[tuple[str, str]]:
    return {(opening.flow, opening.partner) for opening in openings}


def _released_by_others(device: DeviceStatus, stage: str, port: str) -> bool:
    return any(port in ports for name, ports in device.releases.items() if name != stage)
