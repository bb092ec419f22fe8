"""Who may sign: an OpenSSH `allowed_signers` file, in a strict subset that means the same to ssh-keygen everywhere.

    person [namespaces="a@v1,b@v1",valid-after="20260101Z",valid-before="20270101Z"] key-type base64 [comment]

One literal person a line (no patterns, no lists: one natural person has one id), times in UTC with their `Z` (a local
time would mean something else on another machine), no certificate authorities, no key that belongs to two people.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache

from orchestrator.errors import Finding, NotAuthenticated, PolicyError

_OPTION = re.compile(r'([a-z-]+)(?:="([^"]*)")?(?:,|$)')
_LINE = re.compile(
    r'^(?P<person>\S+)\s+(?:(?P<options>[a-z-]+(?:="[^"]*")?(?:,[a-z-]+(?:="[^"]*")?)*)\s+)?(?P<type>[\w@.-]+)\s+(?P<key>[\w+/=]+)(?:\s.*)?$'
)
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*")
ACCEPTED_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_TIMES = {9: "%Y%m%dZ", 13: "%Y%m%d%H%MZ", 15: "%Y%m%d%H%M%SZ"}


class _Bad(ValueError):
    """What is wrong with a line."""


@dataclass(frozen=True)
class Verified:
    """Who made a signature, with which key, and what a security key says about its user (None: not a security key)."""

    person: str
    fingerprint: str
    key_type: str
    user_present: bool | None = None
    user_verified: bool | None = None

    def recorded(self) -> dict[str, str | bool | None]:
        """As events keep it."""
        return {
            "fingerprint": self.fingerprint,
            "type": self.key_type,
            "user_present": self.user_present,
            "user_verified": self.user_verified,
        }


def fingerprint(key: bytes) -> str:
    """Of a public key in its wire form, as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def fingerprint_of_text(line: str) -> str | None:
    """Of the key on a line of `allowed_signers`; None for a line that holds none."""
    match = _LINE.match(line.strip()) if not line.lstrip().startswith("#") else None
    try:
        return fingerprint(base64.b64decode(match["key"], validate=True)) if match is not None else None
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True)
class Signer:
    """One line: a person's key, what it may sign (empty: anything) and when (both ends included; None: no limit)."""

    person: str
    key_type: str
    key: bytes
    namespaces: tuple[str, ...] = ()
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key)

    def may_sign(self, namespace: str) -> bool:
        return not self.namespaces or namespace in self.namespaces

    def is_valid(self, at: datetime) -> bool:
        return (self.valid_after is None or self.valid_after <= at) and (self.valid_before is None or at <= self.valid_before)


@dataclass(frozen=True)
class AllowedSigners:
    """All lines of one file."""

    signers: tuple[Signer, ...]

    def person(self, key: bytes, namespace: str, at: datetime) -> str:
        """Whose key this is, if it may sign in `namespace` at `at`. Raises NotAuthenticated (rule `signature`)."""
        lines = [signer for signer in self.signers if signer.key == key]
        if not lines:
            raise NotAuthenticated("the signature is by a key that is not known here", rule="signature")
        person = lines[0].person
        lines = [signer for signer in lines if signer.may_sign(namespace)]
        if not lines:
            raise NotAuthenticated(f"the key of {person} may not sign for {namespace}", rule="signature")
        if not any(signer.is_valid(at) for signer in lines):
            raise NotAuthenticated(f"the key of {person} was not valid at {at.isoformat()}: revoked or expired", rule="signature")
        return person

    def holds(self, person: str, mark: str, namespace: str, at: datetime) -> bool:
        """Whether the key with this fingerprint is the person's, and may sign in `namespace` at `at`."""
        lines = self._by_fingerprint.get(mark, ())
        return any(line.person == person and line.may_sign(namespace) and line.is_valid(at) for line in lines)

    @cached_property
    def _by_fingerprint(self) -> dict[str, list[Signer]]:
        found: dict[str, list[Signer]] = {}
        for line in self.signers:
            found.setdefault(line.fingerprint, []).append(line)
        return found

    def of(self, person: str) -> tuple[Signer, ...]:
        return tuple(line for line in self.signers if line.person == person)


@lru_cache(maxsize=8)  # it is asked for every token and every signature
def parse_allowed_signers(text: str, file: str = "allowed_signers") -> AllowedSigners:
    """Raises PolicyError with a finding for every line that is wrong: a file that is half understood is not used."""
    signers: list[Signer] = []
    findings: list[Finding] = []
    owners: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            signer = _signer(line.strip())
            if owners.setdefault(signer.key, signer.person) != signer.person:
                raise _Bad(f"this key is also the key of {owners[signer.key]}")
            signers.append(signer)
        except _Bad as error:
            findings.append(Finding(file, number, str(error), "correct the line: person [options] key-type base64-key [comment]"))
    if findings:
        raise PolicyError(tuple(findings))
    return AllowedSigners(tuple(signers))


def _signer(line: str) -> Signer:
    match = _LINE.match(line)
    if match is None:
        raise _Bad("the line cannot be understood")
    if not _PERSON.fullmatch(match["person"]):
        raise _Bad(f"{match['person']!r} is not one person's id (no patterns and no lists)")
    options = _options(match["options"] or "")
    try:
        key = base64.b64decode(match["key"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Bad(f"the key is not base64: {error}") from error
    kind = match["type"].encode("ascii", "replace")
    if not key.startswith(len(kind).to_bytes(4, "big") + kind):
        raise _Bad(f"the key is not of the type {match['type']}")
    namespaces = tuple(options.get("namespaces", "").split(",")) if "namespaces" in options else ()
    if any(not name or set(name) & set("*?![") for name in namespaces):
        raise _Bad("namespaces must be a list of names, without patterns")
    return Signer(match["person"], match["type"], key, namespaces, _time(options.get("valid-after")), _time(options.get("valid-before")))


def _options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in _OPTION.findall(text):
        if name not in ("namespaces", "valid-after", "valid-before"):
            raise _Bad(f"the option {name} is not supported")
        if name in options:
            raise _Bad(f"the option {name} is given twice")
        options[name] = value
    return options


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, _TIMES[len(text)]).replace(tzinfo=UTC)
    except (KeyError, ValueError) as error:
        raise _Bad(f"the time {text!r} must be UTC and look like 20260101Z or 20260101143000Z") from error
