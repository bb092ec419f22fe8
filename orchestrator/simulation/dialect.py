"""The words of a simulated device: the same verbs as a real dialect, written as JSON.

A simulated device declares the composition and the fence of the platform that it stands for, so that plans and
proofs treat both alike.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from orchestrator.dialects.base import Composition, Fence, Script, Traits
from orchestrator.domain.canonical import digest
from orchestrator.domain.layer import DeviceChange, Layer, Observed, TrackedConnection
from orchestrator.domain.network import Prefix
from orchestrator.errors import DeviceUnknown

COMMAND = "simulated-device"

_TRAITS = {
    "nftables": (Composition.AND, Fence.GENERATION_OBJECT),
    "iptables": (Composition.COMPLEMENT, Fence.GENERATION_OBJECT),
    "openvswitch": (Composition.RESUBMIT, Fence.TABLE_PER_EPOCH),
    "frr": (Composition.CLOSE_ONLY, Fence.WRAPPER),
}


def slot_digest(layer: Layer) -> str:
    """What a simulated device answers for a slot that it holds."""
    return digest(layer.model_dump(mode="json", include={"guard", "scope", "keep", "coarse"}))


class SimulatedDialect:
    """One platform's words, simulated."""

    def __init__(self, platform: str) -> None:
        composition, fence = _TRAITS[platform]
        self.traits = Traits(
            platform=platform,
            composition=composition,
            fence=fence,
            longest_deadline_s=86_400,
            boot="the simulated start-up set",
            uncovered="nothing: a simulated device has no colleague who flushes it",
            blocks=composition is not Composition.CLOSE_ONLY,
        )

    def lay(self, layer: Layer) -> Script:
        return _script("lay", layer=layer.model_dump(mode="json"), epoch="{epoch}")

    def persist(self, layer: Layer) -> Script:
        return _script("persist", layer=layer.model_dump(mode="json"))

    def read_back(self) -> Script:
        return _script("read_back")

    def parse(self, output: str) -> Observed:
        try:
            return Observed.model_validate_json(output)
        except ValidationError as error:
            raise DeviceUnknown(f"the read-back cannot be understood: {output[:80]!r}") from error

    def expected(self, layers: tuple[Layer, ...]) -> Observed:
        return Observed(
            present=bool(layers),
            slots={layer.slot: slot_digest(layer) for layer in layers},
            closed=tuple(sorted({guard for layer in layers if layer.coarse for guard in layer.guard})),
            boots_with=tuple(sorted(layer.slot for layer in layers)),
        )

    def sessions(self) -> Script:
        return _script("sessions")

    def parse_sessions(self, output: str) -> tuple[TrackedConnection, ...]:
        return tuple(TrackedConnection.model_validate(item) for item in json.loads(output or "[]"))

    def kill(self, connections: tuple[TrackedConnection, ...]) -> Script:
        return _script("kill", connections=[connection.model_dump(mode="json") for connection in connections])

    def open(self, change: DeviceChange) -> Script:
        _require_something(change)
        return _script("open", change=change.model_dump(mode="json"), epoch="{epoch}", seconds="{confirm}")

    def confirm(self, change: DeviceChange, *, until: bool = False) -> Script:
        _require_something(change)
        seconds = "{until}" if until else None
        return _script("confirm", change=change.model_dump(mode="json"), epoch="{epoch}", seconds=seconds)

    def close(self, change: DeviceChange) -> Script:
        _require_something(change)
        return _script("close", change=change.model_dump(mode="json"))

    def fence(self) -> Script:
        return _script("fence", epoch="{epoch}")

    def block(self, networks: tuple[Prefix, ...]) -> Script:
        self._require_list()
        return _script("block", networks=[str(network) for network in networks])

    def unblock(self, remaining: tuple[Prefix, ...]) -> Script:
        self._require_list()
        return _script("unblock", remaining=[str(network) for network in remaining], epoch="{epoch}")

    def _require_list(self) -> None:
        if not self.traits.blocks:
            raise ValueError(f"{self.traits.platform} keeps no block list")

    def loosen(self) -> Script:
        return _script("loosen", epoch="{epoch}", seconds="{confirm}")

    def tighten(self) -> Script:
        return _script("tighten")

    def lift(self) -> Script:
        return _script("lift", epoch="{epoch}")

    def snapshot(self) -> Script:
        return _script("snapshot")


def dialect_for(platform: str) -> SimulatedDialect:
    """The simulated words of a platform; raises KeyError for one that we do not know."""
    return SimulatedDialect(platform)


def _require_something(change: DeviceChange) -> None:
    """As the switches and the routers do; where others hold all of a change, nothing is sent."""
    if change.is_empty:
        raise ValueError(f"{change.device}: this change names nothing")


def _script(verb: str, **arguments: Any) -> Script:
    return Script(COMMAND, json.dumps({"verb": verb, **arguments}, sort_keys=True))
