"""The people's keys as the log makes them: the ratified `allowed_signers`, changed since by signed changes and revocations.

A pure function of the events: `PeopleKeys().after(event)` for each in turn. A key that was taken away once never counts
again, whatever text is ratified later. For a reviewer, `history()` keeps every key with the times in which it counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.signers import fingerprint_of_text

ChangeState = Literal["pending", "in-force", "stopped", "superseded"]
_LINE = re.compile(
    r"^(?P<person>\S+)\s+(?:(?P<options>[a-z-]+(?:=\"[^\"]*\")?(?:,[a-z-]+(?:=\"[^\"]*\")?)*)\s+)?(?P<key>[\w@.-]+\s+[\w+/]+=*)(?P<comment>\s.*)?$"
)
_UNTIL = re.compile(r'(?:^|,)valid-before="[^"]*"')


@dataclass(frozen=True)
class Change:
    """A change of one person's keys that enough others have signed: `adds` are `type base64`, `removes` are fingerprints."""

    id: str
    action: str
    person: str
    adds: tuple[str, ...]
    removes: tuple[str, ...]
    reason: str
    signed_by: Mapping[str, str]  # person → fingerprint of the key that they signed with
    handed_in_by: str
    at: str
    seq: int
    in_force_at: str
    state: ChangeState = "pending"
    ended_by: str = ""  # who stopped it
    ended_at: str = ""  # when it came into force, was stopped, or was overtaken by a ratification
    ended_because: str = ""


@dataclass(frozen=True)
class Revoked:
    """A key that was taken away for good."""

    person: str
    fingerprint: str
    at: str
    seq: int
    by: str
    reason: str


@dataclass(frozen=True)
class PeopleKeys:
    """`ratified` as last ratified; `effective` is what counts now, as the text of an `allowed_signers` file."""

    ratified: str = ""
    added: tuple[str, ...] = ()  # lines in force since the ratification
    effective: str = ""
    changes: Mapping[str, Change] = field(default_factory=dict)  # by id, in their order
    revoked: Mapping[str, Revoked] = field(default_factory=dict)  # by fingerprint
    retired: tuple[tuple[str, str], ...] = ()  # lines that counted once, and until when
    sessions_ended: Mapping[str, int] = field(default_factory=dict)  # person → the event that ended every session before it

    @property
    def pending(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes.values() if change.state == "pending")

    def last_revoked(self, person: str) -> int:
        """The event that last took a key from this person; -1 when none did."""
        return max((key.seq for key in self.revoked.values() if key.person == person), default=-1)

    def history(self) -> str:
        """What counts, then what counted, each of those with the second in which it ended: for stock `ssh-keygen -Y verify`."""
        present = set(_lines(self.effective))
        gone = {line: at for line, at in self.retired if line not in present}  # the last time of each
        return self.effective + "".join(f"{ended(line, at)}\n" for line, at in gone.items())

    def after(self, event: Event) -> PeopleKeys:
        """The keys after one more event."""
        rule = _RULES.get(event.type)
        return rule(self, event) if rule is not None else self

    def _now(self, event: Event) -> PeopleKeys:
        """With what counts worked out again, and what does not any more set aside."""
        kept = [line for line in self.ratified.splitlines(keepends=True) if fingerprint_of_text(line) not in self.revoked]
        added = tuple(line for line in self.added if fingerprint_of_text(line) not in self.revoked)
        text = "".join(kept)
        effective = text + ("\n" if added and text and not text.endswith("\n") else "") + "".join(f"{line}\n" for line in added)
        present = set(_lines(effective))
        retired = tuple((line, event.at) for line in _lines(self.effective) if line not in present)
        return replace(self, added=added, effective=effective, retired=(*self.retired, *retired))


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def ended(line: str, at: str) -> str:
    """The line with `valid-before` the second of `at`, unless it ended before that by itself."""
    match = _LINE.match(line)
    if match is None:
        return line
    until = second(at)
    options = match["options"] or ""
    own = re.search(r'valid-before="(\d+)Z"', options)
    if own is not None and own[1].ljust(14, "0") + "Z" <= until:
        return line
    options = ",".join(filter(None, (_UNTIL.sub("", options).strip(","), f'valid-before="{until}"')))
    return f"{match['person']} {options} {match['key']}{match['comment'] or ''}"


def second(at: str) -> str:
    """A time of the log as `allowed_signers` writes times: UTC, whole seconds."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y%m%d%H%M%SZ")


def _policy_ratified(keys: PeopleKeys, event: Event) -> PeopleKeys:
    """The text that was signed takes the place of the changes made since the one before; what was taken away stays away."""
    overtaken = {
        change.id: replace(change, state="superseded", ended_at=event.at, ended_because="a policy was ratified") for change in keys.pending
    }
    ratified = str(event.body.get("allowed_signers", ""))
    return replace(keys, ratified=ratified, added=(), changes={**keys.changes, **overtaken})._now(event)


def _requested(keys: PeopleKeys, event: Event) -> PeopleKeys:
    body = event.body
    change = Change(
        id=body["change"],
        action=body["action"],
        person=body["person"],
        adds=tuple(body["adds"]),
        removes=tuple(body["removes"]),
        reason=body["reason"],
        signed_by={item["person"]: item["fingerprint"] for item in body["signatures"]},
        handed_in_by=event.actor,
        at=event.at,
        seq=event.seq,
        in_force_at=body["in_force_at"],
    )
    return replace(keys, changes={**keys.changes, change.id: change})


def _pending(keys: PeopleKeys, event: Event) -> Change | None:
    change = keys.changes.get(str(event.body.get("change")))
    return change if change is not None and change.state == "pending" else None


def _stopped(keys: PeopleKeys, event: Event) -> PeopleKeys:
    if (change := _pending(keys, event)) is None:
        return keys
    ended_ = replace(change, state="stopped", ended_by=event.actor, ended_at=event.at, ended_because=str(event.body.get("reason", "")))
    return replace(keys, changes={**keys.changes, change.id: ended_})


def _in_force(keys: PeopleKeys, event: Event) -> PeopleKeys:
    """What was signed comes into force, whatever this event says of it; what nobody has signed does not."""
    if (change := _pending(keys, event)) is None:
        return keys
    taken = {mark: Revoked(change.person, mark, event.at, event.seq, event.actor, change.reason) for mark in change.removes}
    since = f'valid-after="{second(event.at)}"'
    added = (*keys.added, *(f"{change.person} {since} {key}" for key in change.adds))
    done = replace(change, state="in-force", ended_at=event.at)
    changed = replace(keys, added=added, changes={**keys.changes, change.id: done}, revoked={**taken, **keys.revoked})
    return changed._now(event)


def _key_revoked(keys: PeopleKeys, event: Event) -> PeopleKeys:
    body = event.body
    key = Revoked(body["person"], body["fingerprint"], event.at, event.seq, event.actor, str(body.get("reason", "")))
    return replace(keys, revoked={key.fingerprint: key, **keys.revoked})._now(event)


def _sessions_revoked(keys: PeopleKeys, event: Event) -> PeopleKeys:
    return replace(keys, sessions_ended={**keys.sessions_ended, event.body["person"]: event.seq})


_RULES = {
    E.POLICY_RATIFIED: _policy_ratified,
    E.PEOPLE_CHANGE_REQUESTED: _requested,
    E.PEOPLE_CHANGE_STOPPED: _stopped,
    E.PEOPLE_CHANGE_IN_FORCE: _in_force,
    E.KEY_REVOKED: _key_revoked,
    E.SESSIONS_REVOKED: _sessions_revoked,
}
