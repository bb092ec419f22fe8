"""A partner's contact says what they saw: only their own words, of this very plan, on this very log, in time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestrator.adapters.sshsig import SshSignatures, sign
from orchestrator.domain import statement as votes
from orchestrator.domain.policy_words import Role
from orchestrator.domain.probes import Check
from orchestrator.domain.statement import LogHead
from orchestrator.domain.witness import NAMESPACE, Seen, WitnessStatement, read_witness, require_witness, verdict
from orchestrator.errors import NotAllowed, NotAuthenticated, Refused, Stale, UsageError

NOW = datetime(2026, 6, 27, 9, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(minutes=20)
DIGEST, ROOT = "a" * 64, "b" * 64
FLOW = ("pacs-images", "tcp/104")


def statement(**changes: Any) -> WitnessStatement:
    given: dict[str, Any] = {
        "site": "chu-valmont", "stage": "P3", "plan_digest": DIGEST, "partner": "sister", "witness": "contact-ght",
        "seen": (Seen(flow=FLOW[0], service=FLOW[1], saw="passes", words="an echo from our archive"),),
        "seen_at": "2026-06-27T08:55:00Z", "log_head": LogHead(size=40, root=ROOT),
    }  # fmt: skip
    return WitnessStatement.model_validate({**given, **changes})


def require(said: WitnessStatement, **changes: Any) -> None:
    given: dict[str, Any] = {
        "signer": "contact-ght", "roles": (Role.PARTNER_CONTACT,), "contact_of": ("sister",), "present": ("chu-valmont", "P3", DIGEST),
        "root_then": ROOT, "applied_at": BEGAN, "now": NOW,
    }  # fmt: skip
    require_witness(said, **{**given, **changes})


def test_what_was_seen_of_this_plan_by_the_right_contact_counts() -> None:
    require(statement())
    require(statement(seen_at="2026-06-27T08:36:00Z"), now=NOW)  # within what two clocks may differ by


@pytest.mark.parametrize(
    ("said", "given", "refusal", "rule"),
    [
        ({}, {"signer": "contact-other"}, NotAuthenticated, "signature"),
        ({}, {"roles": (Role.NETWORK_ENGINEER, Role.DIRECTOR)}, NotAllowed, "role"),
        ({}, {"contact_of": ("ght-2",)}, NotAllowed, "role"),
        ({"site": "chu-autre"}, {}, Stale, "digest-moved"),
        ({"stage": "P4"}, {}, Stale, "digest-moved"),
        ({"plan_digest": "c" * 64}, {}, Stale, "digest-moved"),
        ({"log_head": LogHead(size=40, root="c" * 64)}, {}, Stale, "log-head"),
        ({}, {"root_then": None}, Stale, "log-head"),
        ({"seen_at": "2026-06-27T08:30:00Z"}, {}, Stale, "witness-time"),
        ({"seen_at": "2026-06-27T09:06:00Z"}, {}, Stale, "witness-time"),
        ({}, {"now": NOW + timedelta(hours=5)}, Stale, "witness-time"),
    ],
)
def test_everything_else_is_refused_by_name(said: dict[str, Any], given: dict[str, Any], refusal: type[Refused], rule: str) -> None:
    with pytest.raises(refusal) as refused:
        require(statement(**said), **given)
    assert refused.value.rule == rule


def test_the_text_comes_back_as_it_was_signed() -> None:
    said = statement()
    assert read_witness(said.text()) == said
    assert json.loads(said.text())["what"] == "partner-witness"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + " ",
        lambda text: text.replace('"partner":', '"partner" :'),
        lambda text: text.replace("partner-witness", "vote"),
        lambda text: text.replace('"passes"', '"probably"'),
        lambda text: text.replace("2026-06-27T08:55:00Z", "yesterday"),
        lambda text: text.replace("2026-06-27T08:55:00Z", "2026-06-27T08:55:00"),
        lambda text: text.replace("an echo", "an \\u202eecho"),
        lambda text: text.replace('"site":', '"extra":1,"site":'),
        lambda _: "[" * 9000,
        lambda _: "[" * 30_000,
        lambda _: "null",
    ],
)
def test_what_is_not_such_a_statement_is_not_read(spoil: Any) -> None:
    with pytest.raises(UsageError):
        read_witness(spoil(statement().text()))


def test_nobody_says_two_things_of_one_flow() -> None:
    twice = (Seen(flow="a", service="tcp/1", saw="passes"), Seen(flow="a", service="tcp/1", saw="blocked"))
    with pytest.raises(UsageError, match="twice"):
        read_witness(statement(seen=twice).text())


@pytest.mark.parametrize(
    ("seen", "wanted", "expected"),
    [
        ([("a", "passes")], ["a"], Check.SUCCESSFUL),
        ([("a", "blocked")], ["a"], Check.FAILED),
        ([("a", "cannot-tell")], ["a"], Check.INCONCLUSIVE),
        ([("a", "passes")], ["a", "b"], Check.INCONCLUSIVE),
        ([("a", "passes"), ("b", "cannot-tell")], ["a", "b"], Check.INCONCLUSIVE),
        ([("a", "blocked"), ("b", "cannot-tell")], ["a", "b"], Check.FAILED),
        ([("a", "passes"), ("b", "passes"), ("c", "blocked")], ["a", "b"], Check.SUCCESSFUL),
        ([("a", "passes")], [], Check.INCONCLUSIVE),
    ],
)
def test_silence_and_doubt_are_inconclusive(seen: list[tuple[str, Any]], wanted: list[str], expected: Check) -> None:
    said = statement(seen=tuple(Seen(flow=flow, service="tcp/1", saw=saw) for flow, saw in seen))
    assert verdict(said.seen, [(flow, "tcp/1") for flow in wanted]) is expected


def test_of_what_should_be_blocked_the_opposite_holds() -> None:
    assert Seen(flow="a", service="tcp/1", saw="blocked").check("blocked") is Check.SUCCESSFUL
    assert Seen(flow="a", service="tcp/1", saw="passes").check("blocked") is Check.FAILED


def test_a_key_for_one_purpose_signs_for_no_other() -> None:
    key, site_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    text = statement().text().encode()
    signatures = SshSignatures(f'contact-ght namespaces="{NAMESPACE}" {public}\n', site_key)
    assert signatures.verify(NAMESPACE, text, sign(key, NAMESPACE, text), at=NOW) == "contact-ght"
    with pytest.raises(NotAuthenticated):  # a vote's signature does not pass for a witness's, nor the other way round
        signatures.verify(NAMESPACE, text, sign(key, votes.NAMESPACE, text), at=NOW)
    with pytest.raises(NotAuthenticated):
        signatures.verify(votes.NAMESPACE, text, sign(key, votes.NAMESPACE, text), at=NOW)
    with pytest.raises(NotAuthenticated):
        signatures.verify(NAMESPACE, text.replace(b"passes", b"blocked"), sign(key, NAMESPACE, text), at=NOW)
