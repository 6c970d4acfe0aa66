"""A request on its way to a replica and back: retried elsewhere while the client has seen nothing of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from pydantic_core import to_json

from serving.front.pool import Replica
from serving.protocol import RequestError

_CONNECT_S = 5.0
DRAINING = "x-raysmith-draining"
USAGE = "x-raysmith-usage"
FIRST_PIECE = "x-raysmith-first-s"
ADAPTER = "x-raysmith-adapter"
STREAM = "x-raysmith-stream"
CHOICES = "x-raysmith-choices"
TOKENS = "x-raysmith-tokens"
# The first byte of each line of a replica's stream says what follows: a chunk, the last chunk with the usage, an error.
CHUNK, LAST, ERROR = b"c", b"u", b"e"


class ReplicaLost(Exception):  # noqa: N818 what happened, not whose fault it is
    """The replica's connection broke, or it fell silent: another one can do it."""


class ReplicaLeaves(Exception):  # noqa: N818
    """The replica is about to stop and takes nothing new: another one can do it."""


def session() -> aiohttp.ClientSession:
    """Connections to all replicas."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60), trust_env=False, auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
    )  # fmt: skip


class Answer:
    """A replica's answer, begun: status and headers are there."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        usage = response.headers.get(USAGE, "0 0").split()
        self.num_prompt, self.num_written = int(usage[0]), int(usage[1])
        self.first_token_s = float(response.headers.get(FIRST_PIECE, 0.0))

    def note(self, usage: dict[str, int]) -> None:
        """What was read and written in all."""
        self.num_prompt, self.num_written = usage["prompt_tokens"], usage.get("completion_tokens", 0)

    async def whole(self) -> bytes:
        """The body.

        Raises:
            ReplicaLost: the connection broke.
        """
        try:
            return await self._response.read()
        except aiohttp.ClientError:
            raise ReplicaLost from None

    async def lines(self) -> AsyncIterator[list[bytes]]:
        """The stream's lines, as many at a time as arrived.

        Raises:
            ReplicaLost: the connection broke.
        """
        rest = b""
        try:
            async for data in self._response.content.iter_any():
                *whole, rest = (rest + data).split(b"\n")
                if whole:
                    yield whole
        except aiohttp.ClientError:
            raise ReplicaLost from None

    def close(self) -> None:
        """Done with it; an answer that has not ended is broken off, which stops the generation."""
        self._response.release() if self._response.content.at_eof() else self._response.close()


async def ask(
    http: aiohttp.ClientSession, replica: Replica, path: str, body: Any, headers: dict[str, str] | None = None
) -> Answer:
    """Send a request to a replica; returns when its answer begins.

    Raises:
        ReplicaLost: it cannot be reached, or broke off.
        ReplicaLeaves: it is about to stop.
        RequestError: what the replica answers instead.
    """
    sent = {"authorization": f"Bearer {replica.told.secret}", **(headers or {})}
    try:
        response = await http.post(replica.told.url + path, data=to_json(body), headers=sent)
        if response.status == 200:
            return Answer(response)
        told = await response.read()
    except (aiohttp.ClientError, OSError):
        raise ReplicaLost from None
    if DRAINING in response.headers:
        raise ReplicaLeaves
    if response.status == 401 or response.content_type != "application/json":  # somebody else has that port now
        raise ReplicaLost
    raise error_of(told, response.status)


class UnlessSilent:
    """Give up what is done in a `with` block when the replica falls silent. Works as `asyncio.timeout` does.

    Raises:
        ReplicaLost: it did.
    """

    def __init__(self, replica: Replica) -> None:
        self._silent = replica.silent
        self._task = asyncio.current_task()
        self._cancelling = 0
        self._given_up = False

    def __enter__(self) -> None:
        if self._task is not None:
            self._cancelling = self._task.cancelling()
        self._silent.add_done_callback(self._give_up)

    def _give_up(self, _: object) -> None:
        if self._task is not None:
            self._given_up = True
            self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._silent.remove_done_callback(self._give_up)
        if not self._given_up or self._task is None:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ReplicaLost from None


def error_of(told: bytes, status: int) -> RequestError:
    """The error that a replica told."""
    error = json.loads(told)["error"]
    return RequestError(status, error["message"], param=error["param"], code=error["code"])
