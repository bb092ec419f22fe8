"""`Idempotency-Key` and `If-Match`: a write that is sent again does nothing again, and one about what has moved does nothing.

 1 who asks: a key is one person's, and stands for one method, path and body
 2 an answer that was kept (24 hours) is given again
 3 else the log says whether the command was carried out: the answer is made again, as of then
 4 else it is carried out; its events bear the mark of the request, in the same transaction
 5 an answer that says yes is kept. A refusal is not: what was refused may be asked for again

So a server that dies at any moment leaves either nothing, or a command that is found by its key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api import problems
from orchestrator.api.access import person_in
from orchestrator.api.etags import object_of, tags
from orchestrator.domain import duties, eligibility
from orchestrator.domain.duties import Verb
from orchestrator.errors import KeyUsed, LogUnavailable, NotAuthenticated, OrchestratorError, UsageError
from orchestrator.ports import Volatile
from orchestrator.service.journal import Journal
from orchestrator.service.requests import Request, handling

KEPT = timedelta(hours=24)
REPLAYED = "Idempotent-Replayed"
KIND = "answer"
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_READS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Answer:
    """As it was sent: header names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    async def send(self, send: Send, *, replayed: bool = False) -> None:
        headers = [*self.headers, (REPLAYED.lower(), "true")] if replayed else [*self.headers]
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})

    def text(self, content: str) -> str:
        kept = {"content": content, "status": self.status, "headers": self.headers, "body": base64.b64encode(self.body).decode("ascii")}
        return json.dumps(kept)


class Repeats:
    """ASGI middleware: gives every request its place in `service/requests.py`."""

    def __init__(self, app: ASGIApp, journal: Journal, volatile: Volatile) -> None:
        self._app, self._journal, self._volatile = app, journal, volatile

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, headers = Request(), Headers(scope=scope)
        try:
            if scope["method"] not in _READS:
                _take_if_match(request, headers, scope["path"])
                if "idempotency-key" in headers and (person := await _person(scope, headers)) is not None:
                    await self._once(request, person, _key(headers), scope, receive, send)
                    return
        except OrchestratorError as error:
            await problems.of_error(error)(scope, receive, send)
            return
        with handling(request):
            await self._app(scope, receive, send)

    async def _once(self, request: Request, person: str, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        target = f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}\n"
        request.key = _sha256(f"{person}\n{key}".encode())  # 1
        request.content = _sha256(target.encode() + body)
        if (kept := await run_in_threadpool(self._known, person, request)) is not None:  # 2
            await kept.send(send, replayed=True)
            return
        answer = await self._run(request, scope, body)  # 3, 4
        if request.repeated is None and answer.status >= 400:
            # Another run of the same request may have been faster, on whichever server: then this is its answer.
            with contextlib.suppress(LogUnavailable):
                request.repeated = await run_in_threadpool(self._journal.done, request)
            if request.repeated is not None:
                answer = await self._run(request, scope, body)
        if answer.status < 300:  # 5
            await run_in_threadpool(self._keep, request, answer)
        await answer.send(send, replayed=request.repeated is not None)

    def _known(self, person: str, request: Request) -> Answer | None:
        """An answer that was kept; without one, `request.repeated` says whether its command is in the log. Raises KeyUsed, and
        NotAllowed for somebody who may not even read any more."""
        with contextlib.suppress(LogUnavailable):  # what is kept may be lost
            if (text := self._volatile.get(KIND, request.key, now=self._journal.now())) is not None:
                kept: dict[str, Any] = json.loads(text)
                if kept["content"] != request.content:
                    raise KeyUsed(advice="a new request takes a new key; the same key repeats the very same request")
                self._require_reader(person)
                headers = tuple((str(name), str(value)) for name, value in kept["headers"])
                return Answer(kept["status"], headers, base64.b64decode(kept["body"]))
        if (done := self._journal.done(request)) is not None:
            self._require_reader(person)
            request.repeated = done
        return None

    def _require_reader(self, person: str) -> None:
        duties.require(Verb.READ, eligibility.roles_of(self._journal.state(), person, self._journal.now()))

    async def _run(self, request: Request, scope: Scope, body: bytes) -> Answer:
        """The whole answer of the application; what it raises is raised."""
        start: Message = {}
        parts: list[bytes] = []

        async def given() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def take(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        request.seen = None
        with handling(request):
            await self._app({**scope}, given, take)
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        return Answer(start["status"], headers, b"".join(parts))

    def _keep(self, request: Request, answer: Answer) -> None:
        with contextlib.suppress(LogUnavailable):  # the log knows
            self._volatile.put(KIND, request.key, answer.text(request.content), until=self._journal.now() + KEPT)


def _take_if_match(request: Request, headers: Headers, path: str) -> None:
    """Raises UsageError for what is no list of tags."""
    if (header := headers.get("if-match")) is None:
        return
    given = tags(header)
    if not given:
        raise UsageError("If-Match is a list of tags in quotes, or *", advice='for example If-Match: "41-9f86d081884c7d65"')
    if given != ["*"]:
        numbers = (tag.partition("-")[0] for tag in given)
        request.object = object_of(path) or path.removeprefix("/v1/")
        request.versions = frozenset(int(number) for number in numbers if number.isascii() and number.isdecimal() and len(number) < 16)


def _key(headers: Headers) -> str:
    given = headers.getlist("idempotency-key")
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise UsageError("an Idempotency-Key is one text of 1 to 255 visible ASCII characters", advice="a random UUID for each new request")
    return given[0]


async def _person(scope: Scope, headers: Headers) -> str | None:
    """None when nobody is logged in: the application says so."""
    try:
        return await person_in(scope, headers.get("authorization"))
    except NotAuthenticated:
        return None


async def _read(receive: Receive) -> bytes:
    """The body, which has a modest length."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
