"""Re-isolations and the block list as people see them, as JSON; the commands that work without a server show the same."""

from __future__ import annotations

from typing import Any

from orchestrator.domain import conditions
from orchestrator.domain.block_cover import cover
from orchestrator.domain.blocklist import within
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import DeviceStatus, SiteState
from orchestrator.domain.subtractions import Block, Reisolation, Unblocking
from orchestrator.service.stages import Stages

Json = dict[str, Any]


def reisolation(stages: Stages, state: SiteState, one: Reisolation) -> Json:
    """`owed`: devices that are not read back as they should be, with what the last try said; `done` when there is none, and no
    stage of it is still going back.
    `checked` is empty until the probes have been asked with nothing owed."""
    owed = stages.reisolating.still_owed(state)
    going = [name for name in one.stages if state.stage(name).state in (StageState.REVERTING, StageState.FAILED)]
    block_ = state.blocks.get(one.blocks)
    return {
        "id": one.id,
        "what": one.what,
        "name": one.name,
        "reason": one.reason,
        "by": one.by,
        "at": one.at,
        "epoch": one.epoch,
        "rehearsal": one.rehearsal,
        "stages": {
            name: {"state": state.stage(name).state.value, "conversations": [list(pair) for pair in pairs]}
            for name, pairs in one.stages.items()
        },
        "takes": [dict(zip(("stage", "flow", "partner", "where"), item, strict=True)) for item in one.takes],
        "notes": list(one.notes),
        "block": block(block_) if block_ is not None else None,
        "owed": owed,
        "done": not owed and not going,
        "checked": one.checked or None,
        "leaks": list(one.leaks),
    }


def block(one: Block) -> Json:
    return {
        "id": one.id,
        "networks": [str(network) for network in one.networks],
        "left": [str(network) for network in one.left],
        "reason": one.reason,
        "by": one.by,
        "at": one.at,
        "until": one.until or None,
        "takes": [dict(zip(("stage", "flow", "partner"), item, strict=True)) for item in one.takes],
        "rehearsal": one.rehearsal,
    }


def blocks(stages: Stages, state: SiteState) -> Json:
    """The list, what made it, and every device that holds a layer: `as listed`, `owed` or `cannot`."""
    keeping = set(stages.reisolating.subtracting.keep_a_list(state)) if state.ratified is not None else set()
    holding = [device for device in state.devices.values() if device.slots]
    owed = stages.reisolating.still_owed(state)
    return {
        "networks": [str(network) for network in state.blocklist],
        "blocks": [block(one) for one in state.blocks.values() if one.left],
        "devices": [_device(state, device, keeping, {one.name for one in holding}, owed) for device in holding],
    }


def _device(state: SiteState, device: DeviceStatus, keeping: set[str], holding: set[str], owed: dict[str, str]) -> Json:
    shown: Json = {"device": device.name, "blocked": [str(network) for network in device.blocked]}
    if device.name in keeping:
        same = within(state.blocklist, device.blocked) and within(device.blocked, state.blocklist)
        return {**shown, "state": "as listed" if same else "owed", "detail": "" if same else owed.get(device.name, "")}
    ratified = conditions.in_force(state)
    behind, bare = cover(ratified.site, ratified.policy, device.name, keeping & holding)
    said = f"behind it stand {', '.join(behind)}" if behind else "nothing that keeps a list stands behind it"
    return {**shown, "state": "cannot", "detail": said + (f"; not for {', '.join(bare)}" if bare else ""), "behind": list(behind)}


def unblocking(one: Unblocking) -> Json:
    return {
        "id": one.id,
        "networks": [str(network) for network in one.networks],
        "reason": one.reason,
        "requested_by": one.requested_by,
        "requested_at": one.requested_at,
        "granted_by": one.granted_by or None,
        "granted_at": one.granted_at or None,
    }
