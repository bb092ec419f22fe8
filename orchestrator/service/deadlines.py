"""Ends on devices: how many seconds each is given, and when it closes by its own read-back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain import expiry
from orchestrator.domain.layer import DeviceChange, Element, Observed
from orchestrator.domain.making import stamp
from orchestrator.domain.plan import DevicePlan
from orchestrator.errors import Refused
from orchestrator.service.collaborators import Collaborators


class TimeIsUp(Refused):
    """What was approved until a time is over."""

    def __init__(self, message: str) -> None:
        super().__init__(message, rule="window-over", advice="plan it again")


@dataclass(frozen=True)
class UntilThen:
    """One sending of `confirm` for an approved end: `seconds` for each device, as of `sent_at`, shortened by `late_s`."""

    ends: datetime
    sent_at: datetime
    seconds: Mapping[str, int]
    late_s: Mapping[str, int]
    slack_s: int  # what sending and reading may take

    def left(self, device: str, elements: Iterable[Element]) -> dict[Element, tuple[int, int]]:
        """The seconds that must be left of each element when it is read back: between the first and the second."""
        seconds = self.seconds[device]
        return dict.fromkeys(elements, (max(0, seconds - self.slack_s), seconds + 1))  # platforms round

    def as_read(self, device: str, change: DeviceChange, seen: Observed, now: datetime) -> dict[str, object]:
        """What the read-back says of this device's deadline, for the log; of guards, which tell nothing, by what was sent."""
        own = set(change.elements)
        left = [seconds for element, seconds in seen.temporary if element in own]
        closes = now + timedelta(seconds=max(left)) if left else self.sent_at + timedelta(seconds=self.seconds[device])
        late = {"late_s": self.late_s[device]} if self.late_s.get(device) else {}
        return {"closes_at": stamp(closes), "sent_s": self.seconds[device], "ends_at": stamp(self.ends), **late}


def until_then(
    collaborators: Collaborators, plans: Iterable[DevicePlan], ends: datetime, late_s: Mapping[str, int] | None = None
) -> UntilThen:
    """For these devices, now. Raises TimeIsUp when less than a second is left."""
    now, late = collaborators.clock.now(), late_s or {}
    seconds = {
        plan.device: expiry.seconds_to_send(
            ends, now, collaborators.dialect_for(plan.platform).traits.longest_deadline_s, late.get(plan.device, 0)
        )
        for plan in plans
    }
    if any(left < 1 for left in seconds.values()):
        raise TimeIsUp(f"it was to end at {stamp(ends)}: nothing is left of that")
    return UntilThen(ends, now, seconds, late, slack_s=round(2 * collaborators.device_deadline_s) + 5)
