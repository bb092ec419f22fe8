"""What a server does when it begins to act. The same numbers stand in docs/recovery.md.

1 the log is read and verified; nothing is sent on a broken one
2 after another server: the epoch is raised, every device that holds a layer is fenced, and the log says who acts now
3 what was under way is found: stages that were being laid or closed, devices of whose last command nothing is known
4 their devices are fenced: what was sent before the end and arrives later opens nothing
5 stages that were being laid are closed, and read back; what is observed goes on being observed
6 devices without an outcome are read back; what is open there and not confirmed is closed, and read back
7 what other parts of the server had begun is taken up
8 what was found and done is written down, once: a second restart finds nothing
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from orchestrator.domain import conditions
from orchestrator.domain.drift import by_the_log
from orchestrator.domain.drift_repairing import unconfirmed
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.folding_reisolation import TAKEOVER
from orchestrator.domain.layer import DeviceChange, Observed
from orchestrator.domain.left_over import LeftOver, left_over
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.stages import RUNNING, StageState
from orchestrator.domain.state import SiteState
from orchestrator.ports import Credential
from orchestrator.service.acting import TookOver
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.drift import Drift
from orchestrator.service.fencing import fence, without_fence
from orchestrator.service.journal import Journal
from orchestrator.service.reverting import revert

RESTARTED = "the orchestrator was restarted in the middle of it"
Hook = Callable[[], Iterable[str]]


class Recovery:
    """`hooks` are what other parts of the server take up; each says what it did, in sentences."""

    def __init__(self, collaborators: Collaborators, journal: Journal, drift: Drift, hooks: Sequence[Hook]) -> None:
        self._with, self._journal, self._drift, self._hooks = collaborators, journal, drift, hooks

    def take_over(self, took: TookOver) -> None:
        """Step 2. Nothing when this server followed itself, in order or after its own death: step 4 deals with that."""
        state = self._journal.state()
        before = state.watched.server.name if state.watched.server is not None else ""
        others = [name for name in (took.instead_of, before) if name and name != self._with.server]
        fences = bool(others) or took.may_live
        if fences and without_layer(state):
            fences = False
        if fences:
            self._raise(TAKEOVER)
        if fences or before != self._with.server:
            body = {"server": self._with.server, "instead_of": others[0] if others else took.instead_of, "may_live": took.may_live}
            self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.SERVER_ACTS, body)])
        if fences:
            fence(self._with, self._journal, without_fence(self._journal.state()))

    def found(self) -> LeftOver:
        """Steps 1 and 3; what was being laid says in the log that it is being closed, from here on."""
        self._journal.head()  # raises LogBroken for what has been changed since it was read
        found = left_over(self._journal.state())
        for name, was in found.reverts:
            if was is not StageState.REVERTING:
                self._journal.decide(lambda state, now, name=name: _reverting(state, now, name))  # type: ignore[misc]
        return found

    def run(self, found: LeftOver) -> tuple[str, ...]:
        """Steps 4 to 8. Returns what was done, in sentences; empty when there was nothing to do."""
        did: list[str] = []
        if not found.is_nothing and found.late:
            self._raise("recovery")  # 4
            left = fence(self._with, self._journal, found.late)
            did.append(f"fenced {', '.join(found.late)}: what was sent before opens nothing any more")
            did += [f"{name} is not fenced yet: {why}" for name, why in left.items()]
        for name, was in found.reverts:  # 5
            if self._journal.state().stage(name).state is StageState.REVERTING:
                revert(self._with, self._journal, name)
            now = self._journal.state().stage(name)
            did.append(f"{name} was {was}: it is {now.state} now" + (f" ({now.detail})" if now.state is StageState.FAILED else ""))
        state = self._journal.state()
        still = [name for name in found.unsettled if name in left_over(state).unsettled]
        did += self._settle(still)  # 6
        for hook in self._hooks:  # 7
            did += hook()
        if did:  # 8
            goes_on = [f"{name} goes on: it was {self._journal.state().stage(name).state}" for name in found.goes_on]
            body = {"server": self._with.server, "did": [text[:1000] for text in (*did, *goes_on)]}
            self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.RECOVERED, body)])
        return tuple(did)

    # --- within -------------------------------------------------------------------------------------------------

    def _raise(self, why: str) -> None:
        epoch = self._with.raise_epoch(self._journal.state().epoch)
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.EPOCH_RAISED, {"epoch": epoch, "why": why})])

    def _settle(self, names: Collection[str]) -> list[str]:
        """6: what each of them holds now; what is not confirmed there is closed."""
        did = []
        for name, seen in self._drift.read(names).items():
            closed = ""
            if seen.observed is not None and (change := self._unconfirmed(name, seen.observed)) is not None:
                self._close(name, change)
                closed = f" ({len(change.openings)} openings" + "".join(f", {guard}" for guard in change.releases) + " closed)"
                seen = self._drift.read([name])[name]
            wrong = [seen.why] if seen.observed is None else self._wrong(name, seen.observed)
            step = "unknown" if seen.observed is None else "refused" if wrong else "applied"
            body = {
                "action": "recover", "step": step, "as_expected": step == "applied", "settles": None, "change": None,
                "differences": wrong, "fingerprint": seen.observed.fingerprint if seen.observed is not None else "",
            }  # fmt: skip
            self._record(E.DEVICE_READ_BACK, name, body)
            said = {"applied": "it is as the log says", "unknown": "it cannot be read", "refused": "; ".join(wrong)}[step]
            did.append(f"read {name} back, of whose last command nothing was known: {said}{closed}")
        return did

    def _unconfirmed(self, name: str, seen: Observed) -> DeviceChange | None:
        state = self._journal.state()
        layers, expected = self._drift.layers(state, state.device(name))
        return unconfirmed(by_the_log(state, state.device(name), layers, expected, stamp(self._journal.now())), seen)

    def _wrong(self, name: str, seen: Observed) -> list[str]:
        state = self._journal.state()
        found = self._drift.deviations(state, state.device(name), seen, stamp(self._journal.now()))
        return [item.text[:400] for item in found if item.more]

    def _close(self, name: str, change: DeviceChange) -> None:
        device = conditions.in_force(self._journal.state()).site.device(name)
        script = self._with.dialect_for(device.platform).close(change)
        self._record(E.DEVICE_CHANGE_INTENDED, name, {"action": "close", "change": change.model_dump(mode="json")})
        run = self._with.reader.run(
            {self._with.target_for(device): (script,)}, credential=Credential.CUT, deadline_s=self._with.device_deadline_s, verb="close"
        )
        for answers in run:
            step, detail = answers[-1].step.value, answers[-1].detail[:400]
            self._record(E.DEVICE_CHANGED, name, {"action": "close", "step": step, "detail": detail})

    def _record(self, type_: E, name: str, body: dict[str, object]) -> None:
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, device=name)])


def without_layer(state: SiteState) -> bool:
    """No device holds a layer: there is nothing to fence."""
    return not any(device.slots for device in state.devices.values())


def _reverting(state: SiteState, now: datetime, name: str) -> list[NewEvent]:
    """Nothing when a cut-off or a person was faster."""
    if state.stage(name).state not in RUNNING - {StageState.REVERTING}:
        return []
    return [EventMaker(state, ORCHESTRATOR, now)(E.STAGE_REVERTING, {"reason": RESTARTED}, stage=name)]
