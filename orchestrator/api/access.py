"""Who is asking, for the routes: the bearer token of a request, as a person."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.errors import NotAuthenticated
from orchestrator.service.identity import Identity
from orchestrator.service.stages import Stages

_bearer = HTTPBearer(auto_error=False, description="the token of POST /v1/login")


def stages_of(request: Request) -> Stages:
    stages: Stages = request.app.state.stages
    return stages


def identity_of(request: Request) -> Identity:
    identity: Identity = request.app.state.identity
    return identity


def person_of(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    if given is None:
        raise NotAuthenticated("this takes a token", rule="token", advice="orchestrator login --as PERSON --key FILE")
    return identity_of(request).person(given.credentials)


TheStages = Annotated[Stages, Depends(stages_of)]
TheIdentity = Annotated[Identity, Depends(identity_of)]
Person = Annotated[str, Depends(person_of)]
