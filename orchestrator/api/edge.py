"""The outermost layer: every request has an id and a modest body, every answer its headers, and nothing leaves as a bare error."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.problems import problem

LARGEST_BODY = 64 * 1024
REQUEST_ID = "X-Request-ID"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)


class Edge:
    """ASGI middleware. A request may bring its id (8 to 64 letters, digits, `.`, `_`, `-`); else it is given one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        request_id = given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                answered = MutableHeaders(raw=message["headers"])
                for name, value in _HEADERS.items():
                    answered.setdefault(name, value)
                answered[REQUEST_ID] = request_id
            await send(message)

        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdecimal()) or int(length) > LARGEST_BODY:
            refused = problem(413, "bad-request", f"a body has a length of at most {LARGEST_BODY} bytes")
            await refused(scope, receive, sending)
            return
        try:
            await self._app(scope, receive, sending)
        except Exception as failure:
            logging.getLogger(__name__).error("%s %s failed (%s)", scope["method"], scope["path"], request_id, exc_info=failure)
            if started:
                raise
            await problem(500, "internal", f"unexpected {type(failure).__name__}")(scope, receive, sending)
