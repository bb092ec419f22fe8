"""Step 7 of the cut-off: what a device was read back to hold, against what it should hold.

A device is `applied` only when the layer is in force, nothing is open in it, nothing foreign is in our object, and the
device boots with it.
"""

from __future__ import annotations

from orchestrator.domain.layer import Observed
from orchestrator.ports import DeviceStep


def compared(expected: Observed, observed: Observed, guards: tuple[str, ...]) -> tuple[DeviceStep, str]:
    """The step and, unless it is `applied`, what is missing, for people. Other slots on the device only subtract."""
    missing = in_force(expected, observed)
    if missing:
        return DeviceStep.REFUSED, "; ".join(missing)
    if not boots(expected, observed, guards):
        return DeviceStep.REFUSED, "the layer is in force, but the device would not boot with it"
    return DeviceStep.APPLIED, ""


def in_force(expected: Observed, observed: Observed) -> list[str]:
    """What keeps the layer from being in force as it should; empty when it is."""
    missing: list[str] = []
    if not observed.present:
        missing.append("the layer is not there")
    missing += [f"slot {slot} is missing" for slot in expected.slots if slot not in observed.slots]
    missing += [f"slot {slot} is not what was laid" for slot, hash_ in expected.slots.items() if observed.slots.get(slot, hash_) != hash_]
    missing += [f"{guard} is not closed" for guard in expected.closed if guard not in observed.closed]
    if observed.opened or observed.temporary:
        missing.append(f"{len(observed.opened) + len(observed.temporary)} openings are still in it")
    if observed.foreign:
        missing.append(f"something that is not ours is in it: {observed.foreign[0]}")
    return missing


def boots(expected: Observed, observed: Observed, guards: tuple[str, ...]) -> bool:
    """Whether the start-up configuration holds the layer: by slot where the dialect marks slots, else by guard."""
    with_ = set(observed.boots_with)
    if expected.boots_with:
        return set(expected.boots_with) <= with_
    slots, closed = set(expected.slots), set(expected.closed) or set(guards)
    return (bool(slots) and slots <= with_) or closed <= with_
