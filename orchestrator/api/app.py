"""The HTTP application: routes, errors, limits. It decides nothing. The cut-off is not offered here: it needs no server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from orchestrator.api import (
    problems,
    routes_blocks,
    routes_delegations,
    routes_differences,
    routes_drift,
    routes_extensions,
    routes_lift,
    routes_live,
    routes_next,
    routes_records,
    routes_recuts,
    routes_reisolations,
    routes_site,
    routes_stages,
    routes_waivers,
    routes_witnesses,
)
from orchestrator.api.live import Live
from orchestrator.service.identity import Identity
from orchestrator.service.stages import Stages

LARGEST_BODY = 64 * 1024
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}


def create_app(stages: Stages) -> FastAPI:
    """The application on this service. On start it takes up what a stopped server left; on stop it stops observing."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(stages.runner.start)
        yield
        await run_in_threadpool(stages.runner.stop)

    app = FastAPI(
        title="Network Isolation Orchestrator",
        version=version("network-isolation-orchestrator"),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # their scripts come from the internet, which an isolated hospital has not
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.stages = stages
    app.state.identity = Identity(stages)
    app.state.live = Live(lambda: stages.collaborators.log.head().size)
    for routes in (
        routes_site,
        routes_live,
        routes_stages,
        routes_differences,
        routes_records,
        routes_waivers,
        routes_delegations,
        routes_next,
        routes_lift,
        routes_extensions,
        routes_recuts,
        routes_reisolations,
        routes_blocks,
        routes_drift,
        routes_witnesses,
    ):
        app.include_router(routes.router)
    problems.install(app)
    app.middleware("http")(_limits)
    return app


async def _limits(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """A body has a length, and a modest one."""
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > LARGEST_BODY:
        return problems.problem(413, "bad-request", f"a body has a length of at most {LARGEST_BODY} bytes")
    response = await call_next(request)
    response.headers.update(_HEADERS)
    return response
