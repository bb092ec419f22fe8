"""Unknown is resolved by reading back, never by guessing: devices that could not be read are tried again until they can be.

A try only reads, and writes nothing to the device. Once a device answers, what is not confirmed there is closed and read back,
and its stage goes to `reverted` when none of its devices is left. What suspended stages have left behind is closed the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.domain import stages
from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.retrying import is_recorded, wait_after
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import SiteState
from orchestrator.errors import IllegalTransition
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps
from orchestrator.service.journal import Journal
from orchestrator.service.reverting import close_and_read_back, revert

ANSWERS_AGAIN = "the devices answer again: what was not confirmed is closed"
TRY_AGAIN_AFTER_S = 600.0  # a device that answers and does not close what it should: each try writes to the log
_MAY_HOLD = stages.RUNNING | stages.LETS_THROUGH


@dataclass(frozen=True)
class Tries:
    """Of one device. `due` is on the server's monotonic clock; `since` and `last` are times (RFC 3339)."""

    device: str
    since: str
    count: int
    last: str
    due: float
    why: str


class Unknown:
    """`begin` runs device work in the background, when what runs now has ended."""

    def __init__(self, collaborators: Collaborators, journal: Journal, begin: Callable[[Callable[[], None]], None]) -> None:
        self._with, self._journal, self._begin = collaborators, journal, begin
        self._tries: dict[str, Tries] = {}
        self._closed: dict[str, float] = {}  # stage → when it was last tried to close it, monotonic
        self._under_way: set[str] = set()
        self._lock = threading.Lock()

    @property
    def tries(self) -> Mapping[str, Tries]:
        """Devices that cannot be read, as this server has tried them."""
        return dict(self._tries)

    def turn(self) -> tuple[str, ...]:
        """Begins what is due; the stages that it is about."""
        state = self._journal.state()
        if state.posture is SitePosture.ISOLATING:
            return ()  # a cut-off is at work on the devices: it comes first
        with self._lock:
            found = [name for name in unresolved(state) if name not in self._under_way and self._is_due(state, name)]
            self._under_way |= set(found)
        for name in found:
            self._begin(lambda name=name: self._resolve(name))  # type: ignore[misc]
        return tuple(found)

    # --- within -------------------------------------------------------------------------------------------------

    def _is_due(self, state: SiteState, stage: str) -> bool:
        now = self._with.elapsed()
        if now - self._closed.get(stage, float("-inf")) < TRY_AGAIN_AFTER_S:
            return False
        return any(name not in self._tries or self._tries[name].due <= now for name in concerned(state, stage))

    def _resolve(self, stage: str) -> None:
        try:
            state = self._journal.state()
            if stage not in unresolved(state):
                return  # it has been closed, now that it is our turn
            due = [name for name in concerned(state, stage) if name not in self._tries or self._tries[name].due <= self._with.elapsed()]
            answering = self._read(stage, due)
            away = [name for name in concerned(state, stage) if name not in answering]
            if not answering:
                return
            self._closed[stage] = self._with.elapsed()
            if state.stage(stage).state is StageState.FAILED and not away:
                self._revert(stage)
            else:
                close_and_read_back(self._with, self._journal, stage, strict=False, only=answering)
            left = [name for name in concerned(self._journal.state(), stage) if name not in away]
            if not left:
                self._closed.pop(stage, None)
        finally:
            with self._lock:
                self._under_way.discard(stage)

    def _revert(self, stage: str) -> None:
        try:
            self._journal.decide(
                lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.STAGE_REVERTING, {"reason": ANSWERS_AGAIN}, stage=stage)]
            )
        except IllegalTransition:
            return  # a cut-off or a person was faster
        revert(self._with, self._journal, stage)

    def _read(self, stage: str, names: Collection[str]) -> set[str]:
        """Those that answer; of the others, one more try that failed."""
        answering = set()
        for name, seen in DeviceSteps(self._with, self._journal, stage, lambda: None).read(names).items():
            if isinstance(seen, str):
                self._failed(name, seen)
            else:
                self._tries.pop(name, None)
                answering.add(name)
        return answering

    def _failed(self, name: str, why: str) -> None:
        state, now = self._journal.state(), stamp(self._journal.now())
        known = self._tries.get(name) or _as_the_log_says(state, name, now)
        count = known.count + 1
        tries = replace(known, count=count, last=now, due=self._with.elapsed() + wait_after(count), why=why[:300])
        self._tries[name] = tries
        if is_recorded(count):
            body = {"since": tries.since, "tries": count, "why": tries.why}
            self._journal.decide(lambda state, at: [EventMaker(state, ORCHESTRATOR, at)(E.DEVICE_STILL_UNKNOWN, body, device=name)])


def unresolved(state: SiteState) -> tuple[str, ...]:
    """Stages that failed, and stages that may hold nothing open any more; of both those that do, or may, on some device."""
    return tuple(name for name, status in state.stages.items() if status.state not in _MAY_HOLD and concerned(state, name))


def concerned(state: SiteState, stage: str) -> tuple[str, ...]:
    """The devices on which something of the stage lies, or may."""
    return tuple(
        device.name
        for device in state.devices.values()
        if any(stage in held for held in (device.pending, device.openings, device.releases))
    )  # fmt: skip


def _as_the_log_says(state: SiteState, name: str, now: str) -> Tries:
    """Where an earlier server left off: since when, and at least how often it was tried."""
    device, told = state.device(name), state.watched.unreachable.get(name)
    if told is not None and device.step is DeviceStepState.UNKNOWN and told.since == device.since:
        return Tries(name, told.since, told.tries, told.at, 0.0, told.why)
    since = device.since if device.step is DeviceStepState.UNKNOWN else now
    return Tries(name, since, 0, now, 0.0, "")


def away(state: SiteState, tries: Iterable[Tries], devices: Collection[str]) -> list[dict[str, object]]:
    """For people: which of these devices cannot be read, since when, how often they were tried, and why."""
    known = {item.device: item for item in tries}
    found: list[dict[str, object]] = []
    for name in devices:
        mine = known.get(name)
        if mine is None and state.device(name).step is DeviceStepState.UNKNOWN:
            mine = _as_the_log_says(state, name, state.device(name).since)
        if mine is not None:
            found.append({"device": name, "since": mine.since, "tries": mine.count, "last": mine.last, "why": mine.why})
    return found
