"""The little of HTTP that the front and the replicas need, on plain ASGI: both answer thousands of small requests, for
which a web framework takes longer than everything else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

from serving.protocol import RequestError

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: Headers = [(b"content-type", b"application/json")]
EVENTS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]  # fmt: skip


class ClientGone(Exception):  # noqa: N818 no error: nobody reads the answer
    """The client hung up: nobody reads the answer."""


def header(scope: Scope, name: bytes) -> str:
    """A header's value, empty if there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        RequestError: 413, as soon as it is known to be too large.
        ClientGone: the client hung up before the end.
    """
    length = header(scope, b"content-length")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, f"The body must have at most {max_bytes} bytes.", code="body_too_large")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do some work, and cancel it when the client hangs up. The body must have been read.

    The work stays in the caller's task (as under `asyncio.timeout`): another task for it would cost more than much of
    the work.

    Raises:
        ClientGone: it hung up.
    """
    task = asyncio.current_task()
    cancelling = task.cancelling() if task is not None else 0
    gone = asyncio.ensure_future(_disconnected(receive))

    def hang_up(_: object) -> None:
        if task is not None and not gone.cancelled():
            task.cancel()

    gone.add_done_callback(hang_up)
    try:
        return await work
    except asyncio.CancelledError:
        if gone.done() and task is not None and task.uncancel() <= cancelling:
            raise ClientGone from None
        raise
    finally:
        gone.remove_done_callback(hang_up)
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def begin(send: Send, status: int, headers: Headers) -> None:
    """Send status and headers of an answer that comes in pieces."""
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def piece(send: Send, body: bytes, *, more: bool = True) -> None:
    """Send a piece of an answer."""
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a whole answer."""
    await begin(send, status, [*headers, (b"content-length", b"%d" % len(body))])
    await piece(send, body, more=False)


async def answer_json(send: Send, value: Any, status: int = 200) -> None:
    """Send a value as JSON."""
    await answer(send, status, json.dumps(value).encode(), JSON)


async def refuse(send: Send, error: RequestError, *, keep_alive: bool = True) -> None:
    """Answer with OpenAI's error JSON."""
    headers = list(JSON)
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if not keep_alive:  # what was not read of the request must not be taken for the next one
        headers.append((b"connection", b"close"))
    await answer(send, error.status, json.dumps(error.body()).encode(), headers)
