"""The front with an engine that does nothing, and Ray Serve with the same engine.

    raysmith          our front: key, limits, rates, metrics
    haproxy           Ray Serve with HAProxy before its replica
    haproxy-tuned     the same with Ray Serve's throughput settings
    serve             Ray Serve as it is, with its proxy in Python

Ray Serve's replica is a bare Starlette application: no key, no limits, no check of the body, no metrics of its own. All
sides run in a network of their own that has nothing but loopback: HAProxy's statistics listen on all interfaces.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _endpoint_common import CORES, NAME, asked, endpoint_up, figures, load_of, run

from jobs.bench.config import Target

TOKENS, PLACES = 16, 256
_ALONE = "RAYSMITH_BENCHMARK_ALONE"
_NETWORK = ["unshare", "--map-root-user", "--net"]
_PORT = 8000
ENVIRONMENTS = {
    "serve": {}, "haproxy": {"RAY_SERVE_ENABLE_HA_PROXY": "1"},
    "haproxy-tuned": {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}  # fmt: skip


def application() -> Any:
    """What a replica of bare Ray Serve answers; the engine is the one that our side has."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    from serving.engines._noop import WORD, Config, Engine

    engine = Engine(Config(), Path(), NAME, 1)

    async def events(body: dict[str, Any]) -> AsyncIterator[str]:
        async for chunk in engine.chat(body):
            yield f"data: {chunk}\n\n"
        yield "data: [DONE]\n\n"

    async def chat(request: Request) -> Response:
        body = await request.json()
        if body.get("stream"):
            return StreamingResponse(events(body), media_type="text/event-stream")
        tokens = body["max_tokens"]
        message = {"role": "assistant", "content": WORD * tokens}
        answer = {
            "id": "chatcmpl-0", "object": "chat.completion", "created": 1700000000, "model": NAME,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
        }  # fmt: skip
        return Response(json.dumps(answer), media_type="application/json")

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])


@contextmanager
def ours_up() -> Iterator[Target]:
    from serving.config import LimitConfig, ReplicaConfig, ServeConfig
    from serving.engines._noop import Config

    limits = LimitConfig(max_queued_requests=PLACES, requests_per_minute=10**9, tokens_per_minute=10**12)
    config = ServeConfig(
        engine=Config(num_parallel=PLACES), port=0, replicas=ReplicaConfig(min=1, max=1), limits=limits
    )
    with endpoint_up(config, Path("none.gguf")) as up:
        yield up.target


@contextmanager
def serve_up() -> Iterator[Target]:
    from cluster.connect import ClusterConfig, connected

    with connected(ClusterConfig(num_cpus=CORES)):
        from ray import serve
        from ray.serve.schema import LoggingConfig

        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        serve.start(http_options={"host": "127.0.0.1", "port": _PORT}, logging_config=quiet)
        deployment: Any = serve.deployment(
            num_replicas=1, max_ongoing_requests=PLACES, ray_actor_options={"num_cpus": 1}, logging_config=quiet
        )(serve.ingress(application)(type("Bare", (), {})))
        try:
            serve.run(deployment.bind(), name="bare", route_prefix="/")
            yield Target(f"http://127.0.0.1:{_PORT}/v1", NAME, "none")
        finally:
            serve.shutdown()


def alone(name: str) -> None:
    """Start this process again where there is nothing but loopback."""
    if _ALONE in os.environ:
        return
    if subprocess.run([*_NETWORK, "true"], capture_output=True, check=False).returncode:
        raise SystemExit(
            f"`{' '.join(_NETWORK)}` is not allowed here, and without it HAProxy listens on all interfaces"
        )
    folder = tempfile.mkdtemp(prefix="rs-haproxy-")
    own = {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock", "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "1", **ENVIRONMENTS.get(name, {}), _ALONE: folder,
    }  # fmt: skip
    begin = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    os.execvpe("unshare", [*_NETWORK, *begin, sys.executable, *sys.argv], os.environ | own)


def front(options: argparse.Namespace) -> dict[str, Any]:
    """A side: requests a second and latencies."""
    alone(options.side)
    try:
        with ours_up() if options.side == "raysmith" else serve_up() as target:
            return _measured(target, options)
    finally:
        shutil.rmtree(os.environ[_ALONE], ignore_errors=True)


def _measured(target: Target, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for stream in (False, True):
        for clients in options.clients:
            kind = "streamed" if stream else "unary"
            load = load_of(
                options.seconds, clients, stream=stream, max_tokens=TOKENS, prompt_tokens=32, warmup_requests=20
            )
            found |= figures(f"{kind}_{clients}", [run(asked(target, load, clients))])
    return found


SIDES = dict.fromkeys(("raysmith", *ENVIRONMENTS), front)
