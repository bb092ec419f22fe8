"""uvicorn, told two things of ours: streams end when the server stops, and what was closed goes away.

A connection that uvicorn has closed lives on until its client has taken what was left to send. A client that takes nothing
would keep it for ever, and with it one of the places that the server has.
"""

from __future__ import annotations

import socket
import weakref

import uvicorn
from fastapi import FastAPI

SWEEP_EVERY = 50  # ticks of uvicorn, 0.1 s each


class Server(uvicorn.Server):
    """Of an application that `create_app` made."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._closing: weakref.WeakSet[object] = weakref.WeakSet()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app.state.live.close()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_EVERY == 0:
            self._sweep()
        return await super().on_tick(counter)

    def _sweep(self) -> None:
        """Aborts what was closing at the last sweep already."""
        closing = [one for one in self.server_state.connections if (held := one.transport) is not None and held.is_closing()]
        for connection in closing:
            if connection in self._closing:
                connection.transport.abort()
        self._closing = weakref.WeakSet(closing)
