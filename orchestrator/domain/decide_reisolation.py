"""The decision of a re-isolation: one person, no votes. Everything that it takes, leaves and adds is in its event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain import blocklist, conditions, decide_blocklist, reisolation
from orchestrator.domain.commands import Reisolate
from orchestrator.domain.element_index import ElementIndex
from orchestrator.domain.events import Event, NewEvent
from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import apply
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.making import EventMaker
from orchestrator.domain.needs import Held, Needs, living
from orchestrator.domain.network import Prefix
from orchestrator.domain.owed import handing_over, owed, taken_from, whole
from orchestrator.domain.reisolation import Concerned
from orchestrator.domain.stages import RUNNING, StageState
from orchestrator.domain.state import SiteState
from orchestrator.domain.subtractions import Conversation
from orchestrator.errors import Refused, UsageError


def order(state: SiteState, command: Reisolate, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """ReisolationOrdered, EpochRaised, and what happens to each stage. Raises UnknownName, UsageError; the rules refuse nothing."""
    ratified = conditions.in_force(state)
    pairs = reisolation.conversations_of(ratified.site, ratified.policy, command.what, command.name)
    if not command.reason.strip():
        raise UsageError("a re-isolation says its reason", advice="--reason TEXT")
    work = _Work(state, make, command, f"R{len(state.reisolations) + 1}", pairs)
    work.close(reisolation.concerned(state, pairs))
    work.close(work.resting())
    networks = work.to_be_blocked()
    block = decide_blocklist.next_block(state) if networks else None
    if networks:
        work.say(
            *decide_blocklist.applied(
                work.state, make, networks, f"{work.id}: {command.reason.strip()}", although=command.although_vital, by=command.by
            )
        )
    body = {
        "reisolation": work.id,
        "what": command.what,
        "name": command.name,
        "reason": command.reason.strip(),
        "by": command.by,
        "epoch": command.epoch,
        "stages": {name: [list(pair) for pair in found] for name, found in work.stages.items()},
        "takes": [[*held, where] for held, where in (*work.takes(), *work.taken_by(networks))],
        "notes": [*work.notes, *work.what_still_passes(networks)],
        "block": block,
    }
    raised = make(E.EPOCH_RAISED, {"epoch": command.epoch, "why": "re-isolation", "reisolation": work.id})
    return (make(E.REISOLATION_ORDERED, body), raised, *work.events)


@dataclass
class _Work:
    """The state as it becomes, event by event: `state` is that after `events`."""

    state: SiteState
    make: EventMaker
    command: Reisolate
    id: str
    pairs: frozenset[Conversation]
    events: list[NewEvent] = field(default_factory=list)
    stages: dict[str, tuple[Conversation, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reverted: list[DeviceChange] = field(default_factory=list)

    def say(self, *events: NewEvent) -> None:
        for new in events:
            self.state = apply(self.state, Event(new.type, new.at, new.actor, new.body, new.stage, new.device, seq=self.state.seq + 1))
        self.events += events

    def close(self, found: Concerned) -> None:
        why = {"reason": f"{self.id}: {self.command.what} {self.command.name} is isolated again: {self.command.reason.strip()}"[:1000]}
        for part in found:
            self.stages |= part
        for name in found.stale:
            self.say(self.make(E.STAGE_STALE, why, stage=name), self.make(E.VOTES_VOIDED, why, stage=name))
        for name, pairs in found.narrowed.items():
            self.say(self.make(E.STAGE_NARROWED, {**why, "conversations": [list(pair) for pair in pairs]}, stage=name))
            if not living(self.state.stage(name)):
                self._hand_over(name)
                self.say(self.make(E.STAGE_SUSPENDED, why, stage=name))
        for name in found.reverted:
            self._hand_over(name)
            self.reverted += whole(self.state, name)
            self.say(self.make(E.STAGE_REVERTING, why, stage=name))

    def resting(self) -> Concerned:
        """Running stages that count on something that is closed now: they go back as well."""
        closed = [(change.device, ElementIndex(change.elements)) for change in self._sent()]
        found = Concerned({}, {}, {}, {})
        for status in self.state.stages.values():
            if status.state not in RUNNING - {StageState.REVERTING} or status.plan is None:
                continue
            for part in status.plan.devices:
                shared = [opening.element for opening in part.change.shared]
                if any(part.device == device and any(True for one in shared for _ in taken.overlapping(one)) for device, taken in closed):
                    found.reverted[status.name] = living(status)
                    self.notes.append(f"{status.name} was being opened, and counted on what is closed now: it goes back as well")
        return found

    def takes(self) -> tuple[tuple[Held, str], ...]:
        return taken_from(self.state, self._sent())

    def taken_by(self, networks: Sequence[Prefix]) -> list[tuple[tuple[str, str, str], str]]:
        return [(held, "block list") for held in decide_blocklist.taken(self.state, networks)]

    def to_be_blocked(self) -> tuple[Prefix, ...]:
        """The networks of partners that somebody else's broader opening would still let through."""
        ratified = conditions.in_force(self.state)
        policy, found = ratified.policy, []
        names = {"partner": [self.command.name], "zone": [one.name for one in policy.partners if one.zone == self.command.name]}
        kept = reisolation.kept_by_the_layer(self.state, policy, self.pairs)
        for flow, name in kept:
            self.notes.append(f"the layer keeps {flow} with {name}, by a decision of peacetime: it still passes")
        for name in names.get(self.command.what, ()):
            partner = policy.partner(name)
            others = reisolation.broader(self.state, policy, partner, self.pairs)
            although = name in self.command.although_vital and any(name == pair[1] for pair in kept)
            if not others and not although:
                continue
            by = ", ".join(sorted({f"{held.flow} with {held.partner}" for held in others})) or "the layer"
            try:
                blocklist.require_allowed(ratified, partner.networks, self.command.although_vital)
            except Refused as refusal:
                reason = f"{Exception.__str__(refusal)} [{refusal.rule}]"
                self.notes.append(f"{name} would still be let through by {by}, and cannot be blocked: {reason}")
                continue
            self.notes.append(f"{name} would still be let through by {by}: its addresses are put on the block list")
            found += list(partner.networks)
        return blocklist.networks_given([str(network) for network in found]) if found else ()

    def what_still_passes(self, blocked: Sequence[Prefix]) -> list[str]:
        """What the closed conversations needed and another one's opening still lets through; said, never silent."""
        ratified = conditions.in_force(self.state)
        needs = Needs(ratified)
        found: dict[Conversation, list[str]] = {}
        closed = {change.device: set(change.elements) for change in self._sent()}
        for pair in dict.fromkeys(pair for pairs in self.stages.values() for pair in pairs):
            partner = ratified.policy.partners_by_name.get(pair[1])
            if partner is not None and blocklist.within(partner.networks, blocked):
                continue
            for device in self.state.devices.values():
                left = ElementIndex(element for element in device.opened if element not in closed.get(device.name, ()))
                if any(True for element in needs.elements(pair, device.name) for _ in left.overlapping(element)):
                    found.setdefault(pair, []).append(device.name)
        return [
            f"part of {flow} with {partner} lies in what others hold open on {', '.join(devices)}: that part stays open for them"
            for (flow, partner), devices in found.items()
        ]

    def _sent(self) -> list[DeviceChange]:
        return [*(one.closes for one in owed(self.state) if one.closes is not None), *self.reverted]

    def _hand_over(self, stage: str) -> None:
        self.say(*handed_over(self.state, self.make, stage))


def handed_over(state: SiteState, make: EventMaker, stage: str) -> list[NewEvent]:
    """The events by which guards that others need as well change hands, before the stage closes."""
    return [
        make(E.OPENING_HANDED_OVER, {"to": heir, "releases": list(ports)}, stage=stage, device=device)
        for device, heir, ports in handing_over(state, stage)
    ]
