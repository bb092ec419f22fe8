"""Ratifying a policy: the text that people sign, and who has to sign it.

The statement is canonical JSON, the same text for everybody, signed in the namespace `policy-ratification@v1`:

    {"what": "ratification", "site", "policy_digest", "inventory_digest", "allowed_signers_digest", "rehearsal",
     "log_head": {"size", "root"}}

The first policy is ratified by people of its own genesis set. Every later one is ratified by the people, the roles and
the keys of the policy in force: a new policy never elects its own voters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.domain.canonical import canonical
from orchestrator.domain.check import check
from orchestrator.domain.digests import inventory_digest, policy_digest
from orchestrator.domain.events import Head
from orchestrator.domain.network import Site
from orchestrator.domain.people_keys import PeopleKeys
from orchestrator.domain.policy import Policy
from orchestrator.domain.signers import fingerprint_of_text
from orchestrator.domain.standing import Standing, loans_of, standing, turns_at
from orchestrator.domain.votes import Seat, missing, seats
from orchestrator.errors import NotAllowed, Refused

NAMESPACE = "policy-ratification@v1"


@dataclass(frozen=True)
class InForce:
    """What the last ratification put in force, as far as the next one needs it."""

    policy: Policy
    policy_digest: str
    inventory_digest: str
    allowed_signers: str  # as changed since
    seq: int
    revoked: frozenset[str] = frozenset()  # delegations of it that were taken back
    keys: PeopleKeys = field(default_factory=PeopleKeys)


def signers_digest(allowed_signers: str) -> str:
    """SHA-256, hex, of the file's text."""
    return hashlib.sha256(allowed_signers.encode("utf-8")).hexdigest()


def ratification_statement(site: Site, policy: Policy, allowed_signers: str, head: Head) -> str:
    """The exact text to sign. `head` is the log as the signers see it: it makes each of them a witness."""
    content = {
        "what": "ratification",
        "site": site.name,
        "policy_digest": policy_digest(policy),
        "inventory_digest": inventory_digest(site),
        "allowed_signers_digest": signers_digest(allowed_signers),
        "rehearsal": policy.rehearsal is not None,
        "log_head": {"size": head.size, "root": head.root},
    }
    return canonical(content).decode("utf-8")


def require_sound(site: Site, policy: Policy) -> None:
    """Raises Refused (rule `policy-findings`) for what `policy check` refuses."""
    problems = check(site, policy)
    if problems:
        first = problems[0]
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise Refused(f"the policy cannot be ratified: {first.message}{more}", rule="policy-findings", advice="orchestrator policy check")


def require_no_change_undone(keys: PeopleKeys, allowed_signers: str) -> None:
    """Raises Refused (rule `keys-behind`) for a text that brings back a key that was taken away, or lacks one that others have
    added since the last ratification."""
    held = {(line.split(maxsplit=1)[0], fingerprint_of_text(line)) for line in allowed_signers.splitlines() if line.strip()}
    back = sorted(keys.revoked.keys() & {mark for _, mark in held})
    lost = [line for line in keys.added if (line.split(maxsplit=1)[0], fingerprint_of_text(line)) not in held]
    if back or lost:
        what = f"it holds {back[0]}, which was taken away" if back else f"it lacks {fingerprint_of_text(lost[0])}, which was added"
        raise Refused(
            f"the keys to be ratified undo a change of people: {what}",
            rule="keys-behind",
            advice="write those that count into the file first: orchestrator people keys --out FILE",
        )


def electorate(policy: Policy, in_force: InForce | None, now: datetime) -> dict[str, Standing]:
    """Who may ratify, and as what: the genesis set by own roles alone; later by the delegations and turns of duty of the
    policy in force as well. (A delegation granted in the crisis ratifies nothing.)"""
    if in_force is None:
        return {person.name: Standing(frozenset(person.roles)) for person in policy.people if person.genesis}
    before = in_force.policy
    loans = [loan for loan in loans_of(before) if loan.runs(now) and loan.name not in in_force.revoked]
    return {person.name: standing(before, person.name, turns=turns_at(before, person.name, now), loans=loans) for person in before.people}


def require_votes(policy: Policy, in_force: InForce | None, signers: Iterable[str], now: datetime) -> Mapping[str, Seat]:
    """Who counts in which role, and by whose authority. Raises NotAllowed: `not-genesis`, `unknown-person`, `signed-twice`,
    `ratification-votes`."""
    names = list(signers)
    voters = electorate(policy, in_force, now)
    for name in names:
        if name not in voters:
            if in_force is None:
                raise NotAllowed(f"{name} is not of the genesis set, which alone ratifies the first policy", rule="not-genesis")
            raise NotAllowed(f"{name} is nobody in the policy in force", rule="unknown-person")
    if len(set(names)) != len(names):
        raise NotAllowed("one person signs once, whatever keys they have", rule="signed-twice")
    required = (in_force.policy if in_force is not None else policy).ratification
    chosen = {name: voters[name] for name in names}
    filled = seats(required, chosen)
    if filled is None:
        lacking = ", ".join(f"{count} {role.value}" for role, count in missing(required, chosen).items())
        raise NotAllowed(f"the votes do not suffice: {lacking or 'nothing is required'} still missing", rule="ratification-votes")
    return filled


def ratified_body(site: Site, policy: Policy, allowed_signers: str, statement: str, votes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of PolicyRatified (floats still in it): the log alone tells what was in force."""
    return {
        "policy": policy.model_dump(mode="json"),
        "inventory": site.model_dump(mode="json"),
        "policy_digest": policy_digest(policy),
        "inventory_digest": inventory_digest(site),
        "allowed_signers": allowed_signers,
        "allowed_signers_digest": signers_digest(allowed_signers),
        "rehearsal": policy.rehearsal is not None,
        "namespace": NAMESPACE,
        "statement": statement,
        "votes": [dict(vote) for vote in votes],
    }
