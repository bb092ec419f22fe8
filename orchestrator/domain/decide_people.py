"""The decisions about people's keys: a change signed by k others, in force after a delay, stopped by one; revocation at once.

What takes a key away takes with it what its person has pending: votes, delegations given, waivers asked for or granted.
Sessions end by themselves: a token is bound to its key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain import conditions, eligibility, stages
from orchestrator.domain.commands import Command
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import Head, NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.people_keys import Change
from orchestrator.domain.people_statement import Action, PeopleStatement, read_people_statement
from orchestrator.domain.policy import Policy
from orchestrator.domain.signers import ACCEPTED_KEYS, AllowedSigners, Signer, Verified, parse_allowed_signers
from orchestrator.domain.state import SiteState, moment
from orchestrator.domain.statement import LogHead
from orchestrator.domain.waivers import WaiverState
from orchestrator.errors import NotAllowed, PolicyError, Refused, Stale, UnknownName, UsageError

STATEMENT_LIVES = timedelta(hours=24)


@dataclass(frozen=True)
class Wish:
    """What is to change: `keys` as OpenSSH public keys (`type base64 [comment]`), `removes` as fingerprints."""

    action: Action
    person: str
    keys: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class ChangePeople(Command):
    """`signatures` are verified: who signed `statement`, and the armoured text."""

    statement: str
    signatures: tuple[tuple[Verified, str], ...]


@dataclass(frozen=True)
class StopPeopleChange(Command):
    change: str
    reason: str


@dataclass(frozen=True)
class RevokeKey(Command):
    person: str
    fingerprint: str
    reason: str


@dataclass(frozen=True)
class EndSessions(Command):
    person: str
    reason: str


def known_keys(state: SiteState) -> AllowedSigners:
    """The keys that count. Raises PolicyError for a ratified text that cannot be understood."""
    return parse_allowed_signers(state.keys.effective)


def keys_digest(state: SiteState) -> str:
    """SHA-256, hex, of the keys that count, as text."""
    return hashlib.sha256(state.keys.effective.encode()).hexdigest()


def signers_of(policy: Policy, person: str) -> tuple[str, ...]:
    """Who may sign a change of this person's keys: by roles of their own; nobody for themselves."""
    wanted = set(policy.people_changes.roles)
    return tuple(one.name for one in policy.people if one.name != person and wanted & set(one.roles))


def change_id(statement: str) -> str:
    """What a change is called: by what was signed, so that nothing is handed in twice."""
    return "change-" + hashlib.sha256(statement.encode()).hexdigest()[:12]


# --- a change ---------------------------------------------------------------------------------------------------------


def statement_for(state: SiteState, head: Head, wish: Wish, now: datetime) -> PeopleStatement:
    """The text that k people sign. Refuses at once what would be refused when it is handed in."""
    ratified = conditions.in_force(state)
    held = tuple(line.fingerprint for line in known_keys(state).of(wish.person))
    removes = held if wish.action in ("re-enrol", "remove-person") else wish.removes
    statement = PeopleStatement(
        site=ratified.site.name,
        policy_digest=ratified.policy_digest,
        keys_digest=keys_digest(state),
        rehearsal=state.rehearsal,
        log_head=LogHead(size=head.size, root=head.root),
        action=wish.action,
        person=wish.person,
        adds=tuple(dict.fromkeys(_bare(key) for key in wish.keys)),
        removes=tuple(sorted(dict.fromkeys(removes))),
        reason=wish.reason,
        expires=stamp(now + STATEMENT_LIVES),
    )
    _require_possible(state, statement)
    return statement


def request(state: SiteState, command: ChangePeople, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """PeopleChangeRequested. Raises Refused (rules `digest-moved`, `expired`, `people-…`, `signed-twice`, `key-known`)."""
    ratified = conditions.in_force(state)
    statement = read_people_statement(command.statement)
    name = change_id(command.statement)
    if name in state.keys.changes:
        raise Refused(f"{name} has been handed in before", rule="people-change-known", advice="sign a new statement to ask again")
    present = (ratified.site.name, ratified.policy_digest, keys_digest(state), state.rehearsal)
    if (statement.site, statement.policy_digest, statement.keys_digest, statement.rehearsal) != present:
        message = "the policy or the people's keys have changed since this was signed"
        raise Stale(message, rule="digest-moved", advice="sign a new statement")
    if now >= _time(statement.expires):
        raise Stale("the statement has expired", rule="expired", advice="sign a new one")
    _require_possible(state, statement)
    signed = _counted(state, statement, command.signatures)
    body = {
        "change": name,
        "action": statement.action,
        "person": statement.person,
        "adds": list(statement.adds),
        "removes": list(statement.removes),
        "reason": statement.reason,
        "in_force_at": stamp(now + ratified.policy.people_changes.delay),
        "statement": command.statement,
        "signatures": [{"person": who.person, **who.recorded(), "signature": text} for who, text in signed],
    }
    return (make(E.PEOPLE_CHANGE_REQUESTED, body),)


def due(state: SiteState, now: datetime) -> tuple[NewEvent, ...]:
    """The changes whose delay is over, as events; one at a time: the next look finds the next one."""
    if state.ratified is None:
        return ()
    for change in state.keys.pending:
        if moment(change.in_force_at) <= now:
            return _in_force(state, change, now)
    return ()


def _in_force(state: SiteState, change: Change, now: datetime) -> tuple[NewEvent, ...]:
    make = EventMaker(state, ORCHESTRATOR, now)
    body = {"change": change.id, "person": change.person, "adds": list(change.adds), "removes": list(change.removes)}
    why = f"the keys of {change.person} were changed ({change.id})"
    gone = voided(state, change.person, make, why) if change.removes else ()
    return (make(E.PEOPLE_CHANGE_IN_FORCE, body), *gone)


def stop(state: SiteState, command: StopPeopleChange, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """PeopleChangeStopped: by one officer, or by the person whose keys it is about."""
    change = state.keys.changes.get(command.change)
    if change is None:
        known = ", ".join(one.id for one in state.keys.pending) or "none"
        raise UnknownName(f"there is no change {command.change!r}", advice=f"pending: {known}")
    if change.state != "pending":
        raise Refused(f"{change.id} is {change.state} since {change.ended_at}", rule="people-change-known", advice="it cannot be stopped")
    return (make(E.PEOPLE_CHANGE_STOPPED, {"change": change.id, "person": change.person, "reason": command.reason}),)


def _counted(state: SiteState, statement: PeopleStatement, signatures: Sequence[tuple[Verified, str]]) -> tuple[tuple[Verified, str], ...]:
    """The signatures, all of which count, and which are enough. Raises NotAllowed."""
    policy = conditions.in_force(state).policy
    possible, wanted = signers_of(policy, statement.person), policy.people_changes.signers
    keys = known_keys(state)
    for who, _ in signatures:
        if not any(line.fingerprint == who.fingerprint for line in keys.of(who.person)):
            raise Stale(f"the key of {who.person} was taken away meanwhile", rule="digest-moved", advice="sign a new statement")
        if who.person not in possible:
            message = f"{who.person} cannot sign a change of {statement.person}'s keys"
            raise NotAllowed(message, rule="people-signers", advice=f"{wanted} of {', '.join(possible)} sign it")
    names = [who.person for who, _ in signatures]
    if len(set(names)) != len(names):
        raise NotAllowed("one person signs once, whatever keys they have", rule="signed-twice")
    if len(names) < wanted:
        message = f"{len(names)} of {wanted} people have signed"
        raise NotAllowed(message, rule="people-signers", advice=f"{wanted} of {', '.join(possible)} sign it")
    return tuple(signatures)


def _require_possible(state: SiteState, statement: PeopleStatement) -> None:
    """Raises NotAllowed, Refused or UsageError for a change that cannot be, whoever signs it."""
    policy, keys = conditions.in_force(state).policy, known_keys(state)
    if statement.person not in policy.people_by_name:
        message = f"{statement.person} is nobody in the ratified policy"
        raise NotAllowed(message, rule="unknown-person", advice="a new person comes with a new policy")
    for other in state.keys.pending:
        if other.person == statement.person:
            raise Refused(
                f"{other.id} of {other.person}'s keys is pending until {other.in_force_at}",
                rule="people-change-pending",
                advice="wait for it, or stop it",
            )
    held = {line.fingerprint for line in keys.of(statement.person)}
    strange = sorted(set(statement.removes) - held)
    if strange:
        raise UnknownName(f"{strange[0]} is no key of {statement.person}", advice=f"their keys: {', '.join(sorted(held)) or 'none'}")
    shape = (bool(statement.adds), set(statement.removes) == held, bool(statement.removes))
    fits = {
        "add-key": shape[0] and not shape[2],
        "remove-key": not shape[0] and shape[2],
        "re-enrol": shape[0] and shape[1],
        "remove-person": not shape[0] and shape[1] and shape[2],
    }
    if not fits[statement.action]:
        raise UsageError(f"a change `{statement.action}` does not have these keys", advice="see docs/identity.md")
    _require_new(state, keys, statement)


def _require_new(state: SiteState, keys: AllowedSigners, statement: PeopleStatement) -> None:
    """A key belongs to one person for good: never to two, never again after it was taken away."""
    coming = {_parsed(change.person, key).fingerprint for change in state.keys.pending for key in change.adds}
    for key in statement.adds:
        line = _parsed(statement.person, key)
        owner = next((known.person for known in keys.signers if known.fingerprint == line.fingerprint), None)
        if owner is not None or line.fingerprint in state.keys.revoked or line.fingerprint in coming:
            whose = f"the key of {owner}" if owner else "a key that was taken away, or is in another change"
            raise Refused(f"{line.fingerprint} is {whose}", rule="key-known", advice="make a new key: ssh-keygen -t ed25519")


# --- at once ------------------------------------------------------------------------------------------------------------


def revoke_key(state: SiteState, command: RevokeKey, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """KeyRevoked, and what falls with it. By its holder, or by an officer as long as enough people are left to enrol it anew
    without that officer, whose own key may be the stolen one."""
    keys, policy = known_keys(state), conditions.in_force(state).policy
    held = {line.fingerprint for line in keys.of(command.person)}
    if command.fingerprint not in held:
        message = f"{command.fingerprint} is no key of {command.person}"
        raise UnknownName(message, advice=f"their keys: {', '.join(sorted(held)) or 'none'}")
    if command.actor != command.person and held == {command.fingerprint}:
        left = {line.person for line in keys.signers if line.is_valid(now)} & set(signers_of(policy, command.person)) - {command.actor}
        if len(left) < policy.people_changes.signers:
            raise Refused(
                f"without {command.person} and {command.actor} only {len(left)} people could change keys",
                rule="too-few-left",
                advice=f"it takes {policy.people_changes.signers} to enrol anybody again: {command.person} revokes it, or enrol first",
            )
    body = {"person": command.person, "fingerprint": command.fingerprint, "reason": command.reason}
    why = f"a key of {command.person} was revoked"
    return (make(E.KEY_REVOKED, body), *voided(state, command.person, make, why), *_unsigned(state, command.fingerprint, make))


def end_sessions(state: SiteState, command: EndSessions, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """SessionsRevoked: every token of the person, of all their keys."""
    if command.person not in conditions.in_force(state).policy.people_by_name:
        raise UnknownName(f"{command.person} is nobody in the ratified policy", advice="orchestrator people")
    return (make(E.SESSIONS_REVOKED, {"person": command.person, "reason": command.reason}),)


def voided(state: SiteState, person: str, make: EventMaker, why: str) -> tuple[NewEvent, ...]:
    """What the person has pending, and what lasts by their word alone."""
    return (*_votes(state, person, make, why), *_lent(state, person, make, why), *_waived(state, person, make, why))


def _votes(state: SiteState, person: str, make: EventMaker, why: str) -> Iterator[NewEvent]:
    for status in state.stages.values():
        if status.state in stages.VOTING and person in status.votes:
            yield make(E.VOTES_VOIDED, {"reason": why, "person": person}, stage=status.name)


def _lent(state: SiteState, person: str, make: EventMaker, why: str) -> Iterator[NewEvent]:
    for loan in eligibility.loans(state):
        if loan.signed and loan.giver == person and loan.revoked_at is None:
            yield make(E.DELEGATION_REVOKED, {"name": loan.name, "reason": why})


def _waived(state: SiteState, person: str, make: EventMaker, why: str) -> Iterator[NewEvent]:
    for waiver in state.waivers.values():
        if waiver.state is not WaiverState.ENDED and person in (waiver.requested_by, waiver.granted_by):
            body = {"waiver": waiver.id, "gate": waiver.gate, "partner": waiver.partner, "reason": why}
            yield make(E.WAIVER_ENDED, body, stage=waiver.stage)


def _unsigned(state: SiteState, mark: str, make: EventMaker) -> Iterator[NewEvent]:
    """Pending changes that this key has signed."""
    for change in state.keys.pending:
        if mark in change.signed_by.values():
            body = {"change": change.id, "person": change.person, "reason": "a key that signed it was revoked"}
            yield make(E.PEOPLE_CHANGE_STOPPED, body)


def whose(state: SiteState, command: Command) -> str:
    """Whose keys or sessions a command is about, where they may give it themselves; else empty."""
    if isinstance(command, RevokeKey | EndSessions):
        return command.person
    if isinstance(command, StopPeopleChange):
        change = state.keys.changes.get(command.change)
        return change.person if change is not None else ""
    return ""


def _bare(key: str) -> str:
    """`type base64` of an OpenSSH public key. Raises UsageError."""
    parts = key.split()
    if len(parts) < 2 or len(key) > 4000 or "\n" in key.strip():
        raise UsageError("this is no public key", advice="give the line of the .pub file: ssh-ed25519 AAAA…")
    return f"{parts[0]} {parts[1]}"


def _parsed(person: str, key: str) -> Signer:
    if _bare(key) != key:
        raise UsageError("a key is `type base64` and nothing else", advice="sign the exact text that GET /v1/people/statement gives")
    try:
        (line,) = parse_allowed_signers(f"{person} {key}\n").signers
    except (PolicyError, ValueError) as error:
        raise UsageError(f"this is no public key: {error}", advice="give the line of the .pub file: ssh-ed25519 AAAA…") from error
    if line.key_type not in ACCEPTED_KEYS:
        raise UsageError(f"keys of the type {line.key_type} are not accepted", advice=f"one of {', '.join(ACCEPTED_KEYS)}")
    return line


def _time(text: str) -> datetime:
    try:
        time = moment(text)
    except ValueError:
        raise UsageError(f"{text!r} is no RFC 3339 time", advice="sign the exact text that GET /v1/people/statement gives") from None
    if time.tzinfo is None:
        raise UsageError(f"{text!r} has no zone", advice="sign the exact text that GET /v1/people/statement gives")
    return time
