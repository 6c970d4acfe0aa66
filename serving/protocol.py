"""What an engine is to the application, and how either refuses a request. Light: no torch, no Ray."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import Field

from cluster.config import PluginConfig
from cluster.handoff import Holder


class EngineConfig(PluginConfig):
    """What every engine's `Config` has."""

    OPENS: ClassVar[frozenset[str]] = frozenset({"gguf", "folder"})
    """Forms of a model that it opens: a GGUF file, a folder as transformers writes it."""

    context_tokens: int = Field(default=2048, ge=16)
    """Tokens of prompt and answer together, for each request."""

    num_parallel: int = Field(default=8, ge=1)
    """Requests that a replica generates for at the same time; further ones wait in its queue."""


class Engine(Holder, Protocol):
    """One open model. An engine file has `Config` (an `EngineConfig`) and `Engine` (this, made by `open_engine`)."""

    def chat(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        """Generate; yields OpenAI `chat.completion.chunk` objects as JSON text.

        Closing the generator (or cancelling its task) stops the generation and frees its place in the batch.

        Args:
            body: fields of an OpenAI chat request that were checked already, with `stream` true.

        Raises:
            RequestError: the engine refuses the request, for instance a prompt longer than the context.
        """
        ...

    def close(self) -> None:
        """Free the model's memory; running requests end first."""
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

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's JSON."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


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
