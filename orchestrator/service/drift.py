"""The drift watch: every device that holds a layer is read back and compared with the log, with what lies beside the layer.

What is found is recorded once, and again when it changes. Looking opens and closes nothing, and needs no turn: a device that
is being changed meanwhile (the log says otherwise of it afterwards than before) is left for the next look.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain import conditions, duties, eligibility
from orchestrator.domain.drift import by_the_log, compare, shortened
from orchestrator.domain.drift_status import Deviation, DriftStatus, Kind, Section
from orchestrator.domain.duties import Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.folding_drift import as_json
from orchestrator.domain.layer import Layer, Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.state import DeviceStatus, SiteState
from orchestrator.domain.undeclared import undeclared
from orchestrator.errors import DeviceError, Refused, Stale, UnknownName
from orchestrator.ports import Credential, DeviceStep, Outcome
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal

LONGEST_SECTION = 64 * 1024  # characters: of a longer one only the digest is kept


@dataclass(frozen=True)
class Seen:
    """What a device was read to hold; `why` says why it could not be read, and then there is nothing else."""

    observed: Observed | None
    sections: Mapping[str, str] | None = None
    why: str = ""


class Drift:
    def __init__(self, collaborators: Collaborators, journal: Journal) -> None:
        self._with, self._journal = collaborators, journal
        self._looking = threading.Lock()  # one look at a time: the same thing is not recorded twice

    def look(self, devices: Collection[str] | None = None) -> dict[str, DriftStatus]:
        """Reads these devices (None: all that hold a layer), records what is new, and says what stands. Devices that are being
        changed just now are left out. Raises NotActing, LogUnavailable."""
        return self.reading(devices)[1]

    def reading(self, devices: Collection[str] | None = None) -> tuple[dict[str, Seen], dict[str, DriftStatus]]:
        """The same, with what was read."""
        self._journal.require_acting()
        with self._looking:
            before = self._journal.state()
            if before.ratified is None or before.posture is SitePosture.ISOLATING:
                return {}, {}
            seen = self.read([name for name in watched(before) if devices is None or name in devices])
            return seen, self._recorded(before, seen, {}, ORCHESTRATOR)

    def repaired(self, before: SiteState, seen: Mapping[str, Seen], did: Mapping[str, tuple[str, ...]], by: str) -> dict[str, DriftStatus]:
        """What stands after a repair: `seen` was read after `before`, and `did` is what `by` has done, by device."""
        with self._looking:
            return self._recorded(before, seen, did, by)

    def _recorded(self, before: SiteState, seen: Mapping[str, Seen], did: Mapping[str, tuple[str, ...]], by: str) -> dict[str, DriftStatus]:
        found: dict[str, DriftStatus] = {}
        for name, one in seen.items():
            status = self._compared(before, name, one, did.get(name, ()), by)
            if status is not None:
                found[name] = status
        return found

    def known(self, actor: str, device: str | None = None) -> dict[str, DriftStatus]:
        """What the log says was found last, for somebody who may read it. Raises UnknownName."""
        state = self._journal.state()
        duties.require(Verb.READ, eligibility.roles_of(state, actor, self._journal.now()))
        if device is not None and device not in {item.name for item in conditions.in_force(state).site.devices}:
            raise UnknownName(f"there is no device {device}", advice="orchestrator drift")
        return {
            name: state.watched.drift.get(name, DriftStatus(name)) for name in watched(state) if device in (None, name)
        }  # fmt: skip

    def accept(self, actor: str, device: str, section: str, reason: str) -> SiteState:
        """A change beside the layer becomes what later ones are compared with: the very one that was reported, read again now.

        Raises NotAllowed, UnknownName, Stale (rule `drift-moved`).
        """
        if (done := self._journal.repeated()) is not None:
            return done
        state = self._journal.state()
        duties.require(Verb.DRIFT_ACCEPT, eligibility.roles_of(state, actor, self._journal.now()))
        self._journal.require_acting()
        reported = next((item for item in state.watched.drift.get(device, DriftStatus(device)).found if item.section == section), None)
        if reported is None or not section:
            raise UnknownName(f"nothing is reported of a section {section!r} of {device}", advice=f"orchestrator drift --device {device}")
        sections = self.read([device])[device].sections
        if sections is None or _sha256(sections.get(section, "")) != reported.sha256:
            raise Stale(
                f"{section} of {device} is no longer what was reported", rule="drift-moved", advice=f"orchestrator drift --device {device}"
            )
        noted = {section: _noted(sections.get(section, ""))}

        def decide(state: SiteState, now: object) -> Sequence[NewEvent]:
            del now
            make = EventMaker(state, actor, self._journal.now())
            left = [item for item in state.watched.drift[device].found if item.section != section]
            return [
                make(E.SURROUNDINGS_NOTED, {"sections": noted, "by": actor, "reason": reason, "whole": False}, device=device),
                make(E.DRIFT_REPAIRED, {"did": [f"{actor} accepts {section}"], "left": [as_json(item) for item in left]}, device=device),
            ]

        return self._journal.decide(decide)

    # --- reading ------------------------------------------------------------------------------------------------

    def read(self, names: Collection[str]) -> dict[str, Seen]:
        """The layer and what lies beside it, on one session per device, in parallel. Records nothing."""
        if not names:
            return {}
        site = conditions.in_force(self._journal.state()).site
        gone = undeclared(self._journal.state(), names)
        targets = {}
        for name in names:
            if name in gone:
                continue
            device = site.device(name)
            dialect, words = self._with.dialect_for(device.platform), self._with.surroundings_for(device.platform)
            targets[self._with.target_for(device)] = (dialect.read_back(), dialect.snapshot(), *words.scripts)
        found: dict[str, Seen] = {name: Seen(None, why=why) for name, why in gone.items()}
        for answers in self._with.reader.run(
            targets, credential=Credential.CUT, deadline_s=self._with.device_deadline_s, verb="read_back"
        ):  # fmt: skip
            name = answers[0].device
            found[name] = self._understood(site.device(name).platform, answers)
        return found

    def _understood(self, platform: str, answers: Sequence[Outcome]) -> Seen:
        first = answers[0]
        if first.step is not DeviceStep.APPLIED:
            return Seen(None, why=f"{first.step}: {first.detail}")
        try:
            observed = self._with.dialect_for(platform).parse(first.output)
        except DeviceError as error:
            return Seen(None, why=str(error))
        words = self._with.surroundings_for(platform)
        if any(answer.step is not DeviceStep.APPLIED for answer in answers) or len(answers) < 2 + len(words.scripts):
            return Seen(observed)
        try:
            return Seen(observed, words.sections([answer.output for answer in answers[1:]]))
        except (ValueError, KeyError, IndexError):
            return Seen(observed)

    # --- comparing ----------------------------------------------------------------------------------------------

    def _compared(self, before: SiteState, name: str, seen: Seen, did: tuple[str, ...], by: str) -> DriftStatus | None:
        """Records what is new of one device; None when it was being changed while we looked."""
        now = stamp(self._journal.now())
        outcome: list[DriftStatus] = []

        def decide(state: SiteState, _now: object) -> Sequence[NewEvent]:
            outcome.clear()
            known = state.watched.drift.get(name, DriftStatus(name))
            make = EventMaker(state, ORCHESTRATOR, self._journal.now())
            if _being_changed(before, state, name):
                return [_repaired(make, known, did, by)] if did else ()
            noted = state.watched.surroundings.get(name)
            first_look = noted is None or all(section.seq < state.incident_seq for section in noted.values())
            if seen.observed is None:  # nothing new is known of what was found before
                found = [Deviation(Kind.UNREADABLE, False, f"it cannot be read back: {seen.why}"[:300])]
                found += [item for item in known.found if item.kind is not Kind.UNREADABLE]
            else:
                found = list(self.deviations(state, state.device(name), seen.observed, now))
                if seen.sections is None:
                    found += [item for item in known.found if item.kind is Kind.BESIDE]
                elif not first_look:
                    platform = conditions.in_force(state).site.device(name).platform
                    found += beside(noted or {}, seen.sections, self._with.surroundings_for(platform).denials)
            status = _with_since(name, found, known, now)
            outcome.append(status)
            events = []
            if first_look and seen.sections is not None:
                sections = {section: _noted(text) for section, text in seen.sections.items()}
                events.append(make(E.SURROUNDINGS_NOTED, {"sections": sections, "whole": True, "reason": "the first look"}, device=name))
            if did:
                events.append(_repaired(make, status, did, by))
            elif [item.key for item in status.found] != [item.key for item in known.found]:
                events.append(_change(make, known, status))
            return events

        self._journal.decide(decide)
        return outcome[0] if outcome else None

    def deviations(self, state: SiteState, device: DeviceStatus, seen: Observed, now: str) -> tuple[Deviation, ...]:
        """What a read-back of the layer differs in from the log."""
        layers, expected = self.layers(state, device)
        return compare(by_the_log(state, device, layers, expected, now), seen)

    def layers(self, state: SiteState, device: DeviceStatus) -> tuple[tuple[Layer, ...] | None, Observed | None]:
        """Those of its slots, and what they read back as; None for slots that no ratified profile defines."""
        in_force = conditions.in_force(state)
        try:
            layers = layers_in_force(in_force.site, in_force.policy, {device.name: tuple(device.slots)})[device.name]
        except Refused:
            return None, None
        return layers, self._with.dialect_for(in_force.site.device(device.name).platform).expected(layers)


def watched(state: SiteState) -> tuple[str, ...]:
    """Devices that hold a layer by the log, and are in the inventory that is in force."""
    if state.ratified is None:
        return ()
    known = {device.name for device in state.ratified.site.devices}
    return tuple(device.name for device in state.devices.values() if device.slots and device.name in known)


def _being_changed(before: SiteState, after: SiteState, name: str) -> bool:
    """The log says otherwise of it than when we began to look, or something is just being laid or closed there."""
    one, other = before.device(name), after.device(name)
    same = replace(one, since="", fingerprint="", step=other.step) == replace(other, since="", fingerprint="", step=other.step)
    return not same or after.posture is SitePosture.ISOLATING or other.step in ("intended", "sent")


def _with_since(name: str, found: Sequence[Deviation], known: DriftStatus, now: str) -> DriftStatus:
    since = {item.key: item.since for item in known.found}
    dated = tuple(replace(item, since=since.get(item.key, now)) for item in found)
    return DriftStatus(name, dated, min((item.since for item in dated), default=""))


def _change(make: EventMaker, known: DriftStatus, status: DriftStatus) -> NewEvent:
    if status.found:
        return make(E.DRIFT_DETECTED, {"found": [as_json(item) for item in status.found]}, device=status.device)
    did = tuple(f"found as the log says again: {item.text}" for item in known.found)
    return _repaired(make, status, did, "")


def _repaired(make: EventMaker, status: DriftStatus, did: tuple[str, ...], by: str) -> NewEvent:
    return make(E.DRIFT_REPAIRED, {"did": list(did), "by": by, "left": [as_json(item) for item in status.found]}, device=status.device)


# --- what lies beside the layer -------------------------------------------------------------------------------------


def beside(noted: Mapping[str, Section], now: Mapping[str, str], denials: Callable[[str, str], list[str]]) -> list[Deviation]:
    """The sections that are not as they were noted, each with a short difference. `denials` are the lines of a section that
    stop packets: where some of them are gone, more may pass."""
    found = []
    for name in sorted({*noted, *now}):
        text, old = now.get(name, ""), noted.get(name)
        if (old is not None and old.sha256 == _sha256(text)) or (old is None and not text):
            continue
        gone = list((Counter(denials(name, old.text if old is not None else "")) - Counter(denials(name, text))).elements())
        told = f"beside the layer, {name} changed since {old.at if old else 'it was first looked at'}"
        if gone:
            told += f": {len(gone)} of the site's own deny rules are gone; what they stopped passes wherever the layer lets it"
        found.append(
            Deviation(
                Kind.BESIDE, bool(gone), told, shortened([f"what the site stopped by: {line[:200]}" for line in gone]),
                section=name, sha256=_sha256(text), diff=_diff(old.text if old is not None else "", text),
            )
        )  # fmt: skip
    return found


def _diff(old: str, new: str) -> tuple[str, ...]:
    if not old and len(new) > LONGEST_SECTION:
        return ("it is too long to say what",)
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm=""))[2:]
    return shortened([line[:200] for line in lines if not line.startswith("@@")])


def _noted(text: str) -> dict[str, str]:
    return {"sha256": _sha256(text), "text": text if len(text) <= LONGEST_SECTION else ""}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
