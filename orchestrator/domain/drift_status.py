"""What drift has been found on a device, and what is known of what lies beside its layer: plain data, as the log keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What differs from the log. docs/drift.md says what each means, and what repairing does about it."""

    UNREADABLE = "unreadable"  # the device cannot be read back
    LAYER_MISSING = "layer-missing"
    LAYER_CHANGED = "layer-changed"
    LAYER_UNKNOWN = "layer-unknown"  # one that the log knows nothing of
    NOT_MODELLED = "not-modelled"  # lines inside our own object that we cannot reason about
    LOOSENED = "loosened"
    EPOCH_OLDER = "epoch-older"
    EPOCH_NEWER = "epoch-newer"
    START_UP = "start-up"  # a restart would open more
    OPEN = "open"  # and not approved
    NO_END = "no-end"  # open as approved, and would not close by itself
    NOT_OPEN = "not-open"  # less than approved
    ENDS = "ends"  # open as approved, and closes by itself before its time
    GUARD_OPEN = "guard-open"
    GUARD_SHUT = "guard-shut"
    NOT_BLOCKED = "not-blocked"
    BLOCKED = "blocked"  # on the device's block list and not on ours
    BESIDE = "beside"  # a section of what lies beside the layer


@dataclass(frozen=True)
class Deviation:
    """One thing that is not as the log says. `more`: more may pass than was approved, now or after a restart; beside the layer,
    more than by the site's own rules as they were.

    `appears` and `disappears` are packets, as text (or by which rule they were stopped); `section` and `diff` are of what lies
    beside the layer. `since` is when it was first found (RFC 3339).
    """

    kind: Kind
    more: bool
    text: str
    appears: tuple[str, ...] = ()
    disappears: tuple[str, ...] = ()
    section: str = ""
    sha256: str = ""  # of the section as it is now: what a person accepts
    diff: tuple[str, ...] = ()
    since: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """The same thing found again has the same key (why a device does not answer may be said in many ways)."""
        text = "" if self.kind is Kind.UNREADABLE else self.text
        return (self.kind, text, self.appears, self.disappears, self.section, self.sha256)


@dataclass(frozen=True)
class DriftStatus:
    """Of one device; `found` is empty when it is as the log says. `since` is of the first of what stands now."""

    device: str
    found: tuple[Deviation, ...] = ()
    since: str = ""
    seq: int = -1


@dataclass(frozen=True)
class Section:
    """One section as it was noted: first looked at, or accepted by a person. `text` is empty where it was too long to keep."""

    sha256: str
    text: str
    at: str
    seq: int
    by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Unreachable:
    """A device that was tried again and again, as the log last said it."""

    since: str
    tries: int
    at: str
    why: str


@dataclass(frozen=True)
class ActingServer:
    """Who acts on this log, as the log last said it."""

    name: str
    since: str
    instead_of: str = ""


@dataclass(frozen=True)
class Watched:
    """All of it, of one site."""

    drift: Mapping[str, DriftStatus] = field(default_factory=dict)  # by device
    surroundings: Mapping[str, Mapping[str, Section]] = field(default_factory=dict)  # device → section
    unreachable: Mapping[str, Unreachable] = field(default_factory=dict)  # by device
    server: ActingServer | None = None
