"""Live events: one look at the log's size per server, and a bounded number of streams that read the log each by itself.

A stream holds one page of events at most. What it cannot hand over within `SEND_WITHIN_S` ends it: its client comes back with
the last `id` that it has. So a slow or dead client costs a place and a page, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from orchestrator.errors import LogError, TooMany

PER_PERSON = 8
IN_ALL = 128  # half of the connections that the server takes
LOOK_EVERY_S = 0.25
SEND_WITHIN_S = 10.0
THREADS = 4  # that read for streams: requests have threads of their own
_T = TypeVar("_T")


class Live:
    """`size` is how many events the log has now; it is asked by one task, and only while somebody streams."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._ask = size
        self._size = 0
        self._streams: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._grown = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._threads = asyncio.Semaphore(THREADS)
        self.closing = False

    def enter(self, person: str) -> None:
        """One more stream of this person. Raises TooMany (rule `too-many-streams`)."""
        with self._lock:
            if self._streams[person] >= PER_PERSON or self._streams.total() >= IN_ALL:
                whose = f"{person} has" if self._streams[person] >= PER_PERSON else "people have"
                raise TooMany(f"{whose} as many streams open as there may be", rule="too-many-streams", advice="end another one first")
            self._streams[person] += 1

    def leave(self, person: str) -> None:
        with self._lock:
            self._streams[person] -= 1
            if not self._streams[person]:
                del self._streams[person]

    @property
    def streams(self) -> int:
        """How many are open now, for health."""
        return self._streams.total()

    async def read(self, work: Callable[[], _T]) -> _T:
        """In a thread; of the streams, so many at a time."""
        async with self._threads:
            return await anyio.to_thread.run_sync(work)

    async def beyond(self, position: int, wait_s: float) -> bool:
        """Waits until the log has more than `position` events; False when it has not within `wait_s`, or the server stops."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        async with self._grown:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._grown.wait_for(lambda: self.closing or self._size > position)
        return self._size > position and not self.closing

    async def _look(self) -> None:
        """As long as anybody streams. A log that cannot be read now is looked at again."""
        while self.streams and not self.closing:
            with contextlib.suppress(LogError):
                size = await anyio.to_thread.run_sync(self._ask)
                if size != self._size:
                    self._size = size
                    await self._tell()
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """The server stops: every stream ends at once."""
        self.closing = True
        await self._tell()

    async def _tell(self) -> None:
        async with self._grown:
            self._grown.notify_all()


class LiveResponse(StreamingResponse):
    """Server-sent events whose client takes each piece within `SEND_WITHIN_S`, or is left; `left` is called once, however it ends."""

    def __init__(self, pieces: AsyncGenerator[bytes], left: Callable[[], None]) -> None:
        super().__init__(pieces, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._pieces, self._left = pieces, left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def within(message: Message) -> None:
            with anyio.fail_after(SEND_WITHIN_S):
                await send(message)

        try:
            with contextlib.suppress(TimeoutError):  # left in the middle: the server closes the connection
                await super().__call__(scope, receive, within)
        finally:
            self._left()
            with anyio.CancelScope(shield=True):
                await self._pieces.aclose()
