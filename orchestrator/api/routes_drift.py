"""What is on the devices that the log does not say: look, repair, accept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from orchestrator.api.access import Person, TheStages
from orchestrator.api.schemas import DriftAcceptance, DriftRepairRequest
from orchestrator.domain.drift_status import DriftStatus
from orchestrator.domain.folding_drift import as_json
from orchestrator.service.watching import Watching

router = APIRouter(prefix="/v1/drift", tags=["drift"])
Json = dict[str, Any]


@router.get("")
def drift(person: Person, stages: TheStages, device: Annotated[str | None, Query(max_length=100)] = None) -> Json:
    """Reads the devices now (all that hold a layer, or one), and records what is new. `looked` is false for what another server
    found, or a device that is being changed just now: what is shown is then what was found last."""
    looked, statuses = Watching(stages).look(person, device)
    return {
        "drift": any(status.found for status in statuses.values()),
        "devices": [_device(status, name in looked) for name, status in sorted(statuses.items())],
    }


@router.post("/repair")
def drift_repair(given: DriftRepairRequest, person: Person, stages: TheStages) -> Json:
    """Closes what should not be open, and suspends what was approved and is not there. It opens nothing. `done` is false when it
    still waits for what runs now; it goes on."""
    repaired = Watching(stages).repair(person, given.devices)
    if repaired is None:
        return {"done": False, "devices": []}
    return {
        "done": True,
        "devices": [
            {"device": name, "did": list(item.did), "left": [as_json(left) for left in item.left]}
            for name, item in sorted(repaired.items())
        ],
    }


@router.post("/accept")
def drift_accept(given: DriftAcceptance, person: Person, stages: TheStages) -> Json:
    """A change beside the layer, as it was reported, is what later ones are compared with."""
    state = stages.runner.drift.accept(person, given.device, given.section, given.reason)
    return _device(state.watched.drift[given.device], looked=True)


def _device(status: DriftStatus, looked: bool) -> Json:
    return {
        "device": status.device,
        "looked": looked,
        "since": status.since or None,
        "found": [as_json(item) for item in status.found],
    }
