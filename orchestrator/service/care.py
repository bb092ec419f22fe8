"""Care assertions probed on demand, by the server itself: nobody hands in a result."""

from __future__ import annotations

from orchestrator.domain import conditions, duties, eligibility
from orchestrator.domain.duties import Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import EventMaker
from orchestrator.domain.plan_probes import care_probes
from orchestrator.domain.state import SiteState
from orchestrator.service.checks import check_ran
from orchestrator.service.stages import Stages


def probe_care(stages: Stages, actor: str) -> SiteState:
    """Asks every care assertion of the ratified policy now, sacrificed ones too, and records one CheckRan.

    Returns the state after it. Raises NotAllowed; LogUnavailable.
    """
    if (done := stages.journal.repeated()) is not None:
        return done
    state = stages.state()
    duties.require(Verb.CARE, eligibility.roles_of(state, actor, stages.journal.now()))
    ratified = conditions.in_force(state)
    probes = care_probes(ratified.site, ratified.policy, ())
    results = stages.collaborators.probes.run(probes, deadline_s=stages.collaborators.probe_deadline_s)
    return stages.journal.decide(lambda state, now: [EventMaker(state, actor, now)(E.CHECK_RAN, check_ran("on demand", results))])
