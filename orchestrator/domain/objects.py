"""Which objects an event moves, by the names that the API gives them: `stages/P1`, `devices/fw-ext`, `waivers/W2`.

The version of an object is the sequence number of the last event that moved it.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent

_NAMED: Mapping[E, tuple[str, str]] = {  # the list that the object is in, and the member of the body that names it
    E.WAIVER_REQUESTED: ("waivers", "waiver"),
    E.WAIVER_GRANTED: ("waivers", "waiver"),
    E.WAIVER_ENDED: ("waivers", "waiver"),
    E.EXTENSION_REQUESTED: ("extensions", "extension"),
    E.EXTENSION_GRANTED: ("extensions", "extension"),
    E.RECUT_SCHEDULED: ("recuts", "recut"),
    E.RECUT_CANCELLED: ("recuts", "recut"),
    E.RECUT_STARTED: ("recuts", "recut"),
    E.DELEGATION_GRANTED: ("delegations", "name"),
    E.DELEGATION_REVOKED: ("delegations", "name"),
    E.UNBLOCK_REQUESTED: ("blocks/removals", "unblocking"),
    E.UNBLOCK_GRANTED: ("blocks/removals", "unblocking"),
    E.REISOLATION_ORDERED: ("reisolations", "reisolation"),
    E.REISOLATION_CHECKED: ("reisolations", "reisolation"),
}


def objects_of(event: NewEvent) -> tuple[str, ...]:
    """Empty for what moves none: a refused try is about a stage, and leaves it as it is."""
    if event.type is E.ACCESS_DENIED:
        return ()
    found = [f"stages/{event.stage}"] if event.stage is not None else []
    if event.device is not None:
        found.append(f"devices/{event.device}")
    if (named := _NAMED.get(event.type)) is not None and isinstance(name := event.body.get(named[1]), str):
        found.append(f"{named[0]}/{name}")
    return tuple(found)
