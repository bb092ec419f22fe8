"""The plan of a lift as the service makes it: the site's own rules are read from every device that holds a layer."""

from __future__ import annotations

from datetime import datetime

from orchestrator.dialects.base import Script
from orchestrator.domain import conditions
from orchestrator.domain.lift_planning import lifted_devices, plan_lift
from orchestrator.domain.network import Device
from orchestrator.domain.plan import Plan, RenderedScript
from orchestrator.domain.state import SiteState
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.garbage import without_collecting
from orchestrator.service.site_rules import kept, read_site_rules


def lift_plan(collaborators: Collaborators, state: SiteState, stage: str, now: datetime) -> Plan:
    """Reads every device concerned. Raises Refused (see `plan_lift`), DeviceUnknown when one of them cannot be read."""
    return plan_with(collaborators, state, stage, now, read_site_rules(collaborators, lifted_devices(state)))


def plan_with(collaborators: Collaborators, state: SiteState, stage: str, now: datetime, rules: dict[str, dict[str, str]]) -> Plan:
    """The plan with site rules that were read already."""

    def words(device: Device) -> tuple[RenderedScript, RenderedScript, RenderedScript]:
        dialect = collaborators.dialect_for(device.platform)
        return _rendered(dialect.loosen()), _rendered(dialect.lift()), _rendered(dialect.tighten())

    with without_collecting():
        return plan_lift(state, conditions.declared(state, stage), kept(collaborators, rules), words, now)


def _rendered(script: Script) -> RenderedScript:
    return RenderedScript(kind=script.kind, command=script.command, text=script.text)
