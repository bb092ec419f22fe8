"""A stage of the cut-off hospital whose gates are exactly those that a test is about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from orchestrator.domain import conditions
from orchestrator.domain.gates import Gate
from orchestrator.domain.unmet import Unmet
from tests.service.reopening import Reopening, after_the_cut

STAGE = "P0-lifelines"
TITLE = {"en": "The gate", "fr": "La condition"}
_GATES: TypeAdapter[tuple[Gate, ...]] = TypeAdapter(tuple[Gate, ...])


def gate(**words: Any) -> dict[str, Any]:
    """A single gate as the files say it."""
    return {"title": TITLE, **words}


def gated(*gates: dict[str, Any], stage: str = STAGE, opened: tuple[str, ...] = (), earnest: bool = False) -> Reopening:
    """Cut off, `opened` stages open, and `stage` ratified anew with these gates; in `earnest`: without the rehearsal overlay."""
    reopening = after_the_cut(*opened)
    changed = reopening.policy.stage(stage).model_copy(update={"gates": _GATES.validate_python(gates)})
    stages = tuple(changed if item.name == stage else item for item in reopening.policy.stages)
    overlay = {"rehearsal": None} if earnest else {}
    reopening.policy = reopening.policy.model_copy(update={"stages": stages, **overlay})
    reopening.ratify()
    return reopening


def lacking(reopening: Reopening, stage: str = STAGE) -> list[Unmet]:
    """What its gates lack now; what its predecessors and the partners' own attestations lack is left out."""
    state = reopening.stages.state()
    found = conditions.unmet(state, conditions.declared(state, stage), reopening.clock.now())
    return [item for item in found if item.rule.startswith("gate-")]


def rules(reopening: Reopening, stage: str = STAGE) -> list[str]:
    return [item.rule for item in lacking(reopening, stage)]


def later(reopening: Reopening, **time: float) -> None:
    reopening.clock.wait(timedelta(**time).total_seconds())
