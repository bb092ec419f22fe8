"""Lists in pages: `?limit=&cursor=`, and a `Link` to the next page (RFC 8288). A list is a JSON array.

A cursor names the last item that was given, not a number of items: what is added in the meantime is neither left out nor given
twice. It is opaque, and serves the list and the filters that it was made for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from orchestrator.errors import UsageError

MOST = 1000
_T = TypeVar("_T")


class Pages:
    """One page of a list: `of` what there is."""

    def __init__(self, request: Request, response: Response, limit: int, cursor: str | None) -> None:
        self._path, self._response, self._limit = request.url.path, response, limit
        self._filters = [(name, value) for name, value in request.query_params.multi_items() if name not in ("limit", "cursor")]
        self._given = bool(request.query_params.get("limit"))
        self.after = self._read(cursor) if cursor is not None else None  # the name of the last item that was given

    @property
    def position(self) -> int:
        """Of lists that follow the log: the sequence number of the last item that was given, -1 for none."""
        if self.after is None:
            return -1
        if not self.after.isdecimal() or len(self.after) > 15:
            raise UsageError("this is no cursor of this list", advice="follow the Link of the page before")
        return int(self.after)

    def of(self, items: Iterable[_T], name: Callable[[_T], object], *, begins_after: bool = False) -> list[_T]:
        """The items of this page, and the `Link` to the next one. `name` tells each item from all others of the list;
        `begins_after`: the items are those after `after` already. Raises UsageError for a cursor of what is not there any more."""
        rest = iter(items)
        if self.after is not None and not begins_after and not any(str(name(item)) == self.after for item in rest):
            raise UsageError("what this cursor stands after is not in the list any more", advice="read the list from its start")
        page = list(islice(rest, self._limit))
        if page and next(rest, None) is not None:
            again = [("limit", str(self._limit))] if self._given else []
            query = urlencode([*self._filters, *again, ("cursor", self._made(str(name(page[-1]))))])
            self._response.headers["Link"] = f'<{self._path}?{query}>; rel="next"'
        return page

    def _made(self, name: str) -> str:
        return base64.urlsafe_b64encode(json.dumps([self._list(), name], ensure_ascii=False).encode()).decode("ascii").rstrip("=")

    def _read(self, cursor: str) -> str:
        """Raises UsageError."""
        try:
            made_for, name = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        except (ValueError, TypeError, binascii.Error):
            made_for, name = "", ""
        if made_for != self._list() or not isinstance(name, str):
            raise UsageError("this is no cursor of this list with these filters", advice="follow the Link of the page before")
        return name

    def _list(self) -> str:
        """Which list, with which filters."""
        return hashlib.sha256(f"{self._path}?{urlencode(sorted(self._filters))}".encode()).hexdigest()[:12]


async def _pages(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MOST, description="how many at most")] = 100,
    cursor: Annotated[str | None, Query(min_length=1, max_length=1000, description="as the `Link` of the page before has it")] = None,
) -> Pages:
    return Pages(request, response, limit, cursor)


ThePage = Annotated[Pages, Depends(_pages)]
