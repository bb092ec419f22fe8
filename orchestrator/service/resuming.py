"""Resuming after a false alarm, stage by stage, in the order in which they had been opened.

Each stage goes through all the steps of an opening (`execution.py`): re-checked, laid with a deadline, read back, probed, made
lasting. Its observation goes on beside the next one, since each of these stages has been observed before. The first that
fails is closed like any other and ends the resumption; what was resumed before stays open. A cut-off ends all of it.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.decide_resume import ended, resumed
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.stages import LETS_THROUGH, StageState
from orchestrator.errors import InputError, Refused
from orchestrator.service.execution import Execution
from orchestrator.service.journal import Journal
from orchestrator.service.planning import Planner

_BACK = LETS_THROUGH | {StageState.OBSERVING}


class Resuming:
    """One run of a resumption; its StageApplying is in the log already. `execution_of` a stage runs it; `begin` runs work for
    a stage in the background, when it is its turn."""

    def __init__(
        self,
        journal: Journal,
        planner: Planner,
        execution_of: Callable[[str], Execution],
        begin: Callable[[str, Callable[[], None]], object],
    ) -> None:
        self._journal, self._planner, self._execution_of, self._begin = journal, planner, execution_of, begin

    def run(self) -> None:
        """Also the way on after a restart: what was laid and verified stays so, what was interrupted in the middle has failed."""
        plan = self._journal.state().stage(RESUME).plan
        reason = ""
        for item in plan.resumes if plan is not None else ():
            if self._journal.state().stage(RESUME).state is not StageState.APPLYING:
                return  # a cut-off, or a person, has ended it
            if reason := self._resume(item.stage):
                break
        self._journal.decide(lambda state, now: ended(state, now, reason))

    def _resume(self, stage: str) -> str:
        """Why this one is not back; empty when it is."""
        status = self._journal.state().stage(stage)
        if status.state in _BACK:
            return ""
        if status.state is not StageState.SUSPENDED:
            return f"{stage} is {status.state}" + (f" ({status.detail})" if status.detail else "")
        try:
            self._journal.decide(lambda state, now: resumed(state, stage, self._digest_now(stage), now))
        except (Refused, InputError) as refusal:
            return f"{stage}: {str(refusal).partition(chr(10))[0]}"
        execution = self._execution_of(stage)
        if execution.lay_and_verify():
            self._begin(stage, execution.observe)
            return ""
        left = self._journal.state().stage(stage)
        return f"{stage} is {left.state} ({left.detail})"

    def _digest_now(self, stage: str) -> str:
        state = self._journal.state()
        voted = state.stage(stage).plan
        return self._planner.plan(state, stage, voted.partners if voted is not None else None).digest
