"""Login, health, and what there is to see of the site."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from orchestrator.api import views
from orchestrator.api.access import AnyPerson, Person, Source, TheIdentity, TheStages
from orchestrator.api.event_query import WantedEvents
from orchestrator.api.live import Live
from orchestrator.api.paging import ThePage
from orchestrator.api.schemas import Challenge, ChallengeRequest, LoginRequest, Token
from orchestrator.domain import conditions, eligibility
from orchestrator.domain.making import stamp

router = APIRouter(prefix="/v1", tags=["site"])


@router.get("/health")
def health(request: Request, stages: TheStages) -> dict[str, Any]:
    """Without a token. `ok` is false when the log cannot be read, or while a run that ended in a way that no rule foresees has
    not been taken up; `failures` says since when, and which."""
    state = stages.journal.state()
    failures = [str(failure) for failure in stages.runner.failed.standing(state)]
    acting = stages.runner.acting
    live: Live = request.app.state.live
    chores = {chore.name: chore.failure for chore in stages.runner.chores.all if chore.failure}
    return {
        "ok": not failures,
        "log_size": state.seq + 1,
        "ratified": state.ratified is not None,
        "failures": failures,
        "chores": chores,
        "streams": live.streams,
        "server": acting.name,
        "acts": acting.acts,
        "acting": acting.who or None,
    }


@router.post("/login/challenge")
def challenge(wanted: ChallengeRequest, identity: TheIdentity) -> Challenge:
    """A text to sign, for a log-in. It is the same for a name that nobody bears: strangers are not told who exists."""
    return Challenge(challenge=identity.challenge(wanted.person))


@router.post("/login")
def login(given: LoginRequest, identity: TheIdentity, source: Source) -> Token:
    """Whoever can sign gets through; refused tries are limited by where they come from."""
    token, until = identity.login(given.person, given.challenge, given.signature, source)
    return Token(token=token, person=given.person, expires=stamp(until))


@router.get("/whoami")
def whoami(token: AnyPerson, identity: TheIdentity, stages: TheStages) -> dict[str, Any]:
    """You, your roles now, and the session that you ask by: its key, whether that key verified you, its end."""
    session = identity.session(token)
    roles = sorted(eligibility.roles_of(stages.journal.state(), session.person, stages.journal.now()))
    about = {"key": session.key, "user_verified": session.user_verified, "until": session.until}
    return {"person": session.person, "roles": roles, **about}


@router.get("/posture")
def posture(person: Person, stages: TheStages) -> dict[str, Any]:
    """The site now: its posture, its last cut-off, what ends, what has drifted."""
    return views.posture(stages.read(person), stages.journal.now())


@router.get("/devices")
def devices(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """What the log says of each device."""
    state = stages.read(person)
    return page.of(
        (views.device(state.device(d.name), d.name, d.platform) for d in conditions.in_force(state).site.devices),
        lambda item: item["device"],
    )


@router.get("/people")
def people(person: Person, stages: TheStages, page: ThePage) -> list[dict[str, Any]]:
    """Everybody of the ratified policy, and their roles."""
    state = stages.read(person)
    return page.of(
        (
            {"person": p.name, "title": p.title, "roles": list(p.roles), "owns": list(p.owns)}
            for p in conditions.in_force(state).policy.people
        ),
        lambda item: item["person"],
    )


@router.get("/events")
def events(
    person: Person,
    stages: TheStages,
    wanted: WantedEvents,
    after: Annotated[int, Query(ge=-1, description="the last sequence number that you have")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The log, in order. `next` is what to give as `after` for the following page; the same again when there is none."""
    stages.read(person)
    fitting = stages.journal.events(wanted, after)
    found = [views.event(event) for event in islice(fitting, limit)]
    return {"events": found, "next": found[-1]["seq"] if found else after}
