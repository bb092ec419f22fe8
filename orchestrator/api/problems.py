"""Errors as RFC 9457 problems: one table from the error tree to HTTP statuses. `type` leads to GET /v1/rules/RULE."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from orchestrator.domain.rules import base
from orchestrator.errors import (
    AlreadyDone,
    DeviceError,
    EnvironmentMissing,
    InputError,
    KeyUsed,
    LogError,
    Moved,
    NotAllowed,
    NotAuthenticated,
    OrchestratorError,
    Refused,
    SlowDown,
    TooMany,
    UnknownName,
)

STATUS: tuple[tuple[type[OrchestratorError], int, str], ...] = (  # the first that fits; the rule of errors that name none
    (NotAuthenticated, 401, "token"),
    (NotAllowed, 403, "role"),
    (TooMany, 429, "too-many-streams"),
    (Refused, 409, "illegal-transition"),
    (AlreadyDone, 409, "busy"),
    (Moved, 412, "if-match"),
    (KeyUsed, 422, "idempotency-key"),
    (UnknownName, 404, "not-found"),
    (InputError, 400, "bad-request"),
    (LogError, 503, "unavailable"),
    (EnvironmentMissing, 503, "unavailable"),
    (DeviceError, 502, "device-unknown"),
    (OrchestratorError, 500, "internal"),
)
MEDIA_TYPE = "application/problem+json"


def problem(status: int, rule: str, detail: str, advice: str = "") -> JSONResponse:
    """One problem. `rule` and `advice` are our extension members."""
    title = base(rule).replace("-", " ")
    body = {"type": f"/v1/rules/{base(rule)}", "title": title, "status": status, "detail": detail, "rule": rule, "advice": advice}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def of_error(error: OrchestratorError) -> JSONResponse:
    status, rule = next((status, rule) for kind, status, rule in STATUS if isinstance(error, kind))
    answer = problem(status, getattr(error, "rule", rule), Exception.__str__(error), error.advice)
    if isinstance(error, SlowDown):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def install(app: FastAPI) -> None:
    """Every error leaves as a problem, ours, the framework's and the unexpected."""

    def ours(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, OrchestratorError)
        return of_error(error)

    def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(422, "bad-request", f"{where}: {first['msg']}", "see /v1/openapi.json")

    def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        rule = "not-found" if error.status_code == 404 else "bad-request"
        answer = problem(error.status_code, rule, str(error.detail))
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
        return answer

    def unexpected(request: Request, error: Exception) -> JSONResponse:
        logging.getLogger(__name__).error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "internal", f"unexpected {type(error).__name__}")

    app.add_exception_handler(OrchestratorError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def _methods(request: Request) -> set[str]:
    """Those that are served under the path that was asked for."""
    paths: dict[str, dict[str, object]] = request.app.openapi()["paths"]
    fitting = (verbs for path, verbs in paths.items() if compile_path(path)[0].match(request.url.path))
    return {verb.upper() for verbs in fitting for verb in verbs}
