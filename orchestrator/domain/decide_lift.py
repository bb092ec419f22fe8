"""The decisions around a lift: a stage left closed by decision, differences accepted by name, and the end of surveillance."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from datetime import datetime

from orchestrator.domain import conditions, stages
from orchestrator.domain.canonical import canonical
from orchestrator.domain.commands import AcceptDifferences, DeferStage
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.lift_conditions import ACCEPTED, BLOCKED, WITHDRAWN
from orchestrator.domain.making import EventMaker
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.stage_names import RESUME, is_supplement
from orchestrator.domain.state import SiteState
from orchestrator.errors import Refused, UnknownName, UsageError

MOST_NAMES = 200
_NAME = re.compile(r"[a-z0-9][a-zA-Z0-9:./-]{0,100}")


def defer(state: SiteState, command: DeferStage, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """StageDeferred. Planning the stage takes it back."""
    declared = conditions.declared(state, command.stage)
    if command.stage == RESUME or is_supplement(command.stage) or declared.lifts:
        raise UsageError(f"{command.stage} is not deferred", advice="a stage that opens flows is; for partners: stage plan --partner")
    if not command.reason.strip():
        raise UsageError("a stage is deferred with a reason: whoever votes on the lift reads it")
    stages.after(state.stage(command.stage).state, E.STAGE_DEFERRED, command.stage)
    return (make(E.STAGE_DEFERRED, {"reason": command.reason}, stage=command.stage),)


def accept(state: SiteState, command: AcceptDifferences, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """EvidenceAttached, one for each name, for the stage that lifts the layer; what is signed for is in the plan's digest."""
    lifting = next((stage for stage in conditions.in_force(state).policy.stages if stage.lifts), None)
    if lifting is None:
        raise UnknownName("no stage of the policy lifts the layer", advice="add one with `lifts: true`")
    if not command.reason.strip():
        raise UsageError("a difference is accepted, or taken back, with a reason")
    if not 1 <= len(command.names) <= MOST_NAMES:
        raise UsageError(f"1 to {MOST_NAMES} differences are named at a time")
    zones = {zone.name for zone in conditions.in_force(state).site.zones}
    for name in command.names:
        if not _NAME.fullmatch(name) or not (name.startswith(BLOCKED) or _is_between(zones, name.partition(":")[0])):
            raise UsageError(
                f"{name!r} is no name of a difference", advice="orchestrator lift show names them; or a pair of zones: offices-to-internet"
            )
    kind = WITHDRAWN if command.withdrawn else ACCEPTED
    return tuple(
        make(
            E.EVIDENCE_ATTACHED,
            {
                "kind": kind,
                "difference": name,
                "note": command.reason,
                "document_sha256": hashlib.sha256(canonical({"kind": kind, "difference": name, "reason": command.reason})).hexdigest(),
            },
            stage=lifting.name,
        )
        for name in dict.fromkeys(command.names)
    )


def _is_between(zones: Collection[str], pair: str) -> bool:
    """Whether it is `ZONE-to-ZONE`, of zones that there are: a mistyped name would accept nothing, and seem to."""
    return any(pair == f"{one}-to-{other}" for one in zones for other in zones)


def require_layer(state: SiteState, stage: str) -> None:
    """A lift that has ended in surveillance is not reverted: the way back is a cut-off. Raises Refused."""
    plan = state.stage(stage).plan
    if plan is not None and plan.lifts and state.posture in (SitePosture.SURVEILLANCE, SitePosture.NORMAL):
        raise Refused(
            "the layer is lifted: there is nothing of it to close", rule="layer-lifted", advice="orchestrator cutoff lays it again"
        )
