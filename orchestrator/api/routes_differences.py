"""Why a plan has moved, and whether devices are as they were voted: differences in packets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.api.access import Person, TheStages
from orchestrator.service import comparison

router = APIRouter(prefix="/v1/stages", tags=["stages"])


@router.get("/{stage}/difference")
def difference(stage: str, person: Person, stages: TheStages, devices: bool = False) -> dict[str, Any]:
    """The plan against the one made now; with `devices=true`, against what its devices hold, read back now."""
    asked = comparison.with_devices if devices else comparison.with_plan_now
    found = asked(stages, person, stage)
    return {
        "stage": stage,
        "against": "devices" if devices else "plan-now",
        "same": found.same,
        "text_moved": found.text_moved,
        "devices": {
            name: {
                "appears": [box.describe() for box in item.appears.summary()],
                "disappears": [box.describe() for box in item.disappears.summary()],
            }
            for name, item in found.devices.items()
        },
        "guards": dict(found.guards),
        "unknown": dict(found.unknown),
    }
