"""The table of attestations, its moves as people record them, and logs of before there was one."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain import attestations, waivers
from orchestrator.domain.attestations import TABLE, AttestationState, after, way_to
from orchestrator.domain.attestations import AttestationState as A
from orchestrator.domain.commands import RecordAttestation
from orchestrator.domain.events import Event, EventType
from orchestrator.domain.folding import fold
from orchestrator.domain.making import stamp
from orchestrator.domain.transitions import mermaid
from orchestrator.errors import IllegalTransition, UsageError
from tests.service.reopening import DOCUMENT, Reopening, after_the_cut

# Written by hand a second time, so that a slip in the table shows.
LEGAL = {
    "none": {"requested", "received"},
    "requested": {"requested", "received", "refused"},
    "received": {"received", "verified", "refused"},
    "verified": {"received", "accepted", "accepted-with-reservation", "refused"},
    "accepted": {"requested", "received", "revoked", "expired"},
    "accepted-with-reservation": {"requested", "received", "verified", "revoked", "expired"},
    "refused": {"requested", "received"},
    "expired": {"requested", "received"},
    "revoked": {"requested", "received"},
}
OTHER = "cd" * 32


@pytest.mark.parametrize(("state", "to"), list(product(A, A)))
def test_every_pair(state: AttestationState, to: AttestationState) -> None:
    if to.value in LEGAL[state.value] - {"expired"}:
        assert after(state, to) is to
    else:
        with pytest.raises(IllegalTransition) as refusal:
            after(state, to, "the attestation of sister")
        assert refusal.value.rule == "illegal-transition"
        assert "sister" in str(refusal.value)
        assert refusal.value.advice


def test_nothing_is_accepted_that_was_not_received_and_verified() -> None:
    for state in (A.NONE, A.REQUESTED, A.REFUSED, A.EXPIRED, A.REVOKED):
        path = way_to(state, A.ACCEPTED)
        assert path == (A.RECEIVED, A.VERIFIED, A.ACCEPTED)
    assert {state for state, targets in TABLE.items() if A.ACCEPTED in targets} == {A.VERIFIED}
    assert {to.value: {t.value for t in targets} for to, targets in TABLE.items()} == LEGAL
    assert way_to(A.VERIFIED, A.EXPIRED) == ()


def test_the_documentation_shows_the_tables() -> None:
    text = Path("docs/stages.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{attestations.mermaid()}```" in text
    assert f"```mermaid\n{mermaid(waivers.TABLE, waivers.INITIAL)}```" in text


def record(reopening: Reopening, state: AttestationState, **more: Any) -> list[str]:
    """Returns what the log says of it."""
    size = reopening.log.head().size
    if state in (A.ACCEPTED, A.RESERVED):
        more.setdefault("valid_until", stamp(reopening.clock.now() + timedelta(days=9)))
    reopening.stages.do(RecordAttestation("rssi", "sister", state, **more))
    return [event.body["state"] for event in reopening.log.read(size)]


def test_step_by_step_and_at_once() -> None:
    reopening = after_the_cut()
    with pytest.raises(IllegalTransition):
        record(reopening, A.ACCEPTED, document_sha256=DOCUMENT)
    assert record(reopening, A.REQUESTED) == ["requested"]
    assert record(reopening, A.ACCEPTED, document_sha256=DOCUMENT, at_once=True) == ["received", "verified", "accepted"]
    assert record(reopening, A.REFUSED, document_sha256=DOCUMENT, at_once=True) == ["received", "refused"]
    assert reopening.stages.state().attestation("sister", "ours") is None


def test_what_is_accepted_is_the_document_that_was_received() -> None:
    reopening = after_the_cut()
    with pytest.raises(UsageError, match="SHA-256"):
        record(reopening, A.RECEIVED)
    record(reopening, A.RECEIVED, document_sha256=DOCUMENT)
    with pytest.raises(UsageError, match="not the document that was received"):
        record(reopening, A.VERIFIED, document_sha256=OTHER)
    record(reopening, A.VERIFIED)
    with pytest.raises(UsageError, match="not the document that was received"):
        record(reopening, A.ACCEPTED, document_sha256=OTHER)
    assert record(reopening, A.ACCEPTED, document_sha256=OTHER, at_once=True) == ["received", "verified", "accepted"]
    found = reopening.stages.state().attestation("sister", "theirs")
    assert found is not None
    assert (found.document_sha256, found.by) == (OTHER, "rssi")


def test_a_reservation_is_said_where_it_is_accepted_with_one_and_nowhere_else() -> None:
    reopening = after_the_cut()
    record(reopening, A.RECEIVED, document_sha256=DOCUMENT)
    record(reopening, A.VERIFIED)
    with pytest.raises(UsageError, match="reservation"):
        record(reopening, A.RESERVED)
    with pytest.raises(UsageError, match="reservation"):
        record(reopening, A.ACCEPTED, reservation="one segment unseen")
    record(reopening, A.RESERVED, reservation="one segment unseen")
    assert record(reopening, A.VERIFIED) == ["verified"], "looked at again"
    assert record(reopening, A.ACCEPTED) == ["accepted"]


@pytest.mark.parametrize("until", ["", "tomorrow", "2026-07-01T12:00:00", "2026-06-24T07:59:59Z"])
def test_an_acceptance_has_an_end_that_is_to_come(until: str) -> None:
    with pytest.raises(UsageError):
        record(after_the_cut(), A.ACCEPTED, document_sha256=DOCUMENT, valid_until=until, at_once=True)


def test_what_has_run_out_is_expired_and_begins_again() -> None:
    reopening = after_the_cut()
    record(reopening, A.ACCEPTED, document_sha256=DOCUMENT, at_once=True)
    reopening.clock.wait(timedelta(days=9).total_seconds())
    with pytest.raises(IllegalTransition, match="is expired"):
        record(reopening, A.REVOKED)
    with pytest.raises(IllegalTransition, match="expires by itself"):
        record(reopening, A.EXPIRED)
    assert record(reopening, A.RECEIVED, document_sha256=DOCUMENT) == ["received"]


def old(state: str, seq: int) -> Event:
    body = {"partner": "sister", "state": state, "document_sha256": DOCUMENT, "valid_until": "2026-07-24T08:00:00.000Z", "note": ""}
    return Event(EventType.ATTESTATION_RECORDED, "2026-06-24T08:00:00.000Z", "rssi", body, seq=seq)


def test_events_of_before_the_table_still_fold() -> None:
    state = fold([old("refused", 0), old("accepted", 1), old("accepted", 2)])
    found = state.attestation("sister", "theirs")
    assert found is not None
    assert found.state_at(datetime.fromisoformat("2026-07-01T00:00:00Z")) is A.ACCEPTED
    assert found.state_at(datetime.fromisoformat("2026-07-24T08:00:00Z")) is A.EXPIRED


def test_a_log_that_contradicts_the_table_does_not_fold() -> None:
    event = old("accepted", 0)
    with pytest.raises(IllegalTransition):
        fold([Event(event.type, event.at, event.actor, {**event.body, "way": "theirs"}, seq=0)])
