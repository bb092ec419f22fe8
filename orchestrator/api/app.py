"""The HTTP application: routes, errors, limits. It decides nothing. The cut-off needs none of this: it can only be started from here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from orchestrator.adapters.memory_volatile import MemoryVolatile
from orchestrator.api import (
    openapi,
    problems,
    routes_blocks,
    routes_delegations,
    routes_differences,
    routes_drift,
    routes_extensions,
    routes_incidents,
    routes_lift,
    routes_live,
    routes_next,
    routes_people,
    routes_policy,
    routes_records,
    routes_recuts,
    routes_reisolations,
    routes_rules,
    routes_site,
    routes_stages,
    routes_waivers,
    routes_witnesses,
)
from orchestrator.api.edge import Edge
from orchestrator.api.etags import ETags
from orchestrator.api.live import Live
from orchestrator.api.repeats import Repeats
from orchestrator.service.identity import Identity
from orchestrator.service.stages import Stages


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
        redirect_slashes=False,  # to a name that the client has chosen
        lifespan=lifespan,
    )
    app.state.stages = stages
    app.state.identity = Identity(stages, stages.collaborators.volatile or MemoryVolatile())
    app.state.live = Live(lambda: stages.collaborators.log.head().size)
    for routes in (
        routes_site,
        routes_rules,
        routes_live,
        routes_incidents,
        routes_policy,
        routes_stages,
        routes_differences,
        routes_records,
        routes_waivers,
        routes_delegations,
        routes_people,
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
    openapi.install(app)
    app.add_middleware(ETags, journal=stages.journal)  # the last that is added is asked first
    app.add_middleware(Repeats, journal=stages.journal, volatile=stages.collaborators.volatile or MemoryVolatile())
    app.add_middleware(Edge)
    return app
