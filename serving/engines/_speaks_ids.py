"""What engines have in common that take token ids and give token ids: prompts, texts, chunks and adapters in use."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

from cluster.errors import HandoffError, ModelError
from serving.engines._base import EngineBase
from serving.engines._chunks import ChatChunks, Prompt, Steps, TextChunks, chat_answer, text_answer
from serving.engines._prompts import PromptReader, end_ids, load_tokenizer
from serving.engines._text import TokenNames
from serving.protocol import EngineConfig, RequestError


class SpeaksIds(EngineBase, ABC):
    """Chats and completions of an engine that generates ids. See `serving.protocol.Engine`."""

    def __init__(self, config: EngineConfig, folder: Path, model_name: str) -> None:
        """Load the tokenizer.

        Raises:
            ModelError: there is none.
        """
        super().__init__(config)
        self._context_tokens = config.context_tokens
        self._model_name = model_name
        self._tokenizer = load_tokenizer(folder)
        self._end_ids = end_ids(folder, self._tokenizer)
        self._prompts = PromptReader(self._tokenizer, config.context_tokens)
        self._token_names = TokenNames(self._tokenizer)
        self._adapters = Adapters()

    @abstractmethod
    def generate(self, body: dict[str, Any], prompt: Prompt, adapter: str | None) -> Steps:
        """Generate; closing it stops the generation. `max_tokens` of the body is no more than the context has left."""

    async def chat(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """See `serving.protocol.Engine.chat`."""
        with self._adapters.used(adapter):
            prompt = await self._prompts.chat(body)
            answer = chat_answer(
                self.generate(self._fitting(body, prompt), prompt, adapter), self._prompts.read_answer(body, prompt),
                prompt, ChatChunks(self._named(adapter), self._token_names), logprobs=asked_logprobs(body) is not None,
            )  # fmt: skip
            async with aclosing(answer):
                async for chunk in answer:
                    yield chunk

    async def completion(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """See `serving.protocol.Engine.completion`."""
        logprobs = asked_logprobs(body) is not None
        if body.get("echo") and logprobs:
            raise RequestError(
                400, "The engine gives no log-probabilities of a prompt.", param="echo", code="unsupported_by_engine"
            )
        with self._adapters.used(adapter):
            prompt = await self._prompts.completion(body)
            asked = body["prompt"] if body.get("echo") else ""
            answer = text_answer(
                self.generate(self._fitting(body, prompt), prompt, adapter), self._prompts.read_answer(body, prompt),
                prompt, TextChunks(self._named(adapter), self._token_names), logprobs=logprobs,
                echo=asked if isinstance(asked, str) else self._prompts.text(asked),
            )  # fmt: skip
            async with aclosing(answer):
                async for chunk in answer:
                    yield chunk

    def _named(self, adapter: str | None) -> str:
        return self._model_name if adapter is None else f"{self._model_name}:{adapter}"

    def _fitting(self, body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
        return {**body, "max_tokens": min(body["max_tokens"], self._context_tokens - len(prompt.ids))}

    def _check_probe(self, sequences: list[list[int]]) -> None:
        longest = max(map(len, sequences))
        if longest > self._context_tokens:
            raise HandoffError(
                "A sequence is too long to be scored by the engine.", field="serve.engine.context_tokens",
                got=f"{longest} tokens", expected=f"at most {self._context_tokens}",
            )  # fmt: skip


class Adapters:
    """Which adapters there are, and how many requests use each."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._users: Counter[str] = Counter()
        self._unused = asyncio.Event()
        self.changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By name, held while it is added or removed."""

    @contextmanager
    def used(self, name: str | None) -> Generator[None]:
        """While a request runs.

        Raises:
            RequestError: 404, there is no such adapter.
        """
        if name is None:
            yield
            return
        if name not in self._there:
            raise RequestError(404, f"There is no adapter {name}.", param="model", code="model_not_found")
        self._users[name] += 1
        try:
            yield
        finally:
            self._users[name] -= 1
            self._unused.set()

    def refuse_twice(self, name: str) -> None:
        """Raise if an adapter is there already.

        Raises:
            ModelError: it is.
        """
        if name in self._there:
            raise ModelError("The adapter is there already.", field="adapters", got=name)

    def added(self, name: str) -> None:
        """From now on requests may use it."""
        self._there.add(name)

    async def removed(self, name: str) -> bool:
        """From now on no request may use it; returns when none does, whether it was there."""
        if name not in self._there:
            return False
        self._there.remove(name)
        while self._users[name]:
            self._unused.clear()
            await self._unused.wait()
        return True


def asked_logprobs(body: dict[str, Any]) -> int | None:
    """How many of the most probable tokens a chat or completion request wants; None: no log-probabilities at all."""
    asked = body.get("logprobs")
    if asked is None or asked is False:
        return None
    return int(body.get("top_logprobs") or 0) if asked is True else int(asked)


def missing_package(kind: str, package: str, error: ImportError) -> ModelError:
    """An engine whose package is not there, or does not work here."""
    return ModelError(
        "The engine's package cannot be imported.", field="serve.engine", got=f"{kind}: {error}",
        expected=f"the package {package} and a GPU on the replica's machine",
        fix=f"pip install {package}, in an environment of its own: it brings its own torch",
    )  # fmt: skip
