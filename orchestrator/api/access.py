"""Who is asking, for the routes: the bearer token of a request, as a person."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from orchestrator.errors import NotAuthenticated
from orchestrator.service.identity import LOCAL, Identity
from orchestrator.service.stages import Stages

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SESSION = "/v1/logout"  # whoever only reads may leave
_bearer = HTTPBearer(auto_error=False, description="the token of POST /v1/login")
_KNOWN = "orchestrator.person"  # in the scope of a request: whose token it is, once it has been asked


async def stages_of(request: Request) -> Stages:
    stages: Stages = request.app.state.stages
    return stages


async def identity_of(request: Request) -> Identity:
    identity: Identity = request.app.state.identity
    return identity


async def token_of(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    if given is None:
        raise _no_token()
    return given.credentials


async def person_of(request: Request, token: Annotated[str, Depends(token_of)]) -> str:
    """Who asks. Whoever only reads, by their roles, is refused here already whatever is no reading."""
    return await _person(request.scope, token)


async def person_in(scope: Scope, authorization: str | None) -> str:
    """Whose token a request bears; asked once for each request. Raises NotAuthenticated, NotAllowed."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _no_token()
    return await _person(scope, token.strip())


async def _person(scope: Scope, token: str) -> str:
    known: str | None = scope.get(_KNOWN)
    if known is None:
        identity: Identity = scope["app"].state.identity
        writes = scope["method"] not in _READING and scope["path"] != OWN_SESSION
        known = scope[_KNOWN] = await run_in_threadpool(lambda: identity.person(token, writes=writes))
    return known


def _no_token() -> NotAuthenticated:
    return NotAuthenticated("this takes a token", rule="token", advice="orchestrator login --as PERSON --key FILE")


async def source_of(request: Request) -> str:
    """Where a request comes from, for limits: an address (of IPv6 its /64, which one machine has whole), or the Unix socket."""
    if request.client is None or not request.client.host:
        return LOCAL
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return request.client.host[:100]
    return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))


TheStages = Annotated[Stages, Depends(stages_of)]
TheIdentity = Annotated[Identity, Depends(identity_of)]
Person = Annotated[str, Depends(person_of)]
AnyPerson = Annotated[str, Depends(token_of)]  # the token itself: for what everybody may, with their own session
Source = Annotated[str, Depends(source_of)]
