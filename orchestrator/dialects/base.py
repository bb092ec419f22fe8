"""What every dialect says: the words of one platform, never a connection.

A dialect renders scripts and parses what comes back. It opens no session, knows no policy and keeps no state.

Placeholders in a rendered script, filled in at the last moment and therefore outside the plan's digest:
`{epoch}` the generation in force, `{confirm}` the confirm window in whole seconds, `{until}` seconds to the
approved end (only in scripts of flows that close by themselves).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from orchestrator.domain.composition import Composition as Composition  # dialects declare it

if TYPE_CHECKING:  # the emergency command imports this module: nothing of pydantic (0.15 s) before the layer lies
    from orchestrator.domain.layer import DeviceChange, Layer, Observed, TrackedConnection
    from orchestrator.domain.network import Prefix


class Fence(StrEnum):
    """What makes a late command harmless on the device (invariant 9)."""

    GENERATION_OBJECT = "generation-object"  # swapped in the same transaction (nftables)
    TABLE_PER_EPOCH = "table-per-epoch"  # OpenFlow
    WRAPPER = "wrapper"  # a script of ours on the device compares the epoch
    NONE = "none"


@dataclass(frozen=True)
class Script:
    """Text for one device.

    `shell`: `command` is executed and `text` is its standard input. `cli`: `text` is configuration lines for the
    platform's own command line (one per line), `command` is empty.
    A shell script answers with exit status 0 when it did all of it; anything else is `refused`.
    """

    command: str
    text: str = ""
    kind: Literal["shell", "cli"] = "shell"

    def filled(self, **values: int) -> Script:
        """With the placeholders `{name}` replaced; raises KeyError-free: unknown placeholders stay."""
        text, command = self.text, self.command
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
            command = command.replace("{" + name + "}", str(value))
        return Script(command, text, self.kind)


@dataclass(frozen=True)
class Traits:
    """What a dialect declares about its platform; documentation and proofs read it."""

    platform: str
    composition: Composition
    fence: Fence
    longest_deadline_s: int
    boot: str  # how the layer survives a reboot
    uncovered: str  # what no mechanism covers
    notes: tuple[str, ...] = field(default=())
    blocks: bool = False  # keeps a list of networks that nothing is let through for
    counts: bool = False  # reads back how many packets went through each opened element


class Dialect(Protocol):
    """The words of one platform."""

    traits: Traits

    def lay(self, layer: Layer) -> Script:
        """Lays the layer in one transaction: drops first, every opening gone, the epoch raised to `{epoch}`.

        Idempotent. Never removes or loosens another slot. Needs nothing read before.
        """
        ...

    def persist(self, layer: Layer) -> Script:
        """Makes the layer what the device boots with, without pinholes. Idempotent; adds, never removes another slot."""
        ...

    def read_back(self) -> Script:
        """Reads everything of ours, running and start-up."""
        ...

    def parse(self, output: str) -> Observed:
        """What `read_back` printed, in normal form. Raises DeviceUnknown on output that cannot be read."""
        ...

    def expected(self, layers: tuple[Layer, ...]) -> Observed:
        """What a device holding exactly these layers, and no opening, reads back as (slots, closed)."""
        ...

    def sessions(self) -> Script:
        """Lists tracked connections (bounded by the device), or nothing where the platform tracks none."""
        ...

    def parse_sessions(self, output: str) -> tuple[TrackedConnection, ...]: ...

    def kill(self, connections: tuple[TrackedConnection, ...]) -> Script:
        """Deletes exactly these tracked connections; those already gone are no error."""
        ...

    def open(self, change: DeviceChange) -> Script:
        """Lays openings that close by themselves after `{confirm}` seconds; fails whole unless the epoch is `{epoch}`."""
        ...

    def confirm(self, change: DeviceChange, *, until: bool = False) -> Script:
        """Makes them lasting (or ending after `{until}` seconds) in one transaction; fails whole unless the epoch is `{epoch}`."""
        ...

    def close(self, change: DeviceChange) -> Script:
        """Takes these openings away. Only subtracts: needs no epoch; what is already gone is no error. A platform may raise
        ValueError for a change that names nothing."""
        ...

    def fence(self) -> Script:
        """Raises the generation to `{epoch}`, running and start-up, and changes nothing else: slots, openings with what is
        left of their deadlines, and sessions stay. Whoever still holds an older epoch can open nothing any more.

        Only subtracts, so the cut key may send it; a device at a newer generation is left there, which is no error. Idempotent.
        """
        ...

    def block(self, networks: tuple[Prefix, ...]) -> Script:
        """Adds these networks to the device's block list: what crosses a guard with an end in one of them is dropped,
        whatever is kept or opened, and its sessions die. Only where `traits.blocks`; raises ValueError elsewhere.

        Only subtracts: needs no epoch, networks may overlap with those that are there. Survives lay, close and a reboot.
        """
        ...

    def unblock(self, remaining: tuple[Prefix, ...]) -> Script:
        """The block list becomes exactly `remaining`, in one transaction; fails whole unless the epoch is `{epoch}`."""
        ...

    def loosen(self) -> Script:
        """Takes the running layer off for `{confirm}` seconds, or until the device restarts; what it boots with stays. Then
        the device lays it again by itself, with the openings that it held and what is left of their deadlines (after a restart
        without any), unless `lift` has followed. Fails whole unless the epoch
        is `{epoch}`. Loosening again starts the time anew; `tighten` ends it early.
        """
        ...

    def tighten(self) -> Script:
        """Lays what the device boots with again, now, and stops the timer of `loosen`; a layer that lies is left as it is.
        Only subtracts: needs no epoch. Idempotent."""
        ...

    def lift(self) -> Script:
        """Removes everything of ours, running and start-up, leaving all else as it was; fails unless the epoch is `{epoch}`.
        Also after `loosen`, whose timer it stops."""
        ...

    def snapshot(self) -> Script:
        """Prints the site's own configuration without ours, in a stable form (round-trip law, evidence)."""
        ...
