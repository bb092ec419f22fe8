"""A lift that did not come to its end: every device is put back to what the log says, and what each one holds is read, never
guessed.

 1 tighten every device at once: a loosened layer lies again, with the openings that it held; it only subtracts
 2 read: the layer lies (done), it is gone (the device was lifted already), or nobody knows
 3 what was lifted is laid again: the layers in the log, running and start-up, then what open stages hold there. These openings
   are under the votes of their stages, which nobody has closed: the device is no more open than before the lift
 4 fence what never answered: no lift arrives late
 5 read again
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from orchestrator.dialects.base import Script
from orchestrator.domain import conditions
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import DeviceChange, Element, Observed, Opening, ordered
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.plan import DevicePlan
from orchestrator.domain.profiles import layers_in_force
from orchestrator.domain.stages import LETS_THROUGH
from orchestrator.domain.state import SiteState
from orchestrator.errors import LogUnavailable, Refused
from orchestrator.ports import Credential, Outcome, Target
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps
from orchestrator.service.fencing import fence_what_hangs
from orchestrator.service.journal import Journal

_ATTEMPTS = 3
_PAUSE_S = 2.0
STAGE = "as-the-log-says"  # whom an opening that is put back serves is in the log; a device's words do not ask
_RESTORE_S = 60  # the confirm window of openings that are put back


def put_back(collaborators: Collaborators, journal: Journal, stage: str, only: Collection[str] | None = None) -> list[str]:
    """Returns what is not as the log says, device by device, exactly; empty when all of it is. `only`: on these devices; the
    others cannot be read."""
    told: list[str] = []
    for attempt in range(_ATTEMPTS):
        state = journal.state()
        plan = state.stage(stage).plan
        left = [device for device in (plan.devices if plan is not None else ()) if stage in state.device(device.device).pending]
        left = [device for device in left if only is None or device.device in only]
        if not left:
            return []
        if attempt:
            collaborators.wait(_PAUSE_S)
        told = _Round(collaborators, journal, stage, state).run(left)
        if not told:
            return []
    return told


class _Round:
    """One try, on devices that may be loosened or lifted."""

    def __init__(self, collaborators: Collaborators, journal: Journal, stage: str, state: SiteState) -> None:
        self._with, self._journal, self._stage, self._state = collaborators, journal, stage, state
        self._steps = DeviceSteps(collaborators, journal, stage, lambda: None)

    def run(self, plans: Sequence[DevicePlan]) -> list[str]:
        self._steps.change("tighten", [(plan, plan.change) for plan in plans], confirm_s=0)  # 1
        names = [plan.device for plan in plans]
        seen = self._steps.read(names)  # 2
        gone = [name for name, found in seen.items() if not isinstance(found, str) and not found.present and found.loosened_s is None]
        gone = [name for name in gone if self._state.device(name).slots]
        if gone:
            self._lay_again(gone)  # 3
        hung = [name for name in names if self._stage in self._state.device(name).hanging]
        unfenced = fence_what_hangs(self._with, self._journal, self._stage, hung)  # 4: a device without a layer has no epoch
        again = [name for name in names if name in (*gone, *hung) and name not in unfenced]
        seen.update({**(self._steps.read(again) if again else {}), **unfenced})  # 5
        differences = {name: self._differences(name, found) for name, found in seen.items()}
        self._record(seen, differences)
        return [f"{name}: {_whether(seen[name])}: {'; '.join(told)}" for name, told in differences.items() if told]

    def _differences(self, name: str, seen: Observed | str) -> list[str]:
        """What a device holds and the log does not say. What is missing there of a stage that is suspended is no harm."""
        if isinstance(seen, str):
            return [seen]
        device = self._state.device(name)
        found = [f"foreign: {line}" for line in seen.foreign]
        if seen.loosened_s is not None:
            found.append(f"its layer is off for {seen.loosened_s} s more")
        if dict(seen.slots) != dict(device.slots):
            found.append(f"its slots are {sorted(seen.slots)}, not {sorted(device.slots)}")
        if open_whole := self._shut(name) - set(seen.closed):
            found.append(f"released and should not be: {', '.join(sorted(open_whole))}")
        opened = set(seen.opened) | {element for element, _ in seen.temporary}
        found += [f"open and should not be: {text}" for text in _texts(opened - set(device.opened))]
        wanted = {element for elements in self._held(name).values() for element in elements} - device.ending()
        found += [f"not open any more: {text}" for text in _texts(wanted - opened)]
        return found

    def _shut(self, name: str) -> frozenset[str]:
        """The coarse guards that nobody has released, by the log."""
        ratified, device = conditions.in_force(self._state), self._state.device(name)
        try:
            layers = layers_in_force(ratified.site, ratified.policy, {name: sorted(device.slots)})[name]
        except Refused:
            return frozenset()
        return frozenset(guard for layer in layers if layer.coarse for guard in layer.guard) - device.released

    def _held(self, name: str) -> dict[str, tuple[Element, ...]]:
        """What open stages hold on the device, by the log."""
        openings = self._state.device(name).openings
        return {stage: elements for stage, elements in openings.items() if self._state.stage(stage).state in LETS_THROUGH}

    # 3

    def _lay_again(self, names: Sequence[str]) -> None:
        """With the cut key what subtracts, with the open key what open stages hold."""
        scripts: dict[str, tuple[Script, ...]] = {}
        openings: dict[str, tuple[Script, ...]] = {}
        for name in names:
            try:
                scripts[name], openings[name] = self._layers(name), self._openings(name)
            except Refused:
                continue  # a slot that the policy in force does not define: the reading says that the layer is gone
        self._send("relay", scripts, Credential.CUT, "tighten")
        self._send("restore", {name: texts for name, texts in openings.items() if texts}, Credential.OPEN, "open")

    def _layers(self, name: str) -> tuple[Script, ...]:
        ratified, device = conditions.in_force(self._state), self._state.device(name)
        dialect = self._with.dialect_for(ratified.site.device(name).platform)
        layers = layers_in_force(ratified.site, ratified.policy, {name: sorted(device.slots)})[name]
        epoch = self._state.epoch if device.epoch is None else device.epoch
        laid = [dialect.lay(layer).filled(epoch=epoch) for layer in layers]
        return (*laid, *(dialect.persist(layer).filled(epoch=epoch) for layer in layers))

    def _openings(self, name: str) -> tuple[Script, ...]:
        ratified, device = conditions.in_force(self._state), self._state.device(name)
        dialect = self._with.dialect_for(ratified.site.device(name).platform)
        epoch = self._state.epoch if device.epoch is None else device.epoch
        lasting = {stage: elements for stage, elements in self._held(name).items() if stage not in device.deadlines}  # the others ended
        change = DeviceChange(
            device=name,
            openings=tuple(Opening(flow=STAGE, partner=STAGE, element=item) for item in ordered(chain(*lasting.values()))),
            releases=tuple(sorted({port for stage in lasting for port in device.releases.get(stage, ())})),
        )
        if change.is_empty:
            return ()
        values = {"epoch": epoch, "confirm": _RESTORE_S}
        return dialect.open(change).filled(**values), dialect.confirm(change).filled(**values)

    def _send(self, action: str, scripts: Mapping[str, tuple[Script, ...]], credential: Credential, verb: str) -> None:
        if not scripts:
            return
        texts = {name: "\n".join(f"{one.command}\n{one.text}" for one in listed) for name, listed in scripts.items()}
        intent = {"action": action, "credential": credential.value, "change": None}
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        self._say(E.DEVICE_CHANGE_INTENDED, {name: {**intent, "sent_sha256": sent} for name, sent in digests.items()})
        site = conditions.in_force(self._state).site
        outcomes: dict[str, tuple[Outcome, ...]] = {}
        by_platform: dict[str, dict[Target, Sequence[Script]]] = {}
        for name, listed in scripts.items():
            by_platform.setdefault(site.device(name).platform, {})[self._with.target_for(site.device(name))] = listed
        for platform, targets in by_platform.items():
            devices = self._with.devices_by_platform(platform)
            for answers in devices.run(targets, credential=credential, deadline_s=self._with.device_deadline_s, verb=verb):
                outcomes.update({answer.device: answers for answer in answers})
        bodies = {}
        for name, listed in scripts.items():
            answered = outcomes.get(name, ())
            last = answered[-1] if answered else None
            step = last.step.value if last is not None and (len(answered) == len(listed) or last.step.value != "applied") else "unknown"
            bodies[name] = {"action": action, "step": step, "detail": last.detail[:400] if last is not None else "no answer"}
        self._say(E.DEVICE_CHANGED, bodies)

    # --- recording ------------------------------------------------------------------------------------------------

    def _record(self, seen: Mapping[str, Observed | str], differences: Mapping[str, list[str]]) -> None:
        self._say(
            E.DEVICE_READ_BACK,
            {
                name: {
                    "action": "tighten",
                    "step": "unknown" if isinstance(found, str) else "refused" if differences[name] else "applied",
                    "as_expected": not differences[name],
                    "differences": [text[:400] for text in differences[name]],
                    "layer": _whether(found),
                    "fingerprint": "" if isinstance(found, str) else found.fingerprint,
                    "settles": "close",
                    "change": DeviceChange(device=name).model_dump(mode="json"),
                }
                for name, found in seen.items()
            },
        )

    def _say(self, type_: E, bodies: Mapping[str, Mapping[str, object]]) -> None:
        """Putting back does not wait for a log that cannot be written."""
        try:
            self._journal.decide(
                lambda state, now: [
                    EventMaker(state, ORCHESTRATOR, now)(type_, body, stage=self._stage, device=name) for name, body in bodies.items()
                ]
            )
        except LogUnavailable:
            return


def _whether(seen: Observed | str) -> str:
    """Exactly what is known of the layer."""
    if isinstance(seen, str):
        return "unknown"
    if seen.loosened_s is not None:
        return "loosened"
    return "laid" if seen.present else "lifted"


def _texts(elements: Iterable[Element]) -> list[str]:
    return [f"{item.source} → {item.destination} protocol {item.protocol}" for item in sorted(elements, key=Element.sort_key)]
