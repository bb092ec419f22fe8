"""A small restoration, signed for real: what exports are made of in tests. Deterministic but for the keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.site_key import SiteKey, load_or_create_site_key
from orchestrator.adapters.sshsig import SshSignatures, sign
from orchestrator.domain.canonical import canonical
from orchestrator.domain.events import EventType, NewEvent
from orchestrator.export.bundle import About, Export, Material, create_export
from orchestrator.ports import Log

ABOUT = About(site="chu-valmont", by="auditor1", incident="valmont-2026-06")
PLAN = "5f" * 32
E = EventType


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 6, 24, 8, 0, 0, 250_000, tzinfo=UTC)


@dataclass(frozen=True)
class People:
    """Two voters and the site, with their keys."""

    site: SiteKey
    alice: SiteKey
    bob: SiteKey

    @property
    def allowed_signers(self) -> str:
        return (
            f'alice namespaces="reconnect-approval@v1",valid-before="20260630Z" {self.alice.public_line}\n'
            f'bob namespaces="reconnect-approval@v1" {self.bob.public_line}\n'
        )

    def material(self, **attachments: bytes) -> Material:
        files = {"inventory/valmont.yml": b"all: {}\n", "policies/stages.yaml": b"stages: []\n"}
        return Material(self.site.public_line, self.allowed_signers, {**files, **attachments})

    def signatures(self) -> SshSignatures:
        return SshSignatures(self.allowed_signers, self.site.private)


def people(folder: Path) -> People:
    return People(*(load_or_create_site_key(folder / name) for name in ("site_key", "alice", "bob")))


def at(second: int) -> str:
    return f"2026-06-23T21:{second // 60:02d}:{second % 60:02d}.123Z"


def fill(log: Log, who: People, *, rehearsal: bool = True, more: int = 4) -> None:
    """A cut-off and one stage with two votes; `more` entries of the logbook after it."""
    mark = {"rehearsal": True} if rehearsal else {}
    cut = {"profile": "total", "reason": "intranet en panne, messagerie bloquée", "incident": ABOUT.incident, **mark}
    log.append(
        [
            NewEvent(E.INCIDENT_DECLARED, at(0), "alice", {"incident": ABOUT.incident, **mark}),
            NewEvent(E.CUTOFF_ORDERED, at(1), "emergency", cut),
            *(
                NewEvent(E.CUTOFF_APPLIED, at(2), "emergency", {"step": "applied", "took_ms": 812}, device=name)
                for name in ("fw-ext", "vpn", "sw-dmz")
            ),
            NewEvent(E.CUTOFF_VERIFIED, at(9), "emergency", {"verdict": "verified", "probes": 42}),
            NewEvent(E.STAGE_PLANNED, at(60), "carol", {"plan_digest": PLAN, **mark}, stage="P4-images"),
        ]
    )
    for second, name, key in ((120, "alice", who.alice), (130, "bob", who.bob)):
        log.append([cast_vote(log, name, key, second)])
    log.append(
        [
            NewEvent(E.STAGE_APPROVED, at(131), "orchestrator", {"plan_digest": PLAN}, stage="P4-images"),
            NewEvent(E.STAGE_OPENED, at(300), "orchestrator", {"verdict": "verified-both"}, stage="P4-images"),
            *(NewEvent(E.LOGBOOK_ENTERED, at(301 + number), "alice", {"text": f"=entrée « {number} »"}) for number in range(more)),
        ]
    )


def cast_vote(log: Log, name: str, key: SiteKey, second: int, choice: str = "approve") -> NewEvent:
    head = log.head()
    signed = {"what": "vote", "voter": name, "choice": choice, "stage": "P4-images", "plan_digest": PLAN}
    statement = canonical({**signed, "log_head": {"size": head.size, "root": head.root}}).decode()
    signature = sign(key.private, "reconnect-approval@v1", statement.encode())
    body = {"person": name, "choice": choice, "plan_digest": PLAN, "statement": statement, "signature": signature}
    return NewEvent(E.VOTE_CAST, at(second), name, body, stage="P4-images")


def sample_export(out: Path, who: People, *, rehearsal: bool = True, last: int | None = None) -> Export:
    log = MemoryLog()
    fill(log, who, rehearsal=rehearsal)
    return create_export(log, who.signatures(), out, ABOUT, who.material(), clock=FixedClock(), at=last)
