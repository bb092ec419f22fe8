"""The incident: its name, its cut-offs and what authorities say of them, devices that are not trusted, what was done by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from orchestrator.api.access import Person, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import (
    CutoffRequest,
    DeviceTrustRequest,
    IncidentRequest,
    ManualActRequest,
    SaidReason,
)
from orchestrator.domain.decide_incidents import (
    AttestManualAct,
    DeclareIncident,
    DistrustDevice,
    JudgeCutoff,
    OrderCutoff,
    TrustDevice,
)
from orchestrator.errors import UnknownName
from orchestrator.service.ordering import order_cutoff

router = APIRouter(prefix="/v1", tags=["incident"])
Json = dict[str, Any]


@router.get("/incidents")
def incident_list(person: Person, stages: TheStages, page: ThePage) -> list[Json]:
    """The last one is the present one."""
    return page.of((asdict(one) for one in stages.read(person).incidents.declared), lambda item: item["name"])


@router.post("/incidents", status_code=201)
def incident_declare(given: IncidentRequest, person: Person, stages: TheStages) -> Json:
    """Gives it the name that exports are made of. It cuts nothing."""
    return asdict(stages.do(DeclareIncident(person, given.name, given.title)).incidents.declared[-1])


@router.get("/incidents/{name}")
def incident_show(name: str, person: Person, stages: TheStages) -> Json:
    """One incident, by its name."""
    for one in stages.read(person).incidents.declared:
        if one.name == name:
            return asdict(one)
    raise UnknownName(f"there is no incident {name!r}", advice="orchestrator incident list")


@router.get("/cutoffs")
def cutoff_list(person: Person, stages: TheStages, page: ThePage) -> list[Json]:
    """All of them, with what was said of each afterwards."""
    return page.of((asdict(one) for one in stages.read(person).incidents.cuts.values()), lambda item: item["epoch"])


@router.post("/cutoffs", status_code=202)
def cutoff_order(given: CutoffRequest, person: Person, stages: TheStages) -> Json:
    """Starts the emergency command on the server, as a process of its own. Needs no votes: it only subtracts. Look at
    `GET /v1/cutoffs` and `GET /v1/posture` for how it goes on; without a server: `orchestrator cutoff`."""
    profile = order_cutoff(stages, OrderCutoff(person, given.profile or "", given.reason))
    return {"profile": profile, "reason": given.reason, "by": person}


@router.post("/cutoffs/{epoch}/ratify", status_code=201)
def cutoff_ratify(epoch: int, given: SaidReason, person: Person, stages: TheStages) -> Json:
    """Afterwards, by somebody else than who ordered it. It changes nothing on any device."""
    return asdict(stages.do(JudgeCutoff(person, epoch, True, given.reason)).incidents.cuts[epoch])


@router.post("/cutoffs/{epoch}/contest", status_code=201)
def cutoff_contest(epoch: int, given: SaidReason, person: Person, stages: TheStages) -> Json:
    """The same. It opens nothing: a false alarm is declared, stages are reopened by votes."""
    return asdict(stages.do(JudgeCutoff(person, epoch, False, given.reason)).incidents.cuts[epoch])


@router.get("/devices/distrusted")
def distrusted_list(person: Person, stages: TheStages, page: ThePage) -> list[Json]:
    """Devices that nothing is opened on."""
    return page.of((asdict(one) for one in stages.read(person).incidents.distrusted.values()), lambda item: item["device"])


@router.post("/devices/{device}/distrust", status_code=201)
def device_distrust(device: str, given: SaidReason, person: Person, stages: TheStages) -> Json:
    """Nothing is opened on it from now on; plans that would, are refused or go stale."""
    return asdict(stages.do(DistrustDevice(person, device, given.reason)).incidents.distrusted[device])


@router.post("/devices/{device}/trust", status_code=201)
def device_trust(device: str, given: DeviceTrustRequest, person: Person, stages: TheStages) -> Json:
    """By somebody else, with a document that says why."""
    stages.do(TrustDevice(person, device, given.reason, given.document_sha256))
    return {"device": device, "trusted": True, "by": person}


@router.get("/manual-acts")
def manual_act_list(person: Person, stages: TheStages, page: ThePage) -> list[Json]:
    """What people say that they did by hand."""
    return page.of((asdict(one) for one in stages.read(person).incidents.manual_acts), lambda item: item["seq"])


@router.post("/manual-acts", status_code=201)
def manual_act_add(given: ManualActRequest, person: Person, stages: TheStages) -> Json:
    """What somebody did by hand on a device. It proves nothing: a probe or a read-back does."""
    command = AttestManualAct(person, given.device, given.act, given.done_at, given.document_sha256 or "")
    return asdict(stages.do(command).incidents.manual_acts[-1])
