"""Gives every device what the log owes it: closed, fenced, blocked (`domain/owed.py`), all devices at once, each on one
session, by the way of the emergency command: with the cut key, which may only subtract.

Each device: fence → close → block → read back. A device that answers no to one of them is asked the others on a second
session. Intent before, outcome and read-back after; a log that cannot be written stops none of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.dialects.base import Dialect, Script
from orchestrator.domain import conditions
from orchestrator.domain.blocklist import within
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.layer import DeviceChange, Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.network import Platform, Prefix
from orchestrator.domain.owed import Owed, owed, whole
from orchestrator.domain.state import SiteState
from orchestrator.domain.undeclared import undeclared
from orchestrator.errors import DeviceError, LogUnavailable
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from orchestrator.service.answers import TAIL, answer_body
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal

Body = dict[str, object]


@dataclass(frozen=True)
class Told:
    """What became of one device: nothing is owed to it any more, or why something still is."""

    device: str
    detail: str = ""

    @property
    def done(self) -> bool:
        return not self.detail


@dataclass
class _Work:
    """One device. `stages`: what each of them loses there; `settles` is the part of it that leaves the log's account."""

    owed: Owed
    stages: Mapping[str, DeviceChange]
    scripts: dict[str, Script]
    outcomes: dict[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True)
class Subtracting:
    collaborators: Collaborators
    journal: Journal

    def keep_a_list(self, state: SiteState) -> tuple[str, ...]:
        """The devices whose platform keeps a block list."""
        site = conditions.in_force(state).site
        return tuple(device.name for device in site.devices if self.collaborators.dialect_for(device.platform).traits.blocks)

    def owed(self, state: SiteState) -> tuple[Owed, ...]:
        return owed(state, self.keep_a_list(state)) if state.ratified is not None else ()

    def give(
        self, devices: Collection[str] | None = None, also: Collection[str] = (), assumed: SiteState | None = None
    ) -> tuple[Told, ...]:
        """To all that are owed something (or these). `also` are stages that go back as a whole: what they have, or may have,
        is closed at once; their own run closes it again and settles it. `assumed`: instead of what the log says."""
        state = assumed if assumed is not None else self.journal.state()
        todo = [one for one in self.owed(state) if devices is None or one.device in devices]
        going = {change.device for stage in also for change in whole(state, stage)}
        told = {name: Told(name, why) for name, why in undeclared(state, {*going, *(one.device for one in todo)}).items()}
        works = self._works(state, [one for one in todo if one.device not in told], also, without=told)
        self._record([event for work in works for event in self._intents(state, work)])
        for work in self._run(state, works):
            events, detail = self._judged(state, work, self._seen(state, work))
            self._record(events)
            told[work.owed.device] = Told(work.owed.device, detail)
        return tuple(told.values())

    # --- before -------------------------------------------------------------------------------------------------

    def _works(self, state: SiteState, todo: Sequence[Owed], also: Collection[str], without: Collection[str]) -> list[_Work]:
        going: dict[str, dict[str, DeviceChange]] = {}
        for stage in also:
            for change in whole(state, stage):
                if change.device in without:
                    continue
                going.setdefault(change.device, {})[stage] = change
        known = {one.device: one for one in todo}
        works = []
        for name in dict.fromkeys((*known, *going)):
            one = known.get(name, Owed(name))
            stages = {**one.settles, **going.get(name, {})}
            closes = _joined(name, [*([one.closes] if one.closes is not None else []), *going.get(name, {}).values()])
            works.append(_Work(one, stages, self._scripts(state, one, closes)))
        return works

    def _scripts(self, state: SiteState, one: Owed, closes: DeviceChange) -> dict[str, Script]:
        dialect = self._dialect(state, one.device)
        scripts = {}
        if one.fence is not None:
            scripts["fence"] = dialect.fence().filled(epoch=state.epoch)
        if not closes.is_empty:
            scripts["close"] = dialect.close(closes)
        if one.block:
            scripts["block"] = dialect.block(one.block)
        return {**scripts, "read_back": dialect.read_back()}

    def _intents(self, state: SiteState, work: _Work) -> list[NewEvent]:
        make, close = EventMaker(state, ORCHESTRATOR, self.journal.now()), work.scripts.get("close")
        device = state.device(work.owed.device)
        body: Body = {
            "action": "close",
            "epoch": state.epoch if device.epoch is None else device.epoch,
            "confirm": 0,
            "sent_sha256": _sha256(close) if close is not None else "",
            "credential": Credential.CUT.value,
        }
        return [
            make(E.DEVICE_CHANGE_INTENDED, {**body, "change": change.model_dump(mode="json")}, stage=stage, device=device.name)
            for stage, change in work.stages.items()
        ]

    # --- on the devices -----------------------------------------------------------------------------------------

    def _run(self, state: SiteState, works: Sequence[_Work]) -> Iterator[_Work]:
        """Each as it ends: a device that hangs holds up no other's record. Those that answered no to one of the scripts are
        asked the others on a second session."""
        again: dict[str, list[str]] = {}
        for work in self._session(state, {work.owed.device: list(work.scripts) for work in works}, works):
            left = [name for name in work.scripts if name not in work.outcomes]
            if left and all(outcome.step is not DeviceStep.UNKNOWN for outcome in work.outcomes.values()):
                again[work.owed.device] = left
            else:
                yield work
        yield from self._session(state, again, works)

    def _session(self, state: SiteState, names: Mapping[str, list[str]], works: Sequence[_Work]) -> Iterator[_Work]:
        by_device = {work.owed.device: work for work in works}
        site = conditions.in_force(state).site
        targets: dict[Target, Sequence[Script]] = {
            self.collaborators.target_for(site.device(device)): [by_device[device].scripts[name] for name in listed]
            for device, listed in names.items()
        }
        if not targets:
            return
        silent = dict.fromkeys(names)
        for outcomes in self.collaborators.reader.run(
            targets, credential=Credential.CUT, deadline_s=self.collaborators.device_deadline_s, verb="close"
        ):
            device = outcomes[0].device
            del silent[device]
            by_device[device].outcomes |= dict(zip(names[device], outcomes, strict=False))
            yield by_device[device]
        for device in silent:
            by_device[device].outcomes[names[device][0]] = Outcome(device, DeviceStep.UNKNOWN, "", 0.0, "no answer")
            yield by_device[device]

    def _seen(self, state: SiteState, work: _Work) -> Observed | str:
        outcome = work.outcomes.get("read_back")
        if outcome is None or outcome.step is not DeviceStep.APPLIED:
            bad = [one for one in work.outcomes.values() if one.step is not DeviceStep.APPLIED]
            return "; ".join(f"{one.step}: {one.detail}" for one in bad) or "it was not read back"
        try:
            return self._dialect(state, work.owed.device).parse(outcome.output)
        except DeviceError as error:
            return str(error)

    def _dialect(self, state: SiteState, device: str) -> Dialect:
        return self.collaborators.dialect_for(Platform(conditions.in_force(state).site.device(device).platform))

    # --- after --------------------------------------------------------------------------------------------------

    def _judged(self, state: SiteState, work: _Work, seen: Observed | str) -> tuple[list[NewEvent], str]:
        """The events of a device, and what is still owed to it (empty: nothing)."""
        make, one = EventMaker(state, ORCHESTRATOR, self.journal.now()), work.owed
        closing = _still_there(work, seen)
        events = [make(E.DEVICE_CHANGED, answer_body("close", work.outcomes["close"], self.collaborators.masking), stage=stage, device=one.device) for stage in work.stages] if "close" in work.outcomes else []  # fmt: skip  # noqa: E501
        for stage, change in one.settles.items():
            body: Body = {
                "action": "narrow",
                "step": _step(seen, closing),
                "as_expected": not closing,
                "differences": [text[:TAIL] for text in closing],
                "fingerprint": "" if isinstance(seen, str) else seen.fingerprint,
                "settles": "narrow",
                "change": change.model_dump(mode="json"),
            }
            events.append(make(E.DEVICE_READ_BACK, body, stage=stage, device=one.device))
        problems = list(closing) if one.settles or work.stages else []
        if one.fence is not None:
            fence = _not_fenced(work, seen, state.epoch)
            events.append(make(E.DEVICE_FENCED, {"epoch": state.epoch, "step": _step(seen, fence), "detail": "; ".join(fence)[:TAIL]}, device=one.device))  # fmt: skip  # noqa: E501
            problems += fence
        if one.block:
            body, missing = block_body(one.block, seen, work.scripts["block"], exactly=False)
            events.append(make(E.BLOCKLIST_DEVICE_APPLIED, body, device=one.device))
            problems += missing
        return events, "; ".join(dict.fromkeys(problems))[:1000]

    def _record(self, events: Sequence[NewEvent]) -> None:
        """What cannot be written is done all the same: it is owed still, by the log, and done again."""
        if events:
            with suppress(LogUnavailable):
                self.journal.decide(lambda _state, _now: events)


def block_body(wanted: Sequence[Prefix], seen: Observed | str, script: Script, *, exactly: bool) -> tuple[Body, tuple[str, ...]]:
    """The body of a BlocklistDeviceApplied, and what is not as it should be. `exactly`: the list is this and no more."""
    found: tuple[str, ...] = (seen,) if isinstance(seen, str) else ()
    networks = () if isinstance(seen, str) else seen.blocked
    if not isinstance(seen, str):
        missing = [str(network) for network in wanted if not within((network,), networks)]
        more = [str(network) for network in networks if exactly and network not in wanted]
        found = (*(f"not blocked: {text}" for text in missing), *(f"still blocked: {text}" for text in more))
    body: Body = {
        "networks": [str(network) for network in networks],
        "wanted": [str(network) for network in wanted],
        "step": _step(seen, found),
        "as_expected": not found,
        "differences": [text[:TAIL] for text in found[:20]],
        "sent_sha256": _sha256(script),
    }
    return body, found


def _joined(device: str, changes: Sequence[DeviceChange]) -> DeviceChange:
    openings = {item.element: item for change in changes for item in change.openings}
    releases = dict.fromkeys(port for change in changes for port in change.releases)
    return DeviceChange(device=device, openings=tuple(openings.values()), releases=tuple(sorted(releases)))


def _still_there(work: _Work, seen: Observed | str) -> tuple[str, ...]:
    if isinstance(seen, str):
        return (seen,)
    opened = {*seen.opened, *(element for element, _ in seen.temporary)}
    closes = work.owed.closes
    left = [element for element in (closes.elements if closes is not None else ()) if element in opened]
    shut = [port for port in (closes.releases if closes is not None else ()) if seen.present and port not in seen.closed]
    return (*(f"still open: {element.source} → {element.destination}" for element in left), *(f"still released: {port}" for port in shut))


def _not_fenced(work: _Work, seen: Observed | str, epoch: int) -> tuple[str, ...]:
    if isinstance(seen, str):
        return (seen,)
    if seen.epoch is None or seen.epoch < epoch:
        outcome = work.outcomes.get("fence")
        why = f": {outcome.detail}" if outcome is not None and outcome.detail else ""
        return (f"it is still at epoch {seen.epoch}{why}",)
    return ()


def _step(seen: Observed | str, differences: Sequence[str]) -> str:
    return "unknown" if isinstance(seen, str) else "refused" if differences else "applied"


def _sha256(script: Script) -> str:
    return hashlib.sha256(f"{script.command}\n{script.text}".encode()).hexdigest()
