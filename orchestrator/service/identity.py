"""Who is asking: login by a signed challenge, for a short-lived opaque token. No password anywhere.

Challenges and tokens live in memory only and are lost with the server: people log in again. A token is kept as its
SHA-256; roles are looked up in the ratified policy at every use, so that a person who is taken out has none at once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain import eligibility
from orchestrator.domain.canonical import canonical
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import EventMaker, stamp
from orchestrator.errors import NotAllowed, NotAuthenticated
from orchestrator.service.stages import Stages

NAMESPACE = "orchestrator-login@v1"
TOKEN_LIVES = timedelta(minutes=15)
CHALLENGE_LIVES = timedelta(minutes=2)
_MOST = 4096  # of each, outstanding: the oldest make room


@dataclass(frozen=True)
class _Kept:
    person: str
    until: datetime


class Identity:
    def __init__(self, stages: Stages, *, secret: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> None:
        self._stages, self._secret = stages, secret
        self._challenges: dict[str, _Kept] = {}
        self._tokens: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def challenge(self, person: str) -> str:
        """The text to sign. The same for a name that nobody bears: who exists is not told to strangers."""
        now = self._stages.journal.now()
        text = canonical({"what": "login", "person": person, "nonce": self._secret(), "expires": stamp(now + CHALLENGE_LIVES)}).decode()
        self._keep(self._challenges, text, _Kept(person, now + CHALLENGE_LIVES))
        return text

    def login(self, person: str, challenge: str, signature: str) -> tuple[str, datetime]:
        """A token and its end. A challenge can be used once. Raises NotAuthenticated (rules `challenge`, `signature`)."""
        now = self._stages.journal.now()
        with self._lock:
            kept = self._challenges.pop(challenge, None)
        if kept is None or kept.person != person or now >= kept.until or json.loads(challenge)["person"] != person:
            raise NotAuthenticated("this challenge is not open, or not yours", rule="challenge", advice="ask for a new one")
        signer = self._stages.signatures().verify(NAMESPACE, challenge.encode(), signature, at=now)
        if signer != person:
            raise NotAuthenticated(f"signed by {signer}, not by {person}", rule="signature")
        try:
            eligibility.roles_of(self._stages.journal.state(), person, now)
        except NotAllowed as unknown:
            raise NotAuthenticated(str(unknown), rule=unknown.rule) from unknown
        token = self._secret()
        self._keep(self._tokens, _hashed(token), _Kept(person, now + TOKEN_LIVES))
        self._stages.journal.decide(
            lambda state, at: [EventMaker(state, person, at)(E.SESSION_OPENED, {"until": stamp(now + TOKEN_LIVES)})]
        )
        return token, now + TOKEN_LIVES

    def person(self, token: str) -> str:
        """Whose token this is. Raises NotAuthenticated (rule `token`)."""
        kept = self._tokens.get(_hashed(token))
        if kept is None or self._stages.journal.now() >= kept.until:
            raise NotAuthenticated("the token is unknown, or has expired", rule="token", advice="orchestrator login --as PERSON --key FILE")
        return kept.person

    def logout(self, token: str) -> None:
        with self._lock:
            self._tokens.pop(_hashed(token), None)

    def _keep(self, where: dict[str, _Kept], key: str, kept: _Kept) -> None:
        with self._lock:
            now = self._stages.journal.now()
            for old in [name for name, value in where.items() if now >= value.until]:
                del where[old]
            while len(where) >= _MOST:
                del where[next(iter(where))]
            where[key] = kept


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
