"""A plan: what a stage will do, to the byte, and the digest that votes are bound to.

The digest is SHA-256 over the canonical JSON (RFC 8785) of {site, stage, flows, digests of the ratified policy and
inventory, per-device scripts with their placeholders} (design, section 5, "What is hashed").
"""

from __future__ import annotations

from typing import Any, Literal

from orchestrator.domain.canonical import digest
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.network import Model, Name
from orchestrator.domain.probes import Probe


class RenderedScript(Model):
    """A script as it is voted on: with its placeholders, exactly as it will be sent once they are filled in."""

    kind: Literal["shell", "cli"]
    command: str
    text: str


class DevicePlan(Model):
    """The steps of one device. `order` groups devices: all of group 0 before group 1 (flow devices before the coarse
    ones that they stand behind)."""

    device: Name
    platform: str
    order: int
    change: DeviceChange
    open: RenderedScript
    confirm: RenderedScript
    close: RenderedScript


class Reachability(Model):
    """One line of the difference that people read: these packets become possible."""

    flow: Name
    partner: Name
    source: str
    destination: str
    service: str
    through: tuple[Name, ...]  # devices that enforce it


class Window(Model):
    """From when to when something is open, RFC 3339 in UTC with milliseconds. `ends` empty: until it is closed."""

    starts: str
    ends: str


class Resumed(Model):
    """A suspended stage that is resumed as it was: its plan has this digest, or it is not resumed."""

    stage: str
    plan_digest: str


class Plan(Model):
    """`stage` is the policy's name of it, with `+2`, `+3` … for a supplement to a stage that is partially open, or `resume`.

    `window`: it is laid at its start and every opening ends on the device at its end. `resumes`: the plan is nothing but the
    suspended stages, in this order. `lifts`: it takes the layer off every device (`open` loosens it for the confirm window,
    `confirm` lifts it, `close` tightens it).
    """

    site: Name
    stage: str
    flows: tuple[Name, ...]
    partners: tuple[Name, ...]
    policy_digest: str
    inventory_digest: str
    rehearsal: bool
    devices: tuple[DevicePlan, ...]
    becomes_possible: tuple[Reachability, ...]
    probes: tuple[Probe, ...]  # what must pass and what must not, care assertions included
    unprobed: tuple[str, ...] = ()  # what opens and no probe can show, for people: no vantage point, no declared answer
    confirm_window_s: int
    observation_s: int
    expires_after_s: int
    window: Window | None = None
    resumes: tuple[Resumed, ...] = ()
    lifts: bool = False

    def hashed(self) -> dict[str, Any]:
        """The object that the digest is taken of."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        content = self.hashed()
        return digest({**content, "probes": _without_floats(content["probes"])})  # nothing else has a float


def _without_floats(value: Any) -> Any:
    """Seconds of a probe as milliseconds: the canonical form of a float is a risk we need not take."""
    if isinstance(value, float):
        return round(value * 1000)
    if isinstance(value, dict):
        return {key: _without_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_floats(item) for item in value]
    return value
