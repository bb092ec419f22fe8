"""Who is asking, for the routes: the bearer token of a request, as a person."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from orchestrator.errors import NotAuthenticated
from orchestrator.service.identity import Identity
from orchestrator.service.stages import Stages

_bearer = HTTPBearer(auto_error=False, description="the token of POST /v1/login")
_KNOWN = "orchestrator.person"  # in the scope of a request: whose token it is, once it has been asked


async def stages_of(request: Request) -> Stages:
    stages: Stages = request.app.state.stages
    return stages


async def identity_of(request: Request) -> Identity:
    identity: Identity = request.app.state.identity
    return identity


async def person_of(request: Request, _given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    return await person_in(request.scope, request.headers.get("authorization"))


async def person_in(scope: Scope, authorization: str | None) -> str:
    """Whose token a request bears; asked once for each request. Raises NotAuthenticated."""
    known: str | None = scope.get(_KNOWN)
    if known is None:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAuthenticated("this takes a token", rule="token", advice="orchestrator login --as PERSON --key FILE")
        identity: Identity = scope["app"].state.identity
        known = scope[_KNOWN] = await run_in_threadpool(identity.person, token.strip())
    return known


TheStages = Annotated[Stages, Depends(stages_of)]
TheIdentity = Annotated[Identity, Depends(identity_of)]
Person = Annotated[str, Depends(person_of)]
