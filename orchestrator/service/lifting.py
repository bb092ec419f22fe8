"""Lifting the layer, into surveillance. The numbers are those of applying a stage (`steps.py`); docs/resume-and-lift.md says them
for people.

 1 re-check: plan digest (the site's own rules are read again), votes, conditions, every device as the log says
 2 the way in: no management interface is touched; nothing is shut by a lift
 3 care before
 4 intent
 5 loosen: each layer is off for the confirm window and comes back by itself. Flow devices first, coarse ones last: until the
   last group nothing new passes a coarse guard, and whatever dies on the way lies again by itself
 6 read back: off, with a time to come back, and what the device boots with still there
 7 probe: care, what is open, and everything outside the flow matrix; what passes there is accepted by name, or all is tightened
 8 lift: running and start-up. Coarse devices first, flow devices last: as long as one flow device has its layer back, what lies
   behind it is enforced. Read back; the site's own rules are byte for byte those that were voted on. Then the log says lifted
 9 surveillance: care and what lies outside the matrix are asked again and again; it does not end while anything is amiss
10 open, and the site is normal

Failure before 8 has ended on every device: all are tightened, what was lifted is laid again (`putting_back`), and the log says
what each device holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from orchestrator.domain import conditions, indicators
from orchestrator.domain.decide import may_apply, went_stale
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.layer import Observed
from orchestrator.domain.lift_conditions import accepted
from orchestrator.domain.lift_planning import is_accepted, lifted_devices
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.plan import DevicePlan, Lift, Plan
from orchestrator.domain.probes import Check, Probe, ProbeResult, Purpose
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState, moment
from orchestrator.errors import (
    DeviceError,
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
from orchestrator.ports import DeviceStep
from orchestrator.service.checks import CheckFailed, Checks, check_ran, only
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps, expected_by_the_log
from orchestrator.service.execution import RATIFIED_SINCE, Preempted, Stopping, voted_under
from orchestrator.service.journal import Journal
from orchestrator.service.lift_plan import plan_with
from orchestrator.service.putting_back import put_back
from orchestrator.service.reverting import revert
from orchestrator.service.site_rules import moved, read_site_rules
from orchestrator.service.turn import Turn

OUTSIDE = "beyond the matrix"  # the `when` of its checks
ASK_EVERY_S = 600.0  # during surveillance
SETTLE_S = 10.0  # routes and neighbours come back some seconds after the layer is off: what is blocked by that is no answer
_SLICE_S = 1.0
_NAMED = 12  # differences named in one reason; the log has all of them


def lifts(state: SiteState, stage: str) -> bool:
    """Whether the stage's plan lifts the layer."""
    plan = state.stage(stage).plan
    return plan is not None and plan.lifts


class Lifting:
    """One run of a lift; its StageApplying is in the log already."""

    def __init__(self, collaborators: Collaborators, journal: Journal, stage: str, stopping: threading.Event, turn: Turn) -> None:
        self._with, self._journal, self._stage, self._stopping, self._turn = collaborators, journal, stage, stopping, turn
        self._steps = DeviceSteps(collaborators, journal, stage, self._guard)
        self._checks = Checks(collaborators, journal, stage)
        self._epoch = journal.state().run_epoch
        self._votes_for: tuple[str, str, int] | None = None  # what was in force when the votes were re-checked
        self._rules: dict[str, dict[str, str]] = {}
        self._boots: dict[str, tuple[str, ...]] = {}

    def run(self) -> None:
        """Steps 1 to 10. Raises nothing that the rules foresee; LogUnavailable when the log cannot be written any more."""
        plan = self._plan()
        try:
            self._recheck()  # 1
            self._checks.require("before", only(plan.probes, Purpose.CARE))  # 3
            self._loosen(plan)  # 4 5 6
            self._say(E.STAGE_VERIFYING, {})
            self._verify(plan)  # 7
            self._lift(plan)  # 8
        except Stale as stale:
            self._went_stale(str(stale))
            return
        except (Preempted, Stopping, OrchestratorError) as failure:
            self._give_up(failure)
            return
        except Exception as unforeseen:  # whatever it is, every device is put back at once
            self._give_up(unforeseen)
            raise
        self.observe()

    def observe(self) -> None:
        """Steps 9 and 10; also the way on after a restart. Nothing of it closes anything: the way back is a cut-off."""
        plan = self._plan()
        asked_at, amiss = None, ""
        try:
            while True:
                self._guard()
                now, ends = self._journal.now(), self._ends(plan)
                if asked_at is None or (now - asked_at).total_seconds() >= ASK_EVERY_S or asked_at < ends <= now:
                    asked_at, amiss = now, self._surveyed(plan)  # 9
                if now >= ends and not amiss:
                    self._journal.decide(self._normal)  # 10
                    return
                with self._turn.given_away():
                    self._with.wait(_SLICE_S)
        except (Stopping, Preempted, NotActing, IllegalTransition):
            return  # it goes on after the restart, or on the server that acts; or a cut-off has laid the layer again, and the log says so

    # 1

    def _recheck(self) -> None:
        """Raises Stale for anything that moved since the vote. Nothing has been sent."""
        state, now = self._journal.state(), self._journal.now()
        self._votes_for = voted_under(state)
        try:
            self._rules = read_site_rules(self._with, lifted_devices(state))
            digest_now = plan_with(self._with, state, self._stage, now, self._rules).digest
            may_apply(state, self._stage, digest_now, now)
        except (Refused, InputError, DeviceError) as refusal:
            raise Stale(str(refusal), rule=getattr(refusal, "rule", "digest-moved")) from refusal
        found: dict[str, Observed] = {}
        for name, seen in self._steps.read([device.device for device in self._plan().devices]).items():
            if isinstance(seen, str):
                raise Stale(f"{name} could not be read back: {seen}", rule="device-unknown")
            if differences := expected_by_the_log(state.device(name)).differences(seen):
                raise Stale(f"{name} is not as the log says: " + "; ".join(differences), rule="device-moved")
            found[name], self._boots[name] = seen, seen.boots_with
        self._steps.record_found({name: seen for name, seen in found.items() if state.device(name).step is not DeviceStepState.APPLIED})

    def _went_stale(self, reason: str) -> None:
        try:
            self._journal.decide(lambda state, now: went_stale(state, self._stage, reason, now))
        except IllegalTransition as taken:  # a cut-off or a person was faster
            self._give_up(taken)

    # 4 5 6

    def _loosen(self, plan: Plan) -> None:
        for order in sorted({device.order for device in plan.devices}):
            group = [device for device in plan.devices if device.order == order]
            self._change("loosen", group, plan.confirm_window_s)
            self._read_back("loosen", {device.device: self._not_loosened for device in group})

    def _not_loosened(self, name: str, seen: Observed) -> list[str]:
        found = [f"foreign: {line}" for line in seen.foreign]
        if seen.present or not seen.loosened_s:
            found.append("its layer is not off with a time to come back")
        if missing := set(self._boots[name]) - set(seen.boots_with):
            found.append(f"it would not boot with {', '.join(sorted(missing))}")
        return found

    # 7

    def _verify(self, plan: Plan) -> None:
        self._checks.require("loosened", only(plan.probes, Purpose.CARE, Purpose.POSITIVE))
        if amiss := self._outside(plan, [item.name for item in _lift_of(plan).accepted]):
            raise CheckFailed(amiss)
        self._read_back("loosen", {device.device: self._not_loosened for device in plan.devices})  # all was asked without the layer
        self._guard()

    def _outside(self, plan: Plan, taken: Sequence[str]) -> str:
        """Asks what lies outside the matrix, what does not pass a second time; why it holds the lift back, or nothing."""
        found = {result.probe.id: result for result in self._ask(only(plan.probes, Purpose.NEGATIVE))}
        self._with.wait(SETTLE_S)
        again = self._ask([result.probe for result in found.values() if not result.passed])
        found.update({result.probe.id: result for result in again if result.passed is not None})
        results = list(found.values())
        passing = sorted({result.probe.about for result in results if result.passed})
        refused = [name for name in passing if not is_accepted(name, taken)]
        body = {**check_ran(OUTSIDE, results), "passing": passing, "not_accepted": refused}
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.CHECK_RAN, body, stage=self._stage)])
        if refused:
            more = f" and {len(refused) - _NAMED} more (orchestrator lift show)" if len(refused) > _NAMED else ""
            return f"passes beyond the flow matrix and nobody has accepted it by name: {', '.join(refused[:_NAMED])}{more}"
        silent = [result for result in results if result.check is Check.INCONCLUSIVE]
        return f"{len(silent)} questions beyond the flow matrix have no answer: {_first(silent)}" if silent else ""

    def _ask(self, probes: Sequence[Probe]) -> tuple[ProbeResult, ...]:
        return self._with.probes.run(probes, deadline_s=self._with.probe_deadline_s) if probes else ()

    # 8

    def _lift(self, plan: Plan) -> None:
        for order in sorted({device.order for device in plan.devices}, reverse=True):
            group = [device for device in plan.devices if device.order == order]
            self._change("lift", group, plan.confirm_window_s)
            self._read_back("lift", {device.device: _not_lifted for device in group})
        site = conditions.in_force(self._journal.state()).site
        if different := moved(self._rules, read_site_rules(self._with, [site.device(name) for name in self._rules])):
            raise DeviceRefused(f"the site's own rules are not those that were voted on: {'; '.join(different)}")
        self._guard()
        self._journal.decide(lambda state, now: _lifted(state, self._stage, plan, EventMaker(state, ORCHESTRATOR, now)))

    # 9 10

    def _ends(self, plan: Plan) -> datetime:
        return moment(self._journal.state().stage(self._stage).since) + timedelta(seconds=plan.observation_s)

    def _surveyed(self, plan: Plan) -> str:
        """What is amiss now; nothing is closed by it. Recorded, and told in the stage's checks."""
        state = self._journal.state()
        told = [item.message for item in indicators.unmet(state, self._journal.now())]
        try:
            self._checks.require("surveillance", only(plan.probes, Purpose.CARE))
        except CheckFailed as failure:
            told.append(str(failure))
        since = [item.name for item in accepted(state)]  # people may have accepted more since the vote
        if outside := self._outside(plan, since):
            told.append(outside)
        return "; ".join(told)

    def _normal(self, state: SiteState, now: datetime) -> list[NewEvent]:
        make = EventMaker(state, ORCHESTRATOR, now)
        body = {"plan_digest": state.stage(self._stage).plan_digest}
        return [make(E.STAGE_OPENED, body, stage=self._stage), make(E.SURVEILLANCE_ENDED, body)]

    # --- within -------------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        plan = self._journal.state().stage(self._stage).plan
        assert plan is not None  # a stage that is applied has one
        return plan

    def _change(self, action: str, group: Sequence[DevicePlan], confirm_s: int) -> None:
        outcomes = self._steps.change(action, [(plan, plan.change) for plan in group], confirm_s)
        bad = [outcome for outcome in outcomes.values() if outcome.step is not DeviceStep.APPLIED]
        if bad:
            text = "; ".join(f"{outcome.device} {outcome.step}: {outcome.detail}" for outcome in bad)
            raise DeviceUnknown(text) if any(outcome.step is DeviceStep.UNKNOWN for outcome in bad) else DeviceRefused(text)

    def _read_back(self, action: str, wanted: Mapping[str, Callable[[str, Observed], list[str]]]) -> None:
        """Reads and compares; records each read-back. Raises DeviceUnknown or DeviceRefused with every difference found."""
        seen = self._steps.read(list(wanted))
        told = {name: [found] if isinstance(found, str) else wanted[name](name, found) for name, found in seen.items()}
        bodies = {name: read_back_body(action, found, told[name]) for name, found in seen.items()}
        self._journal.decide(
            lambda state, now: [
                EventMaker(state, ORCHESTRATOR, now)(E.DEVICE_READ_BACK, body, stage=self._stage, device=name)
                for name, body in bodies.items()
            ]
        )
        unknown = [f"{name}: {found}" for name, found in seen.items() if isinstance(found, str)]
        wrong = [f"{name}: {'; '.join(told[name])}" for name, found in seen.items() if not isinstance(found, str) and told[name]]
        if unknown:
            raise DeviceUnknown("; ".join(unknown + wrong))
        if wrong:
            raise DeviceRefused("; ".join(wrong))

    def _guard(self) -> None:
        """Raises when the run must stop: a cut-off, a revert by a person, another policy or other keys before it is lifted, another
        server that took over, the end of this one."""
        self._journal.require_acting()
        state = self._journal.state()
        now = state.stage(self._stage).state
        if state.run_epoch != self._epoch or now not in (StageState.APPLYING, StageState.VERIFYING, StageState.OBSERVING):
            raise Preempted(f"{self._stage} is {now}, the site {state.posture}, the epoch {state.epoch}")
        if now is not StageState.OBSERVING and self._votes_for not in (None, voted_under(state)):
            raise Preempted(RATIFIED_SINCE)
        if self._stopping.is_set():
            raise Stopping("the server stops")

    def _say(self, type_: E, body: Mapping[str, object]) -> None:
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, stage=self._stage)])

    def _give_up(self, failure: Exception) -> None:
        """Puts all devices back; after a cut-off too, for it may not have touched each of them. When another server has taken over,
        it does that."""
        if isinstance(failure, NotActing):
            return
        if self._journal.state().stage(self._stage).state is not StageState.REVERTING:
            try:
                self._say(E.STAGE_REVERTING, {"reason": str(failure)[:1000]})
            except IllegalTransition:
                put_back(self._with, self._journal, self._stage)
                return
            except LogUnavailable:
                put_back(self._with, self._journal, self._stage)
                raise
        revert(self._with, self._journal, self._stage)


def _lifted(state: SiteState, stage: str, plan: Plan, make: EventMaker) -> list[NewEvent]:
    """LayerLifted for each device, and the surveillance: one transaction, so that the log never says half of it."""
    names = [device.device for device in plan.devices]
    devices = [make(E.LAYER_LIFTED, {"slots": sorted(state.device(name).slots)}, stage=stage, device=name) for name in names]
    return [*devices, make(E.STAGE_OBSERVING, {"observation_s": plan.observation_s, "verified": "both"}, stage=stage)]


def _not_lifted(_name: str, seen: Observed) -> list[str]:
    found = [f"foreign: {line}" for line in seen.foreign]
    if seen.present or seen.slots or seen.opened or seen.temporary or seen.closed or seen.blocked:
        found.append("something of the layer lies there still")
    if seen.loosened_s is not None:
        found.append(f"the layer is off for {seen.loosened_s} s only")
    if seen.boots_with:
        found.append(f"it would boot with {', '.join(seen.boots_with)}")
    return found


def read_back_body(action: str, seen: Observed | str, differences: Sequence[str]) -> dict[str, object]:
    """The body of a DeviceReadBack of a lift."""
    return {
        "action": action,
        "step": "unknown" if isinstance(seen, str) else "refused" if differences else "applied",
        "as_expected": not differences,
        "differences": [text[:400] for text in differences],
        "fingerprint": "" if isinstance(seen, str) else seen.fingerprint,
        "settles": None,
        "change": None,
    }


def _lift_of(plan: Plan) -> Lift:
    assert plan.lift is not None  # a plan that lifts has one
    return plan.lift


def _first(results: Sequence[ProbeResult]) -> str:
    return "; ".join(f"{result.probe.about} from {result.probe.vantage} ({result.detail or 'no detail'})" for result in results[:3])
