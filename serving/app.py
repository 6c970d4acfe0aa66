"""The Ray Serve application: OpenAI's chat API in front of one engine, in the same process (one hop)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from ray import serve
from starlette.exceptions import HTTPException

from serving.chat_request import ChatRequest, parse_chat
from serving.chat_response import events, fold
from serving.config import ServeConfig
from serving.loopback import bind_to_node_address
from serving.protocol import RequestError, open_engine

RETRY_AFTER_S = 2

api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@api.exception_handler(RequestError)
async def refuse(_: Request, error: RequestError) -> Response:
    """Answer with OpenAI's error JSON."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(error.body(), error.status, headers)


@api.exception_handler(HTTPException)
async def no_such_route(request: Request, error: HTTPException) -> Response:
    """Unknown paths and methods, in the same form."""
    return await refuse(
        request, RequestError(error.status_code, f"{request.method} {request.url.path}: no such route.")
    )


@serve.ingress(api)
class ChatReplica:
    """One replica: checks requests, queues what the engine has no room for, and passes its chunks on."""

    def __init__(
        self,
        config: ServeConfig,
        model_path: str,
        model_name: str,
        model_info: dict[str, Any],
        key_sha256: str,
    ) -> None:
        """Open the model.

        Args:
            config: limits and engine.
            model_path: the model's file, as this node sees it.
            model_name: the name that clients ask for.
            model_info: shown by `/v1/models` as `raysmith`.
            key_sha256: SHA-256 (hex) of the API key; the key itself never comes here.

        Raises:
            ModelError: the engine cannot open the model.
        """
        bind_to_node_address()
        self._limits = config.limits
        self._model_name = model_name
        self._model_info = model_info
        self._key_sha256 = key_sha256
        self._created = int(time.time())
        self._engine = open_engine(config.engine, Path(model_path), model_name, config.replicas.num_cpus)
        self._places = asyncio.Semaphore(config.engine.num_parallel)
        self._num_waiting = 0

    @api.get("/health")
    async def health(self) -> dict[str, str]:
        """Liveness; tells nothing else, needs no key."""
        return {"status": "ok"}

    @api.get("/v1/models")
    async def models(self, request: Request) -> dict[str, Any]:
        """The one model that is served, and where it comes from."""
        self._authorize(request)
        model = {"id": self._model_name, "object": "model", "created": self._created, "owned_by": "raysmith"}
        return {"object": "list", "data": [{**model, "raysmith": self._model_info}]}

    @api.post("/v1/chat/completions")
    async def chat(self, request: Request) -> Response:
        """A chat completion, whole or as server-sent events."""
        self._authorize(request)
        wanted = parse_chat(await self._read(request), self._limits)
        if wanted.model != self._model_name:
            message = f"The model {wanted.model!r} is not served here; {self._model_name!r} is."
            raise RequestError(404, message, param="model", code="model_not_found")
        chunks = self._generate(wanted)
        if not wanted.stream:
            return JSONResponse(fold([json.loads(chunk) async for chunk in chunks]))
        first = await anext(chunks)  # what the engine refuses must be known before the status is sent
        with_usage = bool(wanted.stream_options and wanted.stream_options.include_usage)
        return StreamingResponse(
            events(first, chunks, with_usage), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )

    async def _generate(self, wanted: ChatRequest) -> AsyncGenerator[str, None]:
        if self._places.locked() and self._num_waiting >= self._limits.max_queued_requests:
            raise RequestError(
                429, "The queue is full; try again later.", code="queue_full", retry_after_s=RETRY_AFTER_S
            )
        self._num_waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._num_waiting -= 1
        try:
            async with aclosing(self._engine.chat(wanted.engine_body(self._limits))) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._places.release()

    def _authorize(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(key.strip().encode()).hexdigest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self._key_sha256):
            raise RequestError(401, "Missing or wrong API key.", code="invalid_api_key")

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > self._limits.max_body_bytes:
                message = f"The body must have at most {self._limits.max_body_bytes} bytes."
                raise RequestError(413, message, code="body_too_large")
        return bytes(body)

    def __del__(self) -> None:
        """Serve's hook for a replica that ends, after its requests have."""
        if hasattr(self, "_engine"):
            self._engine.close()
