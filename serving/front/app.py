"""The front's routes: who may ask, for what, and which version answers. Plain ASGI."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from serving import keys as api_keys
from serving.chat_request import parse_chat
from serving.completion_request import parse_completion
from serving.config import LimitConfig
from serving.embedding_request import parse_embedding
from serving.front import passing
from serving.front.measures import CONTENT_TYPE, Measures, Timing
from serving.front.passing import Answer, ReplicaLeaves, ReplicaLost
from serving.front.pool import Moved, Need, Pool
from serving.http import (
    EVENTS,
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
from serving.keys import Key
from serving.openapi import document
from serving.protocol import RequestError
from serving.rates import Rates
from serving.request import Wanted
from serving.table import ADAPTER_SEPARATOR, Fresh, Version, read_table
from serving.table import FILE_NAME as TABLE

BODY_S = 30.0
"""How long a request's body may take to arrive, seconds."""
ATTEMPTS = 4
"""Replicas that a request may lose before it is given up: it may be what kills them."""
_CHARS_PER_TOKEN = 4
_CLIENT_GONE = 499
_TEXT = [(b"content-type", b"text/plain")]
_START, _NUMBERS = secrets.token_hex(4).encode(), itertools.count()
"""Ids of requests: of this process, and within it."""
_log = logging.getLogger(__name__)


class Route(NamedTuple):
    """A way to generate."""

    path: str
    """At the replica."""
    parse: Callable[[bytes, LimitConfig], Wanted]


GENERATING = {
    "/v1/chat/completions": Route("/chat", parse_chat),
    "/v1/completions": Route("/completion", parse_completion),
    "/v1/embeddings": Route("/embed", parse_embedding),
}


class Request:
    """What is known of a request so far."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.id = b"%s-%x" % (_START, next(_NUMBERS))
        self.began = time.perf_counter()
        self.adapter = ""
        self.version = ""
        self.code = 200
        self.read = False
        """Whether the body was read: what is left of it must not be taken for the next request."""
        self.sent = False
        """Whether the client has got a first byte: then nothing can be tried again."""
        self.answered = False
        """Whether it has got all: many a client hangs up then."""


class Front:
    """One endpoint. `folder` has its table; the keys may lie elsewhere.

    Args:
        wake: given a version's application, asks for a replica of it.
    """

    def __init__(self, folder: Path, keys_file: Path, wake: Callable[[str], Awaitable[Any]]) -> None:
        self._table = Fresh(folder / TABLE, lambda: read_table(folder))
        self._keys = Fresh(keys_file, lambda: api_keys.read_keys(keys_file))
        self._wake = wake
        self._rates = Rates()
        self._measures = Measures()
        self._openapi = document()
        self.pools: dict[str, Pool] = {}
        self.http = passing.session()
        self.draining = False
        self.refresh()

    def refresh(self) -> None:
        """See what changed in table and keys; called every now and then."""
        self._keys.refresh()
        self._table.refresh()
        named = {one.name for one in self._table.value.versions}
        for name, pool in list(self.pools.items()):
            pool.look()
            if name not in named:
                pool.end()
                if pool.is_empty:
                    del self.pools[name]

    def pool(self, version: str) -> Pool:
        """A version's replicas; they are there before it is in the table."""
        if version not in self.pools:
            model = self._table.value.name
            failed = partial(self._measures.fail, model, version)
            self.pools[version] = Pool(partial(self.wake_version, version), failed)
        return self.pools[version]

    async def wake_version(self, version: str) -> None:
        """Ask for a replica, and wait until it is there."""
        for one in self._table.value.versions:
            if one.name == version:
                await self._wake(one.app)

    @property
    def num_running(self) -> int:
        """Choices that are written or wait."""
        return sum(pool.num_running + pool.num_waiting for pool in self.pools.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        request = Request(scope["path"])
        if self.draining:
            await refuse(send, RequestError(503, "The endpoint is stopping.", code="stopping"), keep_alive=False)
            return
        try:
            await self._route(request, scope, receive, send)
        except ClientGone:
            request.code = request.code if request.answered else _CLIENT_GONE
        except RequestError as error:
            request.code = error.status
            self._note_refusal(error)
            if not request.sent:
                await refuse(send, error, keep_alive=request.read)
        except Exception:
            request.code = 500
            _log.exception("A request failed.")
            if not request.sent:
                await refuse(send, RequestError(500, "The endpoint failed.", code="internal_error"))
        # Who has no key must not hide among the requests how the others fare.
        if request.path in GENERATING and request.code != 401:
            name = self._table.value.name
            self._measures.count(name, request.adapter, request.version, request.path, request.code)

    async def _route(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["method"], request.path:
            case "GET", "/health":
                await answer_json(send, {"status": "ok"})
            case "GET", "/-/healthz":  # what KubeRay asks, and how Serve's own proxy answers
                serves = any(one.weight > 0 for one in self._table.value.versions)
                await answer(send, 200 if serves else 503, b"success" if serves else b"nothing is served yet", _TEXT)
            case "POST", path if path in GENERATING:
                key = self._authorize(scope)
                await self._generate(request, GENERATING[path], key, scope, receive, send)
            case "GET", "/v1/models":
                self._authorize(scope)
                await answer_json(send, {"object": "list", "data": self._models()})
            case "GET", path if path.startswith("/v1/models/"):
                self._authorize(scope)
                found = [one for one in self._models() if one["id"] == path.removeprefix("/v1/models/")]
                if not found:
                    raise self._unknown_model(path.removeprefix("/v1/models/"))
                await answer_json(send, found[0])
            case "GET", "/metrics":
                self._authorize(scope, "metrics")
                text = self._measures.text(self._table.value, self.pools)
                await answer(send, 200, text, [(b"content-type", CONTENT_TYPE.encode())])
            case "GET", "/openapi.json":
                self._authorize(scope)
                await answer_json(send, self._openapi)
            case method, path:
                self._authorize(scope)
                known = path in GENERATING or path in {
                    "/health",
                    "/-/healthz",
                    "/v1/models",
                    "/metrics",
                    "/openapi.json",
                }
                raise RequestError(405 if known else 404, f"{method} {path[:200]}: no such route.")

    def _authorize(self, scope: Scope, scope_wanted: str = "all") -> Key:
        scheme, _, given = header(scope, b"authorization").partition(" ")
        key = self._keys.value.get(api_keys.digest_of(given.strip())) if scheme.lower() == "bearer" else None
        if key is None:
            raise RequestError(401, "Missing or wrong API key.", code="invalid_api_key")
        if key.scope not in {"all", scope_wanted}:
            raise RequestError(403, f"This key is for {key.scope} alone.", code="insufficient_scope")
        return key

    def _models(self) -> list[dict[str, Any]]:
        table = self._table.value
        weights = [
            {"version": one.name, "weight": one.weight, "engine": one.engine, "proof": one.proof,
             "artifact": one.origin.artifact, "content": one.origin.content}
            for one in table.versions
        ]  # fmt: skip
        return [
            {
                "id": name, "object": "model", "created": table.created, "owned_by": "raysmith",
                "raysmith": {**origin.model_dump(), "versions": weights},
            }
            for name, origin in table.models().items()
        ]  # fmt: skip

    def _unknown_model(self, model: str) -> RequestError:
        if not self._table.value.models():
            return RequestError(503, "Nothing is served yet; try again soon.", code="starting", retry_after_s=5)
        served = ", ".join(map(repr, self._table.value.models()))
        message = f"The model {model[:200]!r} is not served here; {served[:1000]} is."
        return RequestError(404, message, param="model", code="model_not_found")

    async def _generate(
        self, request: Request, route: Route, key: Key, scope: Scope, receive: Receive, send: Send
    ) -> None:
        limits = self._table.value.limits
        try:
            async with asyncio.timeout(BODY_S):
                body = await read_body(scope, receive, limits.max_body_bytes)
        except TimeoutError:
            raise RequestError(408, f"The body did not come within {BODY_S:g} s.", code="body_timeout") from None
        request.read = True
        wanted = route.parse(body, limits)
        model, _, adapter = wanted.model.partition(ADAPTER_SEPARATOR)
        if wanted.model not in self._table.value.models() or model != self._table.value.name:
            raise self._unknown_model(wanted.model)
        request.adapter = adapter
        self._rates.begin(
            key.name, key.requests_per_minute or limits.requests_per_minute,
            key.tokens_per_minute or limits.tokens_per_minute,
        )  # fmt: skip
        job = self._pass_on(request, route, wanted, key, send)
        try:
            async with asyncio.timeout(limits.request_timeout_s + limits.queue_timeout_s):
                await while_connected(receive, job)
        except TimeoutError:
            error = RequestError(504, "The answer took too long.", code="request_timeout")
            if request.sent:
                request.code = error.status
                await _end_with(send, error)
                return
            raise error from None

    async def _pass_on(self, request: Request, route: Route, wanted: Wanted, key: Key, send: Send) -> None:
        """Try replicas until one answers."""
        limits = self._table.value.limits
        need = Need(wanted.n, wanted.num_chars // _CHARS_PER_TOKEN + wanted.n * wanted.max_tokens, wanted.prefix)
        headers = {
            passing.CHOICES: str(need.choices), passing.TOKENS: str(need.tokens),
            passing.STREAM: "1" if wanted.stream else "",
        }  # fmt: skip
        if request.adapter:
            headers[passing.ADAPTER] = request.adapter
        lost, again = 0, False
        while True:
            version = self._table.value.choose(request.adapter or None)
            if version is None:
                raise self._unknown_model(wanted.model)
            pool = self.pool(version.name)
            request.version = version.name
            try:
                replica = await pool.acquire(need, limits, again=again)
            except Moved:
                again = True
                continue
            try:
                with passing.UnlessSilent(replica):
                    begun = await passing.ask(self.http, replica, route.path, wanted.body, headers)
                    await self._send_on(begun, request, version, wanted, key, send)
            except ReplicaLeaves:
                pool.leave(replica.told.id)
            except ReplicaLost:
                pool.lost(replica)
                lost += 1
                if request.sent or lost == ATTEMPTS:
                    await self._give_up(request, send)
                    return
            else:
                return
            finally:
                pool.release(replica, need)
            again = True

    async def _give_up(self, request: Request, send: Send) -> None:
        error = RequestError(502, "The replica that wrote the answer died; ask again.", code="replica_lost")
        if not request.sent:
            raise error
        request.code = error.status
        await _end_with(send, error)

    async def _send_on(
        self, begun: Answer, request: Request, version: Version, wanted: Wanted, key: Key, send: Send
    ) -> None:
        name = self._table.value.name
        timing = self._measures.timing(name, request.adapter, version.name, request.began)
        asked_s = time.perf_counter() - request.began - begun.first_token_s
        named = [(b"x-raysmith-version", version.name.encode()), (b"x-request-id", request.id)]
        try:
            if wanted.stream:
                await self._stream(begun, request, timing, wanted, send, named)
            else:
                body = await begun.whole()
                request.sent = request.answered = True
                await answer(send, 200, body, [*JSON, *named])
                timing.first_after(max(0.0, asked_s) + begun.first_token_s)
        finally:  # who hangs up pays for what was written until then
            begun.close()
            if request.answered:
                timing.end()
            num_prompt = begun.num_prompt or wanted.num_chars // _CHARS_PER_TOKEN
            self._rates.end(key.name, num_prompt + begun.num_written)
            self._measures.tokens(name, request.adapter, num_prompt, begun.num_written)

    async def _stream(
        self, begun: Answer, request: Request, timing: Timing, wanted: Wanted, send: Send, named: Any
    ) -> None:
        ended = False
        async for lines in begun.lines():
            events, tokens = [], 0
            for line in lines:
                kind, text = line[:1], line[1:]
                if kind == passing.CHUNK:
                    tokens += 1
                elif kind == passing.LAST:
                    ended = True
                    begun.note(json.loads(text)["usage"])
                    if not wanted.with_usage:
                        continue
                else:
                    error = passing.error_of(text, 500)
                    if not request.sent:
                        raise error
                    request.code = error.status
                    await _end_with(send, error)
                    return
                events.append(b"data: " + text + b"\n\n")
            if tokens:
                timing.pieces(tokens)
                begun.num_written += tokens if not ended else 0
            if ended:
                events.append(b"data: [DONE]\n\n")
            if not request.sent:
                request.sent = True
                await begin(send, 200, [*EVENTS, *named])
            if events:
                await piece(send, b"".join(events))
            request.answered = ended
        if not ended:
            raise ReplicaLost
        # Only now: what is read to its end can be used again, and a client that has its whole answer hangs up.
        await piece(send, b"", more=False)

    def _note_refusal(self, error: RequestError) -> None:
        reasons = {401: "key", 403: "key", 413: "body", 503: "timeout", 504: "timeout"}
        by_code = {"queue_full": "queue_full", "rate_limit_exceeded": "rate"}
        reason = by_code.get(error.code or "") or reasons.get(error.status)
        if reason is not None:
            self._measures.refuse(self._table.value.name, reason)


async def _end_with(send: Send, error: RequestError) -> None:
    """End a stream with an error that the client's library raises."""
    await piece(send, b"data: " + json.dumps(error.body()).encode() + b"\n\n", more=False)
