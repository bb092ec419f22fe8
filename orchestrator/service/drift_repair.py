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
from orchestrator.domain.drift import by_the_log, compare
from orchestrator.domain.drift_repairing import Repair, repair_of
from orchestrator.domain.drift_status import Deviation, DriftStatus, Kind
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.stages import LETS_THROUGH, RUNNING
from orchestrator.domain.state import SiteState
from orchestrator.errors import IllegalTransition
from orchestrator.ports import Credential, DeviceStep
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.drift import Drift, Seen
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
        """Of these devices (None: all) those on which something can be repaired, all at once. `only_more`: what is less than
        approved is left for a person. Raises NotActing, LogUnavailable."""
        seen, found = self._drift.reading(devices)  # 1
        names = [
            name
            for name, status in found.items()
            if any(item.kind not in _NOT_REPAIRED and (item.more or not only_more) for item in status.found)
        ]
        if not names:
            return {}
        did: dict[str, list[str]] = {name: [] for name in names}
        tried: dict[str, set[Kind]] = {name: set() for name in names}
        for number in range(_ROUNDS):
            repairs = self._planned(seen, did, tried, only_more=only_more, only_left=number > 0)
            for name, repair in repairs.items():
                self._suspend(repair, name)  # 2
            sending = {name: repair for name, repair in repairs.items() if not repair.sends_nothing}
            if not sending:
                break
            self._send(sending, seen)  # 3
            seen = {**seen, **self._drift.read(list(sending))}
            self._record_read_back({name: seen[name] for name in sending})
        said = {name: tuple(texts) for name, texts in did.items()}
        left = self._drift.repaired(self._journal.state(), {name: seen[name] for name in names}, said, by)  # 4
        self._closes_leftovers()
        return {name: Repaired(said[name], left[name].found if name in left else ()) for name in names}

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

    def _planned(
        self, seen: Mapping[str, Seen], did: dict[str, list[str]], tried: dict[str, set[Kind]], *, only_more: bool, only_left: bool
    ) -> dict[str, Repair]:
        """What each device needs now; `only_left`: of what lets more pass, which an earlier round has not settled."""
        state = self._journal.state()
        now = stamp(self._journal.now())
        planned = {}
        for name in did:
            observed = seen[name].observed
            if observed is None:
                continue
            layers, expected = self._drift.layers(state, state.device(name))
            log = by_the_log(state, state.device(name), layers, expected, now)
            found = compare(log, observed)
            kinds = {item.kind for item in found if item.more}
            if only_left and not kinds:
                continue
            repair = repair_of(state, log, observed, found, only_more=only_more, lays_all=bool(tried[name] & kinds))
            tried[name] |= kinds
            did[name] += [text for text in (*repair.did, *repair.cannot) if text not in did[name]]
            planned[name] = repair
        return planned

    def _suspend(self, repair: Repair, device: str) -> None:
        reason = f"{device} was not as the log says; repairing it never opens anything again"
        for stage in repair.suspends:
            with contextlib.suppress(IllegalTransition):  # somebody closes it already
                self._journal.decide(partial(_suspended, stage, reason))

    def _send(self, repairs: Mapping[str, Repair], seen: Mapping[str, Seen]) -> None:
        """Intents, then all devices at once, then outcomes."""
        for name, repair in repairs.items():
            if repair.raises_epoch:
                self._raise_beyond(_epoch(seen[name]), name)
        state = self._journal.state()
        site = conditions.in_force(state).site
        scripts: dict[str, tuple[Script, ...]] = {}
        intents: dict[str, dict[str, object]] = {}
        for name, repair in repairs.items():
            epoch = max(state.device(name).epoch or state.epoch, _epoch(seen[name]))
            texts = _scripts(self._with.dialect_for(site.device(name).platform), repair, epoch)
            if not texts:
                continue  # an epoch that was raised, and fenced, already
            scripts[name] = texts
            sent = hashlib.sha256("\n".join(f"{script.command}\n{script.text}" for script in texts).encode()).hexdigest()
            intents[name] = {
                "action": "repair", "epoch": epoch, "confirm": 0, "sent_sha256": sent, "credential": Credential.CUT.value,
                "change": repair.closes.model_dump(mode="json") if repair.closes is not None else None,
            }  # fmt: skip
        if not scripts:
            return
        self._record(E.DEVICE_CHANGE_INTENDED, intents)
        targets = {self._with.target_for(site.device(name)): texts for name, texts in scripts.items()}
        outcomes: dict[str, dict[str, object]] = {}
        for answers in self._with.reader.run(
            targets, credential=Credential.CUT, deadline_s=self._with.device_deadline_s, verb="close"
        ):  # fmt: skip
            worst = next((answer for answer in answers if answer.step is not DeviceStep.APPLIED), answers[-1])
            outcomes[worst.device] = {"action": "repair", "step": worst.step.value, "detail": worst.detail[:400]}
        self._record(E.DEVICE_CHANGED, outcomes)

    def _record_read_back(self, seen: Mapping[str, Seen]) -> None:
        """As of any change: read and recorded, whatever the device answered."""
        state, now = self._journal.state(), stamp(self._journal.now())
        bodies: dict[str, dict[str, object]] = {}
        for name, one in seen.items():
            found = self._drift.deviations(state, state.device(name), one.observed, now) if one.observed is not None else ()
            wrong = [item.text for item in found if item.more]
            step = "unknown" if one.observed is None else "refused" if wrong else "applied"
            bodies[name] = {
                "action": "repair", "step": step, "as_expected": step == "applied", "settles": None, "change": None,
                "differences": [one.why] if one.observed is None else wrong,
                "fingerprint": one.observed.fingerprint if one.observed is not None else "",
            }  # fmt: skip
        self._record(E.DEVICE_READ_BACK, bodies)

    def _raise_beyond(self, epoch: int, name: str) -> None:
        """The device is at an epoch that this log does not know: all of ours goes beyond it."""
        raised = self._with.raise_epoch(max(self._journal.state().epoch, epoch))
        body = {"epoch": raised, "why": "drift", "devices": [name]}
        self._journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.EPOCH_RAISED, body)])
        fence(self._with, self._journal, [name])

    def _record(self, type_: E, bodies: Mapping[str, Mapping[str, object]]) -> None:
        self._journal.decide(
            lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(type_, body, device=name) for name, body in bodies.items()]
        )


def _epoch(seen: Seen) -> int:
    return (seen.observed.epoch if seen.observed is not None else None) or 0


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
