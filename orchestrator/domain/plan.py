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


class SiteRules(Model):
    """A device's own configuration, without ours, as it was read when the lift was planned. The text is kept under
    `reference`; `sha256` is of exactly that text."""

    device: Name
    sha256: str
    reference: str


class LiftedGuard(Model):
    """What the layer stops at one guard and no flow of the policy would let through: after the lift the site's own rules alone
    decide on it. `boxes` says in how many pieces these packets are told in `becomes_possible`, `sha256` is over all of them."""

    device: Name
    guard: str
    coarse: bool
    boxes: int
    sha256: str


class Accepted(Model):
    """A difference from the flow matrix that a person accepts by name: what passes there does not stop the lift."""

    name: str
    reason: str
    by: str


class Lift(Model):
    """What the voters of a lift are shown beside the packets. `differences` are the names of what is asked on live traffic
    and lies outside the matrix; `deferred` stages stay closed by decision; `blocked` is what a block list still stops."""

    site_rules: tuple[SiteRules, ...]
    guards: tuple[LiftedGuard, ...]
    differences: tuple[str, ...]
    accepted: tuple[Accepted, ...]
    deferred: tuple[str, ...]
    waivers: tuple[str, ...]
    blocked: tuple[str, ...]


class Plan(Model):
    """`stage` is the policy's name of it, with `+2`, `+3` … for a supplement to a stage that is partially open, or `resume`.

    `window`: it is laid at its start and every opening ends on the device at its end. `open_for_s`: so long from its opening
    on; `on_expiry` says what happens at the end (None: it has none). `resumes`: the plan is nothing but the
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
    on_expiry: Literal["close", "alarm"] | None = None
    open_for_s: int | None = None
    resumes: tuple[Resumed, ...] = ()
    left_out: tuple[str, ...] = ()  # of a resumption: what was open and is not resumed, and why, for people
    lifts: bool = False
    lift: Lift | None = None

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
