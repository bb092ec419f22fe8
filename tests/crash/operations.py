"""What the orchestrator is killed in. An operation is one entry: how the hospital stands before, and what is then done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.service.stages import Stages
from tests.crash.lives import Life, cutting, doing
from tests.service.reopening import Reopening, after_the_cut

P0, P1, P2, P3, P4 = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail", "P4-images"


@dataclass(frozen=True)
class Operation:
    """`before` makes the hospital; `act` is the life that is killed; `then`, where given, is what a person does after the
    restart (a cut-off that died is ordered again)."""

    name: str
    before: Callable[[], Reopening]
    act: Life
    then: Life | None = None


def _apply(stage: str) -> Life:
    return doing(lambda stages: stages.apply("eng-1", stage))


def _revert(stage: str) -> Life:
    return doing(lambda stages: stages.revert("eng-1", stage, "an alert"))


def _apply_and_revert(stage: str) -> Life:
    """Somebody closes it as soon as it is open."""

    def both(stages: Stages) -> None:
        stages.apply("eng-1", stage)
        assert stages.runner.wait(60)
        stages.revert("eng-1", stage, "on second thoughts")

    return doing(both)


OPERATIONS = (
    Operation("apply a firewall and the router behind it", lambda: after_the_cut(approved=P0), _apply(P0)),
    Operation("apply with a canary partner first", lambda: after_the_cut(P0, P1, approved=P2), _apply(P2)),
    Operation("revert an open stage", lambda: after_the_cut(P0, P1, P2), _revert(P2)),
    Operation("apply and revert", lambda: after_the_cut(P0, approved=P1), _apply_and_revert(P1)),
    Operation("cut off what is open", lambda: after_the_cut(P0, P1, approved=P2), cutting("total"), then=cutting("total")),
    Operation("cut off more narrowly", lambda: after_the_cut(P0, P1, P2), cutting("internet"), then=cutting("internet")),
)
