"""What the events of people, their keys and their sessions mean for the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.state import SiteState, moment


def _keys(state: SiteState, event: Event) -> SiteState:
    return replace(state, keys=state.keys.after(event))


def _session_opened(state: SiteState, event: Event) -> SiteState:
    """Its challenge is used, for as long as anybody could use it again."""
    used, until = event.body.get("challenge"), event.body.get("challenge_until")
    if used is None or until is None:  # of before challenges were on record
        return state
    at = moment(event.at)
    still = {mark: end for mark, end in state.used_challenges.items() if at < moment(end)}
    return replace(state, used_challenges={**still, str(used): str(until)})


RULES: Mapping[E, Callable[[SiteState, Event], SiteState]] = {
    E.PEOPLE_CHANGE_REQUESTED: _keys,
    E.PEOPLE_CHANGE_STOPPED: _keys,
    E.PEOPLE_CHANGE_IN_FORCE: _keys,
    E.KEY_REVOKED: _keys,
    E.SESSIONS_REVOKED: _keys,
    E.SESSION_OPENED: _session_opened,
}
