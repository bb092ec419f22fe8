"""The decisions about extensions: one person asks for a stage to stay open longer, another grants it.

Only of an end that counts from the opening (`open_for`): a dated window is what was voted on, and is planned anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.domain import conditions, expiry, extensions
from orchestrator.domain.authorities import two_authorities
from orchestrator.domain.commands import GrantExtension, RequestExtension
from orchestrator.domain.duties import Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.extensions import Extension
from orchestrator.domain.making import EventMaker, stamp
from orchestrator.domain.stages import LETS_THROUGH
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.windows import read_time
from orchestrator.errors import NotAllowed, Refused, Stale, UnknownName, UsageError


def request(state: SiteState, command: RequestExtension, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """ExtensionRequested. Raises Refused (rules `no-end`, `extension-too-long`), UsageError."""
    stage = conditions.declared(state, command.stage)
    status = _open(state, stage.name)
    until = read_time(command.until, conditions.in_force(state).policy.timezone)
    _require_in_bounds(status, until, now)
    if not command.reason.strip():
        raise UsageError("an extension says its reason", advice="--reason TEXT")
    body = {
        "extension": f"E{len(state.extensions) + 1}",
        "plan_digest": status.plan_digest,
        "ends_at": status.ends_at,
        "until": stamp(until),
        "reason": command.reason.strip(),
    }
    return (make(E.EXTENSION_REQUESTED, body, stage=stage.name),)


def grant(state: SiteState, command: GrantExtension, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """ExtensionGranted, by another person than who asked. Raises NotAllowed (rule `extension-needs-a-second-person`), Stale."""
    asked = _known(state, command.extension)
    extensions.after(asked.state, E.EXTENSION_GRANTED, asked.id)
    status = _open(state, asked.stage)
    keys_since = conditions.keys_since(state, asked.requested_by)
    if (status.plan_digest, status.ends_at) != (asked.plan_digest, asked.ends_at) or asked.seq < keys_since:
        message = f"{asked.stage} is not as it was when {asked.id} was requested"
        raise Stale(message, rule="digest-moved", advice="request it again")
    if not two_authorities(state, Verb.EXTENSION, asked.requested_by, moment(asked.requested_at), command.actor, now):
        raise NotAllowed(
            f"{asked.id} was requested by {asked.requested_by}: who asks does not grant, nor does a deputy by the same authority",
            rule="extension-needs-a-second-person",
            advice="another security officer, commander or director grants it",
        )
    _require_in_bounds(status, moment(asked.until), now)
    body = {"extension": asked.id, "ends_at": asked.ends_at, "until": asked.until, "requested_by": asked.requested_by}
    return (make(E.EXTENSION_GRANTED, body, stage=asked.stage),)


def _open(state: SiteState, stage: str) -> StageStatus:
    """The stage, which is open and has an end that can be moved. Raises Refused (rule `no-end`)."""
    status = state.stage(stage)
    if status.state not in LETS_THROUGH or not status.ends_at or status.plan is None:
        raise Refused(f"{stage} is {status.state}: it has no end to extend", rule="no-end", advice="orchestrator stage show " + stage)
    if status.plan.open_for_s is None:
        raise Refused(
            f"the end of {stage} is that of its window, which was voted on", rule="no-end", advice="plan another window when it is over"
        )
    return status


def _require_in_bounds(status: StageStatus, until: datetime, now: datetime) -> None:
    assert status.plan is not None
    assert status.plan.open_for_s is not None
    ends, again = moment(status.ends_at), timedelta(seconds=status.plan.open_for_s)
    if expiry.closes(status) and now >= ends:
        raise Refused(f"{status.name} has ended at {status.ends_at}", rule="no-end", advice=f"orchestrator stage plan {status.name}")
    if not max(now, ends) < until <= max(now, ends) + again:
        raise Refused(
            f"{status.name} ends at {status.ends_at}; it is extended beyond that, by {again} at most",
            rule="extension-too-long",
            advice="request another when that one ends, if it must be",
        )


def _known(state: SiteState, extension: str) -> Extension:
    """Of a rehearsal, in a rehearsal only."""
    found = state.extensions.get(extension)
    if found is None or not state.counts(found.rehearsal):
        known = ", ".join(known.id for known in state.extensions.values() if state.counts(known.rehearsal))
        raise UnknownName(f"there is no extension {extension!r}", advice=f"there is {known or 'none'}")
    return found
