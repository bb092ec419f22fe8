"""The decisions about the block list: anybody who decides puts on it, alone; taking off it takes two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from orchestrator.domain import blocklist, conditions
from orchestrator.domain.authorities import two_authorities
from orchestrator.domain.commands import BlockNetworks, GrantUnblock, RequestUnblock
from orchestrator.domain.decide_records import time
from orchestrator.domain.duties import Verb
from orchestrator.domain.events import EventType as E
from orchestrator.domain.events import NewEvent
from orchestrator.domain.making import ORCHESTRATOR, EventMaker, stamp
from orchestrator.domain.needs import all_living
from orchestrator.domain.network import Prefix
from orchestrator.domain.state import SiteState, moment
from orchestrator.errors import IllegalTransition, NotAllowed, Stale, UnknownName, UsageError


def block(state: SiteState, command: BlockNetworks, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """BlocklistApplied, and the plans that it holds back become stale. Raises Refused (see `blocklist.require_allowed`)."""
    networks = blocklist.networks_given(command.networks)
    blocklist.require_allowed(conditions.in_force(state), networks, command.although_vital)
    if not command.reason.strip():
        raise UsageError("a block says its reason", advice="--reason TEXT")
    until = ""
    if command.until:
        until = stamp(time(command.until))
        if moment(until) <= now:
            raise UsageError(f"{until} is over already", advice="leave --until away to block until it is removed")
    why = command.reason.strip()
    return applied(state, make, networks, why, until=until, although=command.although_vital, by=command.by)


def applied(
    state: SiteState,
    make: EventMaker,
    networks: Sequence[Prefix],
    reason: str,
    *,
    until: str = "",
    although: Iterable[str] = (),
    by: str = "",
) -> tuple[NewEvent, ...]:
    """The events of a block that is allowed. `takes`: conversations that are open and lose something by it."""
    body = {
        "block": next_block(state),
        "networks": [str(network) for network in networks],
        "reason": reason,
        "by": by,
        "until": until,
        "although_vital": list(although),
        "takes": [list(held) for held in taken(state, networks)],
    }
    events = [make(E.BLOCKLIST_APPLIED, body)]
    for status, partner in blocklist.held_back(state, networks):
        why = {"reason": f"{partner} is on the block list now ({body['block']})"}
        events += [make(E.STAGE_STALE, why, stage=status.name), make(E.VOTES_VOIDED, why, stage=status.name)]
    return tuple(events)


def next_block(state: SiteState) -> str:
    return f"B{len(state.blocks) + 1}"


def request(state: SiteState, command: RequestUnblock, _now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """UnblockRequested: of what is on the list, whole or in part. Lets nothing through before another person grants it."""
    networks = blocklist.networks_given(command.networks)
    for network in networks:
        if not blocklist.within((network,), state.blocklist):
            listed = ", ".join(str(one) for one in state.blocklist) or "nothing"
            raise UnknownName(f"{network} is not on the block list", advice=f"on it is {listed}")
    if not command.reason.strip():
        raise UsageError("who asks to unblock says why", advice="--reason TEXT")
    body = {"unblocking": f"U{len(state.unblockings) + 1}", "networks": [str(one) for one in networks], "reason": command.reason.strip()}
    return (make(E.UNBLOCK_REQUESTED, body),)


def grant(state: SiteState, command: GrantUnblock, now: datetime, make: EventMaker) -> tuple[NewEvent, ...]:
    """UnblockGranted. Raises NotAllowed (rule `unblock-needs-a-second-person`), Stale."""
    asked = state.unblockings.get(command.unblocking)
    if asked is None:
        open_ = ", ".join(one.id for one in state.unblockings.values() if not one.granted_by) or "none"
        raise UnknownName(f"nobody has asked for {command.unblocking!r}", advice=f"asked for and not granted: {open_}")
    if asked.granted_by:
        raise IllegalTransition(f"{asked.id} was granted by {asked.granted_by} already", rule="illegal-transition")
    if asked.seq < conditions.keys_since(state, asked.requested_by):
        message = f"the people's keys have been ratified anew since {asked.id} was asked for"
        raise Stale(message, rule="digest-moved", advice="ask for it again")
    if not two_authorities(state, Verb.UNBLOCK, asked.requested_by, moment(asked.requested_at), command.actor, now):
        raise NotAllowed(
            f"{asked.id} was asked for by {asked.requested_by}: who asks does not grant, nor does a deputy by the same authority",
            rule="unblock-needs-a-second-person",
            advice="another security officer, commander or director grants it",
        )
    networks = [str(network) for network in asked.networks]
    return (make(E.UNBLOCK_GRANTED, {"unblocking": asked.id, "networks": networks, "requested_by": asked.requested_by}),)


def over(state: SiteState, now: datetime) -> tuple[NewEvent, ...]:
    """Blocks whose time, said when they were made, is over."""
    make = EventMaker(state, ORCHESTRATOR, now)
    return tuple(
        make(E.UNBLOCK_GRANTED, {"block": one.id, "networks": [str(network) for network in one.left], "reason": "its time is over"})
        for one in state.blocks.values()
        if one.left and one.until and now >= moment(one.until)
    )


def taken(state: SiteState, networks: Sequence[Prefix]) -> list[tuple[str, str, str]]:
    """(stage, flow, partner) of conversations that are open and lose something by a block."""
    partners = conditions.in_force(state).policy.partners_by_name
    return [
        (held.stage, held.flow, held.partner)
        for held in all_living(state)
        if held.partner in partners and blocklist.touches(networks, partners[held.partner].networks)
    ]
