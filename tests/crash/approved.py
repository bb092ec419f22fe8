"""What may lie open on each device, folded from the plain events of the log by code that shares nothing with the product's.

A *cover* is what one approved stage may have on one device. It is made by StageApplying (or StageResumed), after the votes
have been counted here once more; while it *grows*, intents to open what it covers count; afterwards what lies there may
only go (or arrive, if its command was on its way). A cover ends with the read-back that says that it is closed, or with the
layer of a cut-off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import permutations
from typing import Any

Network = IPv4Network | IPv6Network
Box = tuple[str, str, int, tuple[int, int] | None]
Asked = tuple[str, str, str, int | None, str | None]  # of a probe: vantage point, destination, kind, port, source


@dataclass(frozen=True)
class Fact:
    """One event as the database holds it."""

    seq: int
    type: str
    at: str
    actor: str
    stage: str | None
    device: str | None
    body: Mapping[str, Any]


@dataclass
class Cover:
    """`boxes` with the conversation (flow, partner) that each serves; `intended` and `lasting` are those whose opening or
    confirmation the log holds as intended. `lifts`: the whole layer."""

    stage: str
    boxes: dict[Box, set[tuple[str, str]]]
    guards: set[str]
    lifts: bool = False
    grows: bool = True
    ends: str = ""
    intended: set[Box] = field(default_factory=set)
    lasting: set[Box] = field(default_factory=set)
    intended_guards: set[str] = field(default_factory=set)
    loosened: bool = False  # the intent to loosen is in the log
    lifted: bool = False  # the intent to lift is
    before: Cover | None = None  # of an earlier plan, not yet closed


def box(element: Any) -> Box:
    """Of an element, as an object or as JSON."""
    if isinstance(element, Mapping):
        ports = element["ports"]
        return (element["source"], element["destination"], element["protocol"], tuple(ports) if ports else None)
    return (str(element.source), str(element.destination), element.protocol, element.ports)


def asked(probe: Any) -> Asked:
    """The packet of a probe, as an object or as JSON."""
    if isinstance(probe, Mapping):
        return (probe["vantage"], probe["destination"], probe["kind"], probe["port"], probe["source"])
    source = None if probe.source is None else str(probe.source)
    return (probe.vantage, str(probe.destination), probe.kind, probe.port, source)


_STOPS_GROWING = {"StageReverting", "StageFailed", "StageSuspended", "StageOpened", "StagePartiallyOpened", "StageEnded"}
_DROPS_VOTES = {"StageStale", "StageDenied", "StageCancelled", "StageExpired", "VotesVoided"}


class Approved:
    """Feed it every event in order (`take`). `faults` names what must never be in a log."""

    def __init__(self) -> None:
        self.covers: dict[str, dict[str, Cover]] = {}  # device → stage → cover
        self.faults: list[str] = []
        self.states: dict[str, str] = {}  # stage → the last event that moved it
        self.may_pass: dict[str, set[Asked]] = {}  # stage → what its plan says becomes possible
        self.unblocked: list[Network] = []  # what two people, or its own end, took off the block list
        self.size = 0
        self._plans: dict[str, Mapping[str, Any]] = {}
        self._digests: dict[str, str] = {}
        self._proposers: dict[str, str] = {}
        self._votes: dict[str, dict[str, str]] = {}  # stage → person → digest voted on
        self._roles: dict[str, set[str]] = {}
        self._quorums: dict[str, dict[str, int]] = {}
        self._resume_quorum: dict[str, int] = {}
        self._asked: dict[str, str] = {}  # what needs a second person → who asked
        self._blocked_until: dict[str, str] = {}

    def take_all(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self.take(fact)

    def take(self, fact: Fact) -> None:
        if fact.seq != self.size:
            self.faults.append(f"event {self.size} is missing: {fact.seq} follows")
        self.size = fact.seq + 1
        if fact.stage is not None and fact.type.startswith("Stage"):
            self.states[fact.stage] = fact.type
        rule = getattr(self, f"_{fact.type}", None)
        if rule is not None:
            rule(fact)
        if fact.stage is not None and fact.type in _STOPS_GROWING:
            self._no_more(fact.stage)
        if fact.stage is not None and fact.type in _DROPS_VOTES:
            self._votes[fact.stage] = {}
        if fact.stage is not None and fact.type == "StageStale":
            self._unsent(fact.stage)

    # --- what is asked ----------------------------------------------------------------------------------------

    def on(self, device: str) -> list[Cover]:
        return list(self.covers.get(device, {}).values())

    def covered_stages(self) -> set[str]:
        return {stage for covers in self.covers.values() for stage in covers}

    def cut(self, device: str) -> None:
        """A layer was laid on this device: what had been approved before is not approved any more."""
        self.covers.pop(device, None)

    # --- the rules --------------------------------------------------------------------------------------------

    def _PolicyRatified(self, fact: Fact) -> None:
        policy = fact.body["policy"]
        self._roles = {person["name"]: set(person["roles"]) for person in policy["people"]}
        self._quorums = {stage["name"]: dict(stage["votes"]) for stage in policy["stages"]}
        self._resume_quorum = dict((policy.get("resume") or {}).get("votes") or {})

    def _StagePlanned(self, fact: Fact) -> None:
        stage = str(fact.stage)
        self._plans[stage] = fact.body["plan"]
        self._digests[stage] = fact.body["plan_digest"]
        self._proposers[stage] = fact.actor
        self._votes[stage] = {}

    def _VoteCast(self, fact: Fact) -> None:
        statement = json.loads(fact.body["statement"])
        if fact.body["choice"] == "approve" and statement["voter"] == fact.body["person"] and statement["stage"] == fact.stage:
            self._votes.setdefault(str(fact.stage), {})[fact.body["person"]] = statement["plan_digest"]

    def _StageApplying(self, fact: Fact) -> None:
        stage = str(fact.stage)
        self._count_votes(stage, fact)
        for resumed in self._plans.get(stage, {}).get("resumes", ()):
            self._cover(str(resumed["stage"]), fact)
        self._cover(stage, fact)

    def _StageResumed(self, fact: Fact) -> None:
        """Of one suspended stage; the votes are those of the resumption."""
        if self._digests.get("resume") is not None:
            self._count_votes("resume", fact)
            named = {item["stage"]: item["plan_digest"] for item in self._plans["resume"]["resumes"]}
            if named.get(str(fact.stage)) != self._digests.get(str(fact.stage)):
                self.faults.append(f"event {fact.seq}: {fact.stage} is resumed and was not voted on as it was")
        else:
            self.faults.append(f"event {fact.seq}: {fact.stage} is resumed without a vote")
        self._cover(str(fact.stage), fact)

    def _count_votes(self, stage: str, fact: Fact) -> None:
        """Distinct persons, none the proposer, a place for each role asked for, all on this digest (invariant 5)."""
        given = [
            person
            for person, digest in self._votes.get(stage, {}).items()
            if digest == self._digests.get(stage) and person != self._proposers.get(stage)
        ]
        wanted = self._resume_quorum if stage == "resume" else self._quorums.get(stage.partition("+")[0], {})
        places = [role for role, count in wanted.items() for _ in range(count)]
        filled = any(
            all(role in self._roles.get(person, ()) for person, role in zip(chosen, places, strict=True))
            for chosen in permutations(given, len(places))
        )
        if not places or not filled:
            self.faults.append(f"event {fact.seq}: {stage} is applied with the votes of {sorted(given)}, wanted {wanted}")

    def _cover(self, stage: str, fact: Fact) -> None:
        plan = self._plans.get(stage)
        if plan is None:
            self.faults.append(f"event {fact.seq}: {stage} is applied without a plan")
            return
        self.may_pass[stage] = {asked(probe) for probe in plan["probes"] if probe["purpose"] == "positive"}
        ends = (plan.get("window") or {}).get("ends", "")
        for device in plan["devices"]:
            boxes: dict[Box, set[tuple[str, str]]] = {}
            change = device["change"]
            for opening in (*change["openings"], *change.get("shared", ())):
                boxes.setdefault(box(opening["element"]), set()).add((opening["flow"], opening["partner"]))
            cover = Cover(stage, boxes, set(change["releases"]), bool(plan.get("lifts")), ends=ends)
            before = self.covers.setdefault(device["device"], {}).get(stage)
            if before is not None:  # suspended, and not yet closed there: that may still lie, and go
                cover.before = before
                cover.boxes = {**before.boxes, **cover.boxes}
                cover.guards |= before.guards
            self.covers[device["device"]][stage] = cover

    def _DeviceChangeIntended(self, fact: Fact) -> None:
        cover = self.covers.get(str(fact.device), {}).get(str(fact.stage))
        action = fact.body["action"]
        if action == "restore" and cover is not None and cover.lifts:
            self._put_back(str(fact.device))
        if cover is None or not cover.grows or action not in ("open", "confirm", "loosen", "lift"):
            return
        change = fact.body.get("change") or {"openings": (), "releases": ()}
        boxes = {box(opening["element"]) for opening in change["openings"]}
        cover.intended |= boxes
        cover.intended_guards |= set(change["releases"])
        cover.loosened |= cover.lifts
        if action in ("confirm", "lift"):
            cover.lasting |= boxes
            cover.lifted |= cover.lifts

    def _put_back(self, device: str) -> None:
        """A lift that failed gives back what open stages hold there: their votes stand."""
        for cover in self.on(device):
            if self.states.get(cover.stage) in ("StageOpened", "StagePartiallyOpened", "StageNarrowed"):
                cover.intended |= set(cover.boxes)
                cover.lasting |= set(cover.boxes)
                cover.intended_guards |= cover.guards

    def _DeviceReadBack(self, fact: Fact) -> None:
        settles = fact.body.get("settles")
        if not fact.body.get("as_expected") or settles not in ("close", "narrow"):
            return
        cover = self.covers.get(str(fact.device), {}).get(str(fact.stage))
        if cover is None:
            return
        if settles == "close":
            del self.covers[str(fact.device)][str(fact.stage)]
            return
        for opening in fact.body["change"]["openings"]:
            cover.boxes.pop(box(opening["element"]), None)
        cover.guards -= set(fact.body["change"]["releases"])

    def _CutoffApplied(self, fact: Fact) -> None:
        if fact.body.get("laid", fact.body["step"] == "applied"):
            self.cut(str(fact.device))

    def _CutoffOrdered(self, _fact: Fact) -> None:
        for covers in self.covers.values():
            for cover in covers.values():
                cover.grows = False

    def _DeviceFenced(self, fact: Fact) -> None:
        """What was intended there before may not arrive any more."""
        for cover in self.on(str(fact.device)):
            cover.intended, cover.lasting, cover.intended_guards = set(), set(), set()

    def _StageReverted(self, fact: Fact) -> None:
        self._forget(str(fact.stage))

    def _StageEnded(self, fact: Fact) -> None:
        self._forget(str(fact.stage))

    def _OpeningHandedOver(self, fact: Fact) -> None:
        """A guard that was released by the votes on one stage, and that another approved one passes as well, stays for that one."""
        device, heir = str(fact.device), str(fact.body["to"])
        giver = self.covers.get(device, {}).get(str(fact.stage))
        names = set(fact.body["releases"])
        if giver is None or not names <= giver.guards or heir not in self.covered_stages():
            self.faults.append(f"event {fact.seq}: {fact.stage} hands {sorted(names)} over to {heir}, which nothing approves")
            return
        giver.guards -= names
        self.covers[device].setdefault(heir, Cover(heir, {}, set(), grows=False)).guards |= names

    def _ExtensionRequested(self, fact: Fact) -> None:
        self._asked[fact.body["extension"]] = fact.actor

    def _ExtensionGranted(self, fact: Fact) -> None:
        if self._asked.get(fact.body["extension"]) in (None, fact.actor):
            self.faults.append(f"event {fact.seq}: {fact.actor} alone extends {fact.stage}")
            return
        for covers in self.covers.values():
            if (cover := covers.get(str(fact.stage))) is not None and cover.ends:
                cover.ends = fact.body["until"]

    def _BlocklistApplied(self, fact: Fact) -> None:
        self._blocked_until[fact.body["block"]] = fact.body.get("until") or ""

    def _UnblockRequested(self, fact: Fact) -> None:
        self._asked[fact.body["unblocking"]] = fact.actor

    def _UnblockGranted(self, fact: Fact) -> None:
        if "unblocking" in fact.body:
            fair = self._asked.get(fact.body["unblocking"]) not in (None, fact.actor)
        else:
            until = self._blocked_until.get(fact.body["block"], "")
            fair = bool(until) and datetime.fromisoformat(fact.at) >= datetime.fromisoformat(until)
        if not fair:
            self.faults.append(f"event {fact.seq}: {fact.body} is taken off the block list by nobody who may")
            return
        self.unblocked += [ip_network(text) for text in fact.body["networks"]]

    def _unsent(self, stage: str) -> None:
        """Its plan has moved before anything of it was sent: what may lie there is what may have lain before."""
        for covers in self.covers.values():
            cover = covers.get(stage)
            if cover is not None and cover.grows and not (cover.intended or cover.intended_guards or cover.loosened):
                covers.pop(stage)
                if cover.before is not None:
                    covers[stage] = cover.before

    def _no_more(self, stage: str) -> None:
        for covers in self.covers.values():
            if stage in covers:
                covers[stage].grows = False

    def _forget(self, stage: str) -> None:
        for covers in self.covers.values():
            covers.pop(stage, None)


def over(cover: Cover, now: datetime) -> bool:
    """Whether the time for which this was approved is over."""
    return bool(cover.ends) and now >= datetime.fromisoformat(cover.ends)
