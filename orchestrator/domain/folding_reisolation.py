"""Re-isolations, raised epochs and fences, folded: which generation is in force, and where it has arrived."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.state import DeviceStatus, SiteState
from orchestrator.domain.subtractions import Reisolation

TAKEOVER = "takeover"


def _reisolation_ordered(state: SiteState, event: Event) -> SiteState:
    body = event.body
    stages = {name: tuple((str(flow), str(partner)) for flow, partner in pairs) for name, pairs in body["stages"].items()}
    ordered = Reisolation(
        body["reisolation"], body["what"], body["name"], body["reason"], body.get("by") or event.actor, event.at, event.seq, body["epoch"],
        stages, tuple((str(stage), str(flow), str(partner), str(where)) for stage, flow, partner, where in body.get("takes", ())),
        tuple(body.get("notes", ())), body.get("block") or "", rehearsal=body.get("rehearsal") is True,
    )  # fmt: skip
    interrupted = {name: item for name, item in state.interrupted.items() if name not in stages}  # not resumed with the rest
    return replace(state, reisolations={**state.reisolations, ordered.id: ordered}, interrupted=interrupted)


def _reisolation_checked(state: SiteState, event: Event) -> SiteState:
    """Known from the order, which is always before it in the log. Not `final`: a device still owed something."""
    body = event.body
    found = state.reisolations.get(body["reisolation"])
    if found is None:
        return state
    checked = replace(found, checked=body["check"] if body.get("final", True) else found.checked, leaks=tuple(body.get("leaks", ())))
    return replace(state, reisolations={**state.reisolations, checked.id: checked})


def _epoch_raised(state: SiteState, event: Event) -> SiteState:
    """Every device that holds a layer is owed a fence of this epoch. Only a takeover stops what runs (a cut-off has events
    of its own): a re-isolation stops what it concerns by name, and the rest goes on under the new epoch."""
    epoch = int(event.body["epoch"])
    taken = epoch if event.body.get("why") == TAKEOVER else 0
    return replace(
        state, epoch=max(state.epoch, epoch), fence_epoch=max(state.fence_epoch, epoch), takeover_epoch=max(state.takeover_epoch, taken)
    )


def _device_fenced(state: SiteState, event: Event) -> SiteState:
    if event.body["step"] != "applied":
        return state
    device, epoch = state.device(str(event.device)), int(event.body["epoch"])
    hanging = device.hanging if epoch <= (device.epoch or 0) else frozenset()  # what was sent at an older one opens nothing any more
    return _with_device(state, replace(device, epoch=max(device.epoch or 0, epoch), hanging=hanging))


def _handed_over(state: SiteState, event: Event) -> SiteState:
    """A guard that was released for one stage and that another one needs as well is held by that one from now on."""
    device, to = state.device(str(event.device)), str(event.body["to"])
    names = tuple(str(name) for name in event.body["releases"])
    releases = {**device.releases, to: tuple(dict.fromkeys((*device.releases.get(to, ()), *names)))}
    left = tuple(name for name in device.releases.get(str(event.stage), ()) if name not in names)
    releases.pop(str(event.stage), None)
    if left:
        releases[str(event.stage)] = left
    return _with_device(state, replace(device, releases=releases))


def _with_device(state: SiteState, device: DeviceStatus) -> SiteState:
    return replace(state, devices={**state.devices, device.name: device})


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.REISOLATION_ORDERED: _reisolation_ordered,
    E.REISOLATION_CHECKED: _reisolation_checked,
    E.EPOCH_RAISED: _epoch_raised,
    E.DEVICE_FENCED: _device_fenced,
    E.OPENING_HANDED_OVER: _handed_over,
}
