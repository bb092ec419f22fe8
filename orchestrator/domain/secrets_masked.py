"""What devices print, without their secrets: before it becomes part of an event, which is kept for good and exported.

Two nets. The values that this server was given (`known`) go wherever they stand; and so does what looks like a secret of a
device's configuration: the word after `password`, `secret 5`, `snmp-server community`, `pre-shared-key`, private keys in
PEM, password hashes, `user:password@` in an address. Rather a harmless word too many than a secret in the log.

Standard library only: the emergency command records through this.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent

LEFT_OUT = "(left-out)"
SHORTEST = 8  # characters of a known value: a shorter one would take half the text with it
REPEATS_DEVICES = frozenset({
    E.CUTOFF_APPLIED, E.CUTOFF_VERIFIED, E.CUTOFF_PARTIAL, E.STAGE_STALE, E.STAGE_REVERTING, E.STAGE_REVERTED, E.STAGE_FAILED,
    E.STAGE_SUSPENDED, E.STAGE_ENDED, E.DEVICE_CHANGED, E.DEVICE_READ_BACK, E.CHECK_RAN, E.COUNTERS_READ, E.DEVICE_FENCED,
    E.BLOCKLIST_DEVICE_APPLIED, E.REISOLATION_CHECKED, E.DEADLINE_RENEWED, E.RECUT_STARTED, E.DRIFT_DETECTED,
    E.DRIFT_REPAIRED, E.SURROUNDINGS_NOTED,
    E.DEVICE_STILL_UNKNOWN, E.RECOVERED, E.LAYER_LIFTED, E.ACCESS_DENIED,
})  # fmt: skip
"""Events whose body may repeat what a device or a library said. What people sign and give is kept to the letter."""
_NO_TEXT = frozenset({"change", "epoch", "step", "fingerprint", "slots", "output_sha256", "sent_sha256"})
_VALUE = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;}\"']+)"
_FORM = r"(?:(?:encrypted|clear|hex|ascii-text|ascii|plaintext|hidden|ENC|sha-?\d*|md5|des|3des|aes)[ \t]+(?:\d{3}[ \t]+)?|\d{1,3}[ \t]+)?"
_WORD = (
    r"(?:[\w-]*(?:password|passwd|passphrase|secret|psk|community|pre-?shared-?key|private-?key|privatekey|presharedkey|"
    r"authentication-key|auth-key|encryption-key|key-string|shared-key|api-?key)s?"
    r"|(?:isakmp|ike|server|tacacs|radius|ntp|keyring|tcp-ao|message-digest-key \d+ md5|authentication-key \d+ md5|tunnel)[ \t]+key"
    r"|md5|auth (?:sha-?\d*|md5)|priv (?:aes|des|3des)(?: \d{3})?|key(?=[ \t]+(?:0|7|0x)))"
)
_PATTERNS = {
    "pem": r"(?s)-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)",
    "end of pem": r"(?:[A-Za-z0-9+/=]{16,80}\s+){0,100}[A-Za-z0-9+/=]{0,80}\s*-----END [A-Z0-9 ]*PRIVATE KEY-----",
    "named": rf"(?i)(?<![\w-]){_WORD}(?:\"?[ \t]*[=:][ \t]*|\"?[ \t]+){_FORM}(?P<value>{_VALUE})",
    "indented": r"(?m)^([ \t]+key[ \t]+(?:\d{1,3}[ \t]+)?)(?!chain\b)\S+",  # of a block `radius server …`
    "kernel": r"(?i)\b((?:auth|auth-trunc|enc|aead)[ \t]+\S+[ \t]+)0x[0-9a-f]+",  # `ip xfrm state`
    "hash": r"(?<![\w$])\$(?:[1-9]|2[abxy]|5|6|8|9|14|y|sha1|argon2\w*)\$[^\s,;\"']{6,}",
    "address": r"(\w://[^\s/:@]+:)[^\s/@]+@",
}
_QUICK = re.compile(r"(?i)pass|secret|psk|community|key|md5|auth|priv|enc|aead|\$|@")


@cache
def _pattern(name: str) -> re.Pattern[str]:
    """Made when it is first needed: a cut-off does not wait for it."""
    return re.compile(_PATTERNS[name])


@dataclass(frozen=True)
class Masking:
    """`known` are values that no text may hold, as they are given to this server (keys, passphrases)."""

    known: Collection[str] = field(default=(), repr=False)

    def text(self, said: str) -> str:
        """The text, each secret as `(left-out)`. Idempotent."""
        for value in self.known:
            if len(value) >= SHORTEST and value in said:
                said = said.replace(value, LEFT_OUT)
        if not _QUICK.search(said):
            return said
        if "PRIVATE KEY" in said:
            said = _pattern("end of pem").sub(LEFT_OUT, _pattern("pem").sub(LEFT_OUT, said))
        said = _pattern("hash").sub(LEFT_OUT, _pattern("named").sub(_without_value, said))
        for name in ("indented", "kernel"):
            said = _pattern(name).sub(rf"\1{LEFT_OUT}", said)
        return _pattern("address").sub(rf"\1{LEFT_OUT}@", said)

    def event(self, event: NewEvent) -> NewEvent:
        """The event as it may be written."""
        return replace(event, body=self._within(event.body)) if event.type in REPEATS_DEVICES else event

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: item if key in _NO_TEXT else self._within(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._within(item) for item in value]
        return value


def _without_value(found: re.Match[str]) -> str:
    start = found.start("value") - found.start()
    return found[0][:start] + LEFT_OUT


PATTERNS_ONLY = Masking()
