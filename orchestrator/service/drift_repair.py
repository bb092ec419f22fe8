"""Repairing drift: closes what should not be open, lays again what is not there, and says so. Never opens anything.

1 what is found is read again: nothing is repaired that has repaired itself
2 stages whose openings go with it are suspended, durable before anything is sent
3 intent, scripts (by the cut key: they only subtract), outcome, read-back
4 what milder means leave is laid over, once
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from orchestrator.dialects.base import Dialect, Script
from orchestrator.domain import conditions
from orchestrator.domain.drift import by_the_log
from orchestrator.domain.drift_repairing import Repair, repair_of
from orchestrator.domain.drift_status import Deviation, DriftStatus, Kind
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.layer import Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.stages import LETS_THROUGH, RUNNING
from orchestrator.domain.state import SiteState
from orchestrator.errors import IllegalTransition
from orchestrator.ports import Credential, DeviceStep, Outcome
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.drift import Drift
from orchestrator.service.fencing import fence
from orchestrator.service.journal import Journal

_ROUNDS = 3
AGAIN_AFTER_S = 1800.0  # what a repair could not settle is repaired again by itself: each try writes to the log
_NOT_REPAIRED = frozenset({Kind.BESIDE, Kind.UNREADABLE, Kind.LAYER_UNKNOWN, Kind.BLOCKED})


@dataclass(frozen=True)
class Repaired:
    """Of one device: what was done, and what still stands (what only people can settle included)."""

    did: tuple[str, ...]
    left: tuple[Deviation, ...]


class DriftRepair:
    """`closes_leftovers` takes up what suspended stages hold on other devices."""

    def __init__(self, collaborators: Collaborators, journal: Journal, drift: Drift, closes_leftovers: Callable[[], object]) -> None:
        self._with, self._journal, self._drift, self._closes_leftovers = collaborators, journal, drift, closes_leftovers
        self._tried: dict[str, tuple[tuple[object, ...], float]] = {}  # device → what was repaired at once, and when (monotonic)

    def repair(self, devices: Collection[str] | None = None, *, only_more: bool = False, by: str = ORCHESTRATOR) -> dict[str, Repaired]:
        """Of these devices (None: all) those on which something can be repaired. `only_more`: what is less than approved is left
        for a person. Raises NotActing, LogUnavailable."""
        found = self._drift.look(devices)
        repaired = {}
        for name, status in found.items():
            if any(item.kind not in _NOT_REPAIRED and (item.more or not only_more) for item in status.found):
                repaired[name] = self._one(name, only_more=only_more, by=by)
        if repaired:
            self._closes_leftovers()
        return repaired

    def due(self, found: Mapping[str, DriftStatus]) -> tuple[str, ...]:
        """The devices that are repaired at once: something more may pass there, and the same was not tried in vain just now."""
        now = self._with.elapsed()
        due = []
        for name, status in found.items():
            keys = tuple(item.key for item in status.found if item.more and item.kind not in _NOT_REPAIRED)
            tried, at = self._tried.get(name, ((), 0.0))
            if keys and (keys != tried or now - at >= AGAIN_AFTER_S):
                self._tried[name] = (keys, now)
                due.append(name)
        return tuple(due)

    def _one(self, name: str, *, only_more: bool, by: str) -> Repaired:
        did: list[str] = []
        tried: set[Kind] = set()
        for number in range(_ROUNDS):
            seen = self._drift.read([name])[name].observed  # 1
            if seen is None:
                break
            state = self._journal.state()
            found = self._deviations(state, name, seen)
            kinds = {item.kind for item in found if item.more}
            if number and not kinds:
                break
            repair = self._plan(state, name, seen, found, only_more=only_more, lays_all=bool(tried & kinds))
            did += [text for text in (*repair.did, *repair.cannot) if text not in did]
            self._suspend(repair, name)  # 2
            if repair.sends_nothing:
                break
            self._send(name, repair, seen)  # 3
            tried |= kinds
        return self._say(name, did, by)

    # --- within -------------------------------------------------------------------------------------------------

    def _deviations(self, state: SiteState, name: str, seen: Observed) -> tuple[Deviation, ...]:
        return self._drift.deviations(state, state.device(name), seen, stamp(self._journal.now()))

    def _plan(
        self, state: SiteState, name: str, seen: Observed, found: tuple[Deviation, ...], *, only_more: bool, lays_all: bool
    ) -> Repair:
        layers, expected = self._drift.layers(state, state.device(name))
        log = by_the_log(state, state.device(name), layers, expected, stamp(self._journal.now()))
        return repair_of(state, log, seen, found, only_more=only_more, lays_all=lays_all)

    def _suspend(self, repair: Repair, device: str) -> None:
        reason = f"{device} was not as the log says; repairing it never opens anything again"
        for stage in repair.suspends:
            with contextlib.suppress(IllegalTransition):  # somebody closes it already
                self._journal.decide(partial(_suspended, stage, reason))

    def _send(self, name: str, repair: Repair, seen: Observed) -> None:
        state = self._journal.state()
        site = conditions.in_force(state).site
        device = site.device(name)
        dialect = self._with.dialect_for(device.platform)
        if repair.raises_epoch:
            self._raise_beyond(seen.epoch or 0, name)
            state = self._journal.state()
        epoch = max(state.device(name).epoch or state.epoch, seen.epoch or 0)
        scripts = _scripts(dialect, repair, epoch)
        if not scripts:
            return
        sent = hashlib.sha256("\n".join(f"{script.command}\n{script.text}" for script in scripts).encode()).hexdigest()
        intent = {
            "action": "repair", "epoch": epoch, "confirm": 0, "sent_sha256": sent, "credential": Credential.CUT.value,
            "change": repair.closes.model_dump(mode="json") if repair.closes is not None else None,
        }  # fmt: skip
        self._record(E.DEVICE_CHANGE_INTENDED, name, intent)
        run = self._with.reader.run(
            {self._with.target_for(device): scripts}, credential=Credential.CUT, deadline_s=self._with.device_deadline_s, verb="close"
        )
        answers: tuple[Outcome, ...] = next(iter(run))
        worst = next((answer for answer in answers if answer.step is not DeviceStep.APPLIED), answers[-1])
        self._record(E.DEVICE_CHANGED, name, {"action": "repair", "step": worst.step.value, "detail": worst.detail[:400]})
        self._read_back(name)

    def _read_back(self, name: str) -> None:
        """As any change: read and recorded, whatever the device answered."""
        seen = self._drift.read([name])[name]
        state = self._journal.state()
        found = self._deviations(state, name, seen.observed) if seen.observed is not None else ()
        wrong = [item.text for item in found if item.more]
        step = "unknown" if seen.observed is None else "refused" if wrong else "applied"
        body = {
            "action": "repair", "step": step, "as_expected": step == "applied", "settles": None, "change": None,
            "differences": [seen.why] if seen.observed is None else wrong,
            "fingerprint": seen.observed.fingerprint if seen.observed is not None else "",
        }  # fmt: skip
        self._record(E.DEVICE_READ_BACK, name, body)

    def _raise_beyond(self, epoch: int, name: str) -> None:
        """The device is at an epoch that this log does not know: all of ours goes beyond it."""
        raised = self._with.raise_epoch(max(self._journal.state().epoch, epoch))
        body = {"epoch": raised, "why": "drift", "devices": [name]}
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.EPOCH_RAISED, body)])
        fence(self._with, self._journal, [name])

    def _say(self, name: str, did: list[str], by: str) -> Repaired:
        """4: what stands now, read once more."""
        found = self._drift.look([name], did={name: tuple(did)} if did else {}, by=by).get(name)
        return Repaired(tuple(did), found.found if found is not None else ())

    def _record(self, type_: E, name: str, body: dict[str, object]) -> None:
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, device=name)])


def _suspended(stage: str, reason: str, state: SiteState, now: datetime) -> list[NewEvent]:
    """Nothing when it holds nothing open by now."""
    if state.stage(stage).state not in LETS_THROUGH | RUNNING:
        return []
    return [EventMaker(state, ORCHESTRATOR, now)(E.STAGE_SUSPENDED, {"reason": reason}, stage=stage)]


def _scripts(dialect: Dialect, repair: Repair, epoch: int) -> tuple[Script, ...]:
    """All of it on one session, what subtracts most first."""
    found: list[Script] = []
    if repair.tightens:
        found.append(dialect.tighten())
    found += [dialect.lay(layer) for layer in repair.lays]
    if repair.blocks:
        found.append(dialect.block(repair.blocks))
    if repair.fences:
        found.append(dialect.fence())
    if repair.closes is not None:
        found.append(dialect.close(repair.closes))
    found += [dialect.persist(layer) for layer in (*repair.lays, *repair.persists)]
    return tuple(script.filled(epoch=epoch) for script in found)
