"""Names of what runs as a stage: a stage of the policy, a supplement to one that is partially open, the resumption.

`P2-care-exchange` · `P2-care-exchange+2`, a plan of its own for partners that were deferred or taken out · `resume`. Neither
`+` nor a small first letter can be in a name of the policy.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.policy import Policy

RESUME = "resume"


def base(name: str) -> str:
    """The stage of the policy that this belongs to."""
    return name.partition("+")[0]


def is_supplement(name: str) -> bool:
    return "+" in name


def supplements(of: str, known: Iterable[str]) -> tuple[str, ...]:
    """Those of this stage among the names, in the order in which they were made."""
    found = [name for name in known if is_supplement(name) and base(name) == of]
    return tuple(sorted(found, key=lambda name: int(name.partition("+")[2])))


def conversations_of(policy: Policy, stage: str) -> tuple[tuple[str, str], ...]:
    """(flow, partner) of everything that the stage declares, in the order of the policy."""
    declared = policy.stages_by_name.get(base(stage))
    if declared is None:
        return ()
    pairs = ((flow, partner) for flow in declared.flows for partner in policy.flow(flow).partners)
    return tuple(pair for pair in pairs if declared.partners is None or pair[1] in declared.partners)
