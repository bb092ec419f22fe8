"""Step 6 of the cut-off: the open sessions, recorded before those outside the permitted set are killed.

A connection is permitted when every layer on the device lets it live; care and management never cross a guard or are
kept, so they are never killed. Listing is bounded in time; the drop already lies, so a listing that fails loses
evidence and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.domain.layer import Layer, TrackedConnection

if TYPE_CHECKING:
    from orchestrator.dialects.base import Dialect


@dataclass(frozen=True)
class Sessions:
    """What one device tracked: all of it, and what is outside the permitted set."""

    tracked: tuple[TrackedConnection, ...]
    outside: tuple[TrackedConnection, ...]


def layers_on(
    device: str, slots: Sequence[str], cut: Mapping[str, Any], body: Mapping[str, Any]
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """The layers that lie on a device: the one just laid, and those of earlier cut-offs with other profiles.

    Second, the slots that this pack does not know (laid under an earlier policy): what they would permit cannot be told.
    """
    known: dict[str, Any] = {}
    for profile in body["profiles"].values():
        for entry in _entries(profile):
            if entry["device"] == device:
                known[entry["layer"]["slot"]] = entry["layer"]
    known[cut["slot"]] = cut
    lying = {cut["slot"], *slots}
    return (
        tuple(Layer.model_validate(known[slot]) for slot in sorted(lying) if slot in known),
        tuple(slot for slot in sorted(lying) if slot not in known),
    )


def slots_of(body: Mapping[str, Any], profile: str) -> set[str]:
    """Every slot that a cut-off with this profile may lay, on any device."""
    return {str(entry["layer"]["slot"]) for entry in _entries(body["profiles"].get(profile, {"devices": ()}))}


def _entries(profile: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """All device entries of a profile; what is not well formed among the further ones must not keep the others from being read."""
    table = profile.get("instead")
    further = table.get("guards") if isinstance(table, dict) else None
    items = (*profile["devices"], *(further.values() if isinstance(further, dict) else ()))
    return tuple(item for item in items if isinstance(item, dict) and isinstance(item.get("layer"), dict))


def sorted_out(dialect: Dialect, output: str, layers: Sequence[Layer]) -> Sessions:
    """Parses a listing and tells who is outside. Raises DeviceUnknown for output that cannot be read."""
    tracked = dialect.parse_sessions(output)
    outside = tuple(connection for connection in tracked if not permitted(connection, layers))
    return Sessions(tracked, outside)


def permitted(connection: TrackedConnection, layers: Sequence[Layer]) -> bool:
    return all(layer.permits(connection.source, connection.destination, connection.protocol, connection.port) for layer in layers)
