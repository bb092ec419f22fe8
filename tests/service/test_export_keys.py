"""Whose keys count in an export: those that were ratified when something was signed, whatever a file says by then."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.site_key import SiteKey, load_or_create_site_key
from orchestrator.adapters.sshsig import sign
from orchestrator.domain.canonical import canonical
from orchestrator.domain.events import EventType, NewEvent
from orchestrator.export.bundle import About, Export, Material, create_export
from orchestrator.export.verify import verify
from tests.sample_log import ABOUT, FixedClock, People, at, cast_vote, people


@pytest.fixture
def who(tmp_path: Path) -> People:
    return people(tmp_path)


def ratified(second: int, keys: str, by: str, key: SiteKey, **more: object) -> NewEvent:
    digests = {"policy_digest": "1a" * 32, "inventory_digest": "2b" * 32}
    statement = canonical({**digests, "allowed_signers_digest": hashlib.sha256(keys.encode()).hexdigest()}).decode()
    vote = {"person": by, "signature": sign(key.private, "policy-ratification@v1", statement.encode())}
    body = {**digests, "allowed_signers": keys, "statement": statement, "votes": [vote], **more}
    return NewEvent(EventType.POLICY_RATIFIED, at(second), by, body)


def export(log: MemoryLog, who: People, out: Path, on_disk: str = "", about: About = ABOUT) -> Export:
    return create_export(log, who.signatures(), out, about, Material(who.site.public_line, on_disk), clock=FixedClock())


def line(person: str, key: SiteKey) -> str:
    return f"{person} {key.public_line}\n"


def test_the_ratified_keys_are_exported_and_not_what_a_file_says_now(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    log.append([ratified(0, line("alice", who.alice), "alice", who.alice)])
    log.append([cast_vote(log, "alice", who.alice, 10)])
    made = export(log, who, tmp_path / "export", on_disk=line("alice", who.bob))
    listed = (made.path / "allowed_signers").read_text()
    assert line("alice", who.alice) in listed
    assert who.bob.public_line not in listed
    assert verify(made.path)["findings"] == []


def test_a_vote_by_a_key_that_was_never_ratified_breaks_it(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    log.append([ratified(0, line("alice", who.alice), "alice", who.alice)])
    log.append([cast_vote(log, "alice", who.bob, 10)])
    report = verify(export(log, who, tmp_path / "export", on_disk=line("alice", who.bob)).path)
    assert (report["first"]["problem"], report["first"]["event"]) == ("signature", 1)


def test_a_vote_stays_good_when_its_key_is_replaced_and_the_old_key_does_not(who: People, tmp_path: Path) -> None:
    new = load_or_create_site_key(tmp_path / "new")
    log = MemoryLog()
    log.append([ratified(0, line("alice", who.alice), "alice", who.alice)])
    log.append([cast_vote(log, "alice", who.alice, 10)])
    log.append([ratified(20, line("alice", new), "alice", who.alice)])
    log.append([cast_vote(log, "alice", new, 30)])
    assert verify(export(log, who, tmp_path / "good").path)["findings"] == []
    log.append([cast_vote(log, "alice", who.alice, 40)])
    assert verify(export(log, who, tmp_path / "bad").path)["first"]["event"] == 5


def test_a_ratification_by_keys_that_it_brings_along_breaks_it(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    log.append([ratified(0, line("alice", who.alice), "alice", who.alice)])
    log.append([ratified(20, line("alice", who.bob), "alice", who.bob)])
    report = verify(export(log, who, tmp_path / "export").path)
    assert (report["first"]["problem"], report["first"]["event"]) == ("signature", 1)


@pytest.mark.parametrize(
    "changed", [{"votes": []}, {"policy_digest": "3c" * 32}, {"allowed_signers": "mallory ssh-ed25519 AAAA\n"}, {"statement": "{"}]
)
def test_a_ratification_that_is_not_what_was_signed_breaks_it(who: People, tmp_path: Path, changed: dict[str, object]) -> None:
    log = MemoryLog()
    log.append([ratified(0, line("alice", who.alice), "alice", who.alice, **changed)])
    report = verify(export(log, who, tmp_path / "export").path)
    assert (report["first"]["problem"], report["first"]["event"]) == ("signature", 0)


def test_an_export_under_the_rehearsal_overlay_says_so_in_the_log(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    log.append([ratified(0, line("alice", who.alice), "alice", who.alice, rehearsal=True)])
    export(log, who, tmp_path / "rehearsal")
    log.append([ratified(20, line("alice", who.alice), "alice", who.alice, rehearsal=False)])
    export(log, who, tmp_path / "earnest")
    marks = [event.body.get("rehearsal") for event in log.read() if event.type is EventType.EXPORT_CREATED]
    assert marks == [True, None]


def test_an_export_does_not_tie_the_next_one_to_its_incident(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    log.append([ratified(0, line("alice", who.alice), "alice", who.alice)])
    export(log, who, tmp_path / "one", about=About("chu-valmont", "auditor1", "a typing mistaek"))
    export(log, who, tmp_path / "two", about=About("chu-valmont", "auditor1", "valmont-2026-06"))
