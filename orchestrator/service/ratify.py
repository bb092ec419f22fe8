"""Ratifying a policy, in six steps; then the cut pack is written.

1 the policy has no findings, and no device that holds something of ours is missing from the inventory
2 the statement is about these files, and about a log that is a beginning of ours and knows no later ratification; the keys
  in them undo no change of people
3 every signature is of the statement, by a key of the allowed signers in force
4 the signers are distinct persons and fill every role asked for (the first time: people of the genesis set only)
5 PolicyRatified is appended, with policy, inventory, allowed signers, statement and signatures in full
6 the cut pack is made, signed by the site and written; the one before is kept
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.domain import merkle
from orchestrator.domain.canonical import canonical
from orchestrator.domain.events import Event, EventType, Head, NewEvent
from orchestrator.domain.folding import fold
from orchestrator.domain.making import stamp, without_floats
from orchestrator.domain.network import Site
from orchestrator.domain.pack import NAMESPACE as PACK
from orchestrator.domain.people_keys import PeopleKeys
from orchestrator.domain.policy import Policy
from orchestrator.domain.ratification import (
    NAMESPACE,
    InForce,
    ratification_statement,
    ratified_body,
    require_no_change_undone,
    require_sound,
    require_votes,
)
from orchestrator.domain.undeclared import require_declared
from orchestrator.errors import NotAuthenticated, Refused, Stale, UsageError
from orchestrator.ports import Clock, Log, Signatures
from orchestrator.service.pack_making import DialectFor, HostKeys, make_pack

ONE_MORE_TRY = "write the statement again (orchestrator policy ratify --statement-out FILE) and sign that"


@dataclass(frozen=True)
class Ratification:
    """What ratifying needs of the outside world. `keep_pack` writes {body, signature} durably, whole or not at all."""

    log: Log
    clock: Clock
    signatures: Callable[[str], Signatures]  # for the text of an `allowed_signers` file
    allowed_signers: str
    host_keys: HostKeys
    dialect_for: DialectFor
    keep_pack: Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Ratified:
    """The outcome: who counted in which role, and the digests that are in force now."""

    policy_digest: str
    inventory_digest: str
    votes: Mapping[str, str]
    head: Head


def in_force(log: Log) -> tuple[InForce, Event] | None:
    """What the last PolicyRatified says, and that event; None when nothing was ever ratified. Raises LogUnavailable."""
    last, revoked, keys = None, set(), PeopleKeys()
    for event in log.read():
        keys = keys.after(event)
        if event.type is EventType.POLICY_RATIFIED:
            last = event
        elif event.type is EventType.DELEGATION_REVOKED:
            revoked.add(str(event.body["name"]))
    if last is None:
        return None
    body = last.body
    policy = Policy.model_validate(body["policy"])
    digests = str(body["policy_digest"]), str(body["inventory_digest"])
    found = InForce(policy, *digests, keys.effective, last.seq, frozenset(revoked), keys)
    return found, last


def statement_now(around: Ratification, site: Site, policy: Policy) -> str:
    """The text that people sign now. Raises Refused (rules `policy-findings`, `device-holds-a-layer`)."""
    require_sound(site, policy)
    require_declared(fold(around.log.read()), site)
    return ratification_statement(site, policy, around.allowed_signers, around.log.head())


def ratify(around: Ratification, site: Site, policy: Policy, *, signatures: Mapping[str, str], statement: str, actor: str) -> Ratified:
    """`signatures`: person → armoured signature of `statement`. Raises Refused with the rule that says no; then nothing
    was appended. When only the pack cannot be written, the policy is in force: `write_pack` again."""
    now = around.clock.now()
    require_sound(site, policy)  # 1
    require_declared(fold(around.log.read()), site)
    ratified_before = in_force(around.log)
    before = ratified_before[0] if ratified_before is not None else None
    size = around.log.head().size
    _require_present(around, site, policy, statement, before)  # 2
    if before is not None:
        require_no_change_undone(before.keys, around.allowed_signers)
    keys = around.signatures(before.allowed_signers if before is not None else around.allowed_signers)
    for person, signature in signatures.items():  # 3
        signer = keys.verify(NAMESPACE, statement.encode("utf-8"), signature, at=now)
        if signer != person:
            raise NotAuthenticated(f"the signature handed in for {person} is by {signer}", rule="signature")
    filled = require_votes(policy, before, signatures, now)  # 4
    counted = {person: seat.role.value for person, seat in filled.items()}
    by = {person: {"by_authority_of": seat.authority} for person, seat in filled.items() if seat.authority != person}
    votes = [
        {"person": person, "counts_as": counted.get(person, ""), **by.get(person, {}), "signature": text}
        for person, text in signatures.items()
    ]
    body = without_floats(ratified_body(site, policy, around.allowed_signers, statement, votes))
    head = around.log.append([NewEvent(EventType.POLICY_RATIFIED, stamp(now), actor, body)], expected=size)  # 5
    write_pack(around, site, policy, digests=(body["policy_digest"], body["inventory_digest"]), ratified=True, now=now)  # 6
    return Ratified(body["policy_digest"], body["inventory_digest"], counted, head)


def write_pack(
    around: Ratification, site: Site, policy: Policy, *, digests: tuple[str, str], ratified: bool, now: datetime
) -> dict[str, Any]:
    """Makes, signs and keeps the pack; returns its body. `ratified=False` marks one made from files that nobody ratified."""
    body = make_pack(
        site,
        policy,
        policy_digest=digests[0],
        inventory_digest=digests[1],
        made_at=stamp(now),
        ratified=ratified,
        host_keys=around.host_keys,
        dialect_for=around.dialect_for,
    )
    signature = around.signatures(around.allowed_signers).sign(PACK, canonical(body))
    around.keep_pack({"body": body, "signature": signature})
    return body


def write_ratified_pack(around: Ratification) -> dict[str, Any]:
    """The pack of the policy in force, once more (a new host key, a lost file). Raises Refused (rule `not-ratified`)."""
    found = in_force(around.log)
    if found is None:
        raise Refused("no policy is ratified here", rule="not-ratified", advice="ratify one, or make an unratified pack with --unratified")
    before, event = found
    site = Site.model_validate(event.body["inventory"])
    digests = (before.policy_digest, before.inventory_digest)
    return write_pack(around, site, before.policy, digests=digests, ratified=True, now=around.clock.now())


def _require_present(around: Ratification, site: Site, policy: Policy, statement: str, before: InForce | None) -> None:
    try:
        head = Head(int(json.loads(statement)["log_head"]["size"]), str(json.loads(statement)["log_head"]["root"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError("the statement is not one of ours", advice=ONE_MORE_TRY) from error
    if statement != ratification_statement(site, policy, around.allowed_signers, head):
        raise Stale("the statement is not about these files", rule="digest-moved", advice=ONE_MORE_TRY)
    if before is not None and head.size <= before.seq:
        raise Stale("another policy was ratified after this statement was written", rule="ratified-since", advice=ONE_MORE_TRY)
    leaves = [bytes.fromhex(event.hash) for event in islice(around.log.read(), head.size)]
    if len(leaves) < head.size or merkle.root(leaves).hex() != head.root:
        raise Stale("the statement witnesses a log that is not a beginning of this one", rule="log-head", advice=ONE_MORE_TRY)
