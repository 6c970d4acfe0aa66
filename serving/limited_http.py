"""uvicorn's HTTP protocol with two limits that it lacks, the size of a request's head and how long that may take, and
with one system call for an answer that is written in two pieces.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 32 * 1024
HEAD_S = 30.0
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Joined:
    """A transport that sends what is written in one turn of the event loop at once."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn."""
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Send what is held, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held.clear()


class LimitedHttp(HttpToolsProtocol):
    """Closes connections that send a request's head without end, or not at all."""

    _in_head = True
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The client has some seconds to say what it wants."""
        joined: Any = Joined(transport)
        super().connection_made(joined)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is whole."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self._ends_head(data):
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if self._in_head and self._head_bytes and answered and self._timer is None:
            self._start_timer()  # the next request has begun, and uvicorn waits for the rest of it for ever

    def _ends_head(self, data: bytes) -> bool:
        """Whether the rest is body, which has a limit of its own."""
        end = data.find(b"\r\n\r\n")
        return end != -1 and self._head_bytes - len(data) + end <= MAX_HEAD_BYTES

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers after a body are nothing that anybody reads, and would pile up."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next request may come; uvicorn itself closes connections that stay idle after an answer."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
