"""What must hold before an endpoint, or a version of it, is started; and what a replica's failure meant."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection
from pathlib import Path

from cluster import errors
from cluster.errors import EndpointError, ModelError, RaysmithError, ResourceError
from serving.config import ServeConfig


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
            raise port_in_use(config, config.port, error.strerror) from error
        port: int = probe.getsockname()[1]
        return port


def port_in_use(config: ServeConfig, port: int, why: str | None) -> ResourceError:
    """Somebody else listens there."""
    return ResourceError(
        f"The endpoint cannot listen on {config.host}:{port}: {why}.", field="port", got=port,
        expected="a free port", fix=f"serve.port={port % 65535 + 1}, or 0 for a free one (in an endpoint's file: port)",
    )  # fmt: skip


def require_no_endpoint(name: str) -> None:
    """See that no endpoint of that name is up in the cluster.

    Raises:
        ResourceError: one is.
    """
    import ray

    from serving.front.actor import NAMESPACE, actor_name

    try:
        ray.get_actor(actor_name(name), NAMESPACE)
    except ValueError:
        return
    raise ResourceError(
        "An endpoint of that name runs in this cluster already.", field="name", got=name, expected="another name",
        fix="stop the command that serves it (Ctrl-C there)",
    )  # fmt: skip


def require_engine_fits(config: ServeConfig, path: Path, adapters: Collection[str]) -> None:
    """Refuse what the engine cannot open or add.

    Raises:
        ModelError: with the engine's name.
    """
    form = "gguf" if path.suffix == ".gguf" else "folder"
    if form not in config.engine.OPENS:
        raise ModelError(
            "The engine does not open that kind of model.", field="engine",
            got=f"{config.engine.kind} for a {form}", expected=f"a {' or '.join(sorted(config.engine.OPENS))}",
            fix="llama_cpp opens GGUF files, vllm and transformers open folders",
        )  # fmt: skip
    if adapters and not config.engine.ADDS_ADAPTERS:
        raise no_adapters(config, adapters)
    if config.engine.ON_GPU and not config.replicas.num_gpus:
        raise ResourceError(
            "The engine needs a GPU.", field="replicas.num_gpus", got=0, expected="1 or more",
            fix="replicas.num_gpus: 1, or the engine vllm, llama_cpp or transformers",
        )  # fmt: skip


def no_adapters(config: ServeConfig, adapters: Collection[str]) -> ModelError:
    """The engine cannot take them."""
    return ModelError(
        "The engine adds no adapters.", field="adapters", got=f"{', '.join(adapters)} for {config.engine.kind}",
        expected="an engine that does", fix="vllm or transformers, or serve the merged model",
    )  # fmt: skip


def error_in(text: str, field: str, got: str) -> RaysmithError:
    """What a replica raised, found in what Serve says of it."""
    for name in re.findall(r"(\w+Error): ", text) + re.findall(r"(\w+Error)$", text):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, RaysmithError):
            said = text.rsplit(f"{name}: ", 1)[-1].strip()
            if name in {"HandoffError", "ModelError"}:
                return kind(said)
    return EndpointError("The endpoint does not come up.", field=field, got=f"{got}\n{text[-4000:]}")


def client_host(host: str) -> str:
    """What a client on this machine connects to."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
