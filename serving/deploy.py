"""Bring an endpoint up on a Ray that the caller connected to, prove that it answers, and take it down again."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from cluster.errors import EndpointError, ResourceError
from serving.config import ServeConfig

APP_NAME = "raysmith"
POLL_S = 0.2
PROBE_TIMEOUT_S = 60.0
_LAST_WORDS_S = 0.5


class ModelSource(NamedTuple):
    """Where a served model comes from; `/v1/models` shows it."""

    artifact: str
    """Id of the artifact."""
    lineage: list[str]
    """Ids of its parents, nearest first, back to the text it was trained on."""


class Endpoint(NamedTuple):
    """An endpoint that answers."""

    url: str
    """Base URL for an OpenAI client, ending in `/v1`."""
    model: str
    """Name to ask for."""
    source: ModelSource
    """Where the model comes from."""
    startup_s: float
    """From the call of `deploy` to the first answer, seconds."""


def deploy(config: ServeConfig, model_path: Path, model_name: str, source: ModelSource, api_key: str) -> Endpoint:
    """Serve a model and wait until it answers.

    Args:
        config: engine, address, replicas and limits.
        model_path: the model's file, readable at this path on every node that may run a replica.
        model_name: the name that clients ask for.
        source: the artifact and its lineage.
        api_key: what clients must send as bearer token; only its SHA-256 leaves this process.

    Raises:
        ResourceError: the port is in use, or an endpoint runs in this cluster already.
        EndpointError: the endpoint does not come up, or does not answer; the message has the replica's own error.
    """
    started = time.monotonic()
    port = free_port(config)

    from ray import serve
    from ray.serve.schema import ApplicationStatus, LoggingConfig

    require_no_endpoint()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    key_sha256 = hashlib.sha256(api_key.encode()).hexdigest()
    app = _application(config, quiet).bind(config, str(model_path), model_name, source._asdict(), key_sha256)
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": config.host, "port": port}, logging_config=quiet)
        serve.run_many(
            [serve.RunTarget(app, name=APP_NAME, route_prefix="/", logging_config=quiet)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        _wait_until(ApplicationStatus.RUNNING, started + config.startup_timeout_s)
        base = f"http://{_client_host(config.host)}:{port}"
        _probe(base, model_name, api_key)
    except BaseException:  # Ctrl-C as well: never leave a half-started endpoint behind
        shutdown()
        raise
    return Endpoint(f"{base}/v1", model_name, source, time.monotonic() - started)


def require_no_endpoint() -> None:
    """See that nothing is served in the cluster: Serve's proxy, and with it the port, is one for all.

    Raises:
        ResourceError: an application of Ray Serve runs.
    """
    from ray import serve

    if running := serve.status().applications:
        raise ResourceError(
            "An endpoint runs in this cluster already.",
            field="serve",
            got=", ".join(running),
            expected="none",
            fix="stop the run that serves it (Ctrl-C there), or `serve shutdown` if its driver was killed",
        )


def shutdown() -> None:
    """Stop the endpoint, its proxy and Serve in this cluster; running requests may finish first."""
    from ray import serve

    # Serve's controller ends by killing itself, which Ray reports on the driver's standard output as a failed task.
    with contextlib.redirect_stdout(io.StringIO()):
        serve.shutdown()
        time.sleep(_LAST_WORDS_S)


def _application(config: ServeConfig, logging_config: Any) -> Any:
    from ray import serve

    from serving.app import ChatReplica

    replicas, limits = config.replicas, config.limits
    deployment: Any = serve.deployment(
        name="chat",
        # Above what a replica runs and queues, so that it answers 429 itself rather than let requests pile up in the
        # proxy, which knows no limit.
        max_ongoing_requests=config.engine.num_parallel + limits.max_queued_requests + 16,
        autoscaling_config={
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "target_ongoing_requests": replicas.target_ongoing_requests,
            "upscale_delay_s": replicas.upscale_delay_s,
            "downscale_delay_s": replicas.downscale_delay_s,
        },
        ray_actor_options={"num_cpus": replicas.num_cpus, "num_gpus": replicas.num_gpus},
        graceful_shutdown_timeout_s=replicas.shutdown_s,
        logging_config=logging_config,
    )
    return deployment(ChatReplica)


def free_port(config: ServeConfig) -> int:
    """The port to listen on.

    Raises:
        ResourceError: it is in use.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            raise ResourceError(
                f"The endpoint cannot listen on {config.host}:{config.port}: {error.strerror}.",
                field="serve.port",
                got=config.port,
                expected="a free port",
                fix=f"serve.port={config.port + 1}, or serve.port=0 for any free port",
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _client_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _wait_until(wanted: str, deadline: float) -> None:
    from ray import serve

    while True:
        app = serve.status().applications.get(APP_NAME)
        if app and app.status == wanted:
            return
        messages = [app.message, *(one.message for one in app.deployments.values())] if app else []
        if app and app.status == "DEPLOY_FAILED":
            raise EndpointError("The endpoint does not come up.", got="\n".join(filter(None, messages)))
        if time.monotonic() > deadline:
            raise EndpointError(
                "The endpoint did not come up in time.",
                field="serve.startup_timeout_s",
                got="\n".join(filter(None, messages)) or "no replica yet",
                fix="see that the cluster has serve.replicas.num_cpus cores free, or give it more time",
            )
        time.sleep(POLL_S)


def _probe(base: str, model_name: str, api_key: str) -> None:
    ask = {"model": model_name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    requests = (
        urllib.request.Request(f"{base}/health"),
        urllib.request.Request(f"{base}/v1/chat/completions", json.dumps(ask).encode(), headers),
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # http_proxy must not see the key
    for request in requests:
        try:
            direct.open(request, timeout=PROBE_TIMEOUT_S).close()
        except urllib.error.HTTPError as error:
            raise EndpointError(
                "The endpoint is up and does not answer as it should.",
                field=request.full_url,
                got=f"{error.code} {error.read().decode(errors='replace')}",
                expected="200",
            ) from error
        except OSError as error:
            raise EndpointError("The endpoint does not answer.", field=request.full_url, got=error) from error
