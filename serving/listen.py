"""A web server inside a Ray actor: uvicorn, in the actor's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn

from serving.limited_http import LimitedHttp


class Listener:
    """Answers with an ASGI application until `stop`."""

    def __init__(self, app: Any, host: str, port: int, keep_alive_s: int) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app, interface="asgi3", http=LimitedHttp, ws="none", lifespan="off", timeout_keep_alive=keep_alive_s,
            access_log=False, log_level="warning", server_header=False, date_header=False, proxy_headers=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._serving = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        with contextlib.suppress(SystemExit):  # uvicorn's way to say that it cannot listen
            await self._server.serve([self._socket])

    @property
    def ended(self) -> bool:
        """Whether it answers no more."""
        return self._serving.done()

    async def started(self) -> bool:
        """Wait until it listens; False if it cannot."""
        while not self._server.started and not self.ended:
            await asyncio.sleep(0.02)
        return not self.ended

    def close(self) -> None:
        """Take no new connections; those that are there go on."""
        for server in self._server.servers:
            server.close()

    async def stop(self) -> None:
        """End, whatever still runs."""
        self._server.should_exit = self._server.force_exit = True
        await self._serving
