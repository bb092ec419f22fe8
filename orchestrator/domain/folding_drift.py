"""Drift, surroundings, devices that cannot be read and who acts, folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.domain.drift_status import ActingServer, Deviation, DriftStatus, Kind, Section, Unreachable
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.state import SiteState


def deviation(body: Mapping[str, Any]) -> Deviation:
    """As an event holds it."""
    return Deviation(
        Kind(body["kind"]), body["more"], body["text"], tuple(body["appears"]), tuple(body["disappears"]), body["section"],
        body["sha256"], tuple(body["diff"]), body["since"],
    )  # fmt: skip


def as_json(found: Deviation) -> dict[str, Any]:
    return {
        "kind": found.kind.value, "more": found.more, "text": found.text, "appears": list(found.appears),
        "disappears": list(found.disappears), "section": found.section, "sha256": found.sha256, "diff": list(found.diff),
        "since": found.since,
    }  # fmt: skip


def _drift(state: SiteState, event: Event) -> SiteState:
    """`found` (of a repair: `left`) is all that stands now."""
    listed = event.body["found"] if event.type is E.DRIFT_DETECTED else event.body["left"]
    found = tuple(deviation(item) for item in listed)
    status = DriftStatus(str(event.device), found, min((item.since for item in found), default=""), event.seq)
    return _watched(state, drift={**state.watched.drift, status.device: status})


def _surroundings(state: SiteState, event: Event) -> SiteState:
    device, body = str(event.device), event.body
    noted = {
        name: Section(item["sha256"], item["text"], event.at, event.seq, body.get("by", ""), body.get("reason", ""))
        for name, item in body["sections"].items()
    }
    whole = {} if body.get("whole") else dict(state.watched.surroundings.get(device, {}))
    return _watched(state, surroundings={**state.watched.surroundings, device: {**whole, **noted}})


def _still_unknown(state: SiteState, event: Event) -> SiteState:
    body = event.body
    tried = Unreachable(body["since"], body["tries"], event.at, body["why"])
    return _watched(state, unreachable={**state.watched.unreachable, str(event.device): tried})


def _server_acts(state: SiteState, event: Event) -> SiteState:
    return _watched(state, server=ActingServer(event.body["server"], event.at, event.body.get("instead_of", "")))


def _watched(state: SiteState, **changed: Any) -> SiteState:
    return replace(state, watched=replace(state.watched, **changed))


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.DRIFT_DETECTED: _drift,
    E.DRIFT_REPAIRED: _drift,
    E.SURROUNDINGS_NOTED: _surroundings,
    E.DEVICE_STILL_UNKNOWN: _still_unknown,
    E.SERVER_ACTS: _server_acts,
}
