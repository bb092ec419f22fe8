"""Sessions: bound to a key, shared by servers, ended at once; refused log-ins lock nobody out and fill nothing."""

from __future__ import annotations

import hashlib
import json

import pytest

from orchestrator.adapters import sshsig
from orchestrator.adapters.memory_volatile import MemoryVolatile
from orchestrator.adapters.site_key import public_line
from orchestrator.domain.events import EventType as E
from orchestrator.domain.signers import fingerprint_of_text
from orchestrator.errors import NotAllowed, NotAuthenticated, Refused, SlowDown
from orchestrator.ports import Volatile
from orchestrator.service.identity import NAMESPACE, Identity
from orchestrator.service.people import People
from tests.service.reopening import Reopening, after_the_cut, key_of


def refused(rule: str, kind: type[Refused] = NotAuthenticated) -> pytest.RaisesExc[Refused]:
    return pytest.raises(kind, check=lambda refusal: refusal.rule == rule)


def mark_of(person: str) -> str:
    return str(fingerprint_of_text(f"{person} {public_line(key_of(person))}"))


def log_in(identity: Identity, person: str, *, key: str | None = None, source: str = "local") -> str:
    challenge = identity.challenge(person)
    return identity.login(person, challenge, sshsig.sign(key_of(key or person), NAMESPACE, challenge.encode()), source)[0]


def desk(reopening: Reopening, volatile: Volatile | None = None) -> Identity:
    return Identity(reopening.stages, volatile or MemoryVolatile())


def events(reopening: Reopening, type_: E) -> list[dict[str, object]]:
    return [dict(event.body) for event in reopening.log.read() if event.type is type_]


def test_a_token_counts_on_every_server_and_after_a_restart_and_is_kept_as_its_hash() -> None:
    reopening, shared = after_the_cut(), MemoryVolatile()
    token = log_in(desk(reopening, shared), "eng-1")
    other = Identity(reopening.server("the other one"), shared)
    assert other.person(token) == "eng-1"
    kept = shared.all("token", now=reopening.clock.now())
    assert [key for key, _ in kept] == [hashlib.sha256(token.encode()).hexdigest()]
    assert token not in str(kept)
    assert not any(token in json.dumps(dict(event.body)) for event in reopening.log.read())


def test_a_session_is_on_record_with_its_key_and_so_is_its_end() -> None:
    reopening = after_the_cut()
    identity = desk(reopening)
    token = log_in(identity, "eng-1", source="192.0.2.7")
    (opened,) = events(reopening, E.SESSION_OPENED)
    assert opened["key"] == {"fingerprint": mark_of("eng-1"), "type": "ssh-ed25519", "user_present": None, "user_verified": None}
    assert opened["source"] == "192.0.2.7"
    identity.logout(token)
    (closed,) = events(reopening, E.SESSION_CLOSED)
    assert closed["fingerprint"] == mark_of("eng-1")
    with refused("token"):
        identity.person(token)
    with refused("token"):
        identity.logout(token)


def test_a_challenge_is_used_once_on_whichever_server() -> None:
    reopening, shared = after_the_cut(), MemoryVolatile()
    one, other = desk(reopening, shared), Identity(reopening.server("the other one"), shared)
    challenge = one.challenge("eng-1")
    signature = sshsig.sign(key_of("eng-1"), NAMESPACE, challenge.encode())
    assert other.login("eng-1", challenge, signature)
    for identity in (one, other):
        with refused("challenge"):
            identity.login("eng-1", challenge, signature)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {**said, "expires": "2027-01-01T00:00:00.000Z"},
        lambda said: {**said, "nonce": "chosen by the one who signs"},
        lambda said: {**said, "proof": "00" * 32},
        lambda said: {**said, "more": 1},
        lambda said: [said],
        lambda said: {key: value for key, value in said.items() if key != "proof"},
    ],
)
def test_a_challenge_that_no_server_made_is_none(change: object) -> None:
    assert callable(change)
    reopening = after_the_cut()
    identity = desk(reopening)
    forged = json.dumps(change(json.loads(identity.challenge("eng-1"))), sort_keys=True, separators=(",", ":"))
    with refused("challenge"):
        identity.login("eng-1", forged, sshsig.sign(key_of("eng-1"), NAMESPACE, forged.encode()))


def test_a_challenge_runs_out_and_asking_for_many_keeps_nothing() -> None:
    reopening, shared = after_the_cut(), MemoryVolatile()
    identity = desk(reopening, shared)
    mine = identity.challenge("eng-1")
    for number in range(5000):
        identity.challenge(f"stranger-{number}")
    assert shared.all("challenge", now=reopening.clock.now()) == ()
    assert identity.login("eng-1", mine, sshsig.sign(key_of("eng-1"), NAMESPACE, mine.encode()))
    late = identity.challenge("eng-1")
    reopening.clock.wait(120)
    with refused("challenge"):
        identity.login("eng-1", late, sshsig.sign(key_of("eng-1"), NAMESPACE, late.encode()))


def test_a_key_that_is_ratified_away_or_expires_takes_its_sessions_along() -> None:
    reopening = after_the_cut()
    identity = desk(reopening)
    token, other = log_in(identity, "eng-1"), log_in(identity, "eng-2")
    lines = reopening.allowed_signers.splitlines(keepends=True)
    reopening.allowed_signers = "".join(line for line in lines if not line.startswith("eng-1 "))
    reopening.ratify()
    with refused("token"):
        identity.person(token)
    assert identity.person(other) == "eng-2"
    reopening.allowed_signers = reopening.allowed_signers.replace("eng-2 ", 'eng-2 valid-before="20260624080500Z" ')
    reopening.ratify()
    assert identity.person(other) == "eng-2"
    reopening.clock.wait(301)
    with refused("token"):
        identity.person(other)


def test_a_revoked_key_takes_its_sessions_along_at_once_on_every_server() -> None:
    reopening, shared = after_the_cut(), MemoryVolatile()
    identity, other = desk(reopening, shared), Identity(reopening.server("the other one"), shared)
    token = log_in(identity, "eng-1")
    People(reopening.stages).revoke("rssi", "eng-1", mark_of("eng-1"), "laptop stolen")
    for desk_ in (identity, other):
        with refused("token"):
            desk_.person(token)
    with refused("signature"):
        log_in(identity, "eng-1")


def test_all_sessions_of_a_person_end_at_once_and_the_next_one_is_good() -> None:
    reopening, shared = after_the_cut(), MemoryVolatile()
    identity, other = desk(reopening, shared), Identity(reopening.server("the other one"), shared)
    tokens = [log_in(identity, "eng-1"), log_in(other, "eng-1")]
    bystander = log_in(identity, "eng-2")
    with refused("role", NotAllowed):
        People(reopening.stages).end_sessions("eng-2", "eng-1", "x")
    People(reopening.stages).end_sessions("rssi", "eng-1", "screen left open")
    for token in tokens:
        with refused("token"):
            other.person(token)
    assert identity.forget("eng-1") == 2
    assert identity.person(bystander) == "eng-2"
    assert identity.person(log_in(identity, "eng-1")) == "eng-1"
    People(reopening.stages).end_sessions("eng-2", "eng-2", "my own")
    with refused("token"):
        identity.person(bystander)


# --- refused log-ins ------------------------------------------------------------------------------------------------


def test_an_attacker_locks_out_neither_a_person_nor_a_place() -> None:
    reopening = after_the_cut()
    identity = desk(reopening)
    for number in range(200):
        with pytest.raises((NotAuthenticated, SlowDown)):
            log_in(identity, "commander", key="mallory", source="198.51.100.9" if number % 2 else "local")
    with pytest.raises(SlowDown) as stopped:
        log_in(identity, "commander", key="mallory", source="198.51.100.9")
    assert (stopped.value.rule, stopped.value.retry_after_s) == ("too-many-requests", 6)
    with refused("signature"):
        log_in(identity, "commander", key="mallory", source="203.0.113.1")  # another place has its own count
    for source in ("198.51.100.9", "local", "192.0.2.1"):
        assert identity.person(log_in(identity, "commander", source=source)) == "commander"


def test_refused_log_ins_are_on_record_and_do_not_fill_the_log() -> None:
    reopening = after_the_cut()
    identity = desk(reopening)
    for name in ("commander", "nobody\x1b[2J", "сommander"):
        with refused("signature"):
            log_in(identity, name, key="mallory", source="198.51.100.9")
    recorded = events(reopening, E.LOGIN_FAILED)
    assert [(body["person"], body["rule"], body["source"]) for body in recorded] == [
        ("commander", "signature", "198.51.100.9"),
        ("", "signature", "198.51.100.9"),
        ("", "signature", "198.51.100.9"),
    ]
    size = reopening.log.head().size
    for number in range(2000):
        with pytest.raises((NotAuthenticated, SlowDown)):
            log_in(identity, "commander", key="mallory", source=f"198.51.100.{number % 200}")
    assert reopening.log.head().size - size <= 30
    reopening.clock.wait(300)
    with refused("signature"):
        log_in(identity, "commander", key="mallory", source="198.51.100.9")
    assert events(reopening, E.LOGIN_FAILED)[-1]["not_recorded_before"] == 3 + 2000 - size_of(reopening, size)


def size_of(reopening: Reopening, size: int) -> int:
    """How many refused log-ins were recorded in all, but for the last."""
    del size
    return len(events(reopening, E.LOGIN_FAILED)) - 1


def test_one_person_writes_as_fast_as_people_do_and_no_faster() -> None:
    reopening = after_the_cut()
    identity = desk(reopening)
    token, other = log_in(identity, "eng-1"), log_in(identity, "eng-2")
    for _ in range(3000):
        identity.person(token, writes=True)
    with pytest.raises(SlowDown) as stopped:
        identity.person(token, writes=True)
    assert stopped.value.retry_after_s == 1
    assert identity.person(token) == "eng-1"
    assert identity.person(other, writes=True) == "eng-2"
    reopening.clock.wait(1)
    assert identity.person(token, writes=True) == "eng-1"


def test_who_only_reads_writes_nothing_whatever_is_asked() -> None:
    reopening = after_the_cut()
    identity = desk(reopening)
    token = log_in(identity, "auditor")
    assert identity.person(token) == "auditor"
    with refused("role", NotAllowed):
        identity.person(token, writes=True)
