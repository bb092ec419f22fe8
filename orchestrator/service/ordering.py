"""A cut-off that is ordered through the API: the emergency command is started, whether the log can be written or not."""

from __future__ import annotations

from orchestrator.domain import conditions, duties, eligibility
from orchestrator.domain.decide_incidents import OrderCutoff
from orchestrator.domain.duties import Verb
from orchestrator.errors import LogUnavailable
from orchestrator.service.stages import Stages


def order_cutoff(stages: Stages, command: OrderCutoff) -> str:
    """Returns the profile. Any server starts it, also one that does not act: it is a process of its own.

    Raises NotAllowed, UnknownName, UsageError; LogUnavailable only when who may order is not known either.
    """
    try:
        stages.do(command)
    except LogUnavailable:  # closing waits for nothing: by the state as it was last seen
        state = stages.journal.seen()
        duties.require(Verb.CUTOFF_ORDER, eligibility.roles_of(state, command.actor, stages.journal.now()))
    profile = command.profile or conditions.in_force(stages.journal.seen()).policy.default_profile
    stages.collaborators.start_cutoff(profile, command.reason, command.actor)
    return profile
