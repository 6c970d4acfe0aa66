"""A replica: one engine, proved at its start, that answers the front over HTTP on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import ray
from pydantic_core import from_json, to_json

from serving.chat_response import embeddings_answer, fold_chat, fold_completion
from serving.choices import several
from serving.config import ServeConfig
from serving.front import passing
from serving.front.actor import NAMESPACE, actor_name
from serving.front.pool import BEAT_S, Beat
from serving.http import (
    JSON,
    ClientGone,
    Receive,
    Scope,
    Send,
    answer,
    answer_json,
    begin,
    header,
    piece,
    read_body,
    refuse,
    while_connected,
)
from serving.listen import Listener
from serving.loopback import bind_to_node_address
from serving.probe import Probe, prove
from serving.protocol import Engine, RequestError, open_engine
from serving.replica_adapters import Adapters
from serving.usage import Usage

_log = logging.getLogger(__name__)
_KEEP_ALIVE_S = 3600  # the front closes what it no longer uses, so that it never meets a closed connection
_MAX_BODY_BYTES = 2**26  # the front has looked at it


class Spec(NamedTuple):
    """What a replica serves."""

    endpoint: str
    version: str
    model_path: str
    config: ServeConfig
    adapters_file: str
    """JSON: name → folder; it is followed while the replica serves."""
    probe_file: str | None
    """Log-probabilities of the artifact's weights; None where nobody could compute them."""


class Replica:
    """The class of a version's deployment."""

    async def __init__(self, spec: Spec) -> None:  # type: ignore[misc]
        """Open the model, prove it, and tell the front.

        Raises:
            ModelError: the engine cannot open the model.
            HandoffError: its log-probabilities are not those of the artifact.
        """
        bind_to_node_address()
        self._spec = spec
        config = spec.config
        self._id = str(ray.get_runtime_context().get_actor_id())[:12]
        self._engine: Engine = await asyncio.to_thread(
            open_engine, config.engine, Path(spec.model_path), spec.endpoint, config.replicas.num_cpus
        )
        await self._engine.start()
        probe = Probe.read(Path(spec.probe_file)) if spec.probe_file else None
        self._proof = await prove(self._engine, probe, config.engine.max_probe_kl)
        self._adapters = Adapters(self._engine, probe, Path(spec.adapters_file))
        await self._adapters.load()
        self._secret = secrets.token_hex()
        self._running = self._tokens = 0
        self._share = {"requests": 0.0, "tokens": 0.0}
        self._draining = False
        self._usage = Usage()
        address = ray.util.get_node_ip_address()
        self._listener = Listener(self._answer, address, 0, _KEEP_ALIVE_S)
        await self._listener.started()
        self._url = f"http://{f'[{address}]' if ':' in address else address}:{self._listener.port}"
        self._beating = asyncio.ensure_future(self._beat())
        self._following = asyncio.ensure_future(self._adapters.follow())

    async def wake(self) -> str:
        """Something to ask for through a handle."""
        return self._id

    async def check_health(self) -> None:
        """Serve's hook: whatever this raises, the replica is replaced."""
        if self._listener.ended or self._beating.done() or self._following.done():
            raise RuntimeError("The replica stopped answering.")
        await self._engine.check()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook; see `serving.scaling`."""
        return {name: own + self._share[name] for name, own in (("requests", self._running), ("tokens", self._tokens))}

    async def __del__(self) -> None:
        """Serve's hook for a replica that is to go: its requests end first."""
        if not hasattr(self, "_following"):
            return
        self._beating.cancel()
        self._following.cancel()
        self._draining = True
        with contextlib.suppress(Exception):  # the front may be gone already
            await self._front().leave.remote(self._spec.version, self._id)
        while self._running:  # Serve ends the process when `shutdown_s` is over
            await asyncio.sleep(0.02)
        await self._listener.stop()
        await self._engine.stop()

    def _front(self) -> Any:
        return ray.get_actor(actor_name(self._spec.endpoint), NAMESPACE)

    async def _beat(self) -> None:
        slots = self._spec.config.engine.num_parallel
        while True:
            figures = await asyncio.to_thread(self._usage.figures)
            told = Beat(self._id, self._url, self._secret, slots, self._proof, figures)
            with contextlib.suppress(ray.exceptions.RayError, ValueError):  # a front that starts anew is back soon
                self._share = await self._front().beat.remote(self._spec.version, told)
            await asyncio.sleep(BEAT_S)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            if not hmac.compare_digest(header(scope, b"authorization").encode(), f"Bearer {self._secret}".encode()):
                raise RequestError(401, "This port is for the front alone.")
            body = from_json(await read_body(scope, receive, _MAX_BODY_BYTES))
            if self._draining:
                await answer(send, 503, b"{}", [(passing.DRAINING.encode(), b"1")])
                return
            if scope["path"] == "/adapters":
                await self._change_adapter(body["name"], body["folder"], send)
                return
            await self._generate(scope, body, receive, send)
        except ClientGone:
            return
        except Exception as error:
            told = _told(error)
            await refuse(send, told, keep_alive=told.status != 401)

    async def _generate(self, scope: Scope, body: dict[str, Any], receive: Receive, send: Send) -> None:
        choices = int(header(scope, passing.CHOICES.encode()) or 1)
        tokens = int(header(scope, passing.TOKENS.encode()) or 0)
        self._running += choices
        self._tokens += tokens
        try:
            if scope["path"] == "/embed":
                await while_connected(receive, self._embed(body, send))
                return
            stream = header(scope, passing.STREAM.encode()) == "1"
            adapter = header(scope, passing.ADAPTER.encode()) or None
            chunks = self._chunks(scope["path"], body, adapter, choices)
            fold = fold_chat if scope["path"] == "/chat" else fold_completion
            await while_connected(receive, _stream(chunks, send) if stream else _whole(chunks, fold, send))
        finally:
            self._running -= choices
            self._tokens -= tokens

    async def _chunks(
        self, path: str, body: dict[str, Any], adapter: str | None, choices: int
    ) -> AsyncGenerator[str, None]:
        if adapter is not None and not await self._adapters.has(adapter):
            raise RequestError(404, f"The adapter {adapter!r} is not loaded.", param="model", code="model_not_found")
        generate = self._engine.chat if path == "/chat" else self._engine.completion
        seed = body.get("seed")

        def choice(index: int) -> AsyncGenerator[str, None]:
            # Choices of one seed would all be the same.
            return generate(body if seed is None else {**body, "seed": (seed + index) % 2**31}, adapter)

        async with aclosing(generate(body, adapter) if choices == 1 else several(choice, choices)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _change_adapter(self, name: str, folder: str | None, send: Send) -> None:
        """What it must prove is told to the driver, who published it."""
        try:
            await self._adapters.change(name, folder)
        except Exception as error:
            raise RequestError(400, str(error), code=type(error).__name__) from error
        await answer_json(send, {"replica": self._id})

    async def _embed(self, body: dict[str, Any], send: Send) -> None:
        made = await self._engine.embed(body["input"])
        told = embeddings_answer(self._spec.endpoint, made.vectors, made.num_tokens, body["encoding_format"])
        usage = (passing.USAGE.encode(), b"%d 0" % made.num_tokens)
        await answer(send, 200, json.dumps(told).encode(), [*JSON, usage])


def _told(error: Exception) -> RequestError:
    """What the client is told."""
    if isinstance(error, RequestError):
        return error
    _log.error("A request failed in the engine.", exc_info=error)
    return RequestError(500, "The engine failed.", code="engine_error")


async def _stream(chunks: AsyncGenerator[str, None], send: Send) -> None:
    """A line for each chunk; see `passing`. What the engine refuses is known before the status is sent."""
    async with aclosing(chunks):
        first = await anext(chunks)
        await begin(send, 200, [(b"content-type", b"application/x-ndjson")])
        await piece(send, _line(first))
        try:
            async for chunk in chunks:
                await piece(send, _line(chunk))
        except Exception as error:
            await piece(send, passing.ERROR + json.dumps(_told(error).body()).encode() + b"\n")
        await piece(send, b"", more=False)


def _line(chunk: str) -> bytes:
    # Inside a JSON string the quotes would have backslashes before them: only the key itself looks like this.
    is_last = '"choices":[]' in chunk or '"choices": []' in chunk
    return (passing.LAST if is_last else passing.CHUNK) + chunk.encode() + b"\n"


async def _whole(chunks: AsyncGenerator[str, None], fold: Any, send: Send) -> None:
    began, first_s, told = time.perf_counter(), 0.0, []
    async with aclosing(chunks):
        async for chunk in chunks:
            first_s = first_s or time.perf_counter() - began
            told.append(chunk)
    folded = fold(told)
    usage = b"%d %d" % (folded["usage"]["prompt_tokens"], folded["usage"].get("completion_tokens", 0))
    named = [(passing.USAGE.encode(), usage), (passing.FIRST_PIECE.encode(), b"%.6f" % first_s)]
    await answer(send, 200, to_json(folded), [*JSON, *named])
