"""What an engine that lacks something answers instead. Engines inherit from it and override what they have."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from cluster.errors import HandoffError, ModelError
from cluster.handoff import TokenScores
from serving.protocol import Embeddings, EngineConfig, RequestError


class EngineBase:
    """Refuses everything; see `serving.protocol.Engine`."""

    def __init__(self, config: EngineConfig) -> None:
        self.kind = config.kind

    async def start(self) -> None:
        """Nothing to do."""

    def chat(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """Refuse."""
        raise self._lacks("chat completions")

    def completion(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """Refuse."""
        raise self._lacks("completions")

    async def embed(self, texts: list[str]) -> Embeddings:
        """Refuse."""
        raise self._lacks("embeddings")

    async def probe(self, sequences: list[list[int]], top_k: int, adapter: str | None = None) -> TokenScores:
        """Refuse."""
        raise HandoffError("The engine cannot score tokens.", field="serve.engine", got=self.kind)

    async def add_adapter(self, name: str, folder: Path) -> None:
        """Refuse."""
        raise ModelError(
            "The engine takes no adapters.", field="adapters", got=f"{name} ({folder.name}) for {self.kind}",
            expected="an engine that does", fix="serve the merged model, or use the engine vllm or transformers",
        )  # fmt: skip

    async def remove_adapter(self, name: str) -> None:
        """Nothing to forget."""

    async def check(self) -> None:
        """All is well."""

    async def stop(self) -> None:
        """Nothing to free."""

    def _lacks(self, what: str) -> RequestError:
        return RequestError(400, f"The engine {self.kind} gives no {what}.", code="unsupported_by_engine")
