"""One stage's dealings with devices: intent in the log, script to the device, outcome in the log, read-back in the log.

Nothing is sent before its intent is durable. What a library says of a change is recorded and not believed: only a
read-back that equals what was expected settles what a device holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from orchestrator.dialects.base import Script
from orchestrator.domain import conditions
from orchestrator.domain.blocklist import within
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import DeviceChange, Element, Observed
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.network import Prefix
from orchestrator.domain.plan import DevicePlan, RenderedScript
from orchestrator.domain.state import DeviceStatus, SiteState
from orchestrator.domain.undeclared import undeclared
from orchestrator.errors import DeviceError, DeviceRefused, DeviceUnknown, LogUnavailable, NotActing
from orchestrator.ports import Credential, DeviceStep, Outcome, Target
from orchestrator.service.answers import TAIL, answer_body
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.deadlines import UntilThen
from orchestrator.service.journal import Journal

_CREDENTIAL = {
    "open": Credential.OPEN, "confirm": Credential.OPEN, "close": Credential.CUT, "read_back": Credential.CUT,
    "loosen": Credential.OPEN, "lift": Credential.OPEN, "tighten": Credential.CUT,
}  # fmt: skip
_SCRIPT_OF = {"loosen": "open", "lift": "confirm", "tighten": "close"}  # of a plan that lifts
ONLY_SUBTRACTS = ("close", "tighten")


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
    only_present: frozenset[Element] | None = None  # nothing else counts but that these are open, with what must be left of them
    left: Mapping[Element, tuple[int, int]] = field(default_factory=dict)  # seconds, at least and at most
    ending: frozenset[Element] = frozenset()  # of other stages, whose end is on the device: it may have come
    ending_guards: frozenset[str] = frozenset()
    newest: int | None = None  # a fence of up to this epoch may have come since `epoch` was read in the log
    blocked: tuple[Prefix, ...] = ()  # on the device's block list at least; more only subtracts, and may be on its way

    def differences(self, seen: Observed) -> tuple[str, ...]:
        """What is not as expected, for people; empty when all is."""
        opened = set(seen.opened) | {element for element, _ in seen.temporary}
        temporary = {element for element, _ in seen.temporary}
        if self.only_absent is not None:
            left = self.shut - set(seen.closed) if seen.present else frozenset()  # without a layer there is nothing to hold shut
            return (
                *(f"still open: {element_text(element)}" for element in _sorted(opened & self.only_absent)),
                *(f"still released: {name}" for name in sorted(left)),
            )
        if self.only_present is not None:
            return (
                *(f"not open: {element_text(element)}" for element in _sorted(self.only_present - opened)),
                *(f"has no deadline: {element_text(element)}" for element in _sorted((self.only_present & opened) - temporary)),
                *self._wrongly_left(seen),
                *(f"closed: {name}" for name in sorted(self.released & set(seen.closed))),
            )
        found = [f"foreign: {line}" for line in seen.foreign]
        if dict(seen.slots) != dict(self.slots):
            found.append(f"its slots are {sorted(seen.slots)}, or their content differs")
        if self.epoch is not None and seen.epoch is not None and not self.epoch <= seen.epoch <= max(self.epoch, self.newest or 0):
            found.append(f"its epoch is {seen.epoch}, not {self.epoch}")
        found += [f"not blocked: {network}" for network in self.blocked if not within((network,), seen.blocked)]
        found += [f"open and should not be: {element_text(element)}" for element in _sorted(opened - self.opened)]
        found += [f"not open: {element_text(element)}" for element in _sorted(self.opened - self.ending - opened)]
        found += [
            f"has a deadline and should not: {element_text(element)}" for element in _sorted((temporary & self.opened) - self.temporary)
        ]
        found += [f"has no deadline: {element_text(element)}" for element in _sorted((self.temporary & opened) - temporary)]
        found += self._wrongly_left(seen)
        closed, released = set(seen.closed), self.released - self.ending_guards
        if self.closed is not None and closed - self.ending_guards != self.closed - self.ending_guards:
            found.append(f"closed are {sorted(closed)}, not {sorted(self.closed)}")
        if self.shut - closed or released & closed:
            found.append(f"closed are {sorted(closed)}; {sorted(self.shut)} should be, {sorted(released)} should not")
        return tuple(found)

    def _wrongly_left(self, seen: Observed) -> list[str]:
        return [
            f"closes in {left} s, not in {self.left[element][0]} to {self.left[element][1]} s: {element_text(element)}"
            for element, left in seen.temporary
            if element in self.left and not self.left[element][0] <= left <= self.left[element][1]
        ]


def _sorted(elements: Iterable[Element]) -> list[Element]:
    return sorted(elements, key=Element.sort_key)


def element_text(element: Element) -> str:
    ports = "" if element.ports is None else f" {element.ports[0]}-{element.ports[1]}"
    return f"{element.source} → {element.destination} protocol {element.protocol}{ports}"


def expected_by_the_log(device: DeviceStatus, *, change: DeviceChange | None = None) -> Expectation:
    """What the log says that a device holds now; what `change` would release is still shut. What has an end on the device
    must have a deadline there, or be gone: the end may have come since it was last read."""
    shut = frozenset(change.releases) - device.released if change else frozenset()
    ending = device.ending()
    return Expectation(
        device.slots, device.epoch, frozenset(device.opened), ending,
        shut=shut, released=device.released, ending=ending, ending_guards=device.ending_guards(), blocked=device.blocked,
    )  # fmt: skip


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

    def change(
        self, action: str, parts: Sequence[tuple[DevicePlan, DeviceChange]], confirm_s: int, then: UntilThen | None = None
    ) -> dict[str, Outcome]:
        """Sends `open`, `confirm` or `close` (of a lift `loosen`, `lift` or `tighten`) for these changes, in parallel; every
        device's outcome, by name.

        Steps: intents durable → guard → scripts → outcomes recorded. Raises LogUnavailable before anything is sent,
        except for `close` and `tighten`, which only subtract and do not wait for a log. `then`: what is confirmed ends on the device.
        """
        if action not in ONLY_SUBTRACTS:
            self.journal.require_acting()
        state = self.journal.state()
        values = {plan.device: self._values(state, plan.device, confirm_s, then) for plan, _ in parts}
        scripts = {plan.device: self._script(action, plan, change).filled(**values[plan.device]) for plan, change in parts}
        changes = {plan.device: change for plan, change in parts}
        self._record(E.DEVICE_CHANGE_INTENDED, {name: self._intent(action, values[name], scripts[name], changes[name]) for name in scripts}, must=action not in ONLY_SUBTRACTS)  # fmt: skip  # noqa: E501
        if action not in ONLY_SUBTRACTS:
            self.guard()
        outcomes = self._run(state, {name: (script,) for name, script in scripts.items()}, action)
        late = self._late()
        marked = {"after_takeover": True} if late else {}
        bodies = {name: {**answer_body(action, outcome, self.collaborators.masking), **marked} for name, outcome in outcomes.items()}
        self._record(E.DEVICE_CHANGED, bodies, must=action not in ONLY_SUBTRACTS)
        if late is not None:
            raise late
        return outcomes

    def _late(self) -> NotActing | None:
        """While the devices answered another server may have taken over: what they answered settles nothing any more."""
        try:
            self.journal.require_acting()
        except NotActing as lost:
            return lost
        except LogUnavailable:
            return None  # writing the outcome says so
        return None

    def read(self, devices: Collection[str]) -> dict[str, Observed | str]:
        """Reads devices back: what each holds, or why that is not known. Records nothing."""
        state = self.journal.state()
        site = conditions.in_force(state).site
        seen: dict[str, Observed | str] = {**undeclared(state, devices)}
        known = [name for name in devices if name not in seen]
        scripts = {name: (self.collaborators.dialect_for(site.device(name).platform).read_back(),) for name in known}
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

    def read_back(
        self,
        expected: Mapping[str, Expectation],
        *,
        settles: Mapping[str, DeviceChange],
        action: str,
        then: UntilThen | None = None,
        unread: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Reads and compares; records each read-back. Raises DeviceUnknown or DeviceRefused with every difference found.

        `unread`: devices of which reading would not tell what they will hold, with the reason: they are unknown.
        `then`: with which end it was confirmed; when each device closes by itself is recorded with its read-back.
        """
        wrong, unknown, bodies = [], [], {}
        for name, seen in {**self.read([name for name in expected if name not in unread]), **unread}.items():
            differences = (seen,) if isinstance(seen, str) else expected[name].differences(seen)
            if isinstance(seen, str):
                unknown.append(f"{name}: {seen}")
            elif differences:
                wrong.append(f"{name}: " + "; ".join(differences))
            bodies[name] = {
                "action": action,
                "step": "unknown" if isinstance(seen, str) else "refused" if differences else "applied",
                "as_expected": not differences,
                "differences": [text[:TAIL] for text in differences],
                "fingerprint": "" if isinstance(seen, str) else seen.fingerprint,
                "settles": action if action in ("confirm", "close") else None,
                "change": settles[name].model_dump(mode="json") if name in settles else None,
            }
            if then is not None and name in then.seconds and not isinstance(seen, str):
                bodies[name]["deadline"] = then.as_read(name, settles[name], seen, self.journal.now())
        self._record(E.DEVICE_READ_BACK, bodies, must=action != "close")
        if unknown:
            raise DeviceUnknown("; ".join(unknown + wrong))
        if wrong:
            raise DeviceRefused("; ".join(wrong))

    # --- within -------------------------------------------------------------------------------------------------

    def _script(self, action: str, plan: DevicePlan, change: DeviceChange) -> Script:
        """The text that was voted on; of a part of the change, the same dialect's text for that part."""
        if change == plan.change:
            rendered: RenderedScript = getattr(plan, _SCRIPT_OF.get(action, action))
            return Script(rendered.command, rendered.text, rendered.kind)
        dialect = self.collaborators.dialect_for(plan.platform)
        if action == "confirm":
            return dialect.confirm(change, until="{until}" in plan.confirm.text + plan.confirm.command)
        script: Script = getattr(dialect, action)(change)
        return script

    def _values(self, state: SiteState, device: str, confirm_s: int, then: UntilThen | None) -> dict[str, int]:
        epoch = state.device(device).epoch
        until = {"until": then.seconds[device]} if then is not None else {}
        return {"epoch": state.epoch if epoch is None else epoch, "confirm": confirm_s, **until}

    def _intent(self, action: str, values: Mapping[str, int], script: Script, change: DeviceChange) -> dict[str, object]:
        return {
            "action": action,
            **values,
            "sent_sha256": hashlib.sha256(f"{script.command}\n{script.text}".encode()).hexdigest(),
            "credential": _CREDENTIAL[action].value,
            "change": change.model_dump(mode="json"),
        }

    def _run(self, state: SiteState, scripts: Mapping[str, tuple[Script, ...]], action: str) -> dict[str, Outcome]:
        """One outcome per device, whatever an adapter forgets: silence is `unknown`."""
        site = conditions.in_force(state).site
        outcomes = {name: Outcome(name, DeviceStep.UNKNOWN, "", 0.0, "no answer") for name in scripts}
        gone = undeclared(state, scripts)
        outcomes.update({name: Outcome(name, DeviceStep.UNKNOWN, "", 0.0, why) for name, why in gone.items()})
        by_platform: dict[str, dict[Target, Sequence[Script]]] = {}
        for name, texts in scripts.items():
            if name in gone:
                continue
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
