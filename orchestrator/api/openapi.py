"""The description of the API, `GET /v1/openapi.json`: what FastAPI knows of the requests, and what it cannot know.

Answers are described in `answers_*.py`, examples are answers that were really given (`examples.json`; `docs/api.md` says how they are
renewed), and what every operation of a kind has in common is said here: tokens, keys, versions, pages, problems.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orchestrator.api import answers_records, answers_site, answers_stages
from orchestrator.api.answer_words import COMPONENTS, TEXT, Schema, said, thing
from orchestrator.api.problems import MEDIA_TYPE

Json = dict[str, Any]
ANSWERS: Mapping[str, Schema] = {**answers_site.ANSWERS, **answers_stages.ANSWERS, **answers_records.ANSWERS}
EXAMPLES = Path(__file__).with_name("examples.json")
ABOUT = """Reopens a hospital that has cut itself off, stage by stage, by the votes of named people.

Log in by a signed challenge (`POST /v1/login/challenge`, `POST /v1/login`), then send `Authorization: Bearer TOKEN`. Lists are JSON
arrays; a page has at most `limit` items, and `Link` leads to the next one. Writes take an `Idempotency-Key`; what is read has an
`ETag`, and `If-Match` makes a write depend on it. Errors are RFC 9457 problems, each naming the rule that refused."""
TAGS = {
    "site": "Who you are, the site, its log.",
    "incident": "The incident, its cut-offs, trust in devices, what was done by hand.",
    "policy": "What is ratified, and its present state.",
    "stages": "Stages: planned, voted on, applied, reverted.",
    "records": "What people put on record.",
    "waivers": "A gate that does not hold for once, by two people.",
    "people": "Who stands in for whom, and whose keys count.",
    "lift": "The end: lifting the layer; after a false alarm: resuming.",
    "recuts": "Cut-offs at a date.",
    "reisolations": "Closing something again, at once and alone.",
    "blocks": "Addresses that nothing is let through for.",
    "drift": "What is on the devices that the log does not say.",
}
_PROBLEM = thing(
    "Problem", "RFC 9457. `type` leads to a page about the rule; `advice` says what to do next, and may be empty.",
    type=said(TEXT, "`/v1/rules/RULE`"), title=TEXT, status={"type": "integer"}, detail=TEXT,
    rule=said(TEXT, "the rule that refused; after a `:` what it is about"), advice=TEXT,
)  # fmt: skip
_PROBLEMS = {
    400: ("the request cannot be understood", "bad-request"),
    401: ("who are you? No token, an unknown or an expired one", "token"),
    403: ("your roles do not give this", "role"),
    404: ("there is nothing of that name", "not-found"),
    409: ("the rules or the present state say no", "illegal-transition"),
    412: ("what you have seen has moved since (`If-Match`)", "if-match"),
    413: ("the body is too large, or says no length", "bad-request"),
    422: ("the request is not in the form that is described here; or its key stands for another request", "bad-request"),
    429: ("too many at once, or too often", "too-many-requests"),
    503: ("the log cannot be read or written", "unavailable"),
}
_HEADERS: dict[str, Json] = {
    "X-Request-ID": {"description": "of this request: yours, or one that was made", "schema": TEXT},
    "ETag": {"description": '`"VERSION-DIGEST"`, or `"DIGEST"` of what has no version', "schema": TEXT},
    "Link": {"description": 'the next page: `<…>; rel="next"` (RFC 8288); absent on the last', "schema": TEXT},
    "Location": {"description": "where to look for how it goes on", "schema": TEXT},
    "Idempotent-Replayed": {"description": "`true`: this request was carried out before, this is its answer", "schema": TEXT},
    "Allow": {"description": "the methods that there are", "schema": TEXT},
}
_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False, "example": "0d3c6f6e-6a0f-4f0e-9d0c-1f6f0c8a7b11",
    "description": "a text of your own for this request; sent again with it, nothing is done again",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}  # fmt: skip
_IF_MATCH = {
    "name": "If-Match", "in": "header", "required": False, "example": '"41-9f86d081884c7d65"',
    "description": "the `ETag` of the object as you have seen it; its version is compared",
    "schema": {"type": "string", "maxLength": 200, "pattern": '^(\\*|"[0-9a-f-]{1,60}"(, "[0-9a-f-]{1,60}"){0,2})$'},
}  # fmt: skip
_IF_NONE_MATCH = {
    "name": "If-None-Match", "in": "header", "required": False, "example": '"41-9f86d081884c7d65"',
    "description": "the `ETag` of what you have: 304 when it is still so",
    "schema": TEXT,
}  # fmt: skip


def install(app: FastAPI) -> None:
    """The application describes itself from here on; made once, when it is first asked for."""
    app.openapi = cache(lambda: described(app))  # type: ignore[method-assign]


def described(app: FastAPI) -> Json:
    """The whole OpenAPI 3.1 document."""
    made = get_openapi(
        title=app.title, version=app.version, description=ABOUT, routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )  # fmt: skip
    examples: Json = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    for path, verbs in made["paths"].items():
        for verb, operation in verbs.items():
            _describe(operation, verb.upper(), path, examples.get(f"{verb.upper()} {path}", {}))
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError", "Token", "Challenge", "StatementText"):
        schemas.pop(unused, None)
    if clash := schemas.keys() & COMPONENTS.keys():
        raise ValueError(f"a request and an answer are both called {', '.join(sorted(clash))}")
    schemas.update(COMPONENTS)
    made["components"]["responses"] = {f"Problem{status}": _problem(status) for status in _PROBLEMS}
    return made


def _describe(operation: Json, verb: str, path: str, example: Json) -> None:
    text = " ".join(operation.get("description", "").split())
    operation["summary"] = re.split(r"(?<=[.!?])\s|;\s|:\s", text)[0].rstrip(".") if text else operation["summary"]
    writes, asks_who = verb != "GET", "security" in operation
    parameters = operation.setdefault("parameters", [])
    if asks_who:
        parameters += [_KEY, _IF_MATCH] if writes else [_IF_NONE_MATCH]
    responses = {status: answer for status, answer in operation["responses"].items() if status != "422"}
    success = next(status for status in responses if status.startswith("2"))
    listed = any(parameter["name"] == "cursor" for parameter in parameters)
    _describe_success(responses[success], f"{verb} {path}", example, listed=listed, begins=success == "202")
    if not writes and "text/event-stream" not in responses[success].get("content", {}):
        responses["304"] = {"description": "as you have it already", "headers": _some("X-Request-ID", "ETag")}
    for status in _problems(operation, writes=writes, asks_who=asks_who):
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    operation["responses"] = responses
    if "requestBody" in operation and "request" in example:
        operation["requestBody"]["content"]["application/json"]["example"] = example["request"]


def _describe_success(answer: Json, name: str, example: Json, *, listed: bool, begins: bool) -> None:
    names = ["X-Request-ID", "ETag" if name.startswith("GET") else "Idempotent-Replayed"]
    names += ["Link"] * listed + ["Location"] * begins
    answer["headers"] = {**_some(*names), **answer.get("headers", {})}
    if (schema := ANSWERS.get(name)) is not None:
        found: Json = {"schema": schema}
        if "answer" in example:
            found["example"] = example["answer"]
        answer["content"] = {**answer.get("content", {}), "application/json": found}
    if answer["description"] == "Successful Response":
        answer["description"] = "as asked"


def _problems(operation: Json, *, writes: bool, asks_who: bool) -> list[int]:
    """Which problems an operation may answer with. An answer of 500 is never meant."""
    takes = {parameter["in"] for parameter in operation["parameters"]}
    found = {400, 413, 429, 503} | ({401, 403, 409} if asks_who else set())
    found |= {404} if "path" in takes or asks_who else set()
    found |= {412, 422} if writes else set()
    found |= {422} if takes & {"query", "path"} else set()
    found |= {401} if operation.get("requestBody") and not asks_who else set()
    return sorted(found)


def _problem(status: int) -> Json:
    meaning, rule = _PROBLEMS[status]
    headers = {"WWW-Authenticate": {"description": "`Bearer`", "schema": TEXT}} if status == 401 else {}
    if status == 429:
        headers = {"Retry-After": {"description": "seconds", "schema": TEXT}}
    title = rule.replace("-", " ")
    example = {"type": f"/v1/rules/{rule}", "title": title, "status": status, "detail": meaning, "rule": rule, "advice": ""}
    content = {MEDIA_TYPE: {"schema": _PROBLEM, "example": example}}
    return {"description": meaning, "headers": {**_some("X-Request-ID"), **headers}, "content": content}


def _some(*names: str) -> Json:
    return {name: _HEADERS[name] for name in names}
