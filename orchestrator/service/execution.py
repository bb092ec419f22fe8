"""Applying a stage. The same numbers stand in docs/stages.md and at the code.

 1 re-check: plan digest, votes, conditions, every device as the log says; moved → stale, votes void, nothing sent
 2 the way in: no management interface is touched
 3 care before: the care assertions pass now
 4 intent: digests of the bytes and the values put in, durable before the first command
 5 lay: openings that close by themselves; flow devices first, coarse ones after; a canary partner alone first
 6 read back: exactly what was expected, with a deadline
 7 probe: what should pass passes, what should not does not, care holds; what devices counted meanwhile is recorded
 8 confirm: lasting, in one transaction per device, read back
 9 observe, then care and negative probes again
10 open

Failure anywhere: closed in reverse order and read back → `reverted`, or `failed` when a device is unknown. A cut-off in
the log stops it before its next step; what it had laid is closed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from orchestrator.domain import conditions, expiry
from orchestrator.domain.decide import may_apply, went_stale
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.events import EventType as E
from orchestrator.domain.lasting_probes import asked_once_lasting
from orchestrator.domain.layer import DeviceChange, Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.opened import opened
from orchestrator.domain.plan import DevicePlan, Plan
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import DeviceStatus, SiteState, moment
from orchestrator.errors import (
    DeviceRefused,
    DeviceUnknown,
    IllegalTransition,
    InputError,
    LogUnavailable,
    NotActing,
    OrchestratorError,
    Refused,
    Stale,
)
from orchestrator.ports import DeviceStep, Outcome
from orchestrator.service.checks import Checks, only, verified_from
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.counters import Counters
from orchestrator.service.deadlines import TimeIsUp, UntilThen, until_then
from orchestrator.service.device_steps import DeviceSteps, Expectation, expected_by_the_log, without_held
from orchestrator.service.ending import end
from orchestrator.service.journal import Journal
from orchestrator.service.parts import Part, canary_of, canary_parts, canary_probes, parts_of, touches_management
from orchestrator.service.planning import Planner
from orchestrator.service.reverting import close_and_read_back, revert
from orchestrator.service.turn import Turn

RATIFIED_SINCE = "another policy, inventory or other keys were ratified since its votes were re-checked"
_SLICE_S = 1.0  # how often an observation looks whether it must stop


class Preempted(Exception):
    """A cut-off came, somebody reverts the stage, or another policy was ratified: stop; whoever did it has said so in the log."""


class Stopping(Exception):
    """The server stops."""


class Execution:
    """One run of one stage; its StageApplying is in the log already. `stopping` is set when the server stops. It runs when it
    has the `turn`, and gives that away while it observes."""

    def __init__(
        self, collaborators: Collaborators, journal: Journal, planner: Planner, stage: str, stopping: threading.Event, turn: Turn
    ) -> None:
        self._planner, self._turn = planner, turn
        self._with, self._journal, self._stage, self._stopping = collaborators, journal, stage, stopping
        self._steps = DeviceSteps(collaborators, journal, stage, self._guard)
        self._checks = Checks(collaborators, journal, stage)
        self._epoch = journal.state().run_epoch
        self._baseline: dict[str, tuple[Observed, DeviceStatus]] = {}  # what was read, and what the log said then
        self._ends: datetime | None = None  # from the first laying on
        self._votes_for: tuple[str, str, int] | None = None  # what was in force when the votes were re-checked

    def run(self) -> None:
        """Steps 1 to 10. Raises nothing that the rules foresee; LogUnavailable when the log cannot be written any more."""
        if self.lay_and_verify():
            self.observe()

    def lay_and_verify(self) -> bool:
        """Steps 1 to 8: whether it is lasting, and observed from here on."""
        plan = self._plan()
        try:
            self._recheck(plan)  # 1
            self._management_survives(plan)  # 2
            self._checks.require("before", only(plan.probes, Purpose.CARE))  # 3
            if partner := canary_of(plan, self._journal.state()):
                self._lay(plan, canary_parts(self._parts(plan), partner))  # 4 5 6, the canary partner alone
                self._checks.require(
                    "canary", self._asked(plan, canary_probes(plan, partner, conditions.in_force(self._journal.state())))
                )  # 7
            self._lay(plan, self._parts(plan))  # 4 5 6
            self._say(E.STAGE_VERIFYING, {})
            results = self._checks.require("after", self._asked(plan, plan.probes))  # 7
            Counters(self._with, self._journal, self._steps, self._stage).read(self._parts(plan))
            self._confirm(plan)  # 8
            verified = verified_from(results, conditions.in_force(self._journal.state()).site)
            ends = {"ends_at": stamp(self._ends)} if self._ends is not None else {}
            self._say(E.STAGE_OBSERVING, {"observation_s": plan.observation_s, "verified": verified, **ends})
        except Stale as moved:
            self._went_stale(str(moved))
            return False
        except (Preempted, Stopping, OrchestratorError) as failure:
            self._give_up(failure)
            return False
        except Exception as unforeseen:  # whatever it is, what was laid is not verified
            self._give_up(unforeseen)
            raise
        return True

    def observe(self) -> None:
        """Steps 9 and 10; also the way on after a restart of the server in the middle of them."""
        plan = self._plan()
        try:
            self._wait_until_observed(plan)  # 9
            self._checks.require("observed", asked_once_lasting(self._journal.state(), plan))
            self._guard()
            self._journal.decide(lambda state, now: opened(state, self._stage, now))  # 10
        except TimeIsUp:
            end(self._with, self._journal, self._stage)
        except Stopping:
            return  # approved, verified and lasting: it goes on being observed after the restart
        except LogUnavailable:
            raise  # the same, once the log can be written (`abandoned.py`)
        except (Preempted, OrchestratorError) as failure:
            self._give_up(failure)

    # 1

    def _recheck(self, plan: Plan) -> None:
        """Raises Stale for anything that moved since the vote. Nothing has been sent."""
        state = self._journal.state()
        self._votes_for = voted_under(state)
        try:
            now_digest = self._planner.plan(state, self._stage, plan.partners, plan.window).digest
            may_apply(state, self._stage, now_digest, self._journal.now())
        except (Refused, InputError) as refusal:
            raise Stale(str(refusal), rule=getattr(refusal, "rule", "digest-moved")) from refusal
        changes = {device.device: without_held(device.change, state.device(device.device), self._stage) for device in plan.devices}
        for name, seen in self._steps.read(list(changes)).items():
            if isinstance(seen, str):
                raise Stale(f"{name} could not be read back: {seen}", rule="device-unknown")
            if differences := expected_by_the_log(state.device(name), change=changes[name]).differences(seen):
                raise Stale(f"{name} is not as the log says: " + "; ".join(differences), rule="device-moved")
            self._baseline[name] = (seen, state.device(name))
        unsure = [name for name in self._baseline if state.device(name).step is not DeviceStepState.APPLIED]
        self._steps.record_found({name: self._baseline[name][0] for name in unsure})

    def _went_stale(self, reason: str) -> None:
        try:
            self._journal.decide(lambda state, now: went_stale(state, self._stage, reason, now))
        except IllegalTransition as taken:  # a cut-off or a person was faster; nothing has been sent
            self._give_up(taken)

    # 2

    def _management_survives(self, plan: Plan) -> None:
        if touched := touches_management(conditions.in_force(self._journal.state()).site, plan):
            raise DeviceRefused("; ".join(touched))

    # 4 5 6

    def _lay(self, plan: Plan, parts: Sequence[Part]) -> None:
        """With the confirm window, or what is left until the end, or what a platform can hold, where that is shorter."""
        for order in sorted({part.plan.order for part in parts}):
            group = [part for part in parts if part.plan.order == order]
            then = self._then(plan, group)
            longest = [self._with.dialect_for(part.plan.platform).traits.longest_deadline_s for part in group]
            confirm_s = min((plan.confirm_window_s, *longest, *(then.seconds.values() if then is not None else ())))
            outcomes = self._steps.change("open", _to_send(group), confirm_s)
            _require_applied(outcomes)
            expected = {part.plan.device: self._expected(part, temporary=True) for part in group}
            self._steps.read_back(expected, settles={}, action="open")

    # 8

    def _confirm(self, plan: Plan) -> None:
        for order in sorted({device.order for device in plan.devices}):
            group = [part for part in self._parts(plan) if part.plan.order == order]
            then = self._then(plan, group)
            _require_applied(self._steps.change("confirm", _to_send(group), plan.confirm_window_s, then))
            expected = {part.plan.device: self._expected(part, temporary=then is not None, then=then) for part in group}
            settles = {part.plan.device: part.plan.change for part in group}
            self._steps.read_back(expected, settles=settles, action="confirm", then=then)

    def _then(self, plan: Plan, group: Sequence[Part]) -> UntilThen | None:
        """The end that the devices of this group are given now; None when nothing closes by itself. Raises TimeIsUp."""
        self._ends = self._ends or expiry.end_of(plan, self._journal.state().stage(self._stage), self._journal.now())
        if self._ends is None or plan.on_expiry != "close":
            return None
        return until_then(self._with, [part.plan for part in group if not part.change.is_empty], self._ends)

    def _expected(self, part: Part, *, temporary: bool, then: UntilThen | None = None) -> Expectation:
        """What was there before, less what a re-isolation has closed in between. What others hold with an end of its own has a
        deadline, or has come to its end."""
        (before, logged), state = self._baseline[part.plan.device], self._journal.state()
        device = state.device(part.plan.device)
        left = frozenset(before.opened) - (frozenset(logged.opened) - frozenset(device.opened))
        elements, ending = frozenset(part.change.elements), device.ending(but=self._stage)
        return Expectation(
            slots=before.slots,
            epoch=device.epoch,
            newest=state.epoch,
            blocked=device.blocked,
            opened=left | elements,
            temporary=(elements if temporary else frozenset()) | ending,
            closed=(frozenset(before.closed) | (logged.released - device.released)) - set(part.change.releases),
            left=then.left(part.plan.device, elements) if then is not None and elements else {},
            ending=ending,
            ending_guards=device.ending_guards(but=self._stage),
        )

    # 9

    def _wait_until_observed(self, plan: Plan) -> None:
        status = self._journal.state().stage(self._stage)
        end = moment(status.since) + timedelta(seconds=plan.observation_s)
        if expiry.closes(status) and status.ends_at:
            end = min(end, moment(status.ends_at))
        while (left := (end - self._journal.now()).total_seconds()) > 0:
            self._guard()
            with self._turn.given_away():
                self._with.wait(min(left, _SLICE_S))
        self._guard()

    # --- within -------------------------------------------------------------------------------------------------

    def _asked(self, plan: Plan, probes: Sequence[Probe]) -> tuple[Probe, ...]:
        """Without what a dated window of another stage lets through just now: plans are made as if it were over."""
        state = self._journal.state()
        if not any(device.ending(but=self._stage) for device in state.devices.values()):
            return tuple(probes)
        asked = {probe.id for probe in asked_once_lasting(state, plan)}
        return tuple(probe for probe in probes if probe.purpose is Purpose.POSITIVE or probe.id in asked)

    def _plan(self) -> Plan:
        plan = self._journal.state().stage(self._stage).plan
        assert plan is not None  # a stage that is applied has one
        return plan

    def _parts(self, plan: Plan) -> list[Part]:
        return parts_of(plan, self._journal.state())

    def _guard(self) -> None:
        """Raises when the run must stop: a cut-off, a revert by a person, another policy or other keys while it is laid and verified,
        another server that took over, the end of this one."""
        self._journal.require_acting()
        state = self._journal.state()
        now = state.stage(self._stage).state
        if state.run_epoch != self._epoch or now not in (StageState.APPLYING, StageState.VERIFYING, StageState.OBSERVING):
            raise Preempted(f"{self._stage} is {now}, the site {state.posture}, the epoch {state.epoch}")
        if now is not StageState.OBSERVING and self._votes_for not in (None, voted_under(state)):
            raise Preempted(RATIFIED_SINCE)
        if expiry.is_over(state.stage(self._stage), self._journal.now()):
            raise TimeIsUp(f"the time of {self._stage} is over")
        if self._stopping.is_set():
            raise Stopping("the server stops")

    def _say(self, type_: E, body: Mapping[str, object]) -> None:
        """An event of the stage. Raises IllegalTransition when the stage has been taken from us: nothing is appended."""
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, stage=self._stage)])

    def _give_up(self, failure: Exception) -> None:
        """Reverts; after a cut-off only closes what we laid, for the stage is `suspended` already. When another server has taken
        over, it does both. With a log that cannot be written what we laid is closed all the same; raises LogUnavailable then."""
        if isinstance(failure, NotActing):
            return
        if self._journal.state().stage(self._stage).state is not StageState.REVERTING:
            try:
                self._say(E.STAGE_REVERTING, {"reason": str(failure)[:1000]})
            except IllegalTransition:
                close_and_read_back(self._with, self._journal, self._stage, strict=False)
                return
            except LogUnavailable:
                close_and_read_back(self._with, self._journal, self._stage, strict=False)
                raise
        revert(self._with, self._journal, self._stage)


def voted_under(state: SiteState) -> tuple[str, str, int]:
    """What votes are bound to: policy, inventory, people's keys."""
    ratified = conditions.in_force(state)
    return ratified.policy_digest, ratified.inventory_digest, ratified.keys_since


def _to_send(parts: Sequence[Part]) -> list[tuple[DevicePlan, DeviceChange]]:
    """Nothing is sent to a device on which everything that the stage needs is open already, for another one."""
    return [(part.plan, part.change) for part in parts if not part.change.is_empty]


def _require_applied(outcomes: Mapping[str, Outcome]) -> None:
    """Raises DeviceRefused or, if any device did not answer, DeviceUnknown."""
    bad = [outcome for outcome in outcomes.values() if outcome.step is not DeviceStep.APPLIED]
    if bad:
        text = "; ".join(f"{outcome.device} {outcome.step}: {outcome.detail}" for outcome in bad)
        raise DeviceUnknown(text) if any(outcome.step is DeviceStep.UNKNOWN for outcome in bad) else DeviceRefused(text)
