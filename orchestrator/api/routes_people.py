"""People and their keys: who may sign what, changes that others have signed, revocation, sessions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from orchestrator.api.access import AnyPerson, Person, TheIdentity, TheStages
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import ONE_LINE, KeyRevocation, PeopleChangeRequest, ReasonRequest, StatementText
from orchestrator.domain.decide_people import Wish, known_keys, signers_of
from orchestrator.domain.making import stamp
from orchestrator.domain.people_keys import Change
from orchestrator.domain.people_statement import Action
from orchestrator.domain.plain_text import plain
from orchestrator.domain.state import SiteState
from orchestrator.service.people import People

router = APIRouter(prefix="/v1", tags=["people"])


@router.post("/logout")
def logout(token: AnyPerson, identity: TheIdentity) -> dict[str, Any]:
    """Your own session, of this token, on every server."""
    return {"person": identity.logout(token).person, "logged_out": True}


@router.get("/people/keys")
def people_keys(person: Person, stages: TheStages) -> dict[str, Any]:
    """The keys that count, each with its person; those that were taken away; all of it as an `allowed_signers` file."""
    state = People(stages).known(person)
    return {
        "keys": [
            {
                "person": line.person,
                "fingerprint": line.fingerprint,
                "type": line.key_type,
                "namespaces": list(line.namespaces),
                "valid_after": stamp(line.valid_after) if line.valid_after else None,
                "valid_before": stamp(line.valid_before) if line.valid_before else None,
            }
            for line in known_keys(state).signers
        ],
        "revoked": [
            {"person": key.person, "fingerprint": key.fingerprint, "at": key.at, "by": key.by, "reason": key.reason}
            for key in state.keys.revoked.values()
        ],
        "allowed_signers": state.keys.effective,
    }


@router.get("/people/changes")
def people_changes(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """Of people's keys, in the order in which they were handed in; pending ones can be stopped."""
    return page.of((_shown(change) for change in People(stages).known(person).keys.changes.values()), lambda item: item["change"])


@router.get("/people/statement")
def people_statement(
    person: Person,
    stages: TheStages,
    action: Action,
    concerned: Annotated[str, Query(alias="person", max_length=100, description="whose keys")],
    reason: Annotated[str, Query(min_length=1, max_length=1000, json_schema_extra=ONE_LINE), AfterValidator(plain)],
    key: Annotated[list[str] | None, Query(max_length=5, description="an OpenSSH public key to add: `ssh-ed25519 AAAA…`")] = None,
    remove: Annotated[list[str] | None, Query(max_length=50, description="the fingerprint of a key to take away")] = None,
) -> dict[str, Any]:
    """What others sign, in the namespace reconnect-people@v1: so many of `signers`, each once."""
    wish = Wish(action, concerned, tuple(key or ()), tuple(remove or ()), reason)
    statement = StatementText(statement=People(stages).statement(person, wish)).statement
    return {"statement": statement, **_signers(stages.journal.state(), concerned)}


@router.post("/people/changes", status_code=201)
def people_change(given: PeopleChangeRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """Hand in what enough others have signed. It is in force after the policy's delay, unless somebody stops it."""
    return _shown(People(stages).request(person, given.statement, given.signatures))


@router.post("/people/changes/{change}/stop")
def people_change_stop(change: str, given: ReasonRequest, person: Person, stages: TheStages) -> dict[str, Any]:
    """One security officer or incident commander, or the person whose keys they are."""
    return _shown(People(stages).stop(person, change, given.reason))


@router.post("/people/{concerned}/keys/revoke")
def key_revoke(concerned: str, given: KeyRevocation, person: Person, stages: TheStages) -> dict[str, Any]:
    """At once and for good, by its holder, a security officer or an incident commander. Pending votes of its person are void."""
    state = People(stages).revoke(person, concerned, given.fingerprint, given.reason)
    left = [line.fingerprint for line in known_keys(state).of(concerned)]
    return {"person": concerned, "revoked": given.fingerprint, "keys_left": left, **_signers(state, concerned)}


@router.post("/people/{concerned}/sessions/revoke")
def sessions_revoke(concerned: str, given: ReasonRequest, person: Person, stages: TheStages, identity: TheIdentity) -> dict[str, Any]:
    """Every session of the person, at once: their own wish, or a security officer's."""
    People(stages).end_sessions(person, concerned, given.reason)
    return {"person": concerned, "sessions": identity.forget(concerned)}


def _signers(state: SiteState, concerned: str) -> dict[str, Any]:
    assert state.ratified is not None
    policy = state.ratified.policy
    return {"needed": policy.people_changes.signers, "signers": list(signers_of(policy, concerned))}


def _shown(change: Change) -> dict[str, Any]:
    return {
        "change": change.id,
        "action": change.action,
        "person": change.person,
        "adds": list(change.adds),
        "removes": list(change.removes),
        "reason": change.reason,
        "signed_by": sorted(change.signed_by),
        "handed_in_by": change.handed_in_by,
        "at": change.at,
        "in_force_at": change.in_force_at,
        "state": change.state,
        "ended_by": change.ended_by or None,
        "ended_at": change.ended_at or None,
        "ended_because": change.ended_because or None,
    }
