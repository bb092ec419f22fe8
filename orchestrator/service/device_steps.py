"""One stage's dealings with devices: intent in the log, script to the device, outcome in the log, read-back in the log.

Nothing is sent before its intent is durable. What a library says of a change is recorded and not believed: only a
read-back that equals what was expected settles what a device holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.dialects.base import Script
from orchestrator.domain import conditions
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import DeviceChange, Element, Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.plan import DevicePlan, RenderedScript
from orchestrator.domain.state import DeviceStatus, SiteState
from orchestrator.errors import DeviceError, DeviceRefused, DeviceUnknown, LogUnavailable
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.journal import Journal

_TAIL = 400
_CREDENTIAL = {"open": Credential.OPEN, "confirm": Credential.OPEN, "close": Credential.CUT, "read_back": Credential.CUT}


@dataclass(frozen=True)
class Expectation:
    """What a device must read back as. `temporary` are the elements that must still have a deadline; no others may."""

    slots: Mapping[str, str]
    epoch: int | None
    opened: frozenset[Element]
    temporary: frozenset[Element]
    closed: frozenset[str] | None = None  # exactly these coarse guards; None: not known (before the first read-back)
    shut: frozenset[str] = frozenset()  # at least these
    released: frozenset[str] = frozenset()  # none of these
    only_absent: frozenset[Element] | None = None  # nothing else counts but that these are not open (after a cut-off)

    def differences(self, seen: Observed) -> tuple[str, ...]:
        """What is not as expected, for people; empty when all is."""
        opened = set(seen.opened) | {element for element, _ in seen.temporary}
        temporary = {element for element, _ in seen.temporary}
        if self.only_absent is not None:
            left = self.shut - set(seen.closed) if seen.present else frozenset()  # without a layer there is nothing to hold shut
            return (
                *(f"still open: {_text(element)}" for element in _sorted(opened & self.only_absent)),
                *(f"still released: {name}" for name in sorted(left)),
            )
        found = [f"foreign: {line}" for line in seen.foreign]
        if dict(seen.slots) != dict(self.slots):
            found.append(f"its slots are {sorted(seen.slots)}, or their content differs")
        if self.epoch is not None and seen.epoch is not None and seen.epoch != self.epoch:
            found.append(f"its epoch is {seen.epoch}, not {self.epoch}")
        found += [f"open and should not be: {_text(element)}" for element in _sorted(opened - self.opened)]
        found += [f"not open: {_text(element)}" for element in _sorted(self.opened - opened)]
        found += [f"has a deadline and should not: {_text(element)}" for element in _sorted((temporary & self.opened) - self.temporary)]
        found += [f"has no deadline: {_text(element)}" for element in _sorted((self.temporary & opened) - temporary)]
        if self.closed is not None and set(seen.closed) != self.closed:
            found.append(f"closed are {sorted(seen.closed)}, not {sorted(self.closed)}")
        if self.shut - set(seen.closed) or self.released & set(seen.closed):
            found.append(f"closed are {sorted(seen.closed)}; {sorted(self.shut)} should be, {sorted(self.released)} should not")
        return tuple(found)


def _sorted(elements: Iterable[Element]) -> list[Element]:
    return sorted(elements, key=Element.sort_key)


def _text(element: Element) -> str:
    ports = "" if element.ports is None else f" {element.ports[0]}-{element.ports[1]}"
    return f"{element.source} → {element.destination} protocol {element.protocol}{ports}"


def expected_by_the_log(device: DeviceStatus, *, change: DeviceChange | None = None) -> Expectation:
    """What the log says that a device holds now; what `change` would release is still shut."""
    shut = frozenset(change.releases) - device.released if change else frozenset()
    return Expectation(device.slots, device.epoch, frozenset(device.opened), frozenset(), shut=shut, released=device.released)


def without_held(change: DeviceChange, device: DeviceStatus, stage: str) -> DeviceChange:
    """The part of a change that no other stage holds open there: to touch an opening of theirs would give it our deadline,
    or close it with ours. Always a part of what was voted on."""
    elements = device.held_by_others(stage)
    released = {port for other, ports in device.releases.items() if other != stage for port in ports}
    return DeviceChange(
        device=change.device,
        openings=tuple(opening for opening in change.openings if opening.element not in elements),
        releases=tuple(port for port in change.releases if port not in released),
        shared=change.shared,
    )


@dataclass(frozen=True)
class DeviceSteps:
    """Works for one stage. `guard` raises when the stage must stop; it is asked before anything is sent that opens."""

    collaborators: Collaborators
    journal: Journal
    stage: str
    guard: Callable[[], None]

    def change(self, action: str, parts: Sequence[tuple[DevicePlan, DeviceChange]], confirm_s: int) -> dict[str, Outcome]:
        """Sends `open`, `confirm` or `close` for these changes, in parallel; every device's outcome, by name.

        Steps: intents durable → guard → scripts → outcomes recorded. Raises LogUnavailable before anything is sent,
        except for `close`, which only subtracts and does not wait for a log.
        """
        state = self.journal.state()
        scripts = {plan.device: self._script(state, action, plan, change, confirm_s) for plan, change in parts}
        changes = {plan.device: change for plan, change in parts}
        self._record(E.DEVICE_CHANGE_INTENDED, {name: self._intent(action, state, scripts[name], changes[name], confirm_s) for name in scripts}, must=action != "close")  # fmt: skip  # noqa: E501
        if action != "close":
            self.guard()
        outcomes = self._run(state, {name: (script,) for name, script in scripts.items()}, action)
        self._record(E.DEVICE_CHANGED, {name: self._outcome(action, outcome) for name, outcome in outcomes.items()}, must=action != "close")
        return outcomes

    def read(self, devices: Collection[str]) -> dict[str, Observed | str]:
        """Reads devices back: what each holds, or why that is not known. Records nothing."""
        state = self.journal.state()
        site = conditions.in_force(state).site
        scripts = {name: (self.collaborators.dialect_for(site.device(name).platform).read_back(),) for name in devices}
        seen: dict[str, Observed | str] = {}
        for name, outcome in self._run(state, scripts, "read_back").items():
            if outcome.step is not DeviceStep.APPLIED:
                seen[name] = f"{outcome.step}: {outcome.detail}"
                continue
            try:
                seen[name] = self.collaborators.dialect_for(site.device(name).platform).parse(outcome.output)
            except DeviceError as error:
                seen[name] = str(error)
        return seen

    def record_found(self, found: Mapping[str, Observed]) -> None:
        """Devices that were read and are as the log says, whatever their last answer was: from here on they may be opened."""
        body = {"action": "check", "step": "applied", "as_expected": True, "differences": [], "settles": None, "change": None}
        bodies = {name: {**body, "fingerprint": seen.fingerprint} for name, seen in found.items()}
        self._record(E.DEVICE_READ_BACK, bodies, must=True)

    def read_back(self, expected: Mapping[str, Expectation], *, settles: Mapping[str, DeviceChange], action: str) -> None:
        """Reads and compares; records each read-back. Raises DeviceUnknown or DeviceRefused with every difference found."""
        wrong, unknown, bodies = [], [], {}
        for name, seen in self.read(expected).items():
            differences = (seen,) if isinstance(seen, str) else expected[name].differences(seen)
            if isinstance(seen, str):
                unknown.append(f"{name}: {seen}")
            elif differences:
                wrong.append(f"{name}: " + "; ".join(differences))
            bodies[name] = {
                "action": action,
                "step": "unknown" if isinstance(seen, str) else "refused" if differences else "applied",
                "as_expected": not differences,
                "differences": [text[:_TAIL] for text in differences],
                "fingerprint": "" if isinstance(seen, str) else seen.fingerprint,
                "settles": action if action in ("confirm", "close") else None,
                "change": settles[name].model_dump(mode="json") if name in settles else None,
            }
        self._record(E.DEVICE_READ_BACK, bodies, must=action != "close")
        if unknown:
            raise DeviceUnknown("; ".join(unknown + wrong))
        if wrong:
            raise DeviceRefused("; ".join(wrong))

    # --- within -------------------------------------------------------------------------------------------------

    def _script(self, state: SiteState, action: str, plan: DevicePlan, change: DeviceChange, confirm_s: int) -> Script:
        """The text that was voted on; of a part of the change, the same dialect's text for that part."""
        if change == plan.change:
            rendered: RenderedScript = getattr(plan, action)
            script = Script(rendered.command, rendered.text, rendered.kind)
        else:
            script = getattr(self.collaborators.dialect_for(plan.platform), action)(change)
        return script.filled(**self._values(state, plan.device, confirm_s))

    def _values(self, state: SiteState, device: str, confirm_s: int) -> dict[str, int]:
        epoch = state.device(device).epoch
        return {"epoch": state.epoch if epoch is None else epoch, "confirm": confirm_s}

    def _intent(self, action: str, state: SiteState, script: Script, change: DeviceChange, confirm_s: int) -> dict[str, object]:
        return {
            "action": action,
            **self._values(state, change.device, confirm_s),
            "sent_sha256": hashlib.sha256(f"{script.command}\n{script.text}".encode()).hexdigest(),
            "credential": _CREDENTIAL[action].value,
            "change": change.model_dump(mode="json"),
        }

    def _outcome(self, action: str, outcome: Outcome) -> dict[str, object]:
        return {
            "action": action,
            "step": outcome.step.value,
            "detail": outcome.detail[:_TAIL],
            "output_sha256": hashlib.sha256(outcome.output.encode(errors="replace")).hexdigest(),
            "output_tail": outcome.output[-_TAIL:].encode(errors="replace").decode(),
            "took_ms": round(outcome.seconds * 1000),
        }

    def _run(self, state: SiteState, scripts: Mapping[str, tuple[Script, ...]], action: str) -> dict[str, Outcome]:
        """One outcome per device, whatever an adapter forgets: silence is `unknown`."""
        site = conditions.in_force(state).site
        outcomes = {name: Outcome(name, DeviceStep.UNKNOWN, "", 0.0, "no answer") for name in scripts}
        by_platform: dict[str, dict[Target, Sequence[Script]]] = {}
        for name, texts in scripts.items():
            device = site.device(name)
            by_platform.setdefault(device.platform, {})[self.collaborators.target_for(device)] = texts
        for platform, targets in by_platform.items():
            reading = action == "read_back"
            devices = self.collaborators.reader if reading else self.collaborators.devices_by_platform(platform)
            for answers in devices.run(
                targets, credential=_CREDENTIAL[action], deadline_s=self.collaborators.device_deadline_s, verb=action
            ):
                outcomes.update({answer.device: answer for answer in answers})
        return outcomes

    def _record(self, type_: E, bodies: Mapping[str, Mapping[str, object]], *, must: bool) -> None:
        try:
            self.journal.decide(
                lambda state, now: [
                    EventMaker(state, ORCHESTRATOR, now)(type_, body, stage=self.stage, device=name) for name, body in bodies.items()
                ]
            )
        except LogUnavailable:
            if must:
                raise
