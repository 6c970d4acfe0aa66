"""What an engine is to the application, and how either refuses a request. Light: no torch, no Ray."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import Field

from cluster.config import PluginConfig
from cluster.handoff import TokenScores


class EngineConfig(PluginConfig):
    """What every engine's `Config` has."""

    OPENS: ClassVar[frozenset[str]] = frozenset({"gguf", "folder"})
    """Forms of a model that it opens: a GGUF file, a folder as transformers writes it."""
    ADDS_ADAPTERS: ClassVar[bool] = False
    """Whether LoRA adapters can be added and removed while it serves."""
    ON_GPU: ClassVar[bool] = False
    """Whether it needs a GPU."""

    context_tokens: int = Field(default=2048, ge=16)
    """Tokens of prompt and answer together, for each request."""

    num_parallel: int = Field(default=8, ge=1)
    """Choices that a replica generates at the same time; further ones wait at the front."""

    max_probe_kl: float = Field(default=0.05, gt=0)
    """Proof at start: how far the engine's log-probabilities of the probe may be from those of transformers in float32
    with the same weights, nats a token."""

    def resources(self, num_cpus: int, num_gpus: float) -> dict[str, Any]:
        """Options of the replica's deployment that reserve what it needs."""
        return {"ray_actor_options": {"num_cpus": num_cpus, "num_gpus": num_gpus}}


class Embeddings(NamedTuple):
    """What `Engine.embed` gives: a vector of floats for each text, and the tokens that were read."""

    vectors: list[list[float]]
    num_tokens: int


class Engine(Protocol):
    """One open model. An engine file has `Config` (an `EngineConfig`) and `Engine`.

    `Engine(config, model_path, model_name, num_cpus)` is called in a thread and opens the model, or leaves that to
    `start`. All coroutines run in one event loop. `serving.engines._base.EngineBase` refuses what an engine lacks.
    """

    async def start(self) -> None:
        """What must be done in the event loop before the first request.

        Raises:
            ModelError: the engine cannot open the model.
        """
        ...

    def chat(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """Generate; yields OpenAI `chat.completion.chunk` objects as JSON text; the last has usage and no choices.

        Closing the generator (or cancelling its task) stops the generation and frees its place in the batch.

        Args:
            body: fields of an OpenAI chat request that were checked already (`serving.chat_request`), with `max_tokens`
                and without `model`, `n` and `stream`.
            adapter: an adapter that was added, by its name.

        Raises:
            RequestError: the engine refuses the request, for instance a prompt longer than the context.
        """
        ...

    def completion(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """As `chat`, for OpenAI's older `/v1/completions` with one prompt (text or token ids); yields
        `text_completion` chunks.
        """
        ...

    async def embed(self, texts: list[str]) -> Embeddings:
        """One vector for each text.

        Raises:
            RequestError: the engine, or the model, gives none.
        """
        ...

    async def probe(self, sequences: list[list[int]], top_k: int, adapter: str | None = None) -> TokenScores:
        """Score token ids by teacher forcing: see `cluster.handoff.Holder`."""
        ...

    async def add_adapter(self, name: str, folder: Path) -> None:
        """Load a peft adapter's folder, so that `adapter=name` uses it.

        Raises:
            ModelError: it does not fit the model, or the engine takes none.
        """
        ...

    async def remove_adapter(self, name: str) -> None:
        """Forget an adapter; the requests that use it end first."""
        ...

    async def check(self) -> None:
        """Raise whatever tells that the engine is broken for good: the replica is then replaced."""
        ...

    async def stop(self) -> None:
        """Free the model's memory; nothing runs any more."""
        ...


class RequestError(Exception):
    """A request that is answered with an error in OpenAI's form.

    Args:
        status: HTTP status.
        message: one sentence for the client.
        param: the offending field, dotted.
        code: OpenAI's short name of the error.
        retry_after_s: when the client may try again, seconds.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        # It crosses Ray's processes, and keyword-only arguments do not survive pickling by default.
        return _request_error, (self.status, self.message, self.param, self.code, self.retry_after_s)

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's JSON."""
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def _request_error(
    status: int, message: str, param: str | None, code: str | None, retry_after_s: int | None
) -> RequestError:
    return RequestError(status, message, param=param, code=code, retry_after_s=retry_after_s)


def open_engine(config: EngineConfig, model_path: Path, model_name: str, num_cpus: int) -> Engine:
    """Open a model with the engine that `config.kind` names.

    Args:
        config: the engine file's own `Config`.
        model_path: the model's file or folder.
        model_name: the name that answers carry.
        num_cpus: cores that the engine may use.

    Raises:
        ModelError: the engine cannot open the model.
    """
    engine: Engine = importlib.import_module(f"serving.engines.{config.kind}").Engine(
        config, model_path, model_name, num_cpus
    )
    return engine
