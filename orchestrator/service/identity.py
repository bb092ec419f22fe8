"""Who is asking: login by a signed challenge, for a short-lived opaque token. No password anywhere.

A challenge is kept nowhere: it carries a proof that a server of this log made it, so that asking for many fills nothing and
pushes out nobody's. That it was used is in the log, which lets it be used once, on whichever server. A token is kept as its
SHA-256, shared by the servers of the log, and bound to the key that signed: it is worth nothing from the moment that this
key is revoked, expires or is ratified away. Roles are looked up at every use.

The signature is looked at first, and limits are counted afterwards, by where a refused try came from: who can sign always
gets through, whatever others do from the same place or in the same name.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain import duties, eligibility
from orchestrator.domain.canonical import canonical
from orchestrator.domain.decide_people import known_keys
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.signers import Verified
from orchestrator.domain.state import SiteState, moment
from orchestrator.errors import LogUnavailable, NotAllowed, NotAuthenticated, SlowDown
from orchestrator.ports import Volatile
from orchestrator.service.limits import Buckets, Rate
from orchestrator.service.stages import Stages

NAMESPACE = "orchestrator-login@v1"
TOKEN_LIVES = timedelta(minutes=15)
CHALLENGE_LIVES = timedelta(minutes=2)
LOCAL = "local"  # the source of everybody on the Unix socket
_REFUSED, _RECORDED_OF_ONE, _RECORDED, _WRITES = Rate(20, 1 / 6), Rate(5, 1 / 120), Rate(30, 1 / 30), Rate(3000, 5)
_SECRET_LIVES = timedelta(days=3650)
_LOG_IN_AGAIN = "orchestrator login --as PERSON --key FILE"


@dataclass(frozen=True)
class Limits:
    """Refused log-ins by source; how many of those the log keeps, of one source and of all; writes by person."""

    refused: Rate = _REFUSED
    recorded_of_one: Rate = _RECORDED_OF_ONE
    recorded: Rate = _RECORDED
    writes: Rate = _WRITES


@dataclass(frozen=True)
class Session:
    """A token, as it is kept: `seq` is the event that opened it."""

    person: str
    key: str  # fingerprint
    until: str
    seq: int
    user_verified: bool | None = None


class Identity:
    def __init__(
        self,
        stages: Stages,
        volatile: Volatile,
        *,
        limits: Limits | None = None,
        secret: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._stages, self._volatile, self._secret = stages, volatile, secret
        limits = limits or Limits()
        elapsed = stages.collaborators.elapsed
        self._refused = Buckets(limits.refused, elapsed)
        self._recorded_of_one = Buckets(limits.recorded_of_one, elapsed)
        self._recorded = Buckets(limits.recorded, elapsed)
        self._writes = Buckets(limits.writes, elapsed)
        self._unrecorded = 0

    # --- opening ----------------------------------------------------------------------------------------------------

    def challenge(self, person: str) -> str:
        """The text to sign. The same for a name that nobody bears: who exists is not told to strangers."""
        expires = stamp(self._stages.journal.now() + CHALLENGE_LIVES)
        said = {"what": "login", "person": person, "nonce": self._secret(), "expires": expires}
        return canonical({**said, "proof": self._proof(said)}).decode()

    def login(self, person: str, challenge: str, signature: str, source: str = LOCAL) -> tuple[str, datetime]:
        """A token and its end. Raises NotAuthenticated (rules `challenge`, `signature`, `unknown-person`), or SlowDown (rule
        `too-many-requests`) instead of it for a source of many refused ones."""
        try:
            return self._opened(person, challenge, signature, source)
        except NotAuthenticated as refusal:
            self._remember(person, refusal, source)
            raise

    def _opened(self, person: str, challenge: str, signature: str, source: str) -> tuple[str, datetime]:
        journal = self._stages.journal
        now = journal.now()
        expires = self._require_ours(person, challenge, now)
        self._stages.state()  # what is overdue, changes of keys too
        key = self._stages.signatures().verified(NAMESPACE, challenge.encode(), signature, at=now)
        if key.person != person:
            raise NotAuthenticated(f"signed by {key.person}, not by {person}", rule="signature")
        mark, until = hashlib.sha256(challenge.encode()).hexdigest(), now + TOKEN_LIVES
        opened_at: list[int] = []

        def opened(state: SiteState, at: datetime) -> list[NewEvent]:
            if mark in state.used_challenges:
                raise NotAuthenticated("this challenge has been used", rule="challenge", advice="ask for a new one")
            _require_key(state, key, at)
            try:
                eligibility.roles_of(state, person, at)
            except NotAllowed as unknown:
                raise NotAuthenticated(str(unknown), rule=unknown.rule) from unknown
            opened_at[:] = [state.seq + 1]
            body = {"until": stamp(until), "key": key.recorded(), "source": source, "challenge": mark, "challenge_until": expires}
            return [EventMaker(state, person, at)(E.SESSION_OPENED, body)]

        journal.decide(opened)
        token = self._secret()
        session = Session(person, key.fingerprint, stamp(until), opened_at[0], key.user_verified)
        self._volatile.clear(now=now)
        self._volatile.put("token", _hashed(token), json.dumps(session.__dict__), until=until)
        return token, until

    def _require_ours(self, person: str, challenge: str, now: datetime) -> str:
        """Until when the challenge can be used. Raises NotAuthenticated (rule `challenge`) for one that no server made, for
        somebody else's, and for one that is too old."""
        try:
            said: dict[str, Any] = json.loads(challenge)
            proof = said.pop("proof")
            ours = (
                canonical({**said, "proof": proof}).decode() == challenge
                and hmac.compare_digest(str(proof), self._proof(said))
                and said["person"] == person
                and now < moment(said["expires"])
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            ours = False
        if not ours:
            raise NotAuthenticated("this challenge is not open, or not yours", rule="challenge", advice="ask for a new one")
        return str(said["expires"])

    def _proof(self, said: dict[str, Any]) -> str:
        """That a server of this log made it. The secret is shared and may be lost: then people ask for a new challenge."""
        now = self._stages.journal.now()
        key = self._volatile.get("secret", "challenges", now=now)
        if key is None:
            self._volatile.put("secret", "challenges", secrets.token_hex(32), until=now + _SECRET_LIVES)
            key = self._volatile.get("secret", "challenges", now=now) or ""
        return hmac.new(key.encode(), canonical(said), "sha256").hexdigest()

    # --- using ------------------------------------------------------------------------------------------------------

    def person(self, token: str, *, writes: bool = False) -> str:
        """Whose token this is. Raises NotAuthenticated (rule `token`); when they mean to write, NotAllowed (rule `role`) for
        those who change nothing, and SlowDown (rule `too-many-requests`)."""
        person = self.session(token).person
        if writes:
            duties.require_writing(eligibility.roles_of(self._stages.journal.state(), person, self._stages.journal.now()))
            if wait := self._writes.take(person):
                raise _slow_down("you write faster than anybody reads", wait)
        return person

    def session(self, token: str) -> Session:
        """What the token stands for, its key being good still. Raises NotAuthenticated (rule `token`)."""
        now = self._stages.journal.now()
        kept = self._volatile.get("token", _hashed(token), now=now)
        if kept is None:
            raise NotAuthenticated("the token is unknown, or has expired", rule="token", advice=_LOG_IN_AGAIN)
        session = Session(**json.loads(kept))
        state = self._stages.journal.state()
        if session.seq <= state.keys.sessions_ended.get(session.person, -1):
            raise NotAuthenticated("this session was ended", rule="token", advice=_LOG_IN_AGAIN)
        if not known_keys(state).holds(session.person, session.key, NAMESPACE, now):
            raise NotAuthenticated("the key of this session does not count any more", rule="token", advice=_LOG_IN_AGAIN)
        return session

    # --- closing ----------------------------------------------------------------------------------------------------

    def logout(self, token: str) -> Session:
        """The session is over on every server when this returns. Raises NotAuthenticated (rule `token`)."""
        session = self.session(token)
        self._volatile.take("token", _hashed(token), now=self._stages.journal.now())
        with contextlib.suppress(LogUnavailable):  # it is over all the same
            body = {"opened": session.seq, "fingerprint": session.key}
            self._stages.journal.decide(lambda state, at: [EventMaker(state, session.person, at)(E.SESSION_CLOSED, body)])
        return session

    def forget(self, person: str) -> int:
        """Drops every token of a person; how many there were. (That they count no more is in the log already.)"""
        now = self._stages.journal.now()
        theirs = [key for key, kept in self._volatile.all("token", now=now) if Session(**json.loads(kept)).person == person]
        return sum(self._volatile.take("token", key, now=now) is not None for key in theirs)

    # --- refused ----------------------------------------------------------------------------------------------------

    def _remember(self, person: str, refusal: NotAuthenticated, source: str) -> None:
        """In the log, as far as the log is not filled by it. Raises SlowDown for a source of too many."""
        if wait := self._refused.take(source):
            self._unrecorded += 1
            raise _slow_down("too many refused log-ins from where you are", wait) from refusal
        if self._recorded_of_one.take(source) or self._recorded.take(""):
            self._unrecorded += 1
            return
        before, self._unrecorded = self._unrecorded, 0

        def failed(state: SiteState, at: datetime) -> list[NewEvent]:
            known = state.ratified is not None and person in state.ratified.policy.people_by_name
            body = {"person": person if known else "", "rule": refusal.rule, "source": source, "not_recorded_before": before}
            return [EventMaker(state, ORCHESTRATOR, at)(E.LOGIN_FAILED, body)]

        with contextlib.suppress(LogUnavailable):
            self._stages.journal.decide(failed)


def _require_key(state: SiteState, key: Verified, at: datetime) -> None:
    if not known_keys(state).holds(key.person, key.fingerprint, NAMESPACE, at):
        raise NotAuthenticated(f"the key {key.fingerprint} does not count any more", rule="signature")


def _slow_down(message: str, wait: float) -> SlowDown:
    seconds = math.ceil(wait)
    return SlowDown(message, rule="too-many-requests", advice=f"try again in {seconds} s", retry_after_s=seconds)


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
