"""What one person alone may take away, as the log keeps it: re-isolations, blocks, and their removal (which takes two)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from orchestrator.domain.layer import networks_in_order
from orchestrator.domain.network import Prefix

What = Literal["partner", "application", "zone", "flow"]
Conversation = tuple[str, str]  # (flow, partner)
OfStage = tuple[str, str, str]  # (stage, flow, partner)


@dataclass(frozen=True)
class Reisolation:
    """`stages`: what was closed of each of them. `checked` is empty until the probes have answered."""

    id: str
    what: What
    name: str
    reason: str
    by: str
    at: str
    seq: int
    epoch: int
    stages: dict[str, tuple[Conversation, ...]]
    takes: tuple[tuple[str, str, str, str], ...] = ()  # from others: stage, flow, partner, and the device or `block list`
    notes: tuple[str, ...] = ()  # what else is taken, what stays and why: for people
    blocks: str = ""  # the block that goes with it
    checked: str = ""
    leaks: tuple[str, ...] = ()
    rehearsal: bool = False

    @property
    def found_nothing(self) -> bool:
        """Nothing of it was open, running or kept, nobody else lost anything by it, and nothing passes: there is nothing to probe."""
        return not (self.stages or self.takes or self.blocks or self.notes or self.leaks) and self.checked not in ("", "failed")


@dataclass(frozen=True)
class Block:
    """Networks that nothing is let through for. `left` are those that nobody has removed since."""

    id: str
    networks: tuple[Prefix, ...]
    left: tuple[Prefix, ...]
    reason: str
    by: str
    at: str
    until: str = ""  # RFC 3339; empty: until it is removed
    takes: tuple[OfStage, ...] = ()  # conversations that were open and lost something by it
    rehearsal: bool = False


@dataclass(frozen=True)
class Unblocking:
    """One person asks, another grants. `granted_by` is empty until then."""

    id: str
    networks: tuple[Prefix, ...]
    reason: str
    requested_by: str
    requested_at: str
    seq: int
    granted_by: str = ""
    granted_at: str = ""


def networks_of(blocks: Iterable[Block]) -> tuple[Prefix, ...]:
    """All that is left of them, in normal form."""
    return networks_in_order(network for block in blocks for network in block.left)
