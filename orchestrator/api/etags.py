"""`ETag` of what is read, and 304 for who has it already.

An ETag is `"VERSION-DIGEST"`: the version of the object (the sequence number of the last event about it), and a digest of the
answer. `If-None-Match` compares all of it, `If-Match` of a write the version alone. What has no version has a digest only.
"""

from __future__ import annotations

import hashlib
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.service import requests
from orchestrator.service.journal import Journal

_VERSIONED = "stages|devices|waivers|extensions|recuts|delegations|reisolations|blocks/removals"
_OBJECT = re.compile(rf"/v1/((?:{_VERSIONED})/[^/]+)(/.*)?")
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def object_of(path: str) -> str:
    """The object that a path is about (`stages/P1`), empty for none."""
    found = _OBJECT.fullmatch(path)
    return found[1] if found else ""


def tags(header: str) -> list[str]:
    """The tags of an `If-Match` or `If-None-Match`, without their quotes; `*` is itself. Empty when it is none of it."""
    if header.strip() == "*":
        return ["*"]
    parts = [_TAG.fullmatch(part.strip()) for part in header.split(",")]
    return [part[1] for part in parts if part] if all(parts) else []


class ETags:
    """ASGI middleware, around answers to GET that are JSON of one piece; everything else passes as it is."""

    def __init__(self, app: ASGIApp, journal: Journal) -> None:
        self._app, self._journal = app, journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and Headers(raw=message["headers"]).get("content-type") == "application/json":
                    start = message
                    return
            elif start is not None:
                if not message.get("more_body"):
                    await self._send(scope, start, message, send)
                    return
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, sending)

    async def _send(self, scope: Scope, start: Message, body: Message, send: Send) -> None:
        tag = self._tag(scope["path"], body["body"])
        headers = MutableHeaders(raw=start["headers"])
        headers["ETag"] = f'"{tag}"'
        known = tags(Headers(scope=scope).get("if-none-match", ""))
        if tag in known or "*" in known:
            del headers["content-length"], headers["content-type"]
            await send({**start, "status": 304})
            await send({**body, "body": b""})
            return
        await send(start)
        await send(body)

    def _tag(self, path: str, body: bytes) -> str:
        digest = hashlib.sha256(body).hexdigest()[:16]
        name, request = object_of(path), requests.current()
        if not name or request is None or request.seen is None:
            return digest
        return f"{self._journal.version(name, request.seen)}-{digest}"
