"""One client of an endpoint: sends a request, reads the answer, and notes what came when.

It shares the machine with the server that it measures, so it is light: aiohttp and a few lines that read events.
"""

from __future__ import annotations

import json
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from types import SimpleNamespace
from typing import Any, Self

import aiohttp

from jobs.bench.config import LoadConfig, Target
from jobs.bench.events import Events
from jobs.bench.prompts import Prompts

_CONNECTION_IDLE_S = 4.0  # uvicorn hangs up after 5 s: a request on a connection that is just being closed would fail
_STALE_S = 0.1
_MAX_ERROR_BYTES = 4096
_TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "tool_calls")
REFUSALS = frozenset({"http_429", "http_503"})


@dataclass(slots=True)
class Record:
    """What became of one request. Times are seconds of the monotonic clock; latencies count from `due`."""

    number: int
    due: float
    """When it was to be sent: in an open loop, whatever the server or the client was busy with."""
    lag_s: float
    """How much later it was sent."""
    first_token_s: float | None = None
    total_s: float = 0.0
    gaps_s: array[float] = field(default_factory=lambda: array("d"))
    """Between the pieces of text of a stream."""
    input_tokens: int = 0
    output_tokens: int = 0
    has_usage: bool = False
    """Whether the server counted the tokens; else a piece of text counts as one."""
    status: int | None = None
    failure: str | None = None
    """http_STATUS, connect, timeout, cut (no [DONE] at the end), error_event or bad_answer; None if it succeeded."""
    message: str = ""
    retry_after_s: float | None = None
    reconnects: int = 0
    """Times that it was sent again at once, since the server had closed the kept connection."""
    on_kept_connection: bool = False

    def fail(self, kind: str, message: str) -> None:
        """It failed; the first reason stays."""
        if self.failure is None:
            self.failure, self.message = kind, "".join(c if c.isprintable() else " " for c in message[:300])


class Client:
    """Asks an endpoint within an event loop.

        async with Client(target, load) as client:
            record = await client.ask()
    """  # fmt: skip

    def __init__(self, target: Target, load: LoadConfig) -> None:
        self.target, self.load = target, load
        self.num_left = load.max_requests
        """Requests that the load's steps may still send; whoever calls `ask` counts."""
        self._next_number = 0
        self._prompts = Prompts(load)
        self._url = f"{target.url.rstrip('/')}/chat/completions"
        self._body: dict[str, Any] = load.body | {
            "model": target.model, "max_tokens": load.max_tokens, "temperature": load.temperature, "seed": load.seed,
            "stream": load.stream, **({"stream_options": {"include_usage": True}} if load.stream else {}),
        }  # fmt: skip

    async def __aenter__(self) -> Self:
        traces = aiohttp.TraceConfig()
        traces.on_connection_reuseconn.append(_note_kept)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.load.max_connections, keepalive_timeout=_CONNECTION_IDLE_S),
            timeout=aiohttp.ClientTimeout(total=self.load.timeout_s), cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Authorization": f"Bearer {self.target.api_key}", "Content-Type": "application/json"},
            trace_configs=[traces],
            trust_env=False,  # neither the key nor the load may go to a proxy
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, due: float | None = None) -> Record:
        """Send the next request; it never raises for what the server does.

        Args:
            due: when it was to be sent; default: now.
        """
        number = self._next_number
        self._next_number += 1
        messages = [{"role": "user", "content": self._prompts.prompt(number)}]
        content = json.dumps({**self._body, "messages": messages}).encode()
        now = perf_counter()
        record = Record(number, now if due is None else due, 0.0 if due is None else now - due)
        try:
            while not await self._send(content, record):
                record.reconnects += 1
        except TimeoutError:
            record.fail("timeout", f"no whole answer within {self.load.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            record.fail("connect" if record.status is None else "cut", str(error) or type(error).__name__)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            record.fail("bad_answer", f"not as OpenAI's: {error}")
        record.total_s = record.total_s or perf_counter() - record.due
        return record

    async def _send(self, content: bytes, record: Record) -> bool:
        """False if it must be sent again, because the server had closed the connection that was kept open."""
        record.on_kept_connection, begun = False, perf_counter()
        try:
            # Not to wherever the server points: only this address was allowed.
            async with self._session.post(
                self._url, data=content, allow_redirects=False, trace_request_ctx=record
            ) as response:
                record.status = response.status
                if response.status != 200:
                    await _read_error(response, record)
                elif self.load.stream:
                    await _read_stream(response, record)
                else:
                    _note_whole(json.loads(await response.read()), record)
        except aiohttp.ClientConnectionError:
            # As every HTTP client does: such a server (llama.cpp's is one) promises to keep a connection, and does not.
            # One that dies over a request takes longer, and that is a failure.
            if record.status is None and record.on_kept_connection and perf_counter() - begun < _STALE_S:
                return False
            raise
        return True


async def _note_kept(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
    context.trace_request_ctx.on_kept_connection = True


async def _read_error(response: aiohttp.ClientResponse, record: Record) -> None:
    after = response.headers.get("Retry-After", "")
    record.retry_after_s = float(after) if after.isascii() and after.isdecimal() else None
    text = (await response.content.read(_MAX_ERROR_BYTES)).decode(errors="replace")
    with suppress(ValueError, TypeError, KeyError):  # not OpenAI's form: shown as it is
        text = str(json.loads(text)["error"]["message"])
    record.fail(f"http_{response.status}", text)


async def _read_stream(response: aiohttp.ClientResponse, record: Record) -> None:
    events, last, is_done = Events(), None, False
    async for piece in response.content.iter_any():
        now = perf_counter()
        for data in () if is_done else events.feed(piece):
            if data == b"[DONE]":
                is_done, record.total_s = True, now - record.due
                break
            if not _note_chunk(json.loads(data), record):
                continue
            if last is None:
                record.first_token_s = now - record.due
            else:
                record.gaps_s.append(now - last)
            last = now
    if not record.has_usage and last is not None:
        record.output_tokens = 1 + len(record.gaps_s)
    if not is_done:
        record.fail("cut", "the stream ended without [DONE]")


def _note_chunk(chunk: dict[str, Any], record: Record) -> bool:
    """Whether the chunk brings text; its usage or its error is noted."""
    if error := chunk.get("error"):
        record.fail("error_event", str(error.get("message", error) if isinstance(error, dict) else error))
        return False
    _note_usage(chunk, record)
    return any((choice.get("delta") or {}).get(name) for choice in chunk.get("choices") or () for name in _TEXT_FIELDS)


def _note_whole(answer: dict[str, Any], record: Record) -> None:
    if not answer["choices"]:
        raise ValueError("an answer without choices")
    _note_usage(answer, record)


def _note_usage(answer: dict[str, Any], record: Record) -> None:
    if usage := answer.get("usage"):
        record.input_tokens, record.output_tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        record.has_usage = True
